"""The check of a department's records."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.avro.records import Codec
from exchange.contracts import Contract, load
from exchange.contracts.check import MAX_BODY, Checker
from exchange.messages import describe, error_codes
from exchange.source import Place, Rejected, SourceBatch
from tests.avro.test_records import CODEC, WRONG
from tests.avro.test_records import GOOD as RECORD
from tests.contracts.samples import GOOD, write
from tests.profiles import examples

ID = "431126198002290017"


def person(**change: Any) -> dict[str, Any]:
    """A record that fits."""
    return {"id": ID, "age": 40, "address": {"region": "431126", "key": None}} | change


def batch(*values: Mapping[str, Any], rejected: tuple[Rejected, ...] = ()) -> SourceBatch:
    """A batch whose records have the sequences 10, 20 … and stand in rows 2, 3 …"""
    places = [Place("people.csv", row) for row in range(2, len(values) + 2)]
    return SourceBatch([10 * (i + 1) for i in range(len(values))], values, places, rejected)


@pytest.fixture(name="contract", scope="module")
def _contract(tmp_path_factory: pytest.TempPathFactory) -> Contract:
    return load(write(tmp_path_factory.mktemp("contract")))


@pytest.fixture(name="checker", scope="module")
def _checker(contract: Contract) -> Checker:
    return Checker(contract, contract.schemas[-1])


def test_good_records_become_bodies_with_their_ids(checker: Checker, contract: Contract) -> None:
    """Sequence, body and raw id side by side, in order; any mapping is a record."""
    values: list[Mapping[str, Any]] = [person(age=1), MappingProxyType(person(age=2))]
    checked = checker.check(batch(*values))
    assert (checked.sequences, checked.ids, checked.rejected) == ([10, 20], [ID, ID], [])
    assert [Codec(contract.schemas[-1]).decode(body) for body in checked.bodies] == [dict(value) for value in values]


def test_a_bad_record_is_rejected_with_place_and_shape_and_no_value(checker: Checker) -> None:
    """The column is the field's path; shapes of the record's fields, none of its values, not even unknown names."""
    bad = person(age="39岁", 张三=1, address={"region": 5, "key": None})
    checked = checker.check(batch(bad))
    assert checked.rejected == [
        Rejected(
            10,
            Place("people.csv", 2, "age"),
            "value_wrong_type",
            {"id": "text:18:digits", "age": "text:3:digits+han", "address": "record:2", "?": "fields:1"},
        )
    ]
    assert not checked.sequences + checked.bodies + checked.ids


def test_a_fault_inside_has_its_own_shape(checker: Checker) -> None:
    """The leaf at fault is shown by its path besides the top-level fields."""
    (rejected,) = checker.check(batch(person(address={"region": 43, "key": None}))).rejected
    assert rejected.place.column == "address.region"
    assert rejected.shape["address.region"] == "integer:2"


@pytest.mark.parametrize("blank", ["", " ", "\u3000", "\t\n", "\u00a0"])
def test_a_blank_subject_is_rejected(checker: Checker, blank: str) -> None:
    """A record without a subject could be found by nobody: not published."""
    (rejected,) = checker.check(batch(person(id=blank))).rejected
    assert (rejected.code, rejected.place.column) == ("subject_missing", "id")


def test_a_null_subject_is_rejected(tmp_path: Path) -> None:
    """Where the schema lets the subject be null, a record may not; a nested subject is found."""
    contract = load(write(tmp_path, GOOD.replace("path: id\n", "path: address.key\n")))
    checker = Checker(contract, contract.schemas[-1])
    checked = checker.check(batch(person(), person(address={"region": "43", "key": "K1"})))
    assert [(one.code, one.place.column) for one in checked.rejected] == [("subject_missing", "address.key")]
    assert checked.rejected[0].shape["address.key"] == "null"
    assert (checked.sequences, checked.ids) == ([20], ["K1"])


def test_a_record_too_large_for_a_message_is_rejected(checker: Checker) -> None:
    """It would stop the whole batch at the log."""
    (rejected,) = checker.check(batch(person(address={"region": "x" * MAX_BODY, "key": None}))).rejected
    assert rejected.code == "record_too_large"


def test_rejections_of_the_adapter_are_kept_in_order(checker: Checker) -> None:
    """All rejected records of the batch by sequence, the adapter's own among them, as they were."""
    own = Rejected(15, Place("people.csv", 9), "cell_id_damaged", {"id": "text:8:digits"})
    checked = checker.check(batch(person(age=None), person(), person(age=1.0), rejected=(own,)))
    assert [one.sequence for one in checked.rejected] == [10, 15, 30]
    assert checked.rejected[1] is own
    assert checked.sequences == [20]


def test_what_is_no_record_is_rejected_alone(checker: Checker) -> None:
    """An adapter that gives nonsense for one record loses that record only."""
    values: list[Any] = [None, person(), 5, "x", [("id", ID)]]
    checked = checker.check(batch(*values))
    assert checked.sequences == [20]
    assert {one.code for one in checked.rejected} == {"value_wrong_type"}


SPOILT = st.sampled_from(
    [{"age": "x"}, {"age": 2**40}, {"age": None}, {"id": ""}, {"id": "\ud800"}, {"extra": 1}, {"address": {}}]
)


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(st.none() | SPOILT, max_size=12))
def test_one_bad_record_changes_nothing_for_the_others(checker: Checker, changes: list[dict[str, Any] | None]) -> None:
    """Whatever stands beside it, a record has the body it has alone; every record is taken or rejected, once."""
    values = [person(age=i) | (change or {}) for i, change in enumerate(changes)]
    checked = checker.check(batch(*values))
    good = [i for i, change in enumerate(changes) if change is None]
    assert checked.sequences == [10 * (i + 1) for i in good]
    assert checked.bodies == [checker.check(batch(values[i])).bodies[0] for i in good]
    assert sorted(checked.sequences + [one.sequence for one in checked.rejected]) == [
        10 * (i + 1) for i in range(len(values))
    ]


def test_every_code_of_a_fault_has_its_sentences() -> None:
    """Dead letters carry codes; each can be told to a person."""
    faults = [fault for name, value, _ in WRONG for fault in CODEC.faults({**RECORD, name: value})]
    faults += CODEC.faults({**RECORD, "x": 1})
    for fault in faults:
        assert all(describe(fault.error(), language) for language in ("en", "zh"))
    assert {fault.code for fault in faults} == {code for code in error_codes() if code.startswith("value_")}
