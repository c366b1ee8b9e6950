"""Every operation of the API with its example, in an order that makes sense, on a copy of the simulator's site.

python -m tests.api.playing      # writes what was answered into exchange/api/examples.json
"""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from exchange.api import examples
from exchange.cli.searching import WHATS
from tests.api.calling import Answer, Api, calling
from tests.simulator import AUDITOR, AUTHORITY, CHECKER, CONSUMER, PROVIDER, SYSTEM, build

NOBODY: Final = ""
# Operation, who asks, and where its places come from when not from the examples: another operation's answer (or its
# header); a place with dots is one in the body.
ORDER: Final[tuple[tuple[str, str, dict[str, tuple[str, str]]], ...]] = (
    ("healthz", NOBODY, {}),
    ("readyz", NOBODY, {}),
    ("metrics", NOBODY, {}),
    ("problem_page", NOBODY, {}),
    ("me", CHECKER, {}),
    ("explain", CHECKER, {}),
    ("read", CHECKER, {}),
    ("lookup", CHECKER, {}),
    ("acknowledge", CHECKER, {"acks.0.index": ("lookup", "exchange-index")}),
    ("mark", SYSTEM, {}),
    ("publish", SYSTEM, {}),
    ("dead_letters", PROVIDER, {}),
    ("withheld", PROVIDER, {}),
    ("show_dataset", CHECKER, {}),
    ("show_contract", PROVIDER, {}),
    ("show_agreement", CONSUMER, {}),
    ("AddDepartment", AUTHORITY, {}),
    ("AddPrincipal", AUTHORITY, {}),
    ("IssueToken", AUTHORITY, {}),
    ("rotate_token", AUTHORITY, {}),
    ("issue_token", AUTHORITY, {}),
    ("RevokeToken", AUTHORITY, {"token": ("issue_token", "id")}),
    ("SubmitContract", PROVIDER, {}),
    ("OpenIntake", PROVIDER, {}),
    ("CloseIntake", PROVIDER, {}),
    ("open_case", CHECKER, {}),
    ("change_members", CHECKER, {"case": ("open_case", "about")}),
    ("CloseCase", CHECKER, {"case": ("open_case", "about")}),
    ("RequestAgreement", CONSUMER, {}),
    ("ReviewAgreement", PROVIDER, {"agreement": ("RequestAgreement", "about")}),
    ("ApproveAgreement", AUTHORITY, {"agreement": ("RequestAgreement", "about")}),
    ("RevokeAgreement", PROVIDER, {"agreement": ("RequestAgreement", "about")}),
    ("RequestAgreement", CONSUMER, {}),
    ("RejectAgreement", AUTHORITY, {"agreement": ("RequestAgreement", "about")}),
    ("ExpireAgreements", AUTHORITY, {}),
    ("test_policy", PROVIDER, {}),
    ("submit_policy", PROVIDER, {}),
    ("ApprovePolicy", AUTHORITY, {"revision": ("submit_policy", "about")}),
    ("WithdrawPolicy", AUTHORITY, {}),
    ("list_departments", CHECKER, {}),
    ("list_principals", CHECKER, {}),
    ("list_tokens", CHECKER, {}),
    ("list_datasets", CHECKER, {}),
    ("list_cases", CHECKER, {}),
    ("list_agreements", CHECKER, {}),
    ("list_policies", CHECKER, {}),
    ("who_saw", AUDITOR, {}),
    ("seal_index", AUDITOR, {}),
    *((f"audit_{what}", AUDITOR, {}) for what in WHATS),
    ("audit_bundle", AUDITOR, {}),
    ("audit_search_bundle", AUDITOR, {}),
    ("audit_entry", AUDITOR, {}),
    ("audit_detail", AUDITOR, {"index": ("audit_queries", "-1.index")}),
    ("expire_details", AUDITOR, {}),
    ("audit_proof", AUDITOR, {}),
    ("checkpoint", AUDITOR, {}),
    ("log_checkpoint", NOBODY, {}),
    ("log_tile", NOBODY, {}),
    ("log_entries", AUDITOR, {}),
    ("status", AUDITOR, {}),
    ("ChangeRoles", AUTHORITY, {}),
    ("SuspendPrincipal", AUTHORITY, {}),
)


@dataclass(frozen=True)
class Played:
    """One operation, its part of the description, and what was answered."""

    name: str
    operation: dict[str, Any]
    answer: Answer


def played(api: Api, described: dict[str, Any]) -> Iterator[Played]:
    """Plays them all, with nothing but what the description says."""
    known = operations(described)
    said: dict[str, Any] = {}
    for name, who, sources in ORDER:
        method, path, operation = known[name]
        query = {}
        for place in operation.get("parameters", ()):
            value = _example(place)
            if place["name"] in sources:
                source, key = sources[place["name"]]
                value = _at(said[source], key)
            if place["in"] == "path":
                path = path.replace("{" + place["name"] + "}", str(value))
            elif value is not None:
                query[place["name"]] = value
        target = path + ("?" + "&".join(f"{key}={value}" for key, value in query.items()) if query else "")
        media, body = _body(operation)
        for place, (source, key) in sources.items():
            if "." in place:
                body = _with(body, place.split("."), int(said[source][key]))
        answer = api.ask(method.upper(), target, who or None, [("Content-Type", media)] if media else (), body)
        if answer.status == 200 and answer.headers["content-type"] == "application/json":
            said[name] = answer.json
        elif answer.status == 200:
            said[name] = answer.headers
        yield Played(name, operation, answer)


def operations(described: dict[str, Any]) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Method, path and description of each operation, by its name."""
    return {
        operation["operationId"]: (method, path, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }


def _at(said: Any, key: str) -> Any:
    """What was said at a place like `about` or `-1.index`."""
    for name in key.split("."):
        said = said[int(name)] if isinstance(said, list) else said[name]
    return said


def _with(body: Any, path: list[str], value: int) -> Any:
    """The body with another value at a place like `acks.0.index`."""
    if not path:
        return value
    first: Any = int(path[0]) if isinstance(body, list) else path[0]
    changed: Any = list(body) if isinstance(body, list) else dict(body)
    changed[first] = _with(body[first], path[1:], value)
    return changed


def _example(place: dict[str, Any]) -> Any:
    examples = place.get("schema", {}).get("examples") or []
    return place.get("example", examples[0] if examples else None)


def _body(operation: dict[str, Any]) -> tuple[str, Any]:
    """The first form of its body that has an example: a text as bytes, else what is JSON."""
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        example = content.get("example")
        if example is not None:
            return media, example.encode() if isinstance(example, str) else example
    return "", None


def _main() -> None:
    with tempfile.TemporaryDirectory() as folder, calling(build(Path(folder))) as api:
        found = {
            one.name: one.answer.json
            for one in played(api, api.get("/openapi.json").json)
            if one.answer.headers.get("content-type") == "application/json" and one.answer.status == 200
        }
    shown = {name: answer[:2] if isinstance(answer, list) else answer for name, answer in sorted(found.items())}
    target = Path(examples.__file__).parent / "examples.json"
    target.write_text(json.dumps(shown, ensure_ascii=False, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    _main()
