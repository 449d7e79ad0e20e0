"""Prefixes of a document: what `@context` says of them, as far as EPCIS needs it.

No JSON-LD processing: a context is the GS1 one, others by address that are never fetched, and
objects that map prefixes to namespaces (traceability §1.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

BUILT_IN: Final[Mapping[str, str]] = {
    "cbv": "https://ref.gs1.org/cbv/",
    # The context file ends it with a colon; published hashes do not (traceability §2.4).
    "cbvmda": "urn:epcglobal:cbv:mda",
    "dcterms": "http://purl.org/dc/terms/",
    "epcis": "https://ref.gs1.org/epcis/",
    "gs1": "https://ref.gs1.org/voc/",
    "owl": "http://www.w3.org/2002/07/owl#",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}
"""Prefixes that the GS1 context defines for every document."""

MAX_CONTEXTS: Final = 64
"""Objects of one @context that are looked at."""


def namespaces(*contexts: Any) -> dict[str, str]:
    """Prefix -> namespace of contexts from the outermost inwards, the built-in ones first.

    The inner wins. What is no context is passed over.
    """
    found = dict(BUILT_IN)
    for context in contexts:
        for mapping in _mappings(context):
            for prefix, value in mapping.items():
                if isinstance(value, Mapping):
                    value = value.get("@id")
                if isinstance(value, str) and not prefix.startswith("@"):
                    found[prefix] = value
    return found


def _mappings(context: Any) -> Iterator[Mapping[str, Any]]:
    parts = context if isinstance(context, list) else [context]
    for part in parts[:MAX_CONTEXTS]:
        if isinstance(part, Mapping):
            yield part


def join(outer: Any, inner: Any) -> list[Any]:
    """One context for an event that leaves its document: the document's, then its own."""
    parts: list[Any] = []
    for context in (outer, inner):
        for part in context if isinstance(context, list) else [context]:
            if part is not None and part not in parts:
                parts.append(part)
    return parts
