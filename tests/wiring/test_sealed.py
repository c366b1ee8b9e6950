"""An auditor's answers from the sealed part of the index, on a whole site."""

import pytest

from exchange.audit.segments import PAGE, pages_root
from exchange.audit.verify import verify
from exchange.control.questions import Request
from exchange.errors import Refused
from exchange.settings import secret
from exchange.wiring import sealed
from exchange.wiring.desk import LocalDesk
from tests.simulator import AUDITOR, CASE, CHECKER, DATASET, MEMBERS, NEIGHBOUR, PURPOSE, Site


def test_what_was_sealed_answers_as_who_saw_does(site: Site) -> None:
    """For a member, a neighbour and somebody unknown: the same entries, each part with its proof; the question is in
    the log; only an auditor may seal or ask.
    """
    assert site.read().code == 0
    with site.opened() as exchange:
        model = exchange.control.model()
        desks = {
            who: LocalDesk(exchange, model.principal_for(secret(site.token(who), site.root), exchange.now_ns()))
            for who in (AUDITOR, CHECKER)
        }
        desk = desks[AUDITOR]
        desks[CHECKER].lookup(Request("lookup", DATASET, PURPOSE, CASE), MEMBERS, "jsonl")
        size = exchange.audit.size
        assert desk.seal_index() == 4  # records, their dead letters, named and ranges
        for person in (*MEMBERS, NEIGHBOUR, "110101199003070011"):
            (tag,) = exchange.tagger.tags("person", [person])
            seen = {row["index"] for row in desk.who_saw("person", [person], as_written=True) if row["index"] < size}
            found = sealed.answer(exchange, [tag])
            assert (found.entries >= size, found.records[DATASET, 0] > 0, found.whole) == (True, True, True)
            others = {index: exchange.audit.entry(index) for index in found.indexes - seen if index < size}
            excluded = [index for index, (_, body) in others.items() if body["excluded"] is None]
            assert seen <= found.indexes
            assert not excluded
            for part in found.parts:
                one = part.segment.sealed
                assert pages_root(-(-one.count // PAGE), part.pages, part.proof) == one.root
        assert sealed.seal_what_is_due(exchange) == 0
        with pytest.raises(Refused, match="auditor_required"):
            sealed.seal(exchange, desks[CHECKER].who)


def test_index_and_segments_are_made_again_from_the_logs(site: Site) -> None:
    """With both deleted: the same answers, the same files under the same roots; nothing new is sealed by that."""
    assert site.read().code == 0
    data = site.root / "data"
    with site.opened() as exchange:
        tag = exchange.tagger.tags("person", [MEMBERS[0]])
        told, found = exchange.sightings(tag[0]), sealed.answer(exchange, tag)
        before, size = exchange.subjects.segments(), exchange.audit.size
    files = {one.name: one.read_bytes() for one in (data / "segments").iterdir()}
    assert len(files) == len(before) == 4
    for one in [*(data / "segments").iterdir(), *data.glob("subjects.db*")]:
        one.unlink()
    with site.opened() as exchange:
        assert exchange.sightings(tag[0]) == told
        assert told
        assert exchange.followed().segments() == before
        known = exchange.subjects.segments()
        again = sealed.of(exchange).answer(tag, known)
        assert (again, exchange.audit.size) == (found, size)
    verdict = verify(data / "audit", (site.root / "keys" / "audit.vkey").read_text("utf-8").strip())
    assert (verdict.findings, verdict.entries["index_segment"]) == ((), 4)
    for name, data_of in files.items():
        assert (data / "segments" / name).read_bytes() == data_of
