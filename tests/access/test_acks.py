"""What a consumer confirms, and who may not."""

import json
from typing import Any

import pytest

from exchange.access.acks import MOST_ACKS, OUTCOMES, Ack
from exchange.control.questions import Request
from exchange.errors import ExchangeError
from exchange.names import digest_bytes
from exchange.settings import secret
from exchange.wiring import Exchange
from exchange.wiring.desk import LocalDesk
from tests.simulator import ASKED, AUDITOR, CASE, CHECKER, DATASET, MEMBERS, PROVIDER, PURPOSE, Site


def _desk(exchange: Exchange, site: Site, who: str = CHECKER) -> LocalDesk:
    token = secret(site.token(who), site.root)
    return LocalDesk(exchange, exchange.control.model().principal_for(token, exchange.now_ns()))


def _code(desk: LocalDesk, *acks: Ack) -> str:
    with pytest.raises(ExchangeError) as caught:
        desk.acknowledge(acks)
    return caught.value.code


def _acks(exchange: Exchange) -> list[dict[str, Any]]:
    return [body for _, kind, body in exchange.audit.entries(0, exchange.audit.size) if kind == "ack"]


def test_a_release_is_confirmed_once_for_each_word(site: Site) -> None:
    """The entry names the release by id and index, who says it, and what he has; saying it again changes nothing."""
    with site.opened() as exchange:
        desk = _desk(exchange, site)
        release = desk.lookup(Request("lookup", DATASET, PURPOSE, CASE), MEMBERS, "jsonl")
        ack = Ack(release.index, "received", digest_bytes(release.payload), release.released)
        first = desk.acknowledge([ack])
        assert desk.acknowledge([ack, Ack(release.index), ack]) == first * 3
        more = desk.acknowledge([Ack(release.index, one) for one in OUTCOMES])
        assert more[0] == first[0] < more[1] < more[2]
        entries = _acks(exchange)
        assert [one["outcome"] for one in entries] == list(OUTCOMES)
        known = exchange.audit.entry(release.index)[1]
        assert {(one["release"], one["index"], one["recipient"]) for one in entries} == {
            (known["id"], release.index, known["recipient"])
        }
        assert (entries[0]["payload_digest"], entries[0]["records"]) == (known["payload_digest"], known["released"])


def test_what_is_not_ones_own_cannot_be_confirmed(site: Site) -> None:
    """Neither another department's release nor an entry that is none: one refusal for both, audited; nothing of the
    others in the same call is confirmed.
    """
    with site.opened() as exchange:
        desk = _desk(exchange, site)
        release = desk.lookup(Request("lookup", DATASET, PURPOSE, CASE), MEMBERS, "jsonl")
        assert _code(_desk(exchange, site, PROVIDER), Ack(release.index)) == "ack_not_own"
        assert _code(desk, Ack(release.index), Ack(0)) == "ack_not_own"
        last = exchange.audit.entry(exchange.audit.size - 1)
        assert (last[0], last[1]["reasons"], last[1]["action"]) == ("refusal", ["ack_not_own"], "ack")
        assert _code(desk, Ack(release.index), Ack(1 << 40)) == "audit_entry_unknown"
        assert _acks(exchange) == []


@pytest.mark.parametrize("change", [{"payload_digest": "sha256:" + "0" * 64}, {"records": 7}])
def test_other_bytes_than_were_handed_over_are_told(site: Site, change: dict[str, Any]) -> None:
    """A consumer that has something else learns it before it relies on it; nothing is written."""
    with site.opened() as exchange:
        desk = _desk(exchange, site)
        release = desk.lookup(Request("lookup", DATASET, PURPOSE, CASE), MEMBERS, "jsonl")
        assert _code(desk, Ack(release.index), Ack(release.index, **change)) == "ack_differs"
        assert _code(desk) == "ack_count"
        assert _code(desk, *[Ack(release.index)] * (MOST_ACKS + 1)) == "ack_count"
        assert _acks(exchange) == []


def test_a_reading_confirms_itself_when_asked_to(site: Site) -> None:
    """`--ack` confirms every release of a `read` and a `lookup` with digest and count; without it none is."""
    assert site.read().code == 0
    ran = site.read("--ack", "--out", str(site.folder / "records"))
    assert ran.code == 0, ran.stderr
    looked = site.run("lookup", DATASET, *ASKED, "--ack", who=CHECKER, stdin="\n".join(MEMBERS))
    assert looked.code == 0, looked.stderr
    releases = {index: body for index, _, body in site.entries("release")}
    confirmed = {body["index"]: body for _, _, body in site.entries("ack")}
    assert len(confirmed) == len(releases) - 1 == 2
    for index, ack in confirmed.items():
        assert (ack["payload_digest"], ack["records"]) == (
            releases[index]["payload_digest"],
            releases[index]["released"],
        )


def test_ack_takes_indexes(site: Site) -> None:
    """`ack` confirms by hand, with an outcome; an auditor of another department cannot."""
    assert site.read().code == 0
    (index, _, _), *_ = site.entries("release")
    ran = site.run("ack", str(index), "--outcome", "discarded", "--json", who=CHECKER)
    assert (ran.code, [one["outcome"] for _, _, one in site.entries("ack")]) == (0, ["discarded"]), ran.stderr
    assert json.loads(ran.out)["indexes"] == [site.entries("ack")[0][0]]
    assert site.run("ack", str(index), who=AUDITOR).error_code == "ack_not_own"
