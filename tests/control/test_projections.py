"""The fold: equal however the events are cut, whole, and never silent about what it does not know."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.control import commands as c
from exchange.control.events import FORMS, Event, raises
from exchange.control.model import Model
from exchange.control.projections import _HANDLERS, apply, fold
from exchange.errors import Tampered, Unavailable
from tests.control.failing import fails
from tests.control.town import AUTHORITY, CIVIL, CIVIL_SYSTEM, DAY, DIGEST, NOW, POLICE_STEWARD, Town, agreed, governed


def _lived() -> Town:
    """A town in which every kind of event has happened."""
    town = governed()
    agreed(town, expires_ns=NOW + DAY)
    agreed(town)
    town.do(CIVIL_SYSTEM, c.OpenCase("case-1", "person", "a", ["0" * 32], []))
    town.do(CIVIL_SYSTEM, c.ChangeCaseMembers("case-1", []))
    town.do(CIVIL_SYSTEM, c.CloseCase("case-1", "done"))
    town.do(POLICE_STEWARD, c.OpenIntake("ps.hukou_person", "User:police"))
    town.do(AUTHORITY, c.CloseIntake("ps.hukou_person"))
    town.do(AUTHORITY, c.RevokeAgreement("agr-2", "misuse"))
    for _ in range(2):
        town.do(CIVIL_SYSTEM, c.RequestAgreement(dict(town.terms_of("agr-2").to_document())))
    town.do(POLICE_STEWARD, c.ReviewAgreement("agr-3", "return", "no"))
    town.do(AUTHORITY, c.RejectAgreement("agr-4", "no"))
    town.do(AUTHORITY, c.IssueToken(CIVIL_SYSTEM, "f" * 16, DIGEST, NOW + DAY))
    town.do(AUTHORITY, c.RevokeToken("f" * 16))
    town.do(AUTHORITY, c.ChangeRoles(CIVIL_SYSTEM, ["steward"]))
    town.do(AUTHORITY, c.SuspendPrincipal(CIVIL_SYSTEM, "left"))
    town.do(AUTHORITY, c.WithdrawPolicy("a mistake"))
    town.now_ns += DAY
    town.do(AUTHORITY, c.ExpireAgreements())
    return town


LIVED = _lived()


def test_every_event_has_a_form_a_handler_and_happened_here() -> None:
    """So the tests below are about all of them."""
    assert {event.name for event in LIVED.events} == set(FORMS) == set(_HANDLERS)


@given(st.lists(st.integers(0, len(LIVED.events))))
def test_a_rebuild_is_equal_however_the_events_are_cut(cuts: list[int]) -> None:
    """From zero in one go, in parts, or one by one: the same model as the one that was kept up to date."""
    model, start = Model(), 0
    for end in sorted({*cuts, len(LIVED.events)}):
        model, start = fold(model, LIVED.events[start:end]), end
    assert model == LIVED.model


def test_a_fold_leaves_the_former_model_as_it_was() -> None:
    """Somebody may still be reading it."""
    models = [Model()]
    for event in LIVED.events:
        models.append(apply(models[-1], event))
    again = [Model()]
    for event in LIVED.events:
        again.append(apply(again[-1], event))
    assert models == again
    assert models[0] == Model()


def test_an_epoch_is_the_version_of_the_last_event_that_raised_it() -> None:
    """It rises strictly, begins at 1, and equals what the model's things say of themselves."""
    seen: dict[str, int] = {}
    for event in LIVED.events:
        for name, value in raises(event).items():
            assert value > seen.get(name, 0)
            assert name in seen or value == 1
            seen[name] = value
    model = LIVED.model
    assert model.epochs == seen
    assert {name.partition("/")[0] for name in seen} == {"principal", "dataset", "case", "agreement", "policy"}
    for prefix, things in (
        ("principal", model.principals),
        ("dataset", model.datasets),
        ("case", model.cases),
        ("agreement", model.agreements),
    ):
        epochs = {f"{prefix}/{name}": thing.epoch for name, thing in things.items()}
        assert epochs.items() <= seen.items()


def _next(name: str = "case.closed/1", data: Any = None, **changes: Any) -> Event:
    model = LIVED.model
    plain = Event(model.position + 1, "case/case-1", 4, name, data or {"case": "case-1", "reason": "x"}, CIVIL, NOW)
    return replace(plain, **changes)


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (_next("case.forgotten/1"), "event_unknown"),
        (_next(""), "event_unknown"),
        (_next("exchange.control.events.CaseClosed"), "event_unknown"),
        (_next(data={"case": "case-1"}), "event_damaged"),
        (_next(data={"case": "case-1", "reason": "x", "more": 1}), "event_damaged"),
        (_next(data={"case": "case-9", "reason": "x"}), "event_damaged"),
        (_next(data={"case": [], "reason": "x"}), "event_damaged"),
        (
            _next("schemas.assigned/1", {"assigned": [{"schema_id": 1, "fingerprint": "", "subject": ""}]}),
            "event_damaged",
        ),
        (_next("agreement.requested/1", {"agreement": "agr-9", "terms": {"consumer": "x"}}), "event_damaged"),
        (_next(position=LIVED.model.position), "events_missing"),
        (_next(position=LIVED.model.position + 2), "events_missing"),
        (_next(version=5), "events_missing"),
        (_next(version=3), "events_missing"),
    ],
)
def test_what_no_version_of_ours_wrote_stops_the_fold(event: Event, code: str) -> None:
    """An event is never passed over: a name, a key, a reference or a place that cannot be is tampering."""
    with fails(Tampered, code):
        apply(LIVED.model, event)


def test_an_event_of_a_later_version_asks_for_a_newer_program() -> None:
    """It is not tampering: nothing is guessed, and the upgrade helps."""
    with fails(Unavailable, "event_from_newer_version"):
        apply(LIVED.model, _next("case.closed/2"))
