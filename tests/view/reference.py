"""plan.md once more, naively: an interpreter of plans that walks dicts and shares no code with `exchange.view`.

It knows the schema as JSON in normal form, records as dicts, and takes all the time it likes.
"""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from itertools import pairwise
from typing import Any
from uuid import UUID

import fastavro
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

EAST_8 = timezone(timedelta(hours=8))
LEVELS = {"province": 2, "prefecture": 4, "county": 6, "township": 9, "village": 12}


class WithheldError(Exception):
    """A mask has no result and the view has no null there."""


def apply(
    plan: Mapping[str, Any],
    schema: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    tags: Sequence[bytes],
    keys: Mapping[str, bytes],
    sets: Mapping[str, frozenset[bytes]],
) -> tuple[list[dict[str, Any]], list[int], list[int]]:
    """The values of the view, the numbers of the records held back, and of those withheld."""
    masks = {grant["path"]: grant["mask"] for grant in plan["fields"]}
    named = dict(_named(schema))
    shown, excluded, withheld = [], [], []
    for place, (record, tag) in enumerate(zip(records, tags, strict=True)):
        if truth(plan["rows"], record, tag, sets) is not True:
            excluded.append(place)
            continue
        try:
            shown.append(_show(record, schema, "", masks, keys, named))
        except WithheldError:
            withheld.append(place)
    return shown, excluded, withheld


def truth(
    node: Mapping[str, Any], record: Mapping[str, Any], tag: bytes, sets: Mapping[str, frozenset[bytes]]
) -> bool | None:
    """Kleene's value of a condition."""
    match node["op"]:
        case "all":
            return True
        case "and":
            found = [truth(branch, record, tag, sets) for branch in node["of"]]
            return False if False in found else None if None in found else True
        case "or":
            found = [truth(branch, record, tag, sets) for branch in node["of"]]
            return True if True in found else None if None in found else False
        case "not":
            inner = truth(node["of"][0], record, tag, sets)
            return None if inner is None else not inner
        case "member":
            return tag in sets[node["set"]] if tag else None
        case "null":
            return _at(record, node["path"]) is None
        case "prefix":
            value = _at(record, node["path"])
            text = str(value) if isinstance(value, UUID) else value
            return text[: len(node["value"])] == node["value"] if isinstance(text, str) else None
        case "in":
            value = _at(record, node["path"])
            found = [compare(value, "eq", one) for one in node["values"]]
            return None if value is None else True if True in found else None if None in found else False
        case op:
            return compare(_at(record, node["path"]), op, node["value"])


def compare(value: Any, op: str, constant: Any) -> bool | None:
    """One comparison by what the two values are; None when unknown."""
    try:
        left, right = _pair(value, constant)
    except (TypeError, ValueError):
        return None
    if isinstance(left, bool) and op not in ("eq", "ne"):
        return None
    order: int = (left > right) - (left < right)
    return {"eq": order == 0, "ne": order != 0, "lt": order < 0, "le": order <= 0, "gt": order > 0, "ge": order >= 0}[
        op
    ]


def _pair(value: Any, constant: Any) -> tuple[Any, Any]:
    """Both as things that Python orders; TypeError or ValueError when they are unlike."""
    if isinstance(value, bool) or isinstance(constant, bool):
        if type(value) is not type(constant):
            raise TypeError
        return value, constant
    if isinstance(value, int) and isinstance(constant, int):
        return value, constant
    if isinstance(value, float | Decimal):
        return Fraction(value), Fraction(constant)
    if not isinstance(constant, str):
        raise TypeError
    if isinstance(value, date | time):
        return _when(value, constant)
    if isinstance(value, str):
        return [ord(character) for character in value], [ord(character) for character in constant]
    if isinstance(value, UUID):
        same = len(constant) == 36 and _hex(constant)
        return _pair(str(value), str(UUID(constant)) if same else constant)
    if isinstance(value, bytes):
        return list(value), list(base64.b64decode(constant, validate=True))
    raise TypeError


def _when(value: date | time, constant: str) -> tuple[Any, Any]:
    if isinstance(value, time):
        return value, time.fromisoformat(constant)
    if isinstance(value, datetime):
        moment = datetime.fromisoformat(constant)
        if (moment.tzinfo is None) is not (value.tzinfo is None):
            raise ValueError
        return value, moment
    return value.toordinal(), date.fromisoformat(constant).toordinal()


def _hex(text: str) -> bool:
    return [len(part) for part in text.split("-")] == [8, 4, 4, 4, 12] and not text.strip("0123456789abcdefABCDEF-")


def _at(record: Mapping[str, Any], path: str) -> Any:
    value: Any = record
    for name in path.split("."):
        value = None if value is None else value[name]
    return value


