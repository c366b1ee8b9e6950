"""The PUBLISH path where nothing fails: what goes in comes out once, what is bad goes aside and tells no value."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exchange.avro.records import Codec
from exchange.avro.schema import from_document
from exchange.control.catalogue import DEAD_LETTER
from exchange.errors import Invalid, Tampered, Unavailable
from exchange.log.dead_letters import NO_TAG, topic_of
from exchange.names import partition_of
from exchange.publish import Published, commits, publish
from exchange.signing.tags import SubjectTagger
from exchange.source import Place, Rejected, SourceBatch
from tests.log.kafka import modelled_log
from tests.publish.building import (
    DATASET,
    SOURCE,
    SUBJECT_KEY,
    ListAdapter,
    Site,
    check_commits,
    open_site,
    people,
    person,
    readable,
)

DEAD = topic_of(DATASET)


@pytest.fixture
def site(folder: Path) -> Iterator[Site]:
    """An open site with no records."""
    made = open_site(folder)
    yield made
    made.close()


def send(site: Site, records: dict[int, Any], **changes: Any) -> tuple[Published, list[Published]]:
    """Publishes records by sequence: the result, and what was acknowledged on the way."""
    told: list[Published] = []
    adapter = ListAdapter(records, **changes)
    return publish(adapter, site.target, site.parts, on_batch=told.append), told


def dead_letters(site: Site) -> list[dict[str, Any]]:
    """The readable dead letters."""
    codec = Codec(from_document(DEAD_LETTER))
    return [codec.decode(value) for value in readable(site, DEAD)]


def test_what_goes_in_is_readable_once_and_audited(site: Site) -> None:
    """Every record, in its subject's partition under its tag, in entries that fit log and seal."""
    total, told = send(site, {number: person(number) for number in range(1, 11)})
    assert total == Published(SOURCE, 10, 0, 0, 10, 3) == told[-1]
    assert [one.taken for one in told] == [4, 8, 10]
    assert people(site) == list(range(1, 11))
    tagger = SubjectTagger(SUBJECT_KEY)
    for number in range(1, 11):
        tag = tagger.tag("person", person(number)["id_number"])
        records = site.log.read(DATASET, partition_of(tag, 2), 0, 100)
        assert Codec(site.target.checker._codec.schema).decode(records.values[list(records.tags).index(tag)]) == person(
            number
        )
    check_commits(site)


