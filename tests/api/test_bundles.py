"""The bundle for OPA servers at its address: for the token alone, once for each content."""

import gzip
import io
import json
import tarfile

import pytest

from exchange.policy.revisions import package_of
from tests.api.calling import Answer, Api
from tests.simulator import AUTHORITY, PROVIDER

PLACE = "/bundles/exchange.tar.gz"


@pytest.fixture(name="ready")
def _ready(api: Api) -> Api:
    """Over a site that has a bundle key and token."""
    ran = api.site.run("policy", "opa-config", str(api.site.folder / "opa"), "--json")
    assert ran.code == 0, ran.stderr
    return api


def asked(api: Api, **headers: str) -> Answer:
    """The bundle, with the token that OPA has."""
    token = (api.site.folder / "opa" / "bundle.token").read_text().strip()
    given = [("Authorization", f"Bearer {token}"), *[(key.replace("_", "-"), one) for key, one in headers.items()]]
    return api.get(PLACE, headers=given)


def held(answer: Answer) -> set[str]:
    """The revisions in it."""
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(answer.body))) as tar:
        return {name.split("/")[1] for name in tar.getnames() if "/" in name}


def slug(revision: str) -> str:
    """Its folder."""
    return package_of(revision).rpartition(".")[2]


def test_a_site_without_a_bundle_key_has_no_such_page(shared: Api) -> None:
    """Not even for a token of somebody's."""
    assert shared.get(PLACE, AUTHORITY).said == (404, "page_unknown")


def test_for_the_bundle_token_alone(ready: Api) -> None:
    """Nobody's own token opens it, nor does a part of the right one."""
    assert ready.get(PLACE).said == (401, "token_missing")
    token = (ready.site.folder / "opa" / "bundle.token").read_text().strip()
    for wrong in (token[:-1], token.upper(), "", "é"):
        assert ready.get(PLACE, headers=[("Authorization", f"Bearer {wrong}")]).status == 401
    assert ready.get(PLACE, AUTHORITY).said == (401, "token_unknown")
    assert asked(ready).status == 200


def test_the_same_content_is_sent_once(ready: Api) -> None:
    """304 for who has it; the bytes are the same each time."""
    first = asked(ready)
    assert (first.headers["content-type"], first.headers["cache-control"]) == ("application/gzip", "private, no-cache")
    tag = first.headers["etag"]
    for known in (tag, f'"other", {tag}', "*"):
        again = asked(ready, If_None_Match=known)
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    assert asked(ready, If_None_Match='"other"').body == asked(ready).body == first.body


def test_what_is_in_it(ready: Api) -> None:
    """The active revision, the one before it, those that wait for approval."""
    active = ready.get("/v1/policies", AUTHORITY).json[0]["revision"]
    document = ready.exchange.control.document(active)
    assert held(asked(ready)) == {slug(active)}
    made = []
    for number in range(3):
        codes = {**document["codes"], "more": {"n": number}}
        answer = ready.post("/v1/policies", {"modules": document["modules"], "codes": codes}, PROVIDER)
        assert answer.status == 200, answer.body
        made.append(answer.json["about"])
    assert held(asked(ready)) == {slug(one) for one in (active, *made)}
    for one in made[:2]:
        assert ready.post(f"/v1/policies/{one}/approve", None, AUTHORITY).status == 200
    assert held(asked(ready)) == {slug(one) for one in made}


def test_configuration(ready: Api) -> None:
    """OPA's configuration names the address, the public key and the token's file; made again, the keys are the same."""
    folder = ready.site.folder / "opa"
    first = json.loads((folder / "opa.json").read_text())
    assert first["services"]["exchange"]["url"] == "http://127.0.0.1:8431"
    assert first["keys"]["exchange"]["key"].startswith("-----BEGIN PUBLIC KEY-----")
    assert "PRIVATE" not in (folder / "opa.json").read_text()
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    words = ["--url", "https://exchange.example:8431/", "--ca", "ca.pem"]
    ran = ready.site.run(
        "policy", "opa-config", str(folder), *words, more={"EXCHANGE_POLICY_OPA_TOKEN": "env:T", "T": "t"}
    )
    assert ran.code == 0, ran.stderr
    assert "--authorization=basic authz.rego" in ran.stdout
    second = json.loads((folder / "opa.json").read_text())
    assert second["keys"] == first["keys"]
    assert second["services"]["exchange"]["url"] == "https://exchange.example:8431"
    assert second["services"]["exchange"]["tls"]["ca_cert"].endswith("/ca.pem")
    assert '"t"' not in (folder / "authz.rego").read_text()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--url", "http://exchange.example:8431"], "opa_insecure"),
        (["--url", "ftp://127.0.0.1"], "setting_wrong"),
        (["--url", "https://"], "setting_wrong"),
        (["--url", "https://a:b@c:1"], "setting_wrong"),
        (["--url", "https://a:99999"], "setting_wrong"),
        (["--url", "https://[a"], "setting_wrong"),
    ],
)
def test_configuration_that_would_not_hold(shared: Api, words: list[str], code: str) -> None:
    """A URL that is none, or would carry the token in plain, writes nothing."""
    folder = shared.site.folder / "none"
    ran = shared.site.run("policy", "opa-config", str(folder), *words)
    assert (ran.code, ran.error_code) == (2, code)
    assert not folder.exists()


def test_folder_that_cannot_be(ready: Api) -> None:
    """A file in its place."""
    (ready.site.folder / "taken").write_text("")
    ran = ready.site.run("policy", "opa-config", str(ready.site.folder / "taken"))
    assert (ran.code, ran.error_code) == (3, "system")
