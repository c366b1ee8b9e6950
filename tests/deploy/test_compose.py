"""`deploy/compose.yaml` and `deploy/Dockerfile`, as far as they can be held to account where no Docker runs.

The scripts that the containers run are run here; the rest is read.
"""

import os
import re
import shlex
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from deploy import dist
from deploy.local.kafka import run as local_kafka
from exchange.errors import Invalid
from exchange.log.kafka.cluster import cluster
from exchange.settings import SETTINGS
from tests import services, services_postgres

DEPLOY = dist.ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONCE = {"kafka-permit", "sites"}


def image(name: str) -> str:
    """The tag of a service's image."""
    return str(SERVICES[name]["image"]).partition(":")[2]


def test_the_versions_are_those_of_the_local_servers() -> None:
    """Image, script, jars and test containers are one version of each server."""
    pom = (DEPLOY / "local" / "kafka" / "pom.xml").read_text("utf-8")
    versions = {image("kafka"), local_kafka.VERSION, services.IMAGE.partition(":")[2]}
    versions |= set(re.findall(r"<artifactId>kafka_2\.13</artifactId>\s*<version>([^<]+)", pom))
    assert versions == {local_kafka.VERSION}
    opa = re.findall(r"^version=v(\S+)", (DEPLOY / "local" / "opa.sh").read_text("utf-8"), re.MULTILINE)
    assert [image("opa")] == opa == [services.OPA_IMAGE.partition(":")[2].removesuffix("-static")]
    postgres = re.findall(
        r"^wheel=\S+ +# PostgreSQL (\d+)", (DEPLOY / "local" / "postgres.sh").read_text("utf-8"), re.MULTILINE
    )
    assert [image("postgres")] == postgres == [services_postgres.IMAGE.partition(":")[2]]


def test_every_service_is_as_small_as_it_can_be() -> None:
    """Read-only, without capabilities or a way to more of them, not root; watched, or done once."""
    for name, one in SERVICES.items():
        assert one["read_only"] is True, name
        assert one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        assert "/tmp" in one["tmpfs"], name
        assert not {"privileged", "cap_add", "network_mode", "pid"} & one.keys(), name
        assert name == "kafka" or one["user"] in {"10001:10001", "postgres"}, name  # Kafka's image has its own user
        assert name in {*ONCE, "sequencer"} or "healthcheck" in one, name
        assert (one["restart"] == "no") == (name in ONCE), name
        for port in one.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name


def test_only_gateways_can_be_reached() -> None:
    """The servers' network has no way out, and nothing of it is published."""
    assert COMPOSE["networks"]["servers"] == {"internal": True}
    outside = {name for name, one in SERVICES.items() if "outside" in one["networks"] or one.get("ports")}
    assert outside == {"gateway-1", "gateway-2"}


def test_all_that_is_named_is_there() -> None:
    """Volumes, networks, secrets, services waited for; images by a name without a host, and no address of any."""
    volumes, secrets = COMPOSE["volumes"], COMPOSE["secrets"]
    used: set[str] = set()
    for one in SERVICES.values():
        used |= set(one.get("secrets", ()))
        assert set(one["networks"]) <= COMPOSE["networks"].keys()
        for volume in one.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in volumes or (DEPLOY / source).is_dir()
        for other, how in one.get("depends_on", {}).items():
            assert other in SERVICES
            if how["condition"] == "service_completed_successfully":
                assert other in ONCE
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other]
        first, slash, _ = one["image"].partition("/")
        assert not slash or not set(first) & set(".:")
    assert used == set(secrets)
    for text in (DOCKERFILE, *(file.read_text("utf-8") for file in DEPLOY.glob("*.sh"))):
        assert not re.search(r"https?://(?!gateway-1:|localhost:)", text)


