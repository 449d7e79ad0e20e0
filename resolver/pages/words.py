"""The words of the pages in Chinese and English, and which of the two a reader gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from protocol.epcis.vocabulary import BIZ_STEP, DISPOSITION, Vocabulary, word
from protocol.negotiate import parse_qualities

LANGUAGES: Final = ("en", "zh")
TAGS: Final[Mapping[str, str]] = {"en": "en", "zh": "zh-Hans"}


def choose(asked: str | None, accept: str | None) -> str:
    """`zh` or `en`: as `?lang=` asks, else what the browser likes best, else English."""
    if asked:
        return "zh" if asked.lower().startswith("zh") else "en"
    for range_, quality in parse_qualities(accept):
        found = range_.partition("-")[0]
        if quality and found in LANGUAGES:
            return found
    return "en"


class Words:
    """The words of one language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self.tag = TAGS[language]
        self._at = LANGUAGES.index(language)

    def __call__(self, key: str, /, **fields: object) -> str:
        """A sentence or word; fields fill its places."""
        return _WORDS[key][self._at].format(**fields)

    def step(self, value: str | None) -> str:
        """A business step in words; what is no word of CBV as it stands."""
        return self._vocabulary(BIZ_STEP, value, _STEPS) or self("event")

    def disposition(self, value: str | None) -> str:
        """A disposition in words."""
        return self._vocabulary(DISPOSITION, value, _DISPOSITIONS)

    def _vocabulary(self, known: Vocabulary, value: str | None, chinese: Mapping[str, str]) -> str:
        if not value:
            return ""
        bare = word(known, value)
        if bare not in known.words:
            return value
        return chinese.get(bare, bare) if self._at else bare.replace("_", " ")


