"""Tokens: what they look like, and what an outsider learns from a wrong one."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.control import commands as c
from exchange.control.tokens import TOKEN_ID, authentic, new_token, token_id
from exchange.errors import Refused
from exchange.names import digest_bytes
from tests.control.failing import fails
from tests.control.town import AUTHORITY, CIVIL_SYSTEM, DAY, NOW, Town

TEXT, ID, DIGEST = new_token(random.Random(3).randbytes)


def _issued(town: Town) -> Town:
    town.do(AUTHORITY, c.IssueToken(CIVIL_SYSTEM, ID, DIGEST, NOW + DAY))
    return town


def test_a_token_is_an_id_and_256_random_bits() -> None:
    """Text, id and digest belong together; the digest is of the whole text."""
    assert TEXT.startswith(f"xt1.{ID}.")
    assert TOKEN_ID.fullmatch(ID)
    assert token_id(TEXT) == ID
    assert digest_bytes(TEXT.encode()) == DIGEST
    assert authentic(TEXT, DIGEST)
    assert not authentic(TEXT, None)


def test_a_good_token_tells_its_account(new_town: Town) -> None:
    """Until its last nanosecond."""
    model = _issued(new_town).model
    assert model.principal_for(TEXT, NOW + DAY - 1) == model.principals[CIVIL_SYSTEM]
    with fails(Refused, "token_expired"):
        model.principal_for(TEXT, NOW + DAY)


def test_a_revoked_token_and_a_suspended_account_are_refused(new_town: Town) -> None:
    """Each with its own code, to who has the secret."""
    town = _issued(new_town)
    revoked, suspended = town.model, town.model
    town.do(AUTHORITY, c.SuspendPrincipal(CIVIL_SYSTEM, "left"))
    suspended = town.model
    with fails(Refused, "principal_suspended"):
        suspended.principal_for(TEXT, NOW)
    town.do(AUTHORITY, c.RevokeToken(ID))
    revoked = town.model
    with fails(Refused, "token_revoked"):
        revoked.principal_for(TEXT, NOW)


@pytest.mark.parametrize("now_ns", [NOW, NOW + 2 * DAY])
def test_an_outsider_does_not_learn_whether_an_id_exists(new_town: Town, now_ns: int) -> None:
    """Unknown id, wrong secret (expired or not) and nonsense give one and the same error."""
    model = _issued(new_town).model
    wrong = TEXT[:-1] + ("A" if TEXT[-1] != "A" else "B")
    unknown = f"xt1.{'0' * 16}.{TEXT.rpartition('.')[2]}"
    seen = set()
    for text in (wrong, unknown, "", "xt1", "\ud800", TEXT + "\n", TEXT.upper()):
        with pytest.raises(Refused) as caught:
            model.principal_for(text, now_ns)
        seen.add(str(caught.value))
    assert seen == {"token_unknown"}


@given(st.text())
def test_no_other_text_is_authentic(text: str) -> None:
    """Only the text itself has its digest."""
    assert authentic(text, DIGEST) == (text == TEXT)
