"""The configuration of a source is read strictly."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from adapters.files import config
from exchange.errors import Invalid
from tests.adapters.files.site import PERSONS


def test_example_of_the_docstring_is_a_configuration(tmp_path: Path) -> None:
    """The configuration shown in the module's docstring loads, and means what it says."""
    example = tmp_path / "hukou.toml"
    shown = (
        (config.__doc__ or "").split("\n\n", 1)[1].replace("\n    ", "\n").replace("parts = [\n    {", "parts = [ {")
    )
    example.write_text(shown, "utf-8")
    loaded = config.load_config(example)
    assert loaded.source == "ny.gongan/hukou"
    assert loaded.delimiter == ","
    assert loaded.absent == ("photo_ref",)
    assert loaded.constants == {"region": "431126"}
    members = loaded.columns[-1]
    assert [(part.field, part.type) for part in members.parts] == [("person_id", "id"), ("relation", "text")]


def test_unknown_key_names_the_nearest() -> None:
    """A key nobody knows is an error that names the one probably meant, at the top and in a column."""
    document = deepcopy(PERSONS) | {"encodng": "utf-8"}
    with pytest.raises(Invalid) as found:
        config.parse_config(document, where="t.toml")
    assert (found.value.code, found.value.facts["nearest"]) == ("adapter_config_unknown_key", "encoding")
    document = deepcopy(PERSONS)
    document["columns"]["姓名"]["typ"] = "text"
    with pytest.raises(Invalid) as found:
        config.parse_config(document, where="t.toml")
    assert found.value.facts["nearest"] == "type"
    assert "姓名" in found.value.where


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda d: d.update(encoding="gbk"), "encoding"),
        (lambda d: d.update(format="xls"), "format"),
        (lambda d: d.update(sheet=1), "sheet"),
        (lambda d: d.update(header_lines=0), "header_lines"),
        (lambda d: d.update(header_lines=True), "header_lines"),
        (lambda d: d.update(skip="合计"), "skip"),
        (lambda d: d["columns"].update(x={"field": "x", "type": "date", "also": ["day"]}), "also"),
        (lambda d: d["columns"].update(x={"field": "x", "type": "date", "also": "han"}), "also"),
        (lambda d: d.update(delimiter="::"), "delimiter"),
        (lambda d: d.update(header=True), "header"),
        (lambda d: d.update(header=0), "columns"),
        (lambda d: d.update(key=["person"]), "key"),
        (lambda d: d.update(nulls="无"), "nulls"),
        (lambda d: d.update(lost_ledger="ignore"), "lost_ledger"),
        (lambda d: d.update(absent=["name"]), "name"),
        (lambda d: d.update(constants={"benefit": 1}), "benefit"),
        (lambda d: d.update(constants={"share": 0.5}), "constants.share"),
        (lambda d: d.update(constants=[]), "constants"),
        (lambda d: d.pop("columns"), "columns"),
        (lambda d: d["columns"].update({"姓 名": {"field": "again", "type": "text"}}), "columns"),
        (lambda d: d["columns"].update(x=1), "columns.x"),
        (lambda d: d["columns"]["姓名"].update(type="varchar"), "type"),
        (lambda d: d["columns"]["姓名"].pop("type"), "type"),
        (lambda d: d["columns"]["姓名"].update(field="姓名"), "field"),
        (lambda d: d["columns"].update(x={"field": "x", "type": "enum"}), "values"),
        (lambda d: d["columns"].update(x={"field": "x", "type": "bool", "values": {"是": "Y"}}), "values"),
        (lambda d: d["columns"].update(x={"field": "x", "type": "timestamp", "zone": "CST"}), "zone"),
        (lambda d: d["columns"].update(x={"field": "x", "type": "list"}), "parts"),
        (lambda d: d["columns"].update(x={"field": "x", "type": "list", "parts": [{}]}), "parts[0]"),
        (
            lambda d: d["columns"].update(
                x={"field": "x", "type": "list", "within": ";", "parts": [{"field": "a", "type": "text"}]}
            ),
            "within",
        ),
        (lambda d: d["columns"].update(x={"field": "x", "type": "id", "form": "car"}), "form"),
    ],
)
def test_wrong_value_names_its_place(change: Callable[[dict[str, Any]], object], place: str) -> None:
    """A missing, wrong or contradictory value is refused where it stands."""
    document = deepcopy(PERSONS)
    change(document)
    with pytest.raises(Invalid) as found:
        config.parse_config(document, where="t.toml")
    assert found.value.code == "adapter_config_value"
    assert place in found.value.where
    assert found.value.facts["expected"]


@pytest.mark.parametrize("content", [b"source = ", b"\xff\xfe", b"a = " + b"[" * 5000, b"#" * (1 << 20) + b"#"])
def test_file_that_is_no_toml_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    """Broken TOML, other bytes, deep nesting and a huge file give one error with the file's name."""
    path = tmp_path / "s.toml"
    path.write_bytes(content)
    with pytest.raises(Invalid) as found:
        config.load_config(path)
    assert (found.value.code, found.value.where) == ("adapter_config_unreadable", "s.toml")


def test_no_configuration_at_all(tmp_path: Path) -> None:
    """A file that is not there is the same error; a bad name of a source is that of names."""
    with pytest.raises(Invalid, match="adapter_config_unreadable"):
        config.load_config(tmp_path / "none.toml")
    with pytest.raises(Invalid, match="name_malformed"):
        config.parse_config(PERSONS | {"source": "户籍"}, where="t.toml")