_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "skip": ("Skip to the content", "跳到正文"),
    "site": ("Product page", "产品页面"),
    "other_language": ("中文", "English"),
    "life": ("Life", "生命周期"),
    "checks": ("What was checked", "核验内容"),
    "facts": ("Product", "产品信息"),
    "picture": ("Where it comes from and where it went", "来源与去向"),
    "links": ("Links", "链接"),
    "record": ("The whole record", "完整记录"),
    "recall": ("Recall view", "召回视图"),
    "certificate": ("Certificate", "证书"),
    "overview": ("Overview", "概览"),
    "identifier": ("Identifier", "标识"),
    "qr": ("QR code of {address}", "{address} 的二维码"),
    "scan": ("Scan to come back here", "扫码可再次打开"),
    "json": ("As JSON", "JSON 数据"),
    "print": ("Print", "打印"),
    "no_record": (
        "No record is kept here for this identifier; below is what events say of it.",
        "本节点没有该标识的记录；以下内容来自事件。",
    ),
    "no_values": ("It has no public values.", "没有公开的值。"),
    "not_target": (
        "The address below is not one that this server sends browsers to.",
        "本服务器不会转到下面的地址。",
    ),
    "no_events": ("No public events are known here.", "此处没有公开的事件。"),
    "more_events": ("Only the first {count} events are shown.", "仅显示前 {count} 个事件。"),
    "withdrawn": (
        "{count} events were withdrawn by those who captured them and are not shown.",
        "有 {count} 个事件已被采集方撤回，未显示。",
    ),
    "public_only": (
        "Only what is public is shown; other events may exist.",
        "仅显示公开内容；可能还有其他事件。",
    ),
    "event": ("event", "事件"),
    "production": ("production", "生产"),
    "logistics": ("logistics", "物流"),
    "service": ("service", "服务"),
    "end-of-life": ("end of life", "报废回收"),
    "other": ("other", "其他"),
    "all": ("all", "全部"),
    "filter": ("Show only", "筛选"),
    "at": ("at {place}", "地点：{place}"),
    "then": ("afterwards at {place}", "之后位于：{place}"),
    "state": ("state: {state}", "状态：{state}"),
    "kept_here": ("kept at this node", "保存于本节点"),
    "given_by": ("given by the node of {node}", "由 {node} 的节点提供"),
    "about": ("about {things}", "对象：{things}"),
    "about_carrier": (
        "about {things}, which carried part of it meanwhile",
        "对象：{things}，当时承载着其中的一部分",
    ),
    "whole": ("Whole life", "完整生命周期"),
    "whole_link": (
        "Show the whole life, with what other companies' nodes say",
        "显示完整生命周期，包括其他企业节点的内容",
    ),
    "whole_title": ("The whole life of {name}", "{name} 的完整生命周期"),
    "whole_text": (
        (
            "What this node keeps, and what the nodes of other companies told anybody at {time} "
            "(asked: {questions}; events given: {count}). Each was checked before it was shown."
        ),
        "本节点所存内容，以及其他企业的节点在 {time} 公开提供的内容（询问 {questions} 次，获得 {count} 个事件）。每个事件在显示前均已核验。",
    ),
    "whole_busy": (
        (
            "The other nodes were not asked now: too many pages wait for that. This is what this node "
            "keeps; load the page again in a moment."
        ),
        "等待的页面过多，此刻未询问其他节点。以下为本节点所存内容；请稍后重新加载。",
    ),
    "whole_off": (
        "This node asks no others for its pages; this is what it keeps itself.",
        "本节点的页面不询问其他节点；以下为本节点所存内容。",
    ),
    "whole_asking": ("Asking the nodes of the other companies …", "正在询问其他企业的节点……"),
    "whole_shown": (
        "The whole life is shown. Companies that tell it: {count}.",
        "已显示完整生命周期，来自 {count} 家企业。",
    ),
    "whole_failed": (
        "The other companies' nodes could not be asked now; the link asks again.",
        "此刻无法询问其他企业的节点；可点击链接重试。",
    ),
    "companies": ("Who says so", "声明方"),
    "company_events": (
        "Events: {count}; with a signature that holds: {good}",
        "{count} 个事件，其中 {good} 个签名有效",
    ),
    "missing": ("What is missing", "缺失内容"),
    "missing_none": (
        "Everybody who was asked has answered. What is not public is not told.",
        "所有被询问的节点均已答复。未公开的内容不会提供。",
    ),
    "missing_silent": ("Somebody's node did not answer", "有节点没有答复"),
    "missing_unknown": (
        "Nothing more is told: not known, or not public",
        "没有更多内容：未知或未公开",
    ),
    "missing_bad": (
        "EVENTS WERE GIVEN THAT DO NOT VERIFY; they are left out",
        "收到未通过核验的事件，已略去",
    ),
    "missing_limit": (
        "There is more than a page gathers",
        "内容超出页面收集的范围",
    ),
    "missing_of": ("Concerns {things}.", "涉及：{things}。"),
    "recall_link": (
        "Follow it at the nodes of the other companies too",
        "同时在其他企业的节点上追踪",
    ),
    "recall_all": (
        "This is what this node and the other companies' nodes tell anybody.",
        "以上依据本节点及其他企业的节点公开的内容。",
    ),
    "says": ("said by {who}", "声明方：{who}"),
    "carried": ("while it was in {parent}", "当时位于 {parent} 之中"),
    "made_of": ("made of {things}", "由 {things} 制成"),
    "made_into": ("made into {things}", "制成 {things}"),
    "put_into": ("into {parent}", "装入 {parent}"),
    "taken_out": ("out of {parent}", "从 {parent} 取出"),
    "seen_in": ("in {parent}", "位于 {parent}"),
    "holds": ("holding {things}", "内含 {things}"),
    "and_more": ("and {count} more", "等共另外 {count} 项"),
    "reading": ("reading: {what}", "读数：{what}"),
    "document": ("document: ", "单据："),
    "certification": ("certification: ", "认证："),
    "event_data": ("The event as captured", "采集的事件原文"),
    "signature": ("Signature", "签名"),
    "seal_ok": ("signature holds ({key})", "签名有效（{key}）"),
    "seal_invalid": ("SIGNATURE DOES NOT HOLD ({key})", "签名无效（{key}）"),
    "seal_issuer": ("THE SIGNATURE NAMES ANOTHER ISSUER ({key})", "签名所写的声明方不同（{key}）"),
    "seal_label": ("THE SIGNATURE NAMES ANOTHER LABEL ({key})", "签名所写的标签不同（{key}）"),
    "seal_no_key": (
        "signature not checked: the key {key} was not found from here",
        "签名未核验：此处找不到密钥 {key}",
    ),
    "seal_loose": (
        "signature fits {key}, a key that was not verified itself",
        "签名与密钥 {key} 相符，但该密钥本身未核验",
    ),
    "seal_unsigned": ("unsigned", "未签名"),
    "trust_own": ("by this node's own key", "密钥为本节点自有"),
    "trust_local": ("by a key whose record is kept here", "密钥的记录保存于本节点"),
    "trust_verified": (
        "by a key vouched for up to a trusted root",
        "密钥经证书链可追溯至可信根",
    ),
    "logged_at": (
        "in the log {log}, change {number} of {size}",
        "已入日志 {log}，第 {number} 项，共 {size} 项",
    ),
    "logged": ("in the log, change {number} of {size}", "已入日志，第 {number} 项，共 {size} 项"),
    "not_logged": ("its place in the log was not checked", "未核验其日志位置"),
    "verdict_good": (
        "Verified: this is what its publisher signed, unchanged since.",
        "核验通过：内容与发布者签名时一致，此后未被改动。",
    ),
    "verdict_open": (
        "Not everything could be checked here. Each check below says how far it got.",
        "并非所有项目都能在此核验，详见以下各项。",
    ),
    "verdict_bad": (
        "Not verified: a check failed. Do not rely on what this page says.",
        "核验未通过：有检查失败，请勿采信本页内容。",
    ),
    "badge_values": ("Values as signed", "值与签名一致"),
    "badge_values_text": (
        "The digests of {count} values are those that were signed.",
        "{count} 个值的摘要与签名时相同。",
    ),
    "badge_signer": ("Signer", "签名者"),
    "badge_signer_text": ("Signed by {signers}.", "由 {signers} 签名。"),
    "badge_chain": ("Chain to a trusted root", "证书链至可信根"),
    "badge_chain_text": (
        "{links} certificates lead to the root {root}.",
        "经 {links} 张证书到达根 {root}。",
    ),
    "badge_window": ("Time window", "有效期"),
    "badge_window_text": (
        "Signature and certificates are valid now, the first until {until}.",
        "签名与证书目前有效，最早到期：{until}。",
    ),
    "badge_window_open": (
        "Signature and certificates are valid now and name no end.",
        "签名与证书目前有效，未写到期时间。",
    ),
    "badge_log": ("In the log", "已入日志"),
    "badge_log_text": (
        (
            "These values are change {number} of the log {origin}, shown by a proof up to its signed "
            "checkpoint of {size} changes."
        ),
        "这些值是日志 {origin} 的第 {number} 项，已由到其签名检查点（共 {size} 项）的证明证实。",
    ),
    "badge_log_open": ("Log not checked", "未核验日志"),
    "badge_log_open_text": (
        "This record is not kept in this node's own log.",
        "该记录不在本节点自己的日志中。",
    ),
    "badge_log_bad": ("LOG PROOF FAILS", "日志证明不成立"),
    "badge_unsigned": ("Unsigned", "未签名"),
    "badge_unsigned_text": (
        "Nobody signed this record; its values are as the node has them.",
        "该记录没有签名；值以本节点所存为准。",
    ),
    "badge_invalid": ("SIGNATURE DOES NOT HOLD", "签名无效"),
    "badge_open": ("Signature not checked", "签名未核验"),
    "badge_told": ("Checked when it was fetched", "取得时已核验"),
    "badge_revoked": ("Key revoked since", "密钥此后已吊销"),
    "badge_revoked_text": (
        "The key of {signers} was revoked; the record was logged before.",
        "{signers} 的密钥已吊销；记录在此之前已入日志。",
    ),
    "checks_note": (
        (
            "A good signature says who published these values and that nobody changed them since. It "
            "does not say that they are true, nor that a product in your hand is the one meant."
        ),
        "有效的签名说明这些值由谁发布、此后未被改动；并不说明内容属实，也不说明您手中的产品就是所指的产品。",
    ),
    "graph_title": ("Trace of {name}", "{name} 的追溯图"),
    "graph_text": (
        (
            "Things: {nodes}, relations: {edges}. Origins above, what became of them below. The list "
            "that follows says the same in words."
        ),
        "共 {nodes} 个对象、{edges} 条关系。来源在上，去向在下。下面的列表以文字说明相同内容。",
    ),
    "graph_more": ("+ {count} more", "另有 {count} 个"),
    "graph_cut": ("The picture is cut: there is more than it shows.", "图已截断：还有更多内容。"),
    "relations": ("Relations in words", "文字说明的关系"),
    "relations_all": ("Show all of them ({count})", "全部显示（{count} 条）"),
    "picture_region": ("The picture; it can be scrolled", "追溯图，可滚动"),
    "transformation": ("made into", "制成"),
    "aggregation": ("packed in", "装在"),
    "association": ("fitted to", "装配于"),
    "lot": ("lot of", "所属批次"),
    "maybe": ("possible: known by lot or class only", "可能：仅知批次或型号"),
    "sure": ("certain", "确定"),
    "when": ("When", "时间"),
    "by_event": ("Event", "事件"),
    "quantity": ("Quantity", "数量"),
    "recall_title": ("Everything that holds {name}", "含有 {name} 的全部产品"),
    "recall_text": (
        (
            "{count} things were reached going forward: {sure} for certain, {maybe} known by lot or "
            "class only."
        ),
        "向下游追到 {count} 个对象：{sure} 个确定，{maybe} 个仅知批次或型号。",
    ),
    "recall_none": (
        "Nothing was made of it, as far as is known here.",
        "就此处所知，尚未制成其他产品。",
    ),
    "recall_here": (
        (
            "This is what this node's public events say. What other companies made of it is at their "
            "nodes."
        ),
        "以上依据本节点的公开事件；其他企业由此制成的产品见其各自的节点。",
    ),
    "thing": ("Thing", "对象"),
    "level": ("Level", "层级"),
    "distance": ("Steps", "步数"),
    "sureness": ("How sure", "确定程度"),
    "last_seen": ("Last seen", "最近出现"),
    "last_state": ("State", "状态"),
    "level_item": ("item", "单品"),
    "level_lot": ("lot", "批次"),
    "level_class": ("class", "型号"),
    "level_other": ("item", "单品"),
    "cert_title": ("Certificate of origin and verification", "产品来源与核验证书"),
    "cert_made": ("Made on {time} by the node {node}", "{time} 由节点 {node} 出具"),
    "cert_text": (
        (
            "This sheet repeats what the record and its public events said when it was made. Check it "
            "against the page behind the code."
        ),
        "本页为出具时记录与公开事件的内容。请扫码与页面核对。",
    ),
    "index": ("Index", "索引"),
    "type": ("Type", "类型"),
    "time": ("Timestamp", "时间"),
    "data": ("Data", "数据"),
    "handle_values": ("Handle values for:", "Handle values for:"),
    "footer": ("Resolved by the node {node}", "由节点 {node} 解析"),
    "DESC": ("Description", "描述"),
    "TITLE": ("Title", "名称"),
    "NAME": ("Name", "名称"),
    "MODEL": ("Model", "型号"),
    "GRADE": ("Grade", "牌号"),
    "STANDARD": ("Standard", "标准"),
    "MATERIAL": ("Material", "材料"),
    "MAKER": ("Maker", "制造商"),
    "EMAIL": ("E-mail", "电子邮件"),
    "LIFECYCLE": ("Stage", "阶段"),
    "SERIAL": ("Serial number", "序列号"),
}

