"""What an OPA server needs of a site: where the bundle is, the key that signs it, the tokens."""

import json
import os
import shlex
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from exchange.errors import Invalid, Unavailable
from exchange.policy.opa_bundle import TOKEN_FILE, authorization, configuration
from exchange.policy.opa_server import on_this_machine
from exchange.settings import Settings
from exchange.signing.keys import BundleKey, new_bundle_key, new_secret, read_secret
from exchange.site import BUNDLE_KEY, BUNDLE_TOKEN

CONFIG: Final = "opa.json"
_AUTHZ: Final = "authz.rego"


def write_opa_folder(settings: Settings, folder: Path, url: str, ca: Path | None) -> str:
    """Writes OPA's configuration into a folder, the site's bundle key and token made where they are not there yet, and
    gives the words that start OPA in it. Files of these names are written over.

    With `policy.opa.token` set, OPA also gets its own policy on who may ask it: by the token's digest.

    Raises:
        Invalid: `setting_wrong` for a URL that is none, `opa_insecure`, what is wrong with a key or secret.
        Unavailable: `system`: the folder cannot be written.
    """
    _check(url)
    key_file, token_file = settings.path(BUNDLE_KEY), settings.path(BUNDLE_TOKEN)
    key = BundleKey.load(key_file) if key_file.exists() else new_bundle_key(key_file)
    token = read_secret(token_file) if token_file.exists() else new_secret(token_file, os.urandom)
    made = configuration(url.rstrip("/"), key, str(ca.resolve()) if ca else "")
    texts = {TOKEN_FILE: token.hex() + "\n", CONFIG: json.dumps(made, indent=2) + "\n"}
    words = ["opa", "run", "--server", "--addr", "127.0.0.1:8181", "--config-file", CONFIG]
    asked_with = settings.secret("policy.opa.token")
    if asked_with:
        texts[_AUTHZ] = authorization(asked_with)
        words += ["--authentication=token", "--authorization=basic", _AUTHZ]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, content in texts.items():
            (folder / name).unlink(missing_ok=True)
            descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(content)
    except OSError as error:
        raise Unavailable("system", where=str(folder), detail=error.strerror) from None
    return shlex.join(words)


def _check(url: str) -> None:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in {"http", "https"} and parts.hostname and not (parts.query or parts.username)
        port = parts.port
    except ValueError:
        sound, port = False, None
    if not sound or port == 0:
        raise Invalid("setting_wrong", where="--url", name="url", expected="https://HOST:PORT")
    if parts.scheme == "http" and not on_this_machine(parts.hostname or ""):
        raise Invalid("opa_insecure", where="--url", host=parts.hostname)
