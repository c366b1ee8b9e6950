"""Dead letters: what is kept of a record that could not be published, as records of the topic `dead.<dataset>`.

Where it stood in the source, why it was refused and what shape it had: never a value, never a subject (the tag of a
dead letter is 16 zero bytes), so that anyone of the department may see them.
"""

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Final

from exchange.source import Rejected

if TYPE_CHECKING:
    from exchange.avro.schema import Schema

NO_TAG: Final = bytes(16)
_LONGEST: Final = 1_000  # of a text; and fields of the shape


def topic_of(dataset: str) -> str:
    """The topic of a dataset's dead letters; it has one partition."""
    return f"dead.{dataset}"


def encoder(schema: "Schema") -> Callable[[str, Rejected], bytes]:
    """Makes the Avro body of a dead letter from its source and it; what is overlong is cut, so that it always fits.

    The schema has the fields source, sequence, code, file, row, column (empty when it is not one) and shape.
    """
    from exchange.avro.records import Codec

    codec = Codec(schema)

    def encode(source: str, rejected: Rejected) -> bytes:
        place, shape = rejected.place, islice(rejected.shape.items(), _LONGEST)
        return codec.encode(
            {
                "source": source,
                "sequence": rejected.sequence,
                "code": _plain(rejected.code),
                "file": _plain(place.file),
                "row": place.row,
                "column": _plain(place.column),
                "shape": {_plain(name): _plain(told) for name, told in shape},
            }
        )

    return encode


def _plain(text: str) -> str:
    return text[:_LONGEST].encode("utf-8", "backslashreplace").decode()  # file names may hold lone surrogates
