"""Whether a newer schema reads what an older one wrote (BACKWARD, Avro specification 1.11, "Schema Resolution")."""

from collections.abc import Iterator

from exchange.avro.kinds import Avro, branches, kind, resolve
from exchange.avro.resolution import Mismatch, pick, sources, symbol_map
from exchange.avro.schema import Schema


def incompatibilities(old: Schema, new: Schema) -> list[str]:
    """Each reason, with its path, why a record written with `old` may not be readable with `new`.

    Empty means: every record written with `old` is read with `new` by `exchange.avro.records.resolver`.
    """
    return list(_Comparison(old, new).types(old.document, new.document, ""))


class _Comparison:
    def __init__(self, old: Schema, new: Schema) -> None:
        self._old, self._new = old.named, new.named

    def types(self, old: Avro, new: Avro, path: str) -> Iterator[str]:
        """The reasons of a writer's type at a path, under the reader's."""
        writer, reader = resolve(old, self._old), resolve(new, self._new)
        options, nullable = branches(writer)
        if nullable and not branches(reader)[1]:
            yield f"{path}: null was allowed and is no longer"
        for option in options:
            plain = resolve(option, self._old)
            try:
                yield from self._inside(plain, pick(plain, reader, self._new), path)
            except Mismatch as mismatch:
                yield f"{path or new['name']}: {mismatch}"

    def _inside(self, writer: Avro, reader: Avro, path: str) -> Iterator[str]:
        match kind(writer):
            case "record":
                yield from self._record(writer, reader, path)
            case "array":
                yield from self.types(writer["items"], reader["items"], path + "[]")
            case "map":
                yield from self.types(writer["values"], reader["values"], path + "{}")
            case "enum":
                lost = [symbol for symbol, kept in symbol_map(writer, reader).items() if kept is None]
                if lost:
                    yield f"{path}: the symbols {', '.join(lost)} are gone and the enum has no default"

    def _record(self, writer: Avro, reader: Avro, path: str) -> Iterator[str]:
        fed = sources(writer, reader)
        types = {entry["name"]: entry["type"] for entry in writer["fields"]}
        for entry in reader["fields"]:
            here = f"{path}.{entry['name']}" if path else entry["name"]
            if entry["name"] in fed:
                yield from self.types(types[fed[entry["name"]]], entry["type"], here)
            elif "default" not in entry:
                yield f"{here}: a new field needs a default"
