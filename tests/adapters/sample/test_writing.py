"""The files are read by the files adapter as the truth says, and fit the contracts' schemas."""

import re
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from adapters.files.adapter import FilesAdapter
from adapters.files.config import load_config
from adapters.sample.__main__ import main
from adapters.sample.county import county
from adapters.sample.truth import LABEL, Truth
from adapters.sample.writing import write
from exchange import names
from exchange.avro.records import Codec
from exchange.avro.schema import parse
from exchange.errors import Invalid

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    """A hundredth of the county, as files."""
    folder = tmp_path_factory.mktemp("sample")
    return folder, write(county(5, 0.01), folder)


def read(folder: Path, truth: Truth, name: str, mark: int = 0) -> tuple[list[dict[str, Any]], Counter[str], str, int]:
    """What the adapter makes of this file: values, codes of refused rows, notes, the new mark."""
    file = truth.files[name]
    ledger = folder / f"{file.source.replace('/', '-')}.ledger"
    adapter = FilesAdapter(load_config(folder / file.config), [folder / name], ledger)
    values: list[dict[str, Any]] = []
    codes: Counter[str] = Counter()
    for batch in adapter.batches(mark, 5000):
        values += [dict(value) for value in batch.values]
        codes.update(rejected.code for rejected in batch.rejected)
        mark = max([*batch.sequences, *(rejected.sequence for rejected in batch.rejected)])
    assert adapter.source == file.source
    return values, codes, " ".join(adapter.notes), mark


def test_adapter_finds_what_the_truth_says(written: tuple[Path, Truth]) -> None:
    """Good rows, refused rows by code and wrong check digits are as the generator counted, file by file."""
    folder, truth = written
    marks: Counter[str] = Counter()
    for name, file in truth.files.items():
        if file.dataset == "mz.division":
            continue
        values, codes, notes, marks[file.source] = read(folder, truth, name, marks[file.source])
        assert len(values) == file.good
        assert codes == file.rejected
        assert file.good + codes.total() == file.rows
        found = re.search(r"check digit[^:]*: (\d+)", notes)
        assert int(found[1] if found else 0) == file.wrong_check
        _fits_schema(file.dataset, values)
        assert read(folder, truth, name, marks[file.source])[0] == []
    assert truth.files["hukou.csv"].rejected.keys() >= {"cell_id_damaged", "row_width", "cell_undecodable"}


def test_divisions_are_read(written: tuple[Path, Truth], tmp_path: Path) -> None:
    """The file has all divisions; the first of them are read and fit the schema."""
    folder, truth = written
    lines = (folder / "divisions.csv").read_bytes().splitlines(keepends=True)
    file = truth.files["divisions.csv"]
    assert len(lines) - 1 == file.rows == file.good == 41_934
    (tmp_path / "adapters").mkdir()
    (tmp_path / file.config).write_bytes((folder / file.config).read_bytes())
    (tmp_path / "divisions.csv").write_bytes(b"".join(lines[:1000]))
    values, codes, *_ = read(tmp_path, truth, "divisions.csv")
    assert (len(values), codes) == (999, Counter())
    assert values[0] == {"code": "110000", "name": "北京市", "level": 1, "parent_code": None}
    _fits_schema("mz.division", values)


def _fits_schema(dataset: str, values: list[dict[str, Any]]) -> None:
    (path,) = ROOT.glob(f"schemas/*/{dataset}/v1.avsc")
    codec = Codec(parse(path.read_bytes()))
    faults = [fault for value in values for fault in codec.faults(value)]
    assert faults == []


def test_planted_persons_come_through(written: tuple[Path, Truth], tmp_path: Path) -> None:
    """Every planted person is among the good records, with name and a writing of the id that gives the same tag."""
    folder, truth = written
    (tmp_path / "adapters").mkdir()
    for name in ("hukou.csv", "adapters/hukou.toml"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    values, *_ = read(tmp_path, truth, "hukou.csv")
    by_id = {names.normalise_id("person", value["person_id"]): value for value in values}
    for one in truth.planted:
        assert by_id[one.person_id]["name"] == one.name
        assert by_id[one.person_id]["household_id"] == one.household_id
    assert [one.role for one in truth.members(truth.role("applicant").application_id)] == [
        "applicant",
        "spouse",
        "daughter",
        "grandmother",
    ]


def test_same_seed_same_bytes(written: tuple[Path, Truth], tmp_path: Path) -> None:
    """The same seed and scale give the same bytes in every file; another seed does not."""
    folder, _ = written
    write(county(5, 0.01), tmp_path / "again")
    write(county(6, 0.01), tmp_path / "other")
    files = [file.relative_to(tmp_path / "again") for file in (tmp_path / "again").rglob("*") if file.is_file()]
    assert len(files) == 7 + 6 + 1
    for file in files:
        assert (tmp_path / "again" / file).read_bytes() == (folder / file).read_bytes()
    assert (tmp_path / "other/hukou.csv").read_bytes() != (folder / "hukou.csv").read_bytes()


def test_made_up_files_say_so(written: tuple[Path, Truth]) -> None:
    """Every file of made-up persons begins with the label; the real divisions do not bear it."""
    folder, truth = written
    for name, file in truth.files.items():
        codec = "gb18030" if "hukou" in name or "applications" in name else "utf-8-sig"
        first = (folder / name).read_bytes().split(b"\n")[0].decode(codec)
        assert first.startswith(LABEL) == (file.dataset != "mz.division")
    assert truth.label == LABEL


def test_truth_is_a_file(written: tuple[Path, Truth], tmp_path: Path) -> None:
    """The truth loads as it was saved; a damaged one and an unknown role are errors."""
    folder, truth = written
    assert asdict(Truth.load(folder / "truth.json")) == asdict(truth)
    for content in ("{", "[]", '{"files": {}}', '{"files": {}, "planted": [], "more": 1}', "[" * 100_000):
        (tmp_path / "truth.json").write_text(content)
        with pytest.raises(Invalid, match="sample_truth_unreadable"):
            Truth.load(tmp_path / "truth.json")
    with pytest.raises(Invalid, match="sample_role_unknown"):
        truth.role("mayor")


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m adapters.sample` writes the files and lists them; a wrong scale exits with 2."""
    out = tmp_path / "out"
    assert main(["--out", str(out), "--seed", "1", "--scale", "0.001", "--as-of", "2026-11-23"]) == 0
    shown = capsys.readouterr()
    assert "hukou.csv\tps.hukou_person" in shown.out
    assert LABEL in shown.err
    assert Truth.load(out / "truth.json").as_of == "2026-11-23"
    assert main(["--out", str(out), "--scale", "0"]) == 2
    assert "sample_scale" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(["--out", str(tmp_path / "file"), "--scale", "0.001"]) == 2
