"""What a column holds: counted over all its cells, with the type that its cells can be read as."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from adapters.draft import kinds
from adapters.draft.words import Word, in_ten_thousands, meaning
from adapters.files import cells
from adapters.files.config import ALSO, Column
from exchange.errors import Invalid

NULLS: Final = ("-", "--", "—", "——", "/", "\\", "无", "暂无", "N/A", "NULL", "null", "None")
MOST_DISTINCT: Final = 1_000_000
_MOST_EXAMPLES: Final = 400
_FEW: Final = 12
_MOST: Final = 0.9
_HALF: Final = 0.5
_LONGEST_INT: Final = 15  # digits; what is longer is a number of something, not a count
_SEXES: Final = {"男": "M", "女": "F", "男性": "M", "女性": "F", "未知": "U", "未说明": "U", "不详": "U"}
_SEX_CODES: Final = {"1": "M", "2": "F", "0": "U", "9": "U"}  # GB/T 2261.1
_TRUTHS: Final = (frozenset("是否"), frozenset(("true", "false")), frozenset("YN"))


@dataclass
class Reading:
    """A way to read the cells of a column: the adapter's type with its options."""

    type: str
    form: str = "person"
    values: dict[str, Any] = field(default_factory=dict)
    also: tuple[str, ...] = ()

    def converter(self) -> cells.Converter:
        """The adapter's own converter for it."""
        column = Column("", "x", self.type, self.form, self.values, also=self.also)
        return cells.converter(column, Counter())


TEXT: Final = Reading("text")


class Look:
    """One column, looked at cell by cell: first a sample (`begin`), then every cell (`take`), then `end`."""

    def __init__(self, place: int, header: str, label: str, *, ten_thousands: bool = False) -> None:
        self.place, self.header, self.label = place, header, label
        self.word: Word | None = meaning(header)
        self.ten_thousands = ten_thousands or in_ten_thousands(header)
        self.reading = TEXT
        self.kind, self.share = "", 0.0
        self.filled = self.failing = self.rows = self.months_only = 0
        self.nulls: set[str] = set()
        self.inside: Counter[str] = Counter()
        self.examples: list[Any] = []
        self._convert: cells.Converter = cells.text
        self._also: Counter[str] = Counter()
        self._spellings: dict[str, cells.Converter] = {}
        self._distinct: set[int] | None = set()

    @property
    def hint(self) -> str:
        """What the header promises of the type."""
        return self.word.type if self.word else ""

    @property
    def unique(self) -> bool:
        """Every filled cell another one, as far as was counted; and more than one."""
        return self._distinct is not None and self.filled > 1

    @property
    def full(self) -> bool:
        """No cell of the column was empty."""
        return self.filled == self.rows

    @property
    def failing_share(self) -> float:
        """Of the filled cells those that cannot be read."""
        return self.failing / self.filled if self.filled else 0.0

    def begin(self, sample: Iterable[str]) -> None:
        """Decides by a sample what the column is read as and what it seems to hold."""
        values = [text for cell in sample if (text := cell.strip()) and text not in NULLS]
        self.kind, self.share = _kind(values)
        if self.word and self.word.kind and self.kind in {"name", "address", "bank_card"}:
            # These forms are met by chance; a header that says something else is believed more.
            self.kind = self.kind if self.kind == self.word.kind or self.kind == "bank_card" else ""
        self.reading = self._decided(values)
        self._convert = self._with_spellings() if self.reading.type in ALSO else self.reading.converter()

    def take(self, cell: str) -> None:
        """Counts one cell of one record."""
        self.rows += 1
        text = cell.strip()
        if not text or text in NULLS:
            if text:
                self.nulls.add(text)
            return
        self.filled += 1
        if self._distinct is not None:
            before = len(self._distinct)
            self._distinct.add(hash(text))
            if len(self._distinct) == before or before >= MOST_DISTINCT:
                self._distinct = None
        if len(text) > 10 and (found := kinds.inside(text)):
            self.inside[found] += 1
        try:
            value = self._convert(text)
        except Invalid:
            self.failing += 1
            if self.reading.type == "date":
                self._note_month(text)
            return
        if len(self.examples) < _MOST_EXAMPLES:
            self.examples.append(value)

    def end(self) -> None:
        """Takes the type back when too many cells cannot be read as it."""
        if self.reading.type == "text":
            return
        exact = self.reading.type in {"int", "bool", "enum"} or self.reading.form == "code"
        by_header = bool(self.hint) or self.kind == "id_number"
        allowed = 0.0 if exact else _HALF if by_header else 1 - _MOST
        damaged = self.reading.type == "id" and self.reading.form == "person"
        if self.failing_share > allowed and not damaged:
            self.reading, self.failing = TEXT, 0
            self.examples = []
        elif self._also:
            self.reading = Reading(self.reading.type, also=tuple(sorted(self._also)))

    def as_code(self) -> None:
        """Read as text after all: whole numbers that tell records apart are no amounts."""
        self.reading, self.failing = TEXT, 0
        self.examples = []

    def _decided(self, values: Sequence[str]) -> Reading:
        if not values:
            return TEXT
        if self.kind == "id_number" or (self.hint == "person" and _share(values, _id_like) > _HALF):
            return Reading("id")
        for name, reading in self._candidates(values):
            convert = reading.converter()
            needed = _HALF if name == self.hint else 1.0 if name in {"int", "bool", "sex"} else _MOST
            if _share(values, lambda text, read=convert: _reads(read, text)) >= needed:  # type: ignore[misc]  # mypy infers no lambda with a default
                return reading
        return TEXT

    def _candidates(self, values: Sequence[str]) -> Iterable[tuple[str, Reading]]:
        """What the values may be, the likeliest first."""
        hint, distinct = self.hint, set(values[:_MOST_EXAMPLES])
        if hint == "code":
            yield "code", Reading("id", "code")
            return
        if hint == "name" or self.kind == "name":
            yield "name", Reading("name")
            return
        if hint == "sex" and distinct <= _SEXES.keys():
            yield (
                "sex",
                Reading("enum", values={text: _SEXES[text] for text in sorted(distinct | {"男", "女", "未知"})}),
            )
        if hint == "sex" and distinct <= _SEX_CODES.keys():
            yield "sex", Reading("enum", values=dict(_SEX_CODES))
        if any(distinct <= truths for truths in _TRUTHS):
            yield "bool", Reading("bool")
        if hint == "fen" and not self.ten_thousands:
            yield "fen", Reading("fen")
        yield from self._dates(values)
        if hint != "fen" and not self.kind and all(_counts(text) for text in distinct):
            yield "int", Reading("int")

    def _dates(self, values: Sequence[str]) -> Iterable[tuple[str, Reading]]:
        hint = self.hint if self.hint in ALSO else ""
        day = Reading("date").converter()
        plainly = _share(values, lambda text: _likely(day, text))
        months = Reading("month", also=tuple(name for name in ALSO["month"] if name != "serial_1904"))
        days = Reading("date", also=tuple(name for name in ALSO["date"] if name != "serial_1904"))
        if hint == "month":
            yield "month", months
        if hint or plainly > _HALF:
            yield "date", days
        if hint == "date" or (not hint and _share(values, _is_month) >= _MOST):
            yield "month", months

    def _with_spellings(self) -> cells.Converter:
        """The converter that notes which spellings it met besides the usual ones."""
        kind = self.reading.type
        plain = Reading(kind).converter()
        self._spellings = {
            name: Reading(kind, also=(name,)).converter() for name in ALSO[kind] if name != "serial_1904"
        }

        def convert(text: str) -> Any:  # noqa: ANN401  what the type gives
            try:
                return plain(text)
            except Invalid:
                for name, spelled in self._spellings.items():
                    try:
                        value = spelled(text)
                    except Invalid:
                        continue
                    self._also[name] += 1
                    return value
                raise

        return convert

    def _note_month(self, text: str) -> None:
        month = Reading("month", also=("han",)).converter()
        self.months_only += _reads(month, text)


