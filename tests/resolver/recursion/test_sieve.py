"""resolver.sieve: bounded, and what is asked again stays."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from resolver.sieve import Sieve


def test_asked_entries_survive_a_scan():
    """A thousand names asked once do not push out the ones asked twice."""
    kept = Sieve(10, 10**9)
    for name in range(5):
        kept.put(name, name)
    for name in range(5):
        assert kept.get(name) == name
    for stranger in range(100, 1100):
        kept.put(stranger, stranger)
        for name in range(5):
            kept.get(name)
    assert [kept.get(name) for name in range(5)] == [0, 1, 2, 3, 4]
    assert len(kept) == 10


def test_weight_bounds_the_map():
    """Entries leave until the weights fit; one heavier than the whole map is not kept."""
    lost = []
    kept = Sieve(100, 10, lambda key, _: lost.append(key))
    for name in "abc":
        assert kept.put(name, name, 4)
    assert lost == ["a"]
    assert not kept.put("d", "d", 11)
    assert kept.weight == 8
    kept.put("b", "b", 10)
    assert set(kept.keys()) == {"b"}


def test_a_map_of_no_size_keeps_nothing():
    """max_entries 0 turns it off."""
    kept = Sieve(0, 10)
    assert not kept.put("a", 1)
    assert kept.get("a") is None


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("gprr"), st.integers(0, 20), st.integers(1, 6)), max_size=120
    )
)
def test_it_agrees_with_a_dict_and_its_bounds(steps):
    """What it gives is what was last put, and it is never over its bounds."""
    kept, model = Sieve(7, 20), {}
    for kind, key, weight in steps:
        if kind == "p":
            kept.put(key, weight, weight)
            model[key] = weight
        elif kind == "g":
            assert kept.get(key) in (None, model.get(key))
        else:
            kept.remove(key)
            model.pop(key, None)
        assert len(kept) <= 7
        assert kept.weight <= 20
        assert kept.weight == sum(model[each] for each in kept.keys())  # noqa: SIM118
        chain = []
        node = kept._oldest
        while node is not None:
            chain.append(node.key)
            node = node.newer
        assert sorted(chain) == sorted(kept.keys())
