"""`exchange view`: a plan applied offline, the result whole or not at all."""

import argparse
import io
import json
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import pytest

from exchange.avro import container
from exchange.avro.schema import parse
from exchange.cli import view
from exchange.cli.terminal import Terminal
from exchange.errors import ExchangeError, Invalid, Refused, Unavailable
from exchange.names import set_digest
from exchange.signing.tags import SubjectTagger
from tests.view import reference
from tests.view.plans import deny_document, field, plan_document

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "HukouPerson",
    "fields": [
        {"name": "id_number", "type": ["null", "string"]},
        {"name": "name", "type": "string"},
        {"name": "income", "type": "long", "default": 0},
    ],
}
OLD = {**SCHEMA, "fields": SCHEMA["fields"][:2]}
RECORDS: list[dict[str, Any]] = [
    {"id_number": "11010519491231002X", "name": "张三", "income": 500},
    {"id_number": None, "name": "李四", "income": 600},
    {"id_number": "110105491231002", "name": "王𠮷", "income": 700},
    {"id_number": " ", "name": "赵六", "income": 800},
]
K_SUBJECT, K_SCOPE = bytes(range(32)), bytes(range(16))
KEYS = {"subject": K_SUBJECT.hex(), "agr-1": K_SCOPE.hex()}
TAG = SubjectTagger(K_SUBJECT).tag("person", "11010519491231002X")
MEMBERS = set_digest([TAG])
PLAN = plan_document(
    [field("id_number", "pseudonym", scope="agr-1"), field("name", "partial", first=1, last=0), field("income")],
    {"op": "member", "set": MEMBERS},
)
Run = Callable[..., Any]


def read_back(path: Path) -> list[Any]:
    """The records of a container, by fastavro."""
    with path.open("rb") as stream:
        return list(fastavro.reader(stream))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the command in a folder that has the usual inputs; gives what stdout and stderr got."""

    def write(name: str, content: object) -> None:
        (tmp_path / name).write_text(json.dumps(content), "utf-8")

    for name, content in (
        ("S.avsc", SCHEMA),
        ("P.json", PLAN),
        ("K.json", KEYS),
        ("SETS.json", {MEMBERS: [TAG.hex()]}),
    ):
        write(name, content)
    with (tmp_path / "in.avro").open("wb") as stream:
        container.write(stream, parse(json.dumps(SCHEMA)), RECORDS)

    def go(stdin: bytes = b"", *, as_json: bool = False, **changed: object) -> tuple[bytes, str]:
        given = {
            "schema": "S.avsc",
            "plan": "P.json",
            "source": "in.avro",
            "out": "out",
            "keys": "K.json",
            "sets": "SETS.json",
        }
        words: dict[str, Any] = {"format": "avro"}
        for name, value in {**given, **changed}.items():
            if isinstance(value, dict | list):
                write(f"given-{name}.json", value)
                value = f"given-{name}.json"  # noqa: PLW2901  the file stands for its content
            words[name] = value if value in (None, "-", "avro", "jsonl", "csv", "arrow") else str(tmp_path / str(value))
        out, told = io.BytesIO(), io.StringIO()
        text_in, text_out = io.TextIOWrapper(io.BytesIO(stdin), "utf-8"), io.TextIOWrapper(out, "utf-8")
        terminal = Terminal("en", as_json, {}, text_in, text_out, told)
        assert view.run(terminal, argparse.Namespace(**words)) == 0
        return out.getvalue(), told.getvalue()

    return go


def test_the_view_of_a_file(run: Run, tmp_path: Path) -> None:
    """Members only (a 15-digit id is the same person), pseudonyms under the scope's key; counts on stderr."""
    _, told = run()
    found = read_back(tmp_path / "out")
    assert [one["name"] for one in found] == ["张*", "王*"]
    assert found[0]["id_number"] == reference.cmac(K_SCOPE, b"11010519491231002X").hex()
    assert "4 records read, 2 in the view, 2 held back" in told
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o600


def test_the_same_input_gives_the_same_bytes(run: Run, tmp_path: Path) -> None:
    """Nothing of time or chance is in the result."""
    run()
    run(out="again")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "again").read_bytes()


def test_standard_streams(run: Run, tmp_path: Path) -> None:
    """`-` reads standard input and writes standard output; with --json the counts are JSON on stderr."""
    data, told = run((tmp_path / "in.avro").read_bytes(), source="-", out="-", format="jsonl", as_json=True)
    assert [json.loads(line)["income"] for line in data.splitlines()] == [500, 700]
    assert json.loads(told) == {"records": 4, "released": 2, "excluded": 2, "withheld": 0}


def test_a_file_of_another_version(run: Run, tmp_path: Path) -> None:
    """A file written with an older schema is read as the plan's: the default stands in."""
    with (tmp_path / "old.avro").open("wb") as stream:
        container.write(stream, parse(json.dumps(OLD)), [{"id_number": "x", "name": "张三"}])
    data, _ = run(source="old.avro", out="-", plan=plan_document([field("income")]), format="csv")
    assert data == b"income\r\n0\r\n"


def test_records_that_cannot_be_resolved_are_withheld(run: Run, tmp_path: Path) -> None:
    """A record that the plan's schema has no place for is counted, and the others go on."""
    wide = {**SCHEMA, "fields": [{"name": "name", "type": ["null", "string"]}]}
    with (tmp_path / "wide.avro").open("wb") as stream:
        container.write(stream, parse(json.dumps(wide)), [{"name": None}, {"name": "张三"}])
    narrow = {**SCHEMA, "fields": [{"name": "name", "type": "string"}]}
    data, told = run(source="wide.avro", schema=narrow, plan=plan_document([field("name")]), out="-", format="jsonl")
    assert data.decode() == '{"name":"张三"}\n'
    assert "1 withheld" in told


