"""Settings of the Digital Link resolver: a section of resolver.config."""

from __future__ import annotations

from dataclasses import dataclass

from resolver.setting import Pairs, setting

# ruff: noqa: RUF009 - setting() makes dataclass fields and nothing else


@dataclass(frozen=True, slots=True)
class DigitalLinkSettings:
    """The GS1 Digital Link resolver, and what /.well-known/gs1resolver says of it."""

    root: str = setting(
        "",
        "What Digital Links of this node begin with, such as https://id.example.org: anchors of "
        "linksets, resolverRoot. Empty: as each client calls the node.",
    )
    name: str = setting("", "The resolver's name. Empty: node.description.")
    contact: str = setting("", "Who operates it, as a name. Empty: node.contact.")
    telephone: str = setting("", "Telephone of the operator, such as +86 10 5555 0100.")
    terms: str = setting("", "Address of the terms of use.")
    contexts: tuple[str, ...] = setting(
        (), "Values of ?context= that links here have, as the description lists them."
    )
    forward_query: bool = setting(
        True, "Pass the request's query on to targets of links that do not say (fwqs)."
    )
    forward: Pairs = setting(
        (),
        "Resolvers that links of a GS1 company prefix are sent to where no record is here: "
        '{ "9521234" = "https://id.example.org" }. The longest prefix counts.',
    )
