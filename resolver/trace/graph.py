"""Which edges lie on a circle: strongly connected components (Tarjan), without recursion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def cyclic(edges: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """The edges whose end leads back to their beginning."""
    known = set(edges)
    out: dict[str, list[str]] = {}
    for source, target in sorted(known):
        out.setdefault(source, []).append(target)
    part = _components(out)
    return {
        (source, target)
        for source, target in known
        if source == target or part.get(source, source) == part.get(target, target)
    }


def _components(out: dict[str, list[str]]) -> dict[str, str]:
    """For each node that has a way out, one node that stands for its component."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    held: dict[str, None] = {}
    part: dict[str, str] = {}
    for root, targets in out.items():
        if root in index:
            continue
        work: list[tuple[str, Iterator[str]]] = [(root, iter(targets))]
        index[root] = low[root] = len(index)
        held[root] = None
        while work:
            node, rest = work[-1]
            for target in rest:
                if target not in index:
                    index[target] = low[target] = len(index)
                    held[target] = None
                    work.append((target, iter(out.get(target, ()))))
                    break
                if target in held:
                    low[node] = min(low[node], index[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    _close(node, held, part)
    return part


def _close(node: str, held: dict[str, None], part: dict[str, str]) -> None:
    while True:
        other, _ = held.popitem()
        part[other] = node
        if other == node:
            return
