"""A trace for people: a tree of things, their events as a table, a recall by holder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

MARKS: Final = {"ok": "✓", "no_key": "?", "unsigned": "–"}
"""How a signature stands; anything else is ✗."""
_ROOT: Final = "https://id.gs1.org"
Json = Mapping[str, Any]


def tree(result: Json) -> Iterator[str]:
    """The chain from the start on: each thing once, under what led to it."""
    back = result["direction"] == "back"
    nodes = {node["id"]: node for node in result["nodes"]}
    below: dict[str, dict[str, Json]] = {}
    for edge in result["edges"]:
        one, other = edge["from"], edge["to"]
        near, far = (one, other)
        if nodes.get(one, {}).get("depth", 0) > nodes.get(other, {}).get("depth", 0):
            near, far = other, one
        below.setdefault(near, {}).setdefault(far, edge)
    yield f"{short(result['start'])} {'came from' if back else 'went into'}"
    shown = {result["start"]}
    stack = _branches(result["start"], below, "")
    while stack:
        id_, edge, indent, last = stack.pop()
        again = id_ in shown
        mark = MARKS.get(edge.get("signature", ""), "✗")
        node = nodes.get(id_, {})
        yield (
            f"{indent}{'└─' if last else '├─'} {short(id_)}  {_how(edge)} {mark}"
            f"{_state(node)}{'  (above)' if again else ''}"
        )
        if not again:
            shown.add(id_)
            stack += _branches(id_, below, indent + ("   " if last else "│  "))


def _branches(
    id_: str, below: Mapping[str, Mapping[str, Json]], indent: str
) -> list[tuple[str, Json, str, bool]]:
    found = sorted(below.get(id_, {}).items())
    made = [(other, edge, indent, at == len(found) - 1) for at, (other, edge) in enumerate(found)]
    return made[::-1]


def _how(edge: Json) -> str:
    start, stop = edge["window"]
    kind = edge["kind"]
    when = (start or "…")[:16].replace("T", " ")
    if kind in ("aggregation", "association"):
        when += f" to {(stop or 'now')[:16].replace('T', ' ')}"
    amount = f", {edge['quantity']:g} {edge.get('uom', '')}".rstrip() if "quantity" in edge else ""
    sure = "" if edge["certain"] else ", may contain"
    return f"[{kind} {when}{amount}{sure}]"


def _state(node: Json) -> str:
    said = [node[name] for name in ("disposition",) if name in node]
    if "holder" in node:
        said.append("at " + short(node["holder"]))
    return "  " + ", ".join(said) if said else ""


def event_rows(result: Json) -> Iterator[tuple[str, str, str, str, str]]:
    """Time, what happened, where, who says so and how it was verified."""
    evidence = {row["event"]: row for row in result["evidence"]}
    for event in result["events"]:
        row = evidence.get(event.get("eventID"), {})
        place = event.get("bizLocation") or event.get("readPoint") or ""
        what = event.get("bizStep") or event.get("action") or ""
        kind = str(event.get("type", "")).removesuffix("Event")
        mark = MARKS.get(row.get("signature", ""), "✗")
        trust = row.get("trust", "")
        yield (
            str(event.get("time", ""))[:16].replace("T", " "),
            f"{kind} {what.rpartition('/')[2].rpartition(':')[2]}".strip(),
            short(place),
            str(row.get("issuer", "")).removeprefix("300:0.NA/"),
            f"{mark} {trust}".strip(),
        )


def recall(result: Json) -> list[dict[str, Any]]:
    """What is reached, by who has it now and in which state. Carriers are not recalled."""
    groups: dict[tuple[str, str], list[str]] = {}
    for node in result["nodes"]:
        if not node["carrier"]:
            key = node.get("holder", ""), node.get("disposition", "")
            groups.setdefault(key, []).append(node["id"])
    return [
        {"holder": holder, "disposition": state, "things": sorted(found)}
        for (holder, state), found in sorted(groups.items())
    ]


def short(text: str) -> str:
    """An identifier without the host that every one of them has."""
    return text.removeprefix(_ROOT)
