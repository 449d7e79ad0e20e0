"""HS_NAMESPACE: what holds for all names under a prefix, as XML (do-irp 12.4).

If a prefix record has several, the lowest index counts. Templates are kept as trees here;
protocol.template runs them.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.errors import ParseError
from protocol.xmltree import Element, format_xml, parse_xml

ROOT = "namespace"
TEMPLATE = "template"
ACTIVE = "active"
INACTIVE = "inactive"
_NO_INHERITED = "no_nslocs"


@dataclass(frozen=True, slots=True)
class Namespace:
    """contact: whom to ask. status: `active` or `inactive`; missing means active.

    locs: handles with 10320/loc values for all names under the prefix; inherit_locs false: those
    of namespaces above do not apply. templates: elements, the first with the attribute
    `delimiter`.
    """

    contact: str | None = None
    status: str = ACTIVE
    status_message: str | None = None
    locs: tuple[str, ...] = ()
    inherit_locs: bool = True
    templates: tuple[Element, ...] = ()

    @property
    def active(self) -> bool:
        return self.status == ACTIVE

    @property
    def delimiter(self) -> str | None:
        """What divides a name into base and extension; None or empty: nothing does."""
        return self.templates[0].attribute("delimiter") if self.templates else None


def decode_namespace(data: bytes | memoryview) -> Namespace:
    """Unknown elements are passed over. Raises ParseError."""
    root = parse_xml(bytes(data))
    if root.name.lower() != ROOT:
        raise ParseError(f"HS_NAMESPACE begins with <{root.name}>, not <{ROOT}>")
    locs = root.all("locs")
    marks = [root, *locs]
    status = root.first("status")
    return Namespace(
        contact=_text(root, "contact"),
        status=status.text if status is not None else ACTIVE,
        status_message=_text(root, "statusmsg"),
        locs=tuple(element.text for element in locs if element.text),
        inherit_locs=not any(_is_set(mark.attribute(_NO_INHERITED)) for mark in marks),
        templates=root.all(TEMPLATE),
    )


def encode_namespace(namespace: Namespace) -> bytes:
    """The data of an HS_NAMESPACE value."""
    children = []
    if namespace.contact is not None:
        children.append(Element("contact", text=namespace.contact))
    children.append(Element("status", text=namespace.status))
    if namespace.status_message is not None:
        children.append(Element("statusmsg", text=namespace.status_message))
    mark = () if namespace.inherit_locs else ((_NO_INHERITED, "true"),)
    children += [Element("locs", text=handle) for handle in namespace.locs]
    children += namespace.templates
    return format_xml(Element(ROOT, mark, tuple(children)))


def _text(root: Element, name: str) -> str | None:
    element = root.first(name)
    return element.text if element is not None else None


def _is_set(text: str | None) -> bool:
    return text is not None and text.lower() in {"yes", "true", "1"}
