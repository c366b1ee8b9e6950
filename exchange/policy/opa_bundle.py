"""The bundle that OPA pulls: a gzip tar of policy revisions, signed.

Format: OPA's documentation, "Bundles", and `v1/bundle` of its source. `.manifest` names the content and its root;
`.signatures.json` holds one JWT (ES256) over the SHA-256 of every file. An OPA that is configured with the public key
takes no other bundle and keeps the one it has. An older bundle that somebody sends again is signed, too: it can only
leave out a revision, and then whoever asks for that is refused.
"""

import gzip
import io
import json
import tarfile
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from exchange.names import canonical, digest
from exchange.policy import Bundle, revisions
from exchange.signing.keys import BundleKey

RESOURCE: Final = "bundles/exchange.tar.gz"  # below the exchange's address
MEDIA_TYPE: Final = "application/gzip"
KEY_ID: Final = "exchange"
TOKEN_FILE: Final = "bundle.token"  # noqa: S105 - a file's name
_POLL_S: Final = (1, 2)  # at least and at most, between two looks


@dataclass(frozen=True, slots=True)
class Archive:
    """What is served, and its entity tag (RFC 9110, with its quotes)."""

    body: bytes
    etag: str


def archive(bundles: Iterable[Bundle], key: BundleKey) -> Archive:
    """The bundle of these revisions. Equal revisions and an equal key give equal bytes."""
    files: dict[str, bytes] = {}
    for bundle in bundles:
        files |= revisions.files(bundle)
    content = digest({path: sha256(body).hexdigest() for path, body in files.items()})
    files[".manifest"] = canonical({"revision": content, "roots": [revisions.ROOT], "rego_version": 1})
    files[".signatures.json"] = canonical({"signatures": [_signature(files, key)]})
    packed = _packed(files)
    return Archive(packed, f'"{sha256(packed).hexdigest()}"')


def _signature(files: Mapping[str, bytes], key: BundleKey) -> str:
    listed = [{"name": path, "hash": _hash(path, body), "algorithm": "SHA-256"} for path, body in sorted(files.items())]
    parts = ({"alg": "ES256", "kid": KEY_ID, "typ": "JWT"}, {"files": listed})
    text = b".".join(_base64(canonical(part)) for part in parts)
    return (text + b"." + _base64(key.sign(text))).decode("ascii")


def _hash(path: str, body: bytes) -> str:
    structured = path.endswith((".json", ".manifest"))
    return revisions.digest_of_json(json.loads(body)) if structured else sha256(body).hexdigest()


def _base64(content: bytes) -> bytes:
    """RFC 7515: without padding."""
    return urlsafe_b64encode(content).rstrip(b"=")


def _packed(files: Mapping[str, bytes]) -> bytes:
    tarred = io.BytesIO()
    with tarfile.open(fileobj=tarred, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, body in sorted(files.items()):
            entry = tarfile.TarInfo(path)  # no times, no owners
            entry.size = len(body)
            tar.addfile(entry, io.BytesIO(body))
    return gzip.compress(tarred.getvalue(), mtime=0)


def configuration(url: str, key: BundleKey, ca: str) -> dict[str, Any]:
    """OPA's configuration: it pulls the bundle from the exchange at `url` and takes none without the key's signature.
    The token lies in `bundle.token` beside it; `ca` is the file of the exchange's certificate authority, if any.
    """
    service: dict[str, Any] = {"url": url, "credentials": {"bearer": {"token_path": TOKEN_FILE}}}
    if ca:
        service["tls"] = {"ca_cert": ca}
    polling = dict(zip(("min_delay_seconds", "max_delay_seconds"), _POLL_S, strict=True))
    bundle = {"service": "exchange", "resource": RESOURCE, "signing": {"keyid": KEY_ID}, "polling": polling}
    return {
        "services": {"exchange": service},
        "keys": {KEY_ID: {"algorithm": "ES256", "key": key.public_pem}},
        "bundles": {"exchange": bundle},
    }


def authorization(token: str) -> str:
    """OPA's own policy on who may ask what: with the token, for a revision's answer; without it, whether it lives."""
    hashed = sha256(token.encode()).hexdigest()
    return f"""# For `opa run --authentication=token --authorization=basic`: made by `exchange policy opa-config`.
package system.authz

default allow := false

allow if {{
	input.method == "POST"
	array.slice(input.path, 0, 3) == ["v1", "data", "{revisions.ROOT}"]
	crypto.sha256(input.identity) == "{hashed}"
}}

allow if {{
	input.method == "GET"
	input.path == ["health"]
}}
"""
