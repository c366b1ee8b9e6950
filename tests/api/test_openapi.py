"""Schemathesis against the app: inputs made from the description, right and wrong ones, and answers judged by it."""

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from exchange.api.examples import EXAMPLES
from tests.api.calling import Api, calling
from tests.api.playing import ORDER, operations
from tests.simulator import AUDITOR, AUTHORITY, CHECKER, PROVIDER, Site

pytestmark = pytest.mark.whole
_PEOPLE: Final = (AUTHORITY, PROVIDER, CHECKER, AUDITOR)
_CHECKS: Final[list[Any]] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
_WITH_NUMBERS: Final = {"test_policy", "read", "audit_entry", "audit_proof"}
_TOO_LARGE: Final = 413
_EXAMPLES: Final = 25  # of each operation, right and wrong


@pytest.fixture(scope="module")
def fuzzed(made: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Over a site to which anything may be done."""
    with calling(made.copy(tmp_path_factory.mktemp("fuzzed") / "exchange")) as found:
        yield found


@pytest.mark.parametrize(
    ("name", "mode"),
    [(name, GenerationMode.POSITIVE) for name in sorted({name for name, _, _ in ORDER})]
    # Any text is a name: where nothing else is given there is nothing that could be of another form.
    + [(name, GenerationMode.NEGATIVE) for name in sorted({*EXAMPLES, *_WITH_NUMBERS})],
)
def test_any_input_is_answered_as_described(fuzzed: Api, name: str, mode: GenerationMode) -> None:
    """No 5xx, no status, type or form that the description does not know; a body that is none is never taken."""
    described = fuzzed.get("/openapi.json").json
    method, path, operation = operations(described)[name]
    operation.pop("security", None)  # the token is always ours: what is without one stands in test_caller
    asked = schemathesis.openapi.from_dict(described)[path][method.upper()]

    @seed(20_261_124)
    @settings(
        max_examples=_EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=asked.as_strategy(generation_mode=mode), who=st.sampled_from(_PEOPLE))
    def played(case: Any, who: str) -> None:
        request = requests.Request(**case.as_transport_kwargs(base_url="http://127.0.0.1")).prepare()
        request.headers.pop("Authorization", None)
        parts = urlsplit(request.url or "")
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        body = request.body.encode() if isinstance(request.body, str) else request.body
        headers = [(key, value) for key, value in request.headers.items()]
        answer = fuzzed.ask(request.method or "", target, who, headers, body)
        told = Response(
            answer.status,
            {key: [value] for key, value in answer.headers.items()},
            answer.body,
            request,
            elapsed=0.0,
            verify=False,
        )
        wrong = mode is GenerationMode.NEGATIVE and answer.status != _TOO_LARGE  # which it does not count as a refusal
        checks = [*_CHECKS, negative_data_rejection] if wrong else _CHECKS
        if name == "readyz" and answer.status == 503:  # as it should be once the policy was withdrawn
            checks = [one for one in checks if one is not not_a_server_error]
        case.validate_response(told, checks=checks)

    played()