def _kind(values: Sequence[str]) -> tuple[str, float]:
    """The kind that most of the values have the form of, and how large a part of them it is."""
    few = values[:_MOST_EXAMPLES]
    for name, recognises in kinds.RECOGNISERS.items():
        share = _share(few, recognises)
        needed = _HALF if name in {"id_number", "bank_card", "credit_code"} else _MOST
        if share >= needed and (name != "name" or len(set(few)) > min(len(few) * 0.3, _FEW) or len(few) < _FEW):
            return name, share
    return "", 0.0


def _share(values: Sequence[str], holds: Callable[[str], bool]) -> float:
    return sum(map(holds, values)) / len(values) if values else 0.0


def _reads(convert: cells.Converter, text: str) -> bool:
    try:
        convert(text)
    except Invalid:
        return False
    return True


def _id_like(text: str) -> bool:
    plain = "".join(text.split()).removeprefix("'")
    return kinds.is_damaged_id(plain) or _reads(Reading("id").converter(), plain)


def _counts(text: str) -> bool:
    """A whole number that is one: no leading zeros, not as long as a number of something."""
    plain = text.removeprefix("-")
    return plain.isascii() and plain.isdigit() and len(plain) <= _LONGEST_INT and (plain == "0" or plain[0] != "0")


def _likely(convert: cells.Converter, text: str) -> bool:
    """A date or month of these two centuries: digits of another kind are seldom one."""
    try:
        return "1900" <= str(convert(text))[:4] <= "2100"
    except Invalid:
        return False


def _is_month(text: str) -> bool:
    return not text.isdigit() and _likely(Reading("month", also=("han",)).converter(), text)