_STEPS: Final[Mapping[str, str]] = dict(
    pair.split("=")
    for pair in [
        "accepting=接收",
        "arriving=到达",
        "assembling=组装",
        "collecting=收集",
        "commissioning=投产赋码",
        "consigning=托运",
        "creating_class_instance=建立批次",
        "cycle_counting=循环盘点",
        "decommissioning=停用注销",
        "departing=出发",
        "destroying=销毁",
        "disassembling=拆解",
        "dispensing=分发",
        "encoding=写码",
        "entering_exiting=进出",
        "holding=暂扣",
        "inspecting=检验",
        "installing=安装",
        "killing=灭活",
        "loading=装车",
        "other=其他",
        "packing=包装",
        "picking=拣选",
        "receiving=收货",
        "removing=拆除",
        "repackaging=重新包装",
        "repairing=维修",
        "replacing=更换",
        "reserving=预留",
        "retail_selling=零售",
        "sampling=取样",
        "sensor_reporting=传感器读数",
        "shipping=发货",
        "staging_outbound=出库备货",
        "stock_taking=盘点",
        "stocking=上架",
        "storing=入库存放",
        "transporting=运输",
        "unloading=卸车",
        "unpacking=拆包",
        "void_shipping=取消发货",
    ]
)
_DISPOSITIONS: Final[Mapping[str, str]] = dict(
    pair.split("=")
    for pair in [
        "active=已启用",
        "available=可用",
        "completeness_verified=完整性已核实",
        "completeness_inferred=完整性推定",
        "conformant=合格",
        "container_closed=容器已关",
        "container_open=容器已开",
        "damaged=损坏",
        "destroyed=已销毁",
        "dispensed=已分发",
        "disposed=已处置",
        "encoded=已写码",
        "expired=已过期",
        "in_progress=进行中",
        "in_transit=在途",
        "inactive=停用",
        "mismatch_instance=实例不符",
        "mismatch_class=型号不符",
        "mismatch_quantity=数量不符",
        "needs_replacement=需更换",
        "no_pedigree_match=谱系不符",
        "non_conformant=不合格",
        "non_sellable_other=不可售",
        "partially_dispensed=部分分发",
        "recalled=已召回",
        "reserved=已预留",
        "retail_sold=已售出",
        "returned=已退回",
        "sellable_accessible=可售",
        "sellable_not_accessible=可售未上架",
        "stolen=被盗",
        "unavailable=不可用",
        "unknown=未知",
    ]
)
