"""Contracts as files: `contract.yaml` and the schema files that it names, all in one folder."""

import re
from pathlib import Path
from typing import Final

from exchange.avro.normal import MAX_BYTES as MAX_SCHEMA_BYTES
from exchange.avro.schema import Schema, parse
from exchange.contracts.contract import Contract
from exchange.contracts.rules import MAX_VERSIONS, check_contract
from exchange.contracts.yaml_tree import MAX_BYTES, Keys, Tree, read_tree
from exchange.errors import Invalid

_SCHEMA_FILE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,80}\.avsc", re.ASCII)


def read_folder(folder: Path) -> Contract:
    """The contract of a folder. Raises: see `exchange.contracts.contract.load`."""
    path = folder / "contract.yaml"
    tree = read_tree(_content(path, MAX_BYTES), str(path))

    def place(keys: Keys) -> str:
        return f"{path}:{tree.line(keys)}"

    return check_contract(tree.value, _schemas(folder, tree, path), place)


def _schemas(folder: Path, tree: Tree, path: Path) -> tuple[Schema, ...]:
    names = tree.value.get("schemas")
    if names is None:
        return ()  # the rules name the missing key
    good = isinstance(names, list) and all(isinstance(name, str) and _SCHEMA_FILE.fullmatch(name) for name in names)
    if not good or not 1 <= len(names) <= MAX_VERSIONS or len(set(names)) != len(names):
        expected = f"1 to {MAX_VERSIONS} different names of .avsc files in this folder, oldest first"
        where = f"{path}:{tree.line(('schemas',))}"
        raise Invalid("contract_value_wrong", where=where, key="schemas", expected=expected)
    files = [folder / name for name in names]
    return tuple(parse(_content(file, MAX_SCHEMA_BYTES), where=str(file)) for file in files)


def _content(path: Path, most: int) -> bytes:
    """A file's bytes, one more than `most` at the most: enough for the reader to refuse it."""
    try:
        with path.open("rb") as stream:
            return stream.read(most + 1)
    except OSError as error:
        raise Invalid("contract_file_missing", where=str(path), reason=error.strerror or "unreadable") from None
