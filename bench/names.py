"""Which names the users of a load ask for: hot ones by Zipf's law, cold ones evenly, absent ones."""

from __future__ import annotations

import random
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path


@dataclass(frozen=True)
class Names:
    """identifiers: those there are. weights: running sums of 1/rank. absent: share, 0 … 1."""

    identifiers: tuple[str, ...]
    weights: tuple[float, ...]
    absent: float

    @classmethod
    @lru_cache(maxsize=4)
    def read(cls, file: str, absent: float) -> Names:
        """Identifiers of a file, one a line. Raises ValueError when there are none."""
        found = tuple(Path(file).read_text().split("\n")) if file else ()
        identifiers = tuple(name for name in found if name)
        if not identifiers:
            raise ValueError("no identifiers: give --keys FILE, one identifier a line")
        ranks = range(1, len(identifiers) + 1)
        return cls(identifiers, tuple(accumulate(1 / rank for rank in ranks)), absent)

    def hot(self) -> str:
        """A name by its popularity, or one that is not there."""
        if random.random() < self.absent:
            return f"{self.cold()}-absent"
        point = random.random() * self.weights[-1]
        return self.identifiers[bisect_left(self.weights, point)]

    def cold(self) -> str:
        """Any name, evenly."""
        return random.choice(self.identifiers)