def test_a_password_is_in_no_argument_or_variable() -> None:
    """Only files hold secrets: what the variables name is a file, a user, a setting."""
    for one in SERVICES.values():
        for name, value in one.get("environment", {}).items():
            assert "PASSWORD" not in name or name.endswith("_FILE")
            assert "://" not in str(value)


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, with their arguments."""
    lines = [line for line in DOCKERFILE.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def test_the_image_is_made_as_it_should_be() -> None:
    """Known instructions, fixed images, nothing fetched by ADD, every package by its hash, not root at the end."""
    found = instructions()
    known = {"FROM", "ARG", "ENV", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD"}
    assert {word for word, _ in found} <= known
    for word, rest in found:
        if word == "FROM":
            assert re.fullmatch(r"python:3\.\d+-slim-\w+( AS made)?", rest)
        if word == "RUN" and "pip install" in rest:
            assert "--require-hashes" in rest or "--no-index" in rest
        if word in {"ENTRYPOINT", "CMD"}:
            assert isinstance(yaml.safe_load(rest), list)
    words = [word for word, _ in found]
    final = words[len(words) - words[::-1].index("FROM") :]
    assert final.index("USER") > max(at for at, word in enumerate(final) if word in {"RUN", "COPY"})
    assert ("USER", "10001:10001") in found


def sent() -> list[Path]:
    """What the build is given: the repository's own files, less what `.dockerignore` leaves out."""
    rules = [line for line in (dist.ROOT / ".dockerignore").read_text("utf-8").splitlines() if line and line[0] != "#"]
    assert rules[0] == "*"
    kept = {rule[1:] for rule in rules if rule.startswith("!")}
    listed = subprocess.run(["git", "ls-files"], cwd=dist.ROOT, capture_output=True, text=True, check=True).stdout
    return [Path(name) for name in listed.splitlines() if Path(name).parts[0] in kept]


