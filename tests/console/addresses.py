"""Every page there is, and who may see it."""

from typing import Final

from exchange.wiring.searching import WHATS
from tests.console.conftest import OPERATOR, OWN_CASE
from tests.simulator import AUDITOR, AUTHORITY, CHECKER, DATASET, PROVIDER

ROLES: Final = (PROVIDER, CHECKER, AUDITOR, AUTHORITY, OPERATOR)
EVERYBODY: Final = frozenset(ROLES)
PAGES: Final = {
    "/": EVERYBODY,
    "/catalogue": EVERYBODY,
    f"/datasets/{DATASET}": EVERYBODY,
    "/agreements": EVERYBODY,
    "/agreements/agr-1": EVERYBODY,
    "/agreements/agr-2": EVERYBODY,
    "/agreements/new": frozenset({PROVIDER, CHECKER}),
    f"/agreements/new?dataset={DATASET}": frozenset({PROVIDER, CHECKER}),
    "/records": frozenset({PROVIDER, CHECKER}),
    "/side-by-side": frozenset({PROVIDER}),
    f"/datasets/{DATASET}/side-by-side": frozenset({PROVIDER}),
    f"/datasets/{DATASET}/side-by-side?case={OWN_CASE}": frozenset({PROVIDER}),
    "/dead-letters": frozenset({PROVIDER}),
    f"/datasets/{DATASET}/dead-letters": frozenset({PROVIDER}),
    "/who-saw": frozenset({AUDITOR}),
    "/audit": frozenset({AUDITOR}),
    "/audit?before=3": frozenset({AUDITOR}),
    "/audit/entries/0": frozenset({AUDITOR}),
    "/audit/entries/20": frozenset({AUDITOR}),
    "/audit/entries/20/proof": frozenset({AUDITOR}),
    "/audit/checkpoint": frozenset({AUDITOR}),
    **{f"/audit/{what}?size=40": frozenset({AUDITOR}) for what in WHATS},
    f"/audit/releases?dataset={DATASET}&officer={CHECKER}&from=2020-01-01&size=50": frozenset({AUDITOR}),
    "/audit/keys?department=ny.nobody&size=40": frozenset({AUDITOR}),
    "/audit/grants.csv": frozenset({AUDITOR}),
    "/audit/grants.xlsx": frozenset({AUDITOR}),
}
