"""HS_NAMESPACE: what holds for all names under a prefix, as XML (do-irp 12.4).

If a prefix record has several, the lowest index counts. Templates are kept as trees, not run.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.errors import ParseError
from protocol.xmltree import Element, format_xml, parse_xml

ROOT = "namespace"
ACTIVE = "active"
_NO_INHERITED = "no_nslocs"


@dataclass(frozen=True, slots=True)
class Namespace:
    """contact: whom to ask. status: `active` or `inactive`; missing means active.

    locs: handles with 10320/loc values for all names under the prefix; inherit_locs false: those
    of parent prefixes do not apply. template: element with the attribute `delimiter`, or None.
    """

    contact: str | None = None
    status: str = ACTIVE
    status_message: str | None = None
    locs: tuple[str, ...] = ()
    inherit_locs: bool = True
    template: Element | None = None

    @property
    def active(self) -> bool:
        return self.status == ACTIVE


def decode_namespace(data: bytes | memoryview) -> Namespace:
    """Unknown elements are passed over. Raises ParseError."""
    root = parse_xml(bytes(data))
    if root.name != ROOT:
        raise ParseError(f"HS_NAMESPACE begins with <{root.name}>, not <{ROOT}>")
    locs = root.all("locs")
    marks = [root, *locs]
    status = root.first("status")
    return Namespace(
        contact=_text(root, "contact"),
        status=status.text if status is not None else ACTIVE,
        status_message=_text(root, "statusmsg"),
        locs=tuple(element.text for element in locs if element.text),
        inherit_locs=all(mark.attribute(_NO_INHERITED) in (None, "false") for mark in marks),
        template=root.first("template"),
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
    if namespace.template is not None:
        children.append(namespace.template)
    return format_xml(Element(ROOT, mark, tuple(children)))


def _text(root: Element, name: str) -> str | None:
    element = root.first(name)
    return element.text if element is not None else None