def test_the_build_is_given_neither_secrets_nor_tests() -> None:
    """Only what the wheel and the image are made of."""
    assert {path.parts[0] for path in sent()} == {
        *("pyproject.toml", "requirements.txt", "README.md", "LICENSE"),
        *("exchange", "adapters", "policies", "schemas", "deploy"),
    }
    rules = (dist.ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert "deploy/secrets" in rules
    assert any(fnmatch("deploy/secrets/", f"{rule}*") for rule in (dist.ROOT / ".gitignore").read_text("utf-8").split())


@pytest.mark.whole
@pytest.mark.timeout(400)
def test_its_first_stage_installs_the_exchange(tmp_path: Path) -> None:
    """Each RUN line as it stands, in a copy of what the build is given, with folders of its own; packages come from the
    wheels that the lock's hashes name. What is installed has every engine's client.
    """
    for path in sent():
        (tmp_path / "build" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(dist.ROOT / path, tmp_path / "build" / path)
    lock, project = dist.LOCK.read_text("utf-8"), dist._project()
    extras = re.findall(r"--requirements (\S*,\S*)", DOCKERFILE)[0].split(",")
    assert set(extras) == project["project"]["optional-dependencies"].keys() - {"dev"}
    found = [dist.wheels(dist.core(lock, project, extras)), dist.wheels(dist.builder(lock, project))]
    environment = {
        "PATH": f"{tmp_path}/bin:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": " ".join(map(str, found)),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys._base_executable)  # type: ignore[attr-defined]  # outside any venv
    stage = DOCKERFILE.split("\nFROM ")[1]
    steps = re.findall(r"^RUN (.+)$", stage, re.MULTILINE)
    assert len(steps) > 5
    for step in steps:
        own = re.sub(r"(?<![\w.])/(tmp|opt)/", rf"{tmp_path}/\1/", step)
        (tmp_path / "tmp").mkdir(exist_ok=True)
        ran = subprocess.run(
            ["/bin/sh", "-c", own], cwd=tmp_path / "build", env=environment, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, f"{own}\n{ran.stdout[-1000:]}{ran.stderr[-2000:]}"
    check = "import confluent_kafka, kafka, crc32c, psycopg, pyarrow, opa_client, exchange.cli.main"
    installed = tmp_path / "opt" / "exchange" / "bin" / "python"
    subprocess.run([installed, "-P", "-c", check], cwd=tmp_path, env=environment, check=True)


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `secrets.sh` makes."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl, which secrets.sh needs")
    folder = tmp_path_factory.mktemp("secrets") / "made"
    assert made(folder).startswith("secrets.sh: made")
    return folder


def made(folder: Path) -> str:
    """Runs `secrets.sh`."""
    command = ["sh", str(DEPLOY / "secrets.sh"), str(folder)]
    environment = {"PATH": os.environ["PATH"], "NAMES": "exchange.example,other.example"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_the_secrets_are_made_once(secrets: Path) -> None:
    """All that the compose file names; the folder its owner's alone, no key of the CA left, again the same."""
    files = {file.name: file.read_bytes() for file in secrets.iterdir()}
    assert files.keys() - {"made"} == {Path(one["file"]).name for one in COMPOSE["secrets"].values()}
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert len({files[name] for name in ("kafka_admin", "kafka_exchange", "postgresql")}) == 3
    assert all(re.fullmatch(rb"[0-9a-f]{48}", files[name]) for name in ("kafka_admin", "kafka_exchange", "postgresql"))
    assert made(secrets).endswith("is there\n")
    assert {file.name: file.read_bytes() for file in secrets.iterdir()} == files


def test_the_certificates_hold_for_the_services_names(secrets: Path) -> None:
    """Each is signed by the CA and good for the names that its service is called by, and those that were asked for."""
    ca = x509.load_pem_x509_certificate((secrets / "ca.crt").read_bytes())
    for file, names in (
        ("exchange.crt", {"gateway-1", "gateway-2", "localhost", "exchange.example", "other.example"}),
        ("kafka.pem", {"kafka", "localhost"}),
        ("opa.crt", {"opa", "localhost"}),
    ):
        text = (secrets / file).read_bytes()
        certificate = x509.load_pem_x509_certificate(text[text.index(b"-----BEGIN CERTIFICATE") :])
        certificate.verify_directly_issued_by(ca)
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert set(found.get_values_for_type(x509.DNSName)) == names
        assert certificate.not_valid_after_utc.timestamp() > time.time() + 700 * 86_400


def test_the_sites_are_made_once(tmp_path: Path) -> None:
    """Both gateways' folders and OPA's, with settings that there are; what is there is left alone, what a killed run
    left half-made is made anew.
    """
    calls = tmp_path / "calls"
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "exchange"
    fake.write_text(
        f'#!/bin/sh\necho "$@" >>{calls}\n[ $1 = init ] && mkdir "$2" && touch "$2/exchange.toml"\n'
        "[ $1 = policy ] && mkdir -p $3 && touch $3/opa.json\nexit 0\n"
    )
    fake.chmod(0o755)
    script = tmp_path / "site.sh"
    script.write_text((DEPLOY / "site.sh").read_text("utf-8").replace("/srv/", f"{tmp_path}/srv/"), "utf-8")
    (tmp_path / "srv" / "1" / "site" / "keys").mkdir(parents=True)
    (tmp_path / "srv" / "2").mkdir()
    environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    for _ in range(2):
        subprocess.run(["sh", str(script)], env=environment, check=True)
    first, second, opa = (shlex.split(line) for line in calls.read_text("utf-8").splitlines())
    given = [
        words[at + 1].partition("=")[0] for words in (first, second) for at, one in enumerate(words) if one == "--set"
    ]
    assert set(given) <= {one.name for one in SETTINGS}
    assert {"engines.log", "engines.control", "postgresql.password", "http.certificate"} <= set(given)
    assert second[2:4] == ["--gateway-of", f"{tmp_path}/srv/1/site"]
    assert opa[:2] == ["policy", "opa-config"]


@pytest.mark.opa
@pytest.mark.enable_socket
def test_opa_takes_its_words_and_its_health_is_asked(secrets: Path, tmp_path: Path) -> None:
    """The compose file's command, at ports of its own, serves over TLS; its health check holds while it lives, and
    fails when it does not.
    """
    port, health = local_kafka._free_ports(2, 0)
    changes = {"/run/secrets": str(secrets), "0.0.0.0:8181": f"127.0.0.1:{port}", ":8282": f":{health}"}

    def own(words: list[str]) -> list[str]:
        for old, new in {**changes, "/opa": str(services.opa())}.items():
            words = [word.replace(old, new) if old != "/opa" or word == old else word for word in words]
        return words

    (tmp_path / "opa.json").write_text("{}")
    check = own(SERVICES["opa"]["healthcheck"]["test"][1:])
    assert subprocess.run(check, capture_output=True, check=False).returncode != 0
    with (tmp_path / "output").open("wb") as output:
        server = subprocess.Popen(
            [str(services.opa()), *own(SERVICES["opa"]["command"])], cwd=tmp_path, stdout=output, stderr=output
        )
    try:
        until = time.monotonic() + 30
        while subprocess.run(check, capture_output=True, check=False).returncode:
            assert time.monotonic() < until
            assert server.poll() is None, (tmp_path / "output").read_text("utf-8")
            time.sleep(0.1)
        context = ssl.create_default_context(cafile=str(secrets / "ca.crt"))
        with urllib.request.urlopen(f"https://localhost:{port}/health", context=context, timeout=10) as answer:
            assert answer.status == 200
    finally:
        server.kill()  # at SIGTERM it waits as long as its words say
        server.wait(30)


@pytest.fixture
def broker(secrets: Path, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """The compose file's broker, by its own script and properties, on loopback: its port and its secrets by name."""
    services.kafka()  # its jars are there, or the test is skipped by name
    mounted = tmp_path / "run"
    mounted.mkdir()
    for name, one in COMPOSE["secrets"].items():
        shutil.copy(secrets / Path(one["file"]).name, mounted / name)
    port, controller = local_kafka._free_ports(2, 0)
    text = (DEPLOY / "kafka" / "server.properties").read_text("utf-8")
    for old, new in {
        "/run/secrets": str(mounted),
        "/var/lib/kafka/data": str(tmp_path / "data"),
        "kafka:9093": f"127.0.0.1:{port}",
        "0.0.0.0:9093": f"127.0.0.1:{port}",
        "127.0.0.1:9094": f"127.0.0.1:{controller}",
    }.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "server.properties").write_text(text, "utf-8")
    environment = {
        "PATH": os.environ["PATH"],
        "LIBS": str(local_kafka.JARS),
        "SECRETS": str(mounted),
        "DATA": str(tmp_path / "data"),
        "PROPERTIES": str(tmp_path / "server.properties"),
        "KAFKA_HEAP_OPTS": "-Xms64m -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1",
    }
    with (tmp_path / "output").open("wb") as output:
        started = subprocess.Popen(
            ["sh", str(DEPLOY / "kafka" / "start.sh")], env=environment, stdout=output, stderr=output, cwd=tmp_path
        )
    yield port, mounted
    started.send_signal(signal.SIGTERM)
    started.wait(30)


@pytest.mark.kafka
def test_the_broker_speaks_tls_and_knows_its_users(broker: tuple[int, Path], tmp_path: Path) -> None:
    """Formatted and started by its script, permitted by `permit.py`, it takes the exchange's records over SASL_SSL;
    without its CA, or with a wrong password, it is none of ours.
    """
    from exchange.log.kafka.log import KafkaRecordLog
    from exchange.log.kafka.python import KafkaClient

    port, secrets = broker
    command = [sys.executable, "-P", str(DEPLOY / "kafka" / "permit.py"), f"127.0.0.1:{port}"]
    permitted = subprocess.run(command, env={"SECRETS": str(secrets)}, capture_output=True, text=True, check=False)
    assert permitted.returncode == 0, permitted.stderr + (tmp_path / "output").read_text("utf-8", "replace")[-3000:]
    password = (secrets / "kafka_exchange").read_text("utf-8")
    given: dict[str, Any] = {"protocol": "SASL_SSL", "user": "exchange", "replication": 1, "min_insync": 1}
    place = cluster(f"//127.0.0.1:{port}/tls", password=password, ca=str(secrets / "ca"), patience_s=20, **given)
    log = KafkaRecordLog(KafkaClient(place), place)
    log.create("ps.hukou_person", 1)
    assert log.topics() == {"ps.hukou_person": 1}
    assert log.end("ps.hukou_person", 0) == 0
    log.close()
    wrong = cluster(f"//127.0.0.1:{port}/tls", password="wrong", ca=str(secrets / "ca"), patience_s=8, **given)
    with pytest.raises(Invalid) as caught:
        KafkaClient(wrong).topics()
    assert caught.value.code == "kafka_refused"
    strange = cluster(f"//127.0.0.1:{port}/tls", password=password, patience_s=3, **given)
    with pytest.raises(Exception, match="log_unavailable"):
        KafkaClient(strange).topics()