def test_keys_and_sets_only_where_they_are_needed(run: Run) -> None:
    """A plan without pseudonyms and members needs neither file."""
    data, _ = run(
        plan=plan_document([field("income", "round", to=1000)]), keys=None, sets=None, out="-", format="jsonl"
    )
    assert [json.loads(line)["income"] for line in data.splitlines()] == [0, 1000, 1000, 1000]


def test_a_comparison_that_is_never_true_is_told(run: Run) -> None:
    """The steward hears of a comparison of unlike types; the result is what plan.md says."""
    rows = {"op": "not", "of": [{"op": "eq", "path": "income", "value": "500"}]}
    verdict = field("name", "verdict", op="le", value=5)
    data, told = run(plan=plan_document([verdict], rows), out="-", format="jsonl")
    assert data == b""
    assert "plan.rows.of[0]" in told
    assert "plan.fields[0].mask" in told


def test_a_refusal_gives_its_reasons_and_no_file(run: Run, tmp_path: Path) -> None:
    """A deny plan ends the command refused, before anything else is looked at."""
    with pytest.raises(Refused) as caught:
        run(plan=deny_document("expired", "zone"), source="nowhere.avro", keys=None)
    assert (caught.value.code, caught.value.facts["reasons"]) == ("view_denied", "expired, zone")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changed", "code", "where"),
    [
        ({"keys": None}, "view_key_missing", "plan.fields[0].mask"),
        ({"keys": {"agr-1": K_SCOPE.hex()}}, "view_key_missing", "plan.rows"),
        ({"keys": {"subject": "xyz"}}, "view_key_malformed", "keys.subject"),
        ({"keys": {**KEYS, "agr-1": "00ff"}}, "view_key_malformed", "keys.agr-1"),
        ({"keys": {"subject": 5}}, "plan_type_wrong", "keys.subject"),
        ({"keys": []}, "plan_type_wrong", "keys"),
        ({"sets": None}, "view_set_missing", "plan.rows.set"),
        ({"sets": {MEMBERS: ["0" * 32]}}, "view_set_differs", f"sets.{MEMBERS}"),
        ({"sets": {"members": []}}, "name_malformed", "sets"),
        ({"sets": {MEMBERS: ["11010519491231002X"]}}, "name_malformed", None),
        ({"plan": {"format": "exchange.plan/9"}}, "plan_name_unknown", "plan.format"),
        ({"plan": plan_document([field("nme")])}, "view_path_unknown", "plan.fields[0].path"),
        ({"plan": "in.avro"}, "plan_json_malformed", None),
        ({"schema": "in.avro"}, "schema_unparsable", None),
        ({"schema": "nowhere"}, "view_file_unreadable", None),
        ({"source": "."}, "view_file_unreadable", None),
        ({"source": "P.json"}, "container_damaged", None),
        ({"source": "-", "plan": "-"}, "view_stdin_twice", "-"),
        ({"out": "no/such/folder/out"}, "view_output_failed", None),
    ],
)
def test_a_wrong_input_leaves_no_output(
    run: Run, tmp_path: Path, changed: dict[str, Any], code: str, where: str | None
) -> None:
    """Each wrong input gives one error with its place, no file and no half of one."""
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(ExchangeError) as caught:
        run(**changed)
    assert caught.value.code == code
    assert caught.value.exit_code == (Unavailable if code == "view_output_failed" else Invalid).exit_code
    assert where is None or caught.value.where == where
    assert not [path.name for path in tmp_path.iterdir() if path.name not in before and path.name[:6] != "given-"]
    assert "11010519491231002X" not in str(caught.value)


@pytest.mark.parametrize("cut", [1, 40, -1, -20])
def test_a_damaged_file_leaves_what_was_there(run: Run, tmp_path: Path, cut: int) -> None:
    """A container cut off anywhere ends the command invalid; an older result stays as it was."""
    (tmp_path / "out").write_bytes(b"old")
    (tmp_path / "cut.avro").write_bytes((tmp_path / "in.avro").read_bytes()[:cut])
    with pytest.raises(Invalid, match="container_damaged"):
        run(source="cut.avro")
    assert (tmp_path / "out").read_bytes() == b"old"
    assert not list(tmp_path.glob(".out*"))


def test_damage_far_in_leaves_nothing_on_standard_output(run: Run, tmp_path: Path) -> None:
    """Standard output gets the whole view or nothing, however late the damage comes."""
    with (tmp_path / "long.avro").open("wb") as stream:
        container.write(stream, parse(json.dumps(SCHEMA)), ({**RECORDS[0], "name": "x" * 500} for _ in range(2000)))
    whole = (tmp_path / "long.avro").read_bytes()
    (tmp_path / "long.avro").write_bytes(whole[:-100])
    with pytest.raises(Invalid, match="container_damaged"):
        run(source="long.avro", out="-")


def test_the_result_may_go_where_the_input_was(run: Run, tmp_path: Path) -> None:
    """OUT may be IN, or a link to a file: the file behind it is replaced when all is there."""
    (tmp_path / "link").symlink_to(tmp_path / "in.avro")
    run(out="link")
    assert (tmp_path / "link").is_symlink()
    assert len(read_back(tmp_path / "in.avro")) == 2


def test_a_pipe_is_written_to_not_replaced(run: Run, tmp_path: Path) -> None:
    """OUT may be a pipe or a device, which stays one."""
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    run(out="pipe", format="jsonl")
    reader.join(5)
    assert len(got[0].splitlines()) == 2
    assert stat.S_ISFIFO(pipe.stat().st_mode)