def test_entries_adjoin_although_positions_have_gaps(site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Kafka a position is used up at the end of each append: a batch is committed from where the last one ended,
    without being read back.
    """
    log = modelled_log(folder)
    gapped = replace(site, log=log, parts=replace(site.parts, log=log))
    monkeypatch.setattr(commits, "commit_behind", None)
    send(gapped, {number: person(number) for number in range(1, 11)})
    assert people(gapped) == list(range(1, 11))
    check_commits(gapped)
    assert any(log.end(DATASET, part) > len(log.read(DATASET, part, 0, 100).positions) + 1 for part in range(2))


@pytest.mark.parametrize("ignores_mark", [False, True])
def test_sending_again_changes_nothing(site: Site, ignores_mark: bool) -> None:
    """The same content again, whether or not the adapter knows the mark: nothing is stored, nothing is audited."""
    records: dict[int, Any] = {number: person(number) for number in range(1, 7)}
    records[3] = {"bad": 1}
    send(site, records)
    size = site.audit.size
    total, _ = send(site, records, ignores_mark=ignores_mark)
    assert (total.taken, total.rejected, total.last_sequence) == (0, 0, 6)
    assert total.already == (6 if ignores_mark else 0)
    assert people(site) == [1, 2, 4, 5, 6]
    assert len(dead_letters(site)) == 1
    assert site.audit.size == size


def test_a_batch_taken_in_part_goes_on_after_the_mark(site: Site) -> None:
    """Records below the mark are left out, good and rejected ones; the rest of their batch goes in."""
    send(site, {number: person(number) for number in range(1, 4)})
    records: dict[int, Any] = {number: person(number) for number in range(1, 9)}
    records[2] = Rejected(2, Place("f", 2), "row_too_short")
    records[6] = Rejected(6, Place("f", 6), "row_too_short")
    total, _ = send(site, records, ignores_mark=True)
    assert (total.taken, total.rejected, total.already, total.last_sequence) == (4, 1, 3, 8)
    assert people(site) == [1, 2, 3, 4, 5, 7, 8]
    check_commits(site)


def test_one_bad_record_does_not_stop_the_others(site: Site) -> None:
    """Bad records of the adapter and of the check lie in the dead letters, with place, code and shape."""
    records: dict[int, Any] = {number: person(number) for number in range(1, 7)}
    records[2] = {**person(2), "income": "640"}
    records[4] = Rejected(4, Place("people.csv", 5, "身份证号"), "id_in_exponent", {"id_number": "text of 8"})
    records[5] = {**person(5), "id_number": " "}
    total, _ = send(site, records)
    assert (total.taken, total.rejected) == (3, 3)
    assert people(site) == [1, 3, 6]
    letters = dead_letters(site)
    assert [one["sequence"] for one in letters] == [2, 4, 5]
    assert [(one["source"], one["file"]) for one in letters] == [(SOURCE, "people.csv")] * 3
    assert [(one["row"], one["column"]) for one in letters] == [(3, "income"), (5, "身份证号"), (6, "id_number")]
    assert letters[1]["code"] == "id_in_exponent"
    assert letters[1]["shape"] == {"id_number": "text of 8"}
    assert set(site.log.read(DEAD, 0, 0, 10).tags) == {NO_TAG}
    check_commits(site)


def test_a_batch_of_bad_records_only_is_sealed_and_not_sent_again(site: Site) -> None:
    """Nothing good in it: the mark rises all the same, and their leaves are kept."""
    total, _ = send(site, {1: {}, 2: {"x": 1}})
    assert (total.taken, total.rejected, total.last_sequence) == (0, 2, 2)
    assert site.log.mark(SOURCE) == 2
    assert readable(site) == []
    headers = site.log.headers(DEAD, 0, 0)
    assert len(site.parts.seals.get(headers["seal"]).leaves) == 2
    check_commits(site)


def test_no_id_and_no_value_stands_anywhere_but_in_the_records(folder: Path) -> None:
    """Ids and values of good and bad records: not in dead letters, headers, seals, audit log, files' names."""
    site = open_site(folder, batch_records=3)
    records: dict[int, Any] = {number: person(number) for number in range(1, 9)}
    records[3] = {**person(3), "income": "4300001990"}
    records[5] = {**person(5), person(5)["id_number"]: person(5)["name"]}
    records[7] = {**person(7), "id_number": 430000199001010007}
    send(site, records)
    secrets = [text.encode() for number in range(1, 9) for text in (person(number)["id_number"], f"name-{number}")]
    letters = b"".join(readable(site, DEAD))
    headers = repr([site.log.headers(DEAD, 0, place) for place in range(3)]).encode()
    stored = b"".join(item.read_bytes() for item in folder.rglob("*") if item.is_file() and "records" not in item.name)
    names = " ".join(item.name for item in folder.rglob("*")).encode()
    assert len(dead_letters(site)) == 3
    for place in (letters, headers, stored, names):
        assert not any(secret in place for secret in secrets)
    site.close()


@pytest.mark.parametrize(
    "batch",
    [
        SourceBatch([2, 1], [person(2), person(1)], [Place("f", 1)] * 2),
        SourceBatch([1, 1], [person(1), person(2)], [Place("f", 1)] * 2),
        SourceBatch([0], [person(1)], [Place("f", 1)]),
        SourceBatch([1, 2], [person(1)], [Place("f", 1)] * 2),
        SourceBatch([1], [person(1)], []),
        SourceBatch([1], [person(1)], [Place("f", 1)], [Rejected(1, Place("f", 2), "row_too_short")]),
        SourceBatch([], [], [], [Rejected(-1, Place("f", 2), "row_too_short")]),
    ],
)
def test_an_adapter_that_breaks_its_contract_is_refused(site: Site, batch: SourceBatch) -> None:
    """Sequences that fall, repeat or are no event ids, columns of unlike length: nothing of the batch is taken."""

    class Broken(ListAdapter):
        def batches(self, mark: int, limit: int) -> Iterator[SourceBatch]:
            assert (mark, limit) == (0, 4)
            yield batch

    with pytest.raises(Invalid, match="source_batch_malformed") as caught:
        publish(Broken({}), site.target, site.parts, on_batch=lambda _: None)
    assert "4300" not in str(caught.value)
    assert (site.log.mark(SOURCE), readable(site)) == (0, [])


def test_a_source_name_out_of_form_is_refused(site: Site) -> None:
    """The source is half of every event id, and a header: it has a form."""
    with pytest.raises(Invalid, match="name_malformed"):
        send(site, {1: person(1)}, source="No Source")


def test_two_publishers_of_one_source_double_nothing(site: Site) -> None:
    """Somebody appends between our look at the mark and our append: what they took is left out."""
    inner = site.parts.log
    pending = [{1: person(1), 2: person(2)}]

    class Racing:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def append(self, *arguments: Any) -> Any:
            if pending:
                send(site, pending.pop())
            return inner.append(*arguments)

    parts = replace(site.parts, log=Racing())
    total = publish(
        ListAdapter({number: person(number) for number in range(1, 5)}), site.target, parts, on_batch=lambda _: None
    )
    assert (total.taken, total.already, total.last_sequence) == (2, 2, 4)
    assert people(site) == [1, 2, 3, 4]
    check_commits(site)


def test_a_source_that_others_keep_taking_from_is_given_up(site: Site) -> None:
    """Five lost races in a row: Unavailable, nothing of ours is stored."""
    inner, others = site.parts.log, iter(range(1, 20))

    class Racing:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def append(self, *arguments: Any) -> Any:
            inner.append(SOURCE, next(others), [])
            return inner.append(*arguments)

    parts = replace(site.parts, log=Racing(), batch_records=50)
    adapter = ListAdapter({number: person(number) for number in range(1, 20)})
    with pytest.raises(Unavailable, match="source_contended"):
        publish(adapter, site.target, parts, on_batch=lambda _: None)
    assert readable(site) == []


def test_a_seal_that_is_not_there_is_tampering(site: Site) -> None:
    """A commit names seals that were kept before it: one that is gone was taken away."""
    with pytest.raises(Tampered, match="seal_missing"):
        site.parts.seals.get("0" * 32)
