"""Link types of the GS1 Web Vocabulary (1.16): names and titles, in English and Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from protocol.linkset import GS1

_TITLES: Final[Mapping[str, tuple[str, str]]] = {
    "activityIdeas": ("Ideas for activities", "活动建议"),
    "allergenInfo": ("Allergens", "过敏原信息"),
    "brandHomepageClinical": ("Brand page for professionals", "品牌专业页面"),
    "brandHomepagePatient": ("Brand page for patients", "品牌患者页面"),
    "careersInfo": ("Careers", "招聘信息"),
    "certificationInfo": ("Certificates", "认证信息"),
    "consumerHandlingStorageInfo": ("Handling and storage at home", "使用与储存说明"),
    "defaultLink": ("Default link", "默认链接"),
    "defaultLinkMulti": (
        "Default link by language, form or context",
        "按语言、格式或场景的默认链接",
    ),
    "disassemblyInfo": ("Disassembly", "拆解说明"),
    "dpp": ("Digital product passport", "数字产品护照"),
    "epcis": ("EPCIS event repository", "EPCIS 事件库"),
    "epil": ("Electronic patient leaflet", "电子药品说明书"),
    "eventsInfo": ("Events", "活动信息"),
    "faqs": ("Frequent questions", "常见问题"),
    "handledBy": ("Resolver that handles it", "负责解析的解析器"),
    "handlingEndOfLife": ("Handling at end of life", "报废处理"),
    "hasRetailers": ("Where to buy", "销售商"),
    "homepage": ("Organisation", "机构主页"),
    "ingredientsInfo": ("Ingredients", "成分信息"),
    "instructions": ("Instructions", "使用说明"),
    "jws": ("JSON Web Signature", "JSON Web 签名"),
    "leaveReview": ("Leave a review", "发表评价"),
    "locationInfo": ("Location", "位置信息"),
    "logisticsInfo": ("Logistics", "物流信息"),
    "masterData": ("Master data", "主数据"),
    "menuInfo": ("Menu", "菜单"),
    "nutritionalInfo": ("Nutrition", "营养信息"),
    "openingHoursInfo": ("Opening hours", "营业时间"),
    "paymentLink": ("Payment", "付款"),
    "pip": ("Product page", "产品信息页"),
    "productPassport": ("Product passport", "产品护照"),
    "productSustainabilityInfo": ("Sustainability (older name)", "可持续性（旧名）"),
    "promotion": ("Promotion", "促销"),
    "purchaseSuppliesOrAccessories": ("Supplies and accessories", "耗材与配件"),
    "quickStartGuide": ("Quick start", "快速入门"),
    "recallStatus": ("Recall status", "召回状态"),
    "recipeInfo": ("Recipes", "食谱"),
    "recyclingInfo": ("Recycling", "回收"),
    "registerProduct": ("Register the product", "产品注册"),
    "registryEntry": ("Entry in a register", "登记条目"),
    "relatedVideo": ("Video", "相关视频"),
    "repairInfo": ("Repair", "维修信息"),
    "reuseInfo": ("Re-use", "再利用"),
    "review": ("Reviews", "评价"),
    "safetyInfo": ("Safety", "安全信息"),
    "scheduleTime": ("Appointment", "预约"),
    "serviceInfo": ("Service and maintenance", "维护与服务"),
    "smartLabel": ("SmartLabel page", "SmartLabel 页面"),
    "smpc": ("Summary of product characteristics", "药品特性概要"),
    "socialMedia": ("Social media", "社交媒体"),
    "sorting": ("Sorting", "分类"),
    "statisticInfo": ("Statistics", "统计信息"),
    "support": ("Support", "支持"),
    "sustainabilityInfo": ("Sustainability and recycling", "可持续性与回收"),
    "traceability": ("Traceability", "追溯信息"),
    "tutorial": ("Tutorial", "教程"),
    "userAgreement": ("Agreement to sign", "用户协议"),
    "verificationService": ("Verification service", "验证服务"),
    "whatsInTheBox": ("What is in the box", "包装内容"),
}


def _titled(at: int) -> dict[str, dict[str, str]]:
    return {
        f"gs1:{name}": {"title": titles[at], "description": titles[at], "url": GS1 + name}
        for name, titles in _TITLES.items()
    }


LINK_TYPES: Final = {"en": _titled(0), "zh": _titled(1)}
"""By language and short name, as the resolver description lists them."""
