"""Any octets get a well-formed reply or none, and raise nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.doirp.header import OpCode
from protocol.doirp.message import decode_message, encode_message, request
from resolver.doirp.handler import Handler
from resolver.serve_doirp import handler_of, replies_to
from tests.resolver.doirp.world import NOW, World

PEER = ("192.0.2.7", 4000)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("octets") / "node")
    made.put_keys()
    yield made
    made.close()


async def answered(world: World, data: bytes) -> None:
    # Time passes, so that limits on failures stand in no request's way.
    world.time += 10
    async for reply in replies_to(world.node, data, PEER):
        assert decode_message(reply).header.response_code != 0


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=300))
async def test_random_octets(world: World, data: bytes) -> None:
    """Octets without any shape."""
    await answered(world, data)


@settings(max_examples=200, deadline=None)
@given(
    opcode=st.sampled_from([*OpCode, 0, 3, 107, 999, 2**32 - 1]),
    body=st.binary(max_size=200),
    flags=st.integers(0, 2**32 - 1),
    session=st.integers(0, 2**32 - 1) | st.just(0),
    credential=st.binary(max_size=60),
    cut=st.integers(0, 40),
)
async def test_requests_of_any_content(
    world: World,
    opcode: int,
    body: bytes,
    flags: int,
    session: int,
    credential: bytes,
    cut: int,
) -> None:
    """Messages with a right frame and any body, flags, session and credential; some cut short."""
    message = request(
        opcode,
        body,
        request_id=7,
        expiration=NOW + 43_200,
        site_version=(2, 11),
        flags=flags,
        session_id=session,
        credential=credential,
    )
    data = encode_message(message)
    await answered(world, data)
    await answered(world, data[: len(data) - cut])


def test_a_node_has_one_handler(world: World) -> None:
    """Sockets and tunnel share challenges and sessions."""
    assert handler_of(world.node) is handler_of(world.node)
    assert isinstance(handler_of(world.node), Handler)
