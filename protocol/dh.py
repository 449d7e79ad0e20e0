"""Diffie-Hellman groups: which are accepted, and the agreement itself (do-irp 9.1, 9.2, 21).

Clients choose the group, so it is checked: a safe prime of bounded size, g and y inside it. The
groups of RFC 2409, RFC 3526 and RFC 7919 are known by formula and need no test.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256

from protocol.errors import SessionFailed
from protocol.keys import DhPublicKey
from protocol.keys.policy import STRICT, Policy

_ROUNDS = 12
"""A composite passes them with a chance below 2^-24; a client that searches for one weakens only
its own session."""
_SMALL_PRIMES = (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79)
_PI_GROUPS = {1024: 129_093, 1536: 741_804, 2048: 124_476, 3072: 1_690_314, 4096: 240_904}
_E_GROUPS = {2048: 560_316, 3072: 2_625_351, 4096: 5_736_041}
_GUARD_BITS = 64
_MIN_EXPONENT_BITS = 256


def check_group(p: int, g: int, policy: Policy = STRICT) -> None:
    """Raise SessionFailed unless p is a safe prime of an accepted size and g fits it."""
    low, high = policy.min_dh_bits, policy.max_dh_bits
    if not low <= p.bit_length() <= high:
        raise SessionFailed(f"a DH group of {p.bit_length()} bits; {low} … {high} are accepted")
    if not 1 < g < p - 1:
        raise SessionFailed("the DH generator lies outside its group")
    if p in known_primes():
        return
    if p.bit_length() > policy.max_fresh_dh_bits or not is_safe_prime(p):
        raise SessionFailed(
            "the DH modulus is no safe prime of a size we test; use a group of RFC 7919"
        )


def check_public(key: DhPublicKey, policy: Policy = STRICT) -> None:
    """Raise SessionFailed unless the group is accepted and 1 < y < p-1."""
    check_group(key.p, key.g, policy)
    if not 1 < key.y < key.p - 1:
        raise SessionFailed("the DH public key lies outside its group")


def public_value(p: int, g: int, x: int) -> int:
    """g^x mod p. x: fresh random, at least 256 bits, for one session only."""
    return pow(g, x, p)


def exponent_bytes(p: int) -> int:
    """How many random octets make a private exponent for this group."""
    return max(_MIN_EXPONENT_BITS, min(p.bit_length() - 8, 2 * _MIN_EXPONENT_BITS)) // 8


def agree(x: int, peer: DhPublicKey) -> bytes:
    """The shared secret as long as p, zeros in front. peer: checked before.

    Python's pow takes a time that depends on x; x serves one exchange and is forgotten.
    """
    return pow(peer.y, x, peer.p).to_bytes((peer.p.bit_length() + 7) // 8, "big")


# Each fresh group of a client costs about 25 ms (1024 bits); repeated ones nothing.
@lru_cache(maxsize=256)
def is_safe_prime(p: int) -> bool:
    """Whether p and (p-1)/2 are both prime.

    Miller-Rabin for the half, with bases drawn from a hash of it; then one power proves p
    (Pocklington: the half is a prime factor of p-1 above the root of p).
    """
    if p < 1 << 32 or p % 4 != 3 or any(p % small in {0, 1} for small in _SMALL_PRIMES):
        # (p-1)/2 is divisible by the small prime when p leaves 1.
        return False
    return pow(2, p - 1, p) == 1 and _probably_prime(p >> 1, _ROUNDS)


@lru_cache(maxsize=1)
def known_primes() -> frozenset[int]:
    """The primes of RFC 2409 group 2, RFC 3526 and RFC 7919, up to 4096 bits."""
    pi_groups = (_formula(bits, _pi, added) for bits, added in _PI_GROUPS.items())
    e_groups = (_formula(bits, _e, added) for bits, added in _E_GROUPS.items())
    return frozenset((*pi_groups, *e_groups))


def _formula(bits: int, constant: Callable[[int], int], added: int) -> int:
    # p = 2^n - 2^(n-64) - 1 + 2^64 * (floor(2^(n-130) * constant) + added)
    return (1 << bits) - (1 << (bits - 64)) - 1 + ((constant(bits - 130) + added) << 64)


def _pi(bits: int) -> int:
    """floor(2^bits * pi) by Machin's formula."""
    one = 1 << (bits + _GUARD_BITS)
    return (4 * (4 * _arctan(one, 5) - _arctan(one, 239))) >> _GUARD_BITS


def _arctan(one: int, inverse: int) -> int:
    power = total = one // inverse
    divisor, sign = 3, -1
    while power:
        power //= inverse * inverse
        total += sign * (power // divisor)
        divisor, sign = divisor + 2, -sign
    return total


def _e(bits: int) -> int:
    """floor(2^bits * e) by its series."""
    term = total = 1 << (bits + _GUARD_BITS)
    divisor = 1
    while term:
        term //= divisor
        total += term
        divisor += 1
    return total >> _GUARD_BITS


def _probably_prime(n: int, rounds: int) -> bool:
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd >> 1, twos + 1
    seed = n.to_bytes((n.bit_length() + 7) // 8, "big")
    for turn in range(rounds):
        base = int.from_bytes(sha256(seed + bytes([turn])).digest(), "big") % (n - 3) + 2
        at = pow(base, odd, n)
        if at in {1, n - 1}:
            continue
        for _ in range(twos - 1):
            at = at * at % n
            if at == n - 1:
                break
        else:
            return False
    return True
