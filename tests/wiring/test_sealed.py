"""An auditor's answers from the sealed part of the index, on a whole site."""

import pytest

from exchange.audit.segments import WIDTHS, shown
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
            seen = {row["index"] for row in desk.who_saw("person", [person]) if row["index"] < size}
            found = sealed.answer(exchange, desk.who, tag)
            assert (found.entries, found.records[DATASET, 0] > 0) == (size, True)
            excluded = [index for index in found.indexes - seen if exchange.audit.entry(index)[1]["excluded"] is None]
            assert seen <= found.indexes
            assert not excluded
            for part in found.parts:
                one = part.segment.sealed
                rows = shown(part.found, one.count, one.root, WIDTHS[part.segment.list], part.low, part.high)
                assert rows == list(part.found.rows)
        assert exchange.audit.entry(exchange.audit.size - 1)[1]["query"] == "who_saw"
        assert sealed.seal_what_is_due(exchange) == 0
        with pytest.raises(Refused, match="auditor_required"):
            sealed.answer(exchange, desks[CHECKER].who, bytes(16))
