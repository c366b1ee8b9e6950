"""A revision in packages of its own is the same policy; the bundle of several is the same bytes each time."""

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.errors import Invalid
from exchange.policy import Bundle, modules, revisions
from exchange.policy.bundle import load_bundle
from exchange.policy.opa_bundle import archive
from exchange.policy.revisions import Shelf, digest_of_json, moved, package_of
from exchange.signing.keys import BundleKey, new_bundle_key, new_signing_key
from tests.policy.engines import POLICIES, bundle

ODD = """# package exchange.wrong, data.exchange.x
package exchange.a# why

import data.codes
import data.exchange.b as c

# METADATA
# schemas: data.exchange
text := "data.exchange # not a comment"
raw := `package exchange
data.codes # nor this`
value := {"data.codes": input.data.codes, "x": data.exchange.b["data"], "y": data.codes[input.z]}
"""
MOVED = """
package P.exchange.a

import data.P.codes
import data.P.exchange.b as c



text := "data.exchange # not a comment"
raw := `package exchange
data.codes # nor this`
value := {"data.codes": input.data.codes, "x": data.P.exchange.b["data"], "y": data.P.codes[input.z]}
"""


def test_what_is_moved() -> None:
    """The package and what is named of `data`; nothing in texts, no comment, no line elsewhere."""
    modules.check({"a.rego": ODD}, {})
    assert moved(ODD, "P") == MOVED


@pytest.mark.parametrize("name", sorted(path.name for path in POLICIES.glob("*.rego")))
def test_nothing_of_a_standing_module_stays_behind(name: str) -> None:
    """Every line stays where it was, and no `data` or package is of another revision."""
    text = (POLICIES / name).read_text("utf-8")
    after = moved(text, "revisions.rx")
    assert after.count("\n") == text.count("\n")
    plain = modules.blanked(after)
    assert plain.count("package ") == plain.count("package revisions.rx.exchange") == 1
    assert plain.count("data.") == plain.count("data.revisions.rx.")


def test_two_revisions_share_nothing() -> None:
    """Not even a file: whatever differs, tests apart, is another package."""
    one, other = bundle("plan := {}"), bundle("plan := {}", more="package exchange.more\n")
    assert not revisions.files(one).keys() & revisions.files(other).keys()
    assert package_of(one.revision) != package_of(other.revision)
    tested = Bundle({**one.modules, "a_test.rego": "package exchange\n"}, one.codes)
    assert not [path for path in revisions.files(tested) if "test" in path]


@pytest.fixture(scope="module", name="key")
def _key(tmp_path_factory: pytest.TempPathFactory) -> BundleKey:
    return new_bundle_key(tmp_path_factory.mktemp("key") / "bundle.key")


def _files(body: bytes) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(body))) as tar:
        for entry in tar:
            found = tar.extractfile(entry)
            assert found is not None
            yield entry.name, found.read()


def test_equal_content_gives_equal_bytes(key: BundleKey) -> None:
    """Nothing of time, place or chance is in it; a revision more, or another key, is another bundle."""
    standing, other = load_bundle(POLICIES), bundle("plan := {}")
    made = archive([standing], key)
    assert made == archive([Bundle(dict(reversed(list(standing.modules.items()))), standing.codes)], key)
    assert made.etag != archive([standing, other], key).etag
    assert archive([], key).body
    files = dict(_files(made.body))
    assert json.loads(files[".manifest"])["roots"] == ["revisions"]
    assert all(name.startswith((".", "revisions/r")) for name in files)


def test_signature_names_every_file(key: BundleKey) -> None:
    """And no other; what it says of a module is the digest of its bytes."""
    import base64

    files = dict(_files(archive([bundle("plan := {}")], key).body))
    [token] = json.loads(files.pop(".signatures.json"))["signatures"]
    listed = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["files"]
    assert {one["name"] for one in listed} == files.keys()
    plain = {one["name"]: one["hash"] for one in listed if one["name"].endswith(".rego")}
    assert plain == {name: sha256(body).hexdigest() for name, body in files.items() if name.endswith(".rego")}


@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.booleans(), st.none(), st.lists(st.text()))))
def test_digest_of_json_is_of_its_meaning(document: dict[str, object]) -> None:
    """The order of keys makes no difference, any other change does."""
    surrogates = any("\ud800" <= one <= "\udfff" for one in json.dumps(document, ensure_ascii=False))
    if surrogates:
        with pytest.raises(Invalid):
            digest_of_json(document)
        return
    assert digest_of_json(document) == digest_of_json(dict(reversed(document.items())))
    assert digest_of_json(document) != digest_of_json({**document, "more": {}})


def test_keys_of_other_kinds_do_not_sign_bundles(tmp_path: Path) -> None:
    """Nor does what is no key, or what others may read."""
    new_signing_key(tmp_path / "ed25519")
    (tmp_path / "text").write_text("-----BEGIN PRIVATE KEY-----\n")
    (tmp_path / "text").chmod(0o600)
    for name in ("ed25519", "text"):
        with pytest.raises(Invalid, match="key_malformed"):
            BundleKey.load(tmp_path / name)
    new_bundle_key(tmp_path / "mine")
    with pytest.raises(Invalid, match="key_exists"):
        new_bundle_key(tmp_path / "mine")
    (tmp_path / "mine").chmod(0o644)
    with pytest.raises(Invalid, match="key_readable_by_others"):
        BundleKey.load(tmp_path / "mine")


def test_shelf_holds_what_is_offered() -> None:
    """As long as anybody offers it, an error included."""
    shelf, one = Shelf(), bundle("plan := {}")
    with shelf.holding(one):
        with pytest.raises(ZeroDivisionError), shelf.holding(one):
            raise ZeroDivisionError
        assert shelf.held() == {one.revision: one}
    assert shelf.held() == {}
