"""What a primary knows of its mirrors: how far each holds the log, and where each answers.

A mirror says so itself (POST /log/held), as the administrator of the primary that it follows as.
With `mirror.durable = "mirror"` a registration is acknowledged only when one of them holds it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog

from protocol.errors import ParseError, ResponseCode
from protocol.values.hs_site import Site, decode_site, encode_site
from registry.prefix_record import MOST_MIRRORS
from registry.writer import Outcome

log = structlog.get_logger()

FILE: Final = "mirrors.json"
"""In a primary's folder: the site records of its mirrors, by name."""
UNCONFIRMED: Final = "unconfirmed"
_MOST_SITE: Final = 16_384
_MOST_SITES: Final = 2


class Mirrors:
    """In the writer process. held: the last change that a mirror confirmed, by the mirror's name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, int] = {}
        self._known = read_mirrors(folder)
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    @property
    def confirmed(self) -> int:
        """The last change that lies at one mirror at least."""
        return max(self._held.values(), default=0)

    def confirm(self, name: str, size: int) -> None:
        """A mirror holds the first `size` changes, durably."""
        self._held[name] = size
        confirmed, left = self.confirmed, []
        for sequence, done in self._waiting:
            if sequence > confirmed:
                left.append((sequence, done))
            elif not done.done():
                done.set_result(None)
        self._waiting = left

    def learn(self, name: str, sites: Sequence[bytes]) -> bool:
        """Where a mirror answers; whether that is news. Raises ParseError."""
        told = list(sites)
        known = {
            other: held for other, held in self._known.items() if other != name and held != told
        }  # the same place under another name: it was called otherwise before
        if not told or told == self._known.get(name):
            return False
        if len(told) > _MOST_SITES or sum(map(len, known.values())) + len(told) > MOST_MIRRORS:
            raise ParseError(f"a prefix record has room for {MOST_MIRRORS} sites of mirrors")
        for octets in told:
            site = decode_site(octets) if len(octets) <= _MOST_SITE else None
            if site is None or site.primary or not site.servers:
                raise ParseError("a mirror's site is a small record of no primary, with a server")
        self._known = {**known, name: told}
        _write_mirrors(self._folder, self._known)
        log.info("mirror_site", mirror=name)
        return True

    async def wait(self, sequence: int, seconds: float) -> bool:
        """Until a mirror holds a change; whether one does."""
        if sequence <= self.confirmed:
            return True
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (sequence, done)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(seconds):
                await done
        except TimeoutError:
            return False
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(entry)
        return True


def unconfirmed(outcomes: Sequence[Outcome], seconds: float) -> list[Outcome]:
    """The outcomes of what is written here and was confirmed by no mirror in time."""
    return [_unconfirmed(one, seconds) if one.error is None else one for one in outcomes]


def _unconfirmed(outcome: Outcome, seconds: float) -> Outcome:
    told = (
        f"written here as change {outcome.version}, but no mirror confirmed it within "
        f"{seconds:g} s: it is lost if this node is lost now; repeat the request to ask again "
        "(it has no further effect), and see that a mirror runs"
    )
    return replace(
        outcome,
        code=ResponseCode.SERVER_BUSY,
        status=UNCONFIRMED,
        error=told,
        reason="NotMirrored",
    )


def read_mirrors(folder: Path) -> dict[str, list[bytes]]:
    """The site records of the mirrors, by name; none where the file is missing or unreadable."""
    try:
        shape = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return {str(name): [b64decode(one) for one in sites] for name, sites in shape.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        log.warning("mirrors_unreadable", why=str(error))
        return {}


def mirror_sites(folder: Path) -> list[Site]:
    """The sites of all mirrors, as they are published beside the primary's."""
    found = []
    for octets in (one for sites in read_mirrors(folder).values() for one in sites):
        with contextlib.suppress(ParseError):
            found.append(decode_site(octets))
    return found[:MOST_MIRRORS]


def encoded(sites: Sequence[Site]) -> list[bytes]:
    """Sites as a mirror announces them."""
    return [encode_site(site) for site in sites]


def _write_mirrors(folder: Path, known: dict[str, list[bytes]]) -> None:
    shape = {name: [b64encode(one).decode() for one in sites] for name, sites in known.items()}
    aside = folder / f".{FILE}.new"
    with aside.open("w", encoding="utf-8") as file:
        json.dump(shape, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(folder / FILE)