def _named(avro: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(avro, list):
        for branch in avro:
            yield from _named(branch)
    elif isinstance(avro, dict):
        if "name" in avro:
            yield avro["name"], avro
        for entry in avro.get("fields", ()):
            yield from _named(entry["type"])
        for key in ("items", "values"):
            yield from _named(avro.get(key))


def _show(value: Any, avro: Any, path: str, masks: Mapping[str, Any], keys: Mapping[str, bytes], named: Any) -> Any:
    """What is shown of a value; only called where something below the path is shown."""
    options = avro if isinstance(avro, list) else [avro]
    branches = [named.get(one, one) if isinstance(one, str) else one for one in options if one != "null"]
    nullable = "null" in options
    if path in masks:
        return _masked(value, branches, masks[path], keys, nullable=nullable)
    if value is None:
        return None
    only = branches[0]
    if only["type"] == "record":
        dot = path + "." if path else ""
        return {
            entry["name"]: _show(value[entry["name"]], entry["type"], dot + entry["name"], masks, keys, named)
            for entry in only["fields"]
            if any(_covers(dot + entry["name"], one) for one in masks)
        }
    if only["type"] == "array":
        return [_show(item, only["items"], path + "[]", masks, keys, named) for item in value]
    return {key: _show(item, only["values"], path + "{}", masks, keys, named) for key, item in value.items()}


def _covers(path: str, masked: str) -> bool:
    return masked == path or masked.startswith((path + ".", path + "[]", path + "{}"))


def _masked(
    value: Any, branches: list[Any], mask: Mapping[str, Any], keys: Mapping[str, bytes], *, nullable: bool
) -> Any:
    word = branches[0] if isinstance(branches[0], str) else branches[0]["type"]
    if mask["kind"] == "null":
        return None
    if mask["kind"] == "redact":
        return "***" if len(branches) == 1 and word in ("string", "enum") else None
    if value is None:
        return None
    try:
        return _result(value, branches[0], word, mask, keys)
    except (OverflowError, ArithmeticError):
        if nullable:
            return None
        raise WithheldError from None


def _result(value: Any, avro: Any, word: str, mask: Mapping[str, Any], keys: Mapping[str, bytes]) -> Any:
    match mask["kind"]:
        case "keep":
            return value
        case "partial":
            return partial(str(value), mask["first"], mask["last"])
        case "pseudonym":
            return cmac(keys[mask["scope"]], str(value).encode() if word == "string" else binary(avro, value)).hex()
        case "year":
            return year(value)
        case "truncate":
            return truncate(value, mask["unit"])
        case "region":
            level = LEVELS[mask["level"]]
            return "".join(character if place < level else "0" for place, character in enumerate(value))
        case "bucket":
            return bucket(value, mask["edges"])
        case "round":
            return rounded(value, avro, word, mask["to"])
        case _:
            return compare(value, mask["op"], mask["value"])


def partial(text: str, first: int, last: int) -> str:
    """Code points kept at both ends."""
    if first + last >= len(text):
        return "*" * len(text)
    return "".join(c if i < first or i >= len(text) - last else "*" for i, c in enumerate(text))


def year(value: Any) -> int:
    """Of a date, of a timestamp in UTC+8, of a local timestamp as its clock says."""
    return value.astimezone(EAST_8).year if isinstance(value, datetime) and value.tzinfo else value.year


def truncate(value: Any, unit: str) -> Any:
    """The first instant, in UTC+8 for timestamps."""
    if isinstance(value, datetime):
        local = value.astimezone(EAST_8) if value.tzinfo else value
        hour = local.hour if unit == "hour" else 0
        day = truncate(local.date(), "day" if unit == "hour" else unit)
        first = datetime(day.year, day.month, day.day, hour, tzinfo=local.tzinfo)
        return first.astimezone(UTC) if value.tzinfo else first
    firsts = {"day": value.day, "month": 1, "quarter": 1, "year": 1}
    months = {"day": value.month, "month": value.month, "quarter": (1, 4, 7, 10)[(value.month - 1) // 3], "year": 1}
    return date(value.year, months[unit], firsts[unit])


def bucket(value: Any, edges: Sequence[int | str]) -> str:
    """The text of the range a number lies in."""
    number = Fraction(value)
    if number < Fraction(edges[0]):
        return f"<{edges[0]}"
    for low, high in pairwise(edges):
        if Fraction(low) <= number < Fraction(high):
            return f"[{low},{high})"
    return f">={edges[-1]}"


def rounded(value: Any, avro: Any, word: str, to: int | str) -> Any:
    """The nearest multiple, half to even, that the type can hold."""
    with localcontext(prec=200):
        times = (Decimal(value) / Decimal(to)).quantize(Decimal(1), ROUND_HALF_EVEN)
        if word in ("int", "long"):
            low, high = (-(2**31), 2**31 - 1) if word == "int" else (-(2**63), 2**63 - 1)
            held = [n * int(to) for n in range(int(times) - 1, int(times) + 2) if low <= n * int(to) <= high]
            return min(held, key=lambda one: (abs(one - int(times) * int(to)), one))
        scale = avro.get("scale", 0)
        bound = Decimal(10 ** avro["precision"] - 1).scaleb(-scale)
        exact = [(times + step) * Decimal(to) for step in (-1, 0, 1)]
        chosen = min((one for one in exact if -bound <= one <= bound), key=lambda one: abs(one - exact[1]))
        return chosen.quantize(Decimal(1).scaleb(-scale))


def binary(avro: Any, value: Any) -> bytes:
    """Avro binary, by fastavro."""
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(avro), value)
    return stream.getvalue()


def cmac(key: bytes, message: bytes) -> bytes:
    """RFC 4493 as written there, over AES-ECB of single blocks."""

    def encrypt(block: bytes) -> bytes:
        encryptor = Cipher(AES(key), ECB()).encryptor()
        return encryptor.update(block) + encryptor.finalize()

    def double(block: bytes) -> bytes:
        number = int.from_bytes(block, "big") << 1
        return ((number ^ (0x87 if number >> 128 else 0)) & ((1 << 128) - 1)).to_bytes(16, "big")

    k1 = double(encrypt(bytes(16)))
    blocks = [message[start : start + 16] for start in range(0, len(message), 16)] or [b""]
    last = blocks.pop()
    last = _xor(last, k1) if len(last) == 16 else _xor(last + b"\x80" + bytes(15 - len(last)), double(k1))
    state = bytes(16)
    for block in [*blocks, last]:
        state = encrypt(_xor(state, block))
    return state


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
