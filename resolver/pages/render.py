"""The page of a product, its recall view and its certificate, put together from their parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from protocol.epcis.event import biz_location, disposition, read_point
from protocol.record import HandleValue
from resolver.http.page import values_table
from resolver.pages import qr
from resolver.pages.checks import Logged, Seal, until
from resolver.pages.drawing import draw
from resolver.pages.life import Graph, Life
from resolver.pages.markup import Child, Markup, tag
from resolver.pages.names import Names
from resolver.pages.product import Product
from resolver.pages.style import SCRIPT_PATH, STYLE
from resolver.pages.timeline import (
    WRONG,
    said_by,
    seal_text,
    shown_time,
    thing,
    timeline,
    when,
)
from resolver.pages.whole import Kind, Whole
from resolver.pages.words import Words
from resolver.trace.evidence import OK
from resolver.trace.foreign import FIRST
from resolver.trace.result import Gap
from resolver.trace.spans import ALWAYS, EVER
from resolver.trace.views import View
from resolver.trace.walk import Edge, EdgeKind

VIEWS: Final = ("", "life", "recall", "recall-all", "certificate")
WHOLE: Final[Mapping[str, Kind]] = {"life": "life", "recall-all": "recall"}
"""Views that join what other nodes say."""
_MOST_MISSING: Final = 8
_MOST_TEXT: Final = 120
MOST_RELATIONS: Final = 200
_FEW_RELATIONS: Final = 12
MOST_ROWS: Final = 1_000
_YEAR_9999: Final = 253_370_764_800


@dataclass(frozen=True, slots=True)
class Shown:
    """Everything that one page says. id: as events name it. handle: of the record. address: what
    the QR code leads to. base: path of the page. tail: its `?lang=`. node: who serves it.
    whole: what other nodes gave, on a view of WHOLE. asks: whether other nodes are ever asked.
    """

    id: str
    handle: str
    address: str
    base: str
    tail: str
    node: str
    now_s: float
    values: Sequence[HandleValue]
    product: Product
    life: Life
    seals: Mapping[str, Seal]
    verification: Mapping[str, Any]
    logged: Logged | None
    note: str = ""
    known: bool = True
    whole: Whole | None = None
    asks: bool = True


class Renderer:
    """One page in one language."""

    def __init__(self, shown: Shown, words: Words, names: Names) -> None:
        self._shown = shown
        self._words = words
        self._names = names

    def page(self, view: str) -> str:
        """The whole document of a view."""
        body, title = self._view(view)
        words = self._words
        head = [
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width,initial-scale=1"),
            tag("title", title),
            tag("link", rel="icon", href="data:,"),
            tag("style", Markup(STYLE)),
            tag("script", src=SCRIPT_PATH, defer=True),
        ]
        main = tag("main", body, id="content", tabindex="-1")
        document = tag(
            "html",
            tag("head", head),
            tag("body", self._top(view), main, self._foot()),
            lang=words.tag,
        )
        return f"<!DOCTYPE html>\n{document}\n"

    def _view(self, view: str) -> tuple[Child, str]:
        words, name = self._words, self._shown.product.name
        if view in {"recall", "recall-all"}:
            return self._recall(view), words("recall_title", name=name)
        if view == "certificate":
            return self._certificate(), f"{words('cert_title')}: {name}"
        return self._overview(view), words("whole_title", name=name) if view else name

    # --- around it

    def _top(self, view: str) -> Markup:
        words = self._words
        views = (
            ("", "overview"),
            ("life", "whole"),
            ("recall", "recall"),
            ("certificate", "certificate"),
        )
        links: list[Child] = [
            tag(
                "a",
                words(key),
                href=self._address(one),
                rel="nofollow" if one in WHOLE else None,
                aria_current="page" if one == view.removesuffix("-all") else None,
            )
            for one, key in views
            if one not in WHOLE or self._shown.asks
        ]
        other = "en" if words.language == "zh" else "zh"
        links.append(
            tag(
                "a",
                words("other_language"),
                href=self._address(view, other),
                lang="en" if other == "en" else "zh-Hans",
                hreflang="en" if other == "en" else "zh-Hans",
            )
        )
        skip = tag("a", words("skip"), href="#content", class_="skip")
        return tag("header", skip, tag("nav", links, aria_label=words("site")), class_="top")

    def _address(self, view: str, language: str = "") -> str:
        query = [f"view={view}"] if view else []
        if language:
            query.append(f"lang={language}")
        elif self._shown.tail:
            query.append(self._shown.tail[1:])
        return self._shown.base + ("?" + "&".join(query) if query else "")

    def _foot(self) -> Markup:
        return tag("footer", tag("p", self._words("footer", node=self._shown.node)))

    # --- the overview

    def _overview(self, view: str) -> Child:
        words, shown = self._words, self._shown
        whole = view in WHOLE
        told = timeline(shown.life, shown.seals, words, self._names, whole=whole)
        parts = [
            [self._told(), self._companies(), self._missing()] if whole else None,
            self._picture(),
            _section("life", words("whole" if whole else "life"), told),
        ]
        return [
            self._head(),
            _section("checks", words("checks"), [self._badges(), _note(words("checks_note"))]),
            self._joined(view, "life", "whole_link", parts),
            self._links(),
            self._record(),
        ]

    # --- what other nodes say

    def _joined(self, view: str, other: str, key: str, parts: Child) -> Child:
        """The part of a view that the script replaces by what all companies say, and its link."""
        words, shown = self._words, self._shown
        if view in WHOLE:
            done = shown.whole is not None
            count = len({one.stored.issuer for one in shown.life.views})
            said = words("whole_shown", count=count) if done else words("whole_failed")
            state = "whole" if done else "busy"
            return tag("div", parts, id="whole", data_state=state, data_said=said)
        if not shown.asks:
            return tag("div", parts, id="whole")
        link = tag("a", words(key), href=self._address(other), rel="nofollow")
        asking, failed = words("whole_asking"), words("whole_failed")
        return [
            tag("p", link, " ", tag("span", id="asked", role="status"), class_="more"),
            tag("div", parts, id="whole", data_asking=asking, data_failed=failed),
        ]

    def _told(self) -> Markup:
        words, whole = self._words, self._shown.whole
        if whole is None:
            return _note(words("whole_busy" if self._shown.asks else "whole_off"))
        return _note(
            words(
                "whole_text",
                time=shown_time(int(whole.at_s * 1e6), ""),
                questions=whole.questions,
                count=len(whole.foreign),
            )
        )

    def _companies(self) -> Markup | None:
        """Each company that says something, and how much of it was verified."""
        words, shown = self._words, self._shown
        seals: dict[str, list[Seal | None]] = {}
        nodes: dict[str, dict[str, None]] = {}
        for view in shown.life.views:
            issuer = view.stored.issuer
            seals.setdefault(issuer, []).append(shown.seals.get(view.stored.event_id))
            given = words("kept_here")
            if view.stored.sequence >= FIRST:
                given = words("given_by", node=shown.life.foreign.source(view.stored.sequence))
            nodes.setdefault(issuer, {})[given] = None
        rows = []
        for issuer, found in sorted(seals.items()):
            good = sum(seal is not None and seal.state == OK for seal in found)
            bad = any(seal is not None and seal.state in WRONG for seal in found)
            state = "bad" if bad else "good" if good == len(found) else "open"
            trusts = dict.fromkeys(s.trust for s in found if s is not None and s.state == OK)
            text = [words("company_events", count=len(found), good=good)]
            text += [words(f"trust_{trust}") for trust in trusts if trust]
            text += nodes[issuer]
            rows.append(_badge(state, self._names.company(issuer), "; ".join(text)))
        if not rows:
            return None
        return _section("companies", words("companies"), tag("ul", rows, class_="badges"))

    def _missing(self) -> Markup | None:
        """Where nothing came from: the same words for what is absent and what is denied."""
        words, whole = self._words, self._shown.whole
        if whole is None:
            return None
        found: dict[str, dict[str, None]] = {}
        for gap in whole.gaps:
            found.setdefault(_kind_of(gap), {})[gap.id] = None
        if not found:
            return _section("missing", words("missing"), tag("p", words("missing_none")))
        rows = []
        for kind, ids in found.items():
            names = [self._called(id_) for id_ in list(ids)[:_MOST_MISSING]]
            left = len(ids) - len(names)
            more = " " + words("and_more", count=left) if left else ""
            text = words("missing_of", things=", ".join(names) + more)
            state = "bad" if kind == "bad" else "open"
            rows.append(_badge(state, words(f"missing_{kind}"), text))
        return _section("missing", words("missing"), tag("ul", rows, class_="badges"))

    def _called(self, id_: str) -> str:
        graph = self._shown.life.graph
        if id_ in graph.back or id_ in graph.forward:
            return self._names.of(id_)
        return id_ if len(id_) <= _MOST_TEXT else id_[:_MOST_TEXT] + "…"

    def _head(self) -> Markup:
        words, shown = self._words, self._shown
        facts: list[Child] = [
            tag("dt", words("identifier")),
            tag("dd", tag("code", self._spelled())),
        ]
        for label, text in shown.product.facts:
            facts += [tag("dt", label), tag("dd", text)]
        about = [
            tag("h1", shown.product.name),
            tag("p", shown.product.description) if shown.product.description else None,
            tag("p", shown.note) if shown.note else None,
            tag("p", words("no_record")) if not shown.known else None,
            tag("dl", facts),
        ]
        return tag("div", tag("div", about), self._code(), class_="head")

    def _spelled(self) -> str:
        return self._shown.handle or self._shown.id

    def _code(self) -> Markup:
        words, shown = self._words, self._shown
        caption = tag(
            "figcaption", words("scan"), ": ", tag("a", shown.address, href=shown.address)
        )
        code = qr.svg_inline(shown.address, words("qr", address=shown.address))
        return tag("figure", code, caption, class_="qr")

    # --- what was checked

    def _badges(self) -> Child:
        """One sentence for who reads no further, then each check."""
        rows = [*self._of_signature(), self._of_log()]
        states = {state for state, _, _ in rows}
        state = next(state for state in ("bad", "open", "good") if state in states)
        verdict = tag("p", self._words(f"verdict_{state}"), class_=f"verdict seal {state}")
        return [verdict, tag("ul", [_badge(*row) for row in rows], class_="badges")]

    def _of_signature(self) -> list[tuple[str, str, str]]:
        words, found = self._words, self._shown.verification
        status = str(found.get("status", ""))
        if status == "unsigned":
            return [("open", words("badge_unsigned"), words("badge_unsigned_text"))]
        if status == "invalid":
            return [("bad", words("badge_invalid"), str(found.get("reason", "")))]
        if status != "verified":
            return [("open", words("badge_open"), str(found.get("reason", status)))]
        if "checked" in found:
            return [("good", words("badge_told"), "; ".join(map(str, found["checked"])))]
        signers, end = ", ".join(found["signers"]), until(found)
        count, links, root = len(found["values"]), found["chainLength"], found["root"]
        rows = [
            ("good", words("badge_values"), words("badge_values_text", count=count)),
            ("good", words("badge_signer"), words("badge_signer_text", signers=signers)),
            ("good", words("badge_chain"), words("badge_chain_text", links=links, root=root)),
            ("good", words("badge_window"), self._window(end)),
        ]
        revoked = found.get("revoked")
        if revoked:
            text = words("badge_revoked_text", signers=", ".join(revoked))
            rows.append(("open", words("badge_revoked"), text))
        return rows

    def _window(self, end: int | None) -> str:
        if end is None or not 0 <= end < _YEAR_9999:
            return self._words("badge_window_open")
        return self._words(
            "badge_window_text", until=f"{datetime.fromtimestamp(end, UTC):%Y-%m-%d}"
        )

    def _of_log(self) -> tuple[str, str, str]:
        words, logged = self._words, self._shown.logged
        if logged is None:
            return ("open", words("badge_log_open"), words("badge_log_open_text"))
        if logged.problem:
            return ("bad", words("badge_log_bad"), logged.problem)
        fields = {"number": logged.number, "size": logged.size, "origin": logged.origin}
        return ("good", words("badge_log"), words("badge_log_text", **fields))

    # --- the picture

    def _picture(self) -> Markup | None:
        graph, words = self._shown.life.graph, self._words
        if not graph.edges:
            return None
        things = len(graph.back.keys() | graph.forward.keys())
        text = words("graph_text", nodes=things, edges=len(graph.edges))
        picture = draw(graph, words, self._names.of, self._names.address)
        label = words("picture_region")
        inner = [
            tag("p", text, tag("br"), words("graph_cut") if graph.cut else None),
            tag("div", picture, class_="wide graph", tabindex="0", role="region", aria_label=label),
            tag("h3", words("relations")),
            self._relations(graph),
        ]
        return _section("trace", words("picture"), inner)

    def _relations(self, graph: Graph) -> Child:
        views = {view.stored.event_id: view for view in graph.views}
        rows = [
            self._relation(number, edge, views.get(edge.event))
            for number, edge in enumerate(graph.edges[:MOST_RELATIONS])
        ]
        left = len(graph.edges) - len(rows)
        more = _note(self._words("and_more", count=left)) if left > 0 else None
        if len(rows) <= _FEW_RELATIONS:
            return [rows, more]
        title = self._words("relations_all", count=len(graph.edges))
        return tag("details", tag("summary", title), rows, more)

    def _relation(self, number: int, edge: Edge, view: View | None) -> Markup:
        words, names = self._words, self._names
        kind, sure = words(str(edge.kind)), words("sure" if edge.certain else "maybe")
        summary = f"{names.of(edge.source)} → {kind} → {names.of(edge.target)}"
        rows: list[Child] = [
            tag("p", thing(edge.source, names), " → ", thing(edge.target, names), f" ({sure})"),
            tag("p", words("when"), ": ", _span(edge)),
        ]
        if edge.quantity is not None:
            text = f"{words('quantity')}: {edge.quantity} {edge.uom or ''}"
            rows.append(tag("p", text))
        if view is not None:
            whole = self._shown.whole is not None
            said = said_by(view, self._shown.life, words, names, whole=whole)
            rows.append(tag("p", words.step(view.step), "; ", said))
        rows.append(tag("p", seal_text(self._shown.seals.get(edge.event), words)))
        rows.append(tag("p", words("by_event"), ": ", tag("code", edge.event), class_="dim"))
        return tag("details", tag("summary", summary), rows, id=f"edge-{number}")

    # --- links and record

    def _links(self) -> Markup | None:
        links = self._shown.product.links
        if not links:
            return None
        rows = [
            tag(
                "li",
                tag("a", title, href=href, rel="noopener noreferrer nofollow"),
                f" ({relation})",
            )
            for relation, title, href in links
        ]
        return _section("links", self._words("links"), tag("ul", rows))

    def _record(self) -> Markup | None:
        shown, words = self._shown, self._words
        if not shown.known:
            return None
        title = tag("summary", words("handle_values"), " ", tag("code", shown.handle))
        table = tag("div", Markup(values_table(shown.handle, shown.values)), class_="wide")
        empty = None if shown.values else tag("p", words("no_values"))
        return _section("record", words("record"), tag("details", title, empty, table))

    # --- recall

    def _recall(self, view: str) -> Child:
        name = self._shown.product.name
        title = tag("h1", self._words("recall_title", name=name))
        parts = [
            [self._told(), self._companies(), self._missing()] if view in WHOLE else None,
            self._recalled(view),
        ]
        joined = self._joined(view, "recall-all", "recall_link", parts)
        return [title, self._identity(), joined]

    def _recalled(self, view: str) -> Child:
        words, shown = self._words, self._shown
        graph, name = shown.life.graph, shown.product.name
        # What only carries is not recalled; what a part was fitted to is.
        fitted = {edge.target for edge in graph.edges if edge.kind is EdgeKind.ASSOCIATION}
        nodes = [
            node
            for node in graph.forward.values()
            if node.id != graph.start and (not node.carrier or node.id in fitted)
        ]
        sure = sum(node.certain for node in nodes)
        text = words("recall_text", count=len(nodes), sure=sure, maybe=len(nodes) - sure)
        here = _note(words("recall_all" if view in WHOLE and shown.whole else "recall_here"))
        if not nodes:
            return [tag("p", words("recall_none")), here]
        last = _last_seen(graph.views)
        inorder = sorted(nodes, key=lambda node: (not node.certain, node.depth, node.id))
        rows = [
            tag(
                "tr",
                tag("th", thing(node.id, self._names), scope="row"),
                tag("td", words(f"level_{node.level}")),
                tag("td", str(node.depth)),
                tag("td", words("sure" if node.certain else "maybe")),
                self._seen(last.get(node.id)),
            )
            for node in inorder[:MOST_ROWS]
        ]
        columns = ("thing", "level", "distance", "sureness", "last_seen", "last_state")
        header = tag("tr", [tag("th", words(one), scope="col") for one in columns])
        caption = tag("caption", words("recall_title", name=name), class_="dim")
        table = tag("table", caption, tag("thead", header), tag("tbody", rows))
        return [
            tag("h2", words("recall")),
            tag("p", text),
            tag("p", words("graph_cut")) if graph.cut or len(rows) < len(nodes) else None,
            tag(
                "div", table, class_="wide", tabindex="0", role="region", aria_label=words("recall")
            ),
            here,
            _note(words("public_only")),
        ]

    def _seen(self, view: View | None) -> Child:
        if view is None:
            return [tag("td"), tag("td")]
        event = view.stored.json()
        place = biz_location(event) or read_point(event)
        where = [", ", self._names.of(place)] if place else None
        state = self._words.disposition(disposition(event))
        return [tag("td", when(view), where), tag("td", state)]

    def _identity(self) -> Markup:
        words = self._words
        return tag("p", words("identifier"), ": ", tag("code", self._spelled()))

    # --- the certificate

    def _certificate(self) -> Child:
        words, shown = self._words, self._shown
        made = words("cert_made", time=shown_time(int(shown.now_s * 1e6), ""), node=shown.node)
        rows = [
            tag(
                "tr",
                tag("td", when(one.view)),
                tag("th", words.step(one.view.step), scope="row"),
                tag("td", self._place(one.view)),
                tag("td", self._names.company(one.view.stored.issuer)),
                tag("td", seal_text(shown.seals.get(one.view.stored.event_id), words)),
            )
            for one in shown.life.moments
        ]
        columns = (words("time"), words("by_event"), words("at", place=""), "", words("signature"))
        titles = [columns[0], columns[1], columns[2].rstrip(" :："), words("says", who="")]
        header = tag(
            "tr", [tag("th", one.rstrip(" :："), scope="col") for one in (*titles, columns[4])]
        )
        life = tag("table", tag("thead", header), tag("tbody", rows)) if rows else None
        inner = [
            tag("h1", words("cert_title")),
            tag("p", made, class_="dim"),
            tag("div", tag("div", self._titled_facts()), self._code(), class_="head"),
            _section("checks", words("checks"), [self._badges(), _note(words("checks_note"))]),
            _section("life", words("life"), tag("div", life, class_="wide") if life else None)
            if life
            else None,
            _note(words("cert_text")),
        ]
        button = tag("button", words("print"), type="button", class_="print", hidden=True)
        return [button, tag("article", inner, class_="certificate")]

    def _titled_facts(self) -> Child:
        words, product = self._words, self._shown.product
        facts: list[Child] = [
            tag("dt", words("identifier")),
            tag("dd", tag("code", self._spelled())),
        ]
        for label, text in product.facts:
            facts += [tag("dt", label), tag("dd", text)]
        return [tag("h2", product.name), tag("dl", facts)]

    def _place(self, view: View) -> str:
        event = view.stored.json()
        place = read_point(event) or biz_location(event)
        return self._names.of(place) if place else ""


def _kind_of(gap: Gap) -> str:
    """What a gap is called on a page; whoever is silent, absent and denied are not told apart."""
    if gap.reason == "invalid_signature":
        return "bad"
    if gap.reason == "limit":
        return "limit"
    return "silent" if gap.retriable else "unknown"


def _section(id_: str, title: str, inner: Child) -> Markup:
    return tag(
        "section",
        tag("h2", title, id=f"{id_}-title"),
        inner,
        id=id_,
        aria_labelledby=f"{id_}-title",
    )


def _badge(state: str, title: str, text: str) -> Markup:
    mark = {"good": "✓ ", "bad": "✗ ", "open": "○ "}[state]
    return tag("li", tag("strong", mark + title), text, class_=state)


def _note(text: str) -> Markup:
    return tag("p", text, class_="dim")


def _span(edge: Edge) -> str:
    start, stop = edge.span
    first = "…" if start <= EVER else shown_time(start, "")
    if start == stop:
        return first
    return f"{first} – {'…' if stop >= ALWAYS else shown_time(stop, '')}"


def _last_seen(views: Sequence[View]) -> dict[str, View]:
    """The last event that names each thing."""
    last: dict[str, View] = {}
    for view in sorted(views, key=lambda one: one.order):
        last.update((one.id, view) for one in view.mentions)
    return last
