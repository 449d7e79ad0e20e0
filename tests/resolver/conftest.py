"""Running nodes for the tests of the resolver."""

from __future__ import annotations

import pytest

from tests.resolver.nodes import serving


@pytest.fixture
def serve():
    """Starts nodes; all end with the test."""
    with serving() as start:
        yield start
