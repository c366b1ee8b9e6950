"""Ed25519 signatures checked in plain Python (RFC 8032 section 5.1.7), for where there is nothing but Python.

Slow (some milliseconds) and not constant in time: it sees no secret. Strict: S below the group's order, the public key
in its one encoding, R compared byte by byte; so no signature has a second form.
"""

from __future__ import annotations

import hashlib

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_I = pow(2, (_P - 1) // 4, _P)
_ZERO = (0, 1, 1, 0)


def _recovered(y: int, sign: int) -> int | None:
    """The x of this y, with this lowest bit; None where there is none."""
    square = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _I % _P
    if (x * x - square) % _P or (x == 0 and sign):
        return None
    return _P - x if x & 1 != sign else x


def _add(one: tuple[int, int, int, int], two: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    a = (one[1] - one[0]) * (two[1] - two[0]) % _P
    b = (one[1] + one[0]) * (two[1] + two[0]) % _P
    c = 2 * one[3] * two[3] * _D % _P
    d = 2 * one[2] * two[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _sum_of_times(
    one: int, first: tuple[int, int, int, int], two: int, second: tuple[int, int, int, int]
) -> tuple[int, int, int, int]:
    """One times first, and two times second, in one go (Straus)."""
    both, total = _add(first, second), _ZERO
    for bit in range(max(one.bit_length(), two.bit_length()) - 1, -1, -1):
        total = _add(total, total)
        which = (one >> bit & 1) + 2 * (two >> bit & 1)
        if which:
            total = _add(total, (first, second, both)[which - 1])
    return total


def _point(data: bytes) -> tuple[int, int, int, int] | None:
    number = int.from_bytes(data, "little")
    y, sign = number & (1 << 255) - 1, number >> 255
    if y >= _P:
        return None
    x = _recovered(y, sign)
    return None if x is None else (x, y, 1, x * y % _P)


_Y = 4 * pow(5, _P - 2, _P) % _P
_BASE = _point(_Y.to_bytes(32, "little"))


def holds(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether this is the signature of the message by this key (32 bytes, 64 bytes)."""
    if len(public) != 32 or len(signature) != 64 or _BASE is None:
        return False
    key, scalar = _point(public), int.from_bytes(signature[32:], "little")
    if key is None or scalar >= _L:
        return False
    challenge = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % _L
    negative = (_P - key[0], key[1], 1, _P - key[3])
    x, y, z, _ = _sum_of_times(scalar, _BASE, challenge, negative)
    inverse = pow(z, _P - 2, _P)
    x, y = x * inverse % _P, y * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little") == signature[:32]
