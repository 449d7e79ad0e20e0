"""The server under test, started once for a run unless BIAOSHI_UNDER_TEST names one."""

from __future__ import annotations

import os
import secrets

import pytest

from tests.blackbox.target import OwnNode, parse
from tests.blackbox.wire import Wire


@pytest.fixture(scope="session")
def target(tmp_path_factory):
    """The server under test."""
    named = os.environ.get("BIAOSHI_UNDER_TEST")
    if named:
        yield parse(named)
        return
    node = OwnNode(tmp_path_factory.mktemp("blackbox"))
    yield node.target
    node.stop()


@pytest.fixture
def wire(target):
    """A client over TCP."""
    return Wire(target)


@pytest.fixture
def fresh(target):
    """Names that nobody used before, so that a server may be tested twice."""
    salt = secrets.token_hex(4)

    def name(suffix="x"):
        return target.name(f"bb-{salt}-{suffix}")

    return name
