"""For every request the plain way gives nothing, or exactly the octets of the general way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.doirp.envelope import Envelope
from protocol.doirp.header import Flag
from protocol.doirp.message import Message, decode_message, encode_message
from protocol.record import HandleValue, Record
from resolver.doirp.exchange import Peer, Transport
from resolver.doirp.handler import Handler
from tests.resolver.doirp.world import NOW, PREFIX, World, code_of, product, question

PEER = Peer("192.0.2.1", 5000, Transport.UDP)
NAMES = (
    PREFIX + b"/plain",
    PREFIX.lower() + b"/PlAiN",
    PREFIX + b"/private",
    PREFIX + b"/hidden",
    PREFIX + b"/empty",
    PREFIX + b"/absent",
    PREFIX + b"/" + "钢板".encode(),
    PREFIX + b"/" + b"long" * 150,
    PREFIX + b"/many",
    b"0.NA/" + PREFIX,
    b"0.NA/" + PREFIX + b".5.1",
    b"0.NA/" + PREFIX + b".9",
    PREFIX,
    PREFIX + b".5/elsewhere",
    b"99.1/x",
    b"/",
    b"",
)
FLAGS = tuple(Flag(1 << bit) for bit in range(20, 32))


@pytest.fixture(scope="module")
def handler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handler]:
    folder: Path = tmp_path_factory.mktemp("differential")
    world = World(folder / "node")
    world.put_prefix_record()
    secret = HandleValue(5, b"SECRET", b"for administrators", permissions=0b1100, timestamp=NOW)
    nobody = HandleValue(6, b"NOBODY", b"for nobody", permissions=0b0100, timestamp=NOW)
    world.put(
        product(PREFIX + b"/plain"),
        product(PREFIX + b"/private", secret),
        Record(PREFIX + b"/hidden", (secret, nobody)),
        Record(PREFIX + b"/empty", ()),
        product(PREFIX + b"/" + "钢板".encode()),
        product(PREFIX + b"/" + b"long" * 150),
        Record(
            PREFIX + b"/many",
            tuple(
                HandleValue(n, b"URL.%d" % (n % 7), b"x" * n, timestamp=NOW) for n in range(1, 60)
            ),
        ),
    )
    yield Handler(world.node)
    world.close()


def plain(handler: Handler, data: bytes) -> bytes | None:
    """The answer of the plain way, in a turn of its own."""
    handler.plain.turn()
    return handler.plain.answer(data)


def general(handler: Handler, data: bytes) -> bytes | None:
    """The answer of the general way, as the loops take it."""
    exchange = handler.take(data, PEER)
    return exchange if isinstance(exchange, bytes) else handler.now(exchange)


questions = st.builds(
    question,
    st.sampled_from(NAMES),
    request_id=st.integers(0, 2**32 - 1),
    indexes=st.lists(st.sampled_from((0, 1, 2, 5, 6, 100, 2**32 - 1)), max_size=3).map(tuple),
    types=st.lists(st.sampled_from((b"URL", b"url", b"URL.", b".", b"", b"\xff")), max_size=3).map(
        tuple
    ),
    flags=st.sets(st.sampled_from(FLAGS)).map(lambda flags: sum(flags, Flag(0))),
    recursion_count=st.integers(0, 12),
    session_id=st.sampled_from((0, 0, 0, 9)),
)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=questions)
def test_plain_answers_are_the_general_ones(handler: Handler, data: bytes) -> None:
    """A well-formed question gets the same octets both ways."""
    fast = plain(handler, data)
    assert fast is None or fast == general(handler, data)


@settings(max_examples=200, deadline=None)
@given(
    data=questions,
    edits=st.lists(
        st.tuples(st.integers(0, 47) | st.integers(0, 400), st.integers(0, 255)),
        min_size=1,
        max_size=3,
    ),
    cut=st.integers(-20, 20),
)
def test_spoilt_questions_get_the_general_answer(
    handler: Handler, data: bytes, edits: list[tuple[int, int]], cut: int
) -> None:
    """A question with spoilt octets, cut short or made longer is not answered otherwise."""
    spoilt = bytearray(data)
    for at, octet in edits:
        spoilt[at % len(spoilt)] = octet
    spoilt = spoilt + bytes(cut) if cut >= 0 else spoilt[:cut]
    message = bytes(spoilt)
    fast = plain(handler, message)
    assert fast is None or fast == general(handler, message)


@pytest.mark.parametrize(
    "version", [(2, 0), (2, 1), (2, 6), (2, 7), (2, 10), (2, 11), (3, 0), (5, 5)]
)
@pytest.mark.parametrize(
    "suggest", [(0, 0), (2, 3), (2, 7), (2, 9), (2, 11), (3, 0), (5, 0), (31, 255)]
)
@pytest.mark.parametrize("flags", [Flag.PO, Flag.PO | Flag.RD])
def test_versions_are_answered_the_same(
    handler: Handler, version: tuple[int, int], suggest: tuple[int, int], flags: Flag
) -> None:
    """Whatever version is written or suggested, both ways agree."""
    message = decode_message(question(PREFIX + b"/plain", flags=flags))
    envelope = Envelope(
        *version, message.envelope.request_id, suggest_major=suggest[0], suggest_minor=suggest[1]
    )
    data = encode_message(Message(envelope, message.header, message.body))
    fast = plain(handler, data)
    assert fast is None or fast == general(handler, data)


@pytest.mark.parametrize(
    ("name", "code"), [(b"/plain", 1), (b"/absent", 100), (b"/hidden", 200), (b"/private", 1)]
)
def test_the_plain_way_is_taken(handler: Handler, name: bytes, code: int) -> None:
    """What deployed clients ask by default is answered the plain way."""
    reply = plain(handler, question(PREFIX + name))
    assert reply is not None
    assert code_of(reply) == code


@pytest.mark.parametrize("types", [(b"URL",), (b"URL.", b"DESC")])
def test_types_are_chosen_the_plain_way(handler: Handler, types: tuple[bytes, ...]) -> None:
    """A question for some types is answered the plain way too."""
    assert plain(handler, question(PREFIX + b"/many", types=types)) is not None
