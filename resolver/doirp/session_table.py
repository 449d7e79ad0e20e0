"""Sessions of one reader: agreed keys, whom they belong to, counters, and their end (do-irp 9.3)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from protocol.errors import ServerBusy, SessionTimeout
from protocol.record import Reference
from protocol.session import ReplayWindow, SessionKey
from resolver.doirp.ids import fresh_id
from resolver.doirp.limits import network_of

_MOST_PER_SOURCE = 1_000
MOST_LIFE_S = 86_400.0


@dataclass(slots=True)
class Session:
    """One session. Owned by the reader whose number is in its id.

    claimed: the identity named at set-up, not proved; None for an anonymous session.
    proved: the identity shown since. ends: by the node's clock, whatever happens. idle_until:
    moves with each request. counter: of the last reply with a MAC.
    """

    number: int
    key: SessionKey
    network: bytes
    claimed: Reference | None
    ends: float
    idle_until: float
    proved: Reference | None = None
    proof: bytes = b""
    """Digest of the key that proved it, where it lies here."""
    proved_until: float = 0.0
    """By the node's clock: when a key that lies elsewhere has to be proved again."""
    window: ReplayWindow = field(default_factory=ReplayWindow)
    counter: int = 0

    def next_counter(self) -> int:
        """The counter of the next reply."""
        self.counter += 1
        return self.counter


class Sessions:
    """Open sessions, the longest unused first. Over a bound those go."""

    def __init__(
        self,
        *,
        owner: int,
        now: Callable[[], float],
        random: Callable[[int], bytes],
        most: int,
        idle_s: float,
    ) -> None:
        self._owner = owner
        self._now = now
        self._random = random
        self._most = most
        self._idle_s = idle_s
        self._open: OrderedDict[int, Session] = OrderedDict()
        self._per_network: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(
        self, key: SessionKey, claimed: Reference | None, host: str, timeout_s: float
    ) -> Session:
        """A new session. timeout_s: what the client asked for. Raises ServerBusy."""
        self._expire()
        network = network_of(host)
        if self._per_network.get(network, 0) >= _MOST_PER_SOURCE:
            raise ServerBusy("your network has too many open sessions; end some, or wait")
        number = fresh_id(self._owner, self._random, self._open, session=True)
        if number is None:
            raise ServerBusy("all session ids are in use; try again later")
        if len(self._open) >= self._most:
            self.end(next(iter(self._open)))
        now = self._now()
        session = Session(
            number,
            key,
            network,
            claimed,
            ends=now + min(timeout_s, MOST_LIFE_S),
            idle_until=now + self._idle_s,
        )
        self._open[number] = session
        self._per_network[network] = self._per_network.get(network, 0) + 1
        return session

    def get(self, number: int) -> Session:
        """The session of an id. Raises SessionTimeout when there is none (any more)."""
        session = self._open.get(number)
        now = self._now()
        if session is not None and min(session.ends, session.idle_until) <= now:
            self.end(number)
            session = None
        if session is None:
            raise SessionTimeout("no such session: it ended, or never was; set up a new one")
        return session

    def used(self, session: Session) -> None:
        """A request with a valid MAC came: the idle time starts anew."""
        session.idle_until = self._now() + self._idle_s
        if session.number in self._open:
            self._open.move_to_end(session.number)

    def end(self, number: int) -> None:
        """Forget a session and its key."""
        session = self._open.pop(number, None)
        if session is None:
            return
        left = self._per_network[session.network] - 1
        if left:
            self._per_network[session.network] = left
        else:
            del self._per_network[session.network]

    def _expire(self) -> None:
        now = self._now()
        while self._open:
            oldest = next(iter(self._open.values()))
            if min(oldest.ends, oldest.idle_until) > now:
                return
            self.end(oldest.number)
