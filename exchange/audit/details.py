"""Details: what an entry speaks of and the log must not keep for ever, as a text beside the log.

A leaf names its detail by a salted hash, so that nobody who has only the log can try out what the detail said once it
is gone. Each is of a class, which says how long it is kept; then it is deleted, and the leaf stays.

| class | holds | named by the leaf's |
|---|---|---|
| `decision` | a question, or a plan, that was too large for its decision's leaf | `question_digest`, `plan_digest` |
| `query` | the parameters of an auditor's query | `parameters_digest` |

The name is `detail:sha256:` and the hash; without `detail:` the digest of something else, and there is no detail.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from sqlalchemy import Engine, delete, func, select

from exchange.audit.rows import translated
from exchange.audit.tables import DETAILS
from exchange.errors import Tampered
from exchange.log.server import is_server, reading
from exchange.names import canonical, digest_bytes

DetailClass = Literal["decision", "query"]
CLASSES: Final[tuple[DetailClass, ...]] = get_args(DetailClass)
NAMING: Final = ("question_digest", "plan_digest", "parameters_digest")  # fields of leaves
_NAME: Final = "detail:"
FORMAT: Final = "exchange.detail/1"
SALT_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Detail:
    """A detail that is to be kept: its name (over the text, in which its salt stands), class, time, text."""

    name: str
    kind: DetailClass
    at_ns: int
    text: bytes

    @classmethod
    def of(cls, kind: DetailClass, at_ns: int, salt: bytes, content: Mapping[str, Any]) -> "Detail":
        """The detail that holds this; `salt` is fresh, and secret for as long as nobody reads the detail."""
        text = canonical({"content": content, "format": FORMAT, "salt": salt.hex()})
        return cls(_NAME + digest_bytes(text), kind, at_ns, text)

    def row(self) -> tuple[str, str, int, bytes]:
        """As the table has it."""
        return self.name, self.kind, self.at_ns, zlib.compress(self.text)


def named(body: Mapping[str, Any]) -> dict[str, str]:
    """The details that the body of an entry names, by the field that does."""
    found = {field: body.get(field) for field in NAMING}
    return {field: name for field, name in found.items() if isinstance(name, str) and name.startswith(_NAME)}


def read(engine: Engine, name: str) -> Mapping[str, Any] | None:
    """What a detail holds; None when it is not there (any more).

    Raises:
        Tampered: `detail_damaged`: it is not what the leaf names.
    """
    with translated(engine), reading(engine).connect() as connection:
        body = connection.execute(select(DETAILS.c.body).where(DETAILS.c.name == name)).scalar()
    if body is None:
        return None
    try:
        text = zlib.decompress(body)
    except zlib.error:
        text = b""
    if _NAME + digest_bytes(text) != name:
        raise Tampered("detail_damaged", where=name)
    content: Mapping[str, Any] = json.loads(text)["content"]
    return content


def due(engine: Engine, kind: DetailClass, before_ns: int) -> int:
    """How many of a class are older than this."""
    query = select(func.count()).select_from(DETAILS).where(DETAILS.c.kind == kind, DETAILS.c.at_ns < before_ns)
    with translated(engine), reading(engine).connect() as connection:
        return int(connection.execute(query).scalar() or 0)


def remove(engine: Engine, kind: DetailClass, before_ns: int) -> int:
    """Deletes those of a class that are older than this; how many that were."""
    with translated(engine), engine.begin() as connection:
        if not is_server(engine):  # a server's vacuum gives the bytes to others; here they would stay in the file
            connection.exec_driver_sql("PRAGMA secure_delete = ON")
        return connection.execute(delete(DETAILS).where(DETAILS.c.kind == kind, DETAILS.c.at_ns < before_ns)).rowcount
