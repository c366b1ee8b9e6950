"""Opening a site: one process, its engines by URL, its keys; and what a former process left."""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from exchange import publish
from exchange.audit.reading import LogReader
from exchange.control import commands as c
from exchange.errors import ExchangeError, Invalid, Refused, Tampered, Unavailable
from exchange.signing.keys import new_signing_key
from exchange.wiring import Exchange, MadeSite, open_exchange
from tests.access.oracle import judge
from tests.access.test_paths import amounts, of_members
from tests.access.town import (
    AUTHORITY,
    CONSUMER,
    DATASET,
    ENVIRONMENT,
    LOOKUP,
    MEMBERS,
    OWNER,
    PROVIDER,
    PUBLISHER,
    READ,
    READER,
    SECOND,
    START_NS,
    STEWARD,
    Accounts,
    Clock,
    KeptEngine,
    Town,
    copied,
    opened,
)
from tests.policy.engines import opa_path

DAY = 86_400 * SECOND


def fails(root: Path, environment: Mapping[str, str] | None = None, use: str = "") -> ExchangeError:
    """The error with which a site does not open, or a part of it is not to be had."""
    clock = Clock(START_NS + DAY)
    with (
        pytest.raises(ExchangeError) as caught,
        open_exchange(root, "test", environment or {}, clock, os.urandom) as exchange,
    ):
        getattr(exchange, use or "control")
    return caught.value


def test_one_process_has_the_data(bare: MadeSite, folder: Path) -> None:
    """A second is told who has it; afterwards it is free."""
    root = copied(bare.root, folder / "site")
    with open_exchange(root, "exchange read", {}, Clock(START_NS + DAY), os.urandom):
        error = fails(root)
        assert (error.code, error.family) == ("site_in_use", "unavailable")
        assert (error.facts["pid"], error.facts["command"]) == (str(os.getpid()), "exchange read")
    with open_exchange(root, "test", {}, Clock(START_NS + 2 * DAY), os.urandom) as exchange:
        assert exchange.control.model().principals


def test_a_site_without_data(bare: MadeSite, folder: Path) -> None:
    """Whatever of its data is missing: one clear error, and nothing is made in its place."""
    for number, (gone, code) in enumerate(
        {"data": "system", "data/control.db": "control_database_missing", "data/audit": "audit_log_damaged"}.items()
    ):
        root = copied(bare.root, folder / str(number))
        path = root / gone
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert fails(root).code == code
        assert not path.exists() or not any(path.iterdir())


@pytest.mark.parametrize("engine", ["control", "log", "state", "audit", "policy"])
def test_an_engine_that_nothing_serves(bare: MadeSite, folder: Path, engine: str) -> None:
    """It is named with its setting; no other engine takes its place."""
    use = {"policy": "engine"}.get(engine, engine)
    error = fails(copied(bare.root, folder / "site"), {f"EXCHANGE_ENGINES_{engine.upper()}": "tansu:x"}, use)
    assert (error.code, error.where, error.facts["url"]) == ("engine_unknown", f"engines.{engine}", "tansu:x")


def test_settings_come_from_the_environment_too(made_town: Path, folder: Path, engine: KeptEngine) -> None:
    """A store in another place, releases of another size."""
    root = copied(made_town, folder / "site")
    (root / "data" / "state.db").unlink()
    changes = {
        "EXCHANGE_ENGINES_STATE": f"sqlite:{folder}/elsewhere.db",
        "EXCHANGE_ACCESS_RELEASE_RECORDS": "100",
    }
    with opened(root, engine, environment={**ENVIRONMENT, **changes}) as town:
        assert len(list(town.exchange.gateway.read(town.reader, READ, {}, "jsonl"))) == 2
        town.exchange.gateway.lookup(town.reader, LOOKUP, MEMBERS[:1], "jsonl")
    assert (folder / "elsewhere.db").is_file()
    assert not (root / "data" / "state.db").exists()


@pytest.mark.opa
def test_the_opa_engine_decides_as_the_embedded_one(made_town: Path, folder: Path) -> None:
    """The same plan for the same question, by the binary that the settings name."""
    plans = []
    clock = Clock(START_NS + DAY)
    for number, url in enumerate(("regorus:", f"opa:{opa_path()}")):
        environment = {"EXCHANGE_ENGINES_POLICY": url, "EXCHANGE_POLICY_DEADLINE_MS": "10000"}
        root = copied(made_town, folder / str(number))
        with open_exchange(root, "test", environment, clock, os.urandom) as exchange:
            plan = exchange.gateway.explain(exchange.control.model().principal(READER), READ)
            plans.append(replace(plan, expires_ns=0))
    assert plans[0] == plans[1]
    assert plans[0].allowed


def test_an_engine_without_its_binary_refuses(made_town: Path, folder: Path) -> None:
    """A question is refused, and that is audited: nobody gets a guess."""
    environment = {"EXCHANGE_ENGINES_POLICY": f"opa:{folder}/nowhere"}
    with open_exchange(made_copy(made_town, folder), "test", environment, Clock(START_NS + DAY), os.urandom) as one:
        with pytest.raises(Refused) as caught:
            list(one.gateway.read(one.control.model().principal(READER), READ, {}, "jsonl"))
        assert caught.value.facts["reasons"] == "policy_unavailable"
        assert one.audit.entry(one.audit.size - 1)[0] == "refusal"


def made_copy(made: Path, folder: Path) -> Path:
    """A copy of the made exchange."""
    return copied(made, folder / "site")


@pytest.mark.parametrize(
    ("key", "use"),
    [("subject", "tagger"), ("actor", "actors"), ("audit", "control")],
)
def test_a_key_that_is_not_as_it_should_be(bare: MadeSite, folder: Path, key: str, use: str) -> None:
    """Missing, readable by others, or no key: each is named by its file, none is made anew."""
    for code in ("key_unreadable", "key_readable_by_others", "key_malformed"):
        root = copied(bare.root, folder / code)
        file = root / "keys" / f"{key}.key"
        if code == "key_unreadable":
            file.unlink()
        elif code == "key_readable_by_others":
            file.chmod(0o640)
        else:
            file.write_text("00", "utf-8")
        error = fails(root, use=use)
        assert (error.code, error.where, error.family) == (code, str(file), "invalid")
        assert file.exists() is (code != "key_unreadable")


def test_another_key_for_the_log(bare: MadeSite, folder: Path) -> None:
    """A log is never carried on under a key that did not sign it."""
    root = copied(bare.root, folder / "site")
    (root / "keys" / "audit.key").unlink()
    new_signing_key(root / "keys" / "audit.key")
    assert fails(root).family == "tampered"


def test_a_secret_must_lie_in_a_file(bare: MadeSite, folder: Path) -> None:
    """A key is never taken from a variable."""
    error = fails(copied(bare.root, folder / "site"), {"EXCHANGE_KEYS_SUBJECT": "env:K"}, "tagger")
    assert error.code == "secret_not_in_file"


def test_a_seal_key_that_was_exchanged(town: Town) -> None:
    """Nothing is sealed with a key that the department is not recorded with."""
    file = town.exchange.settings.path(f"keys/seal-{PROVIDER}.key")
    file.unlink()
    new_signing_key(file)
    with pytest.raises(Invalid) as caught:
        town.publish(30, 1)
    assert caught.value.code == "seal_key_differs"
    assert of_members(30) == [30]
    assert 30 not in amounts(*town.read())


def test_a_delegated_key_is_taken_up_again(town: Town) -> None:
    """A key that a crash left without its department is that department's when it comes."""
    public = town.exchange.delegated_seal_key("ny.new")
    assert town.exchange.delegated_seal_key("ny.new") == public
    with pytest.raises(Invalid):
        town.exchange.delegated_seal_key("../x")


@pytest.mark.parametrize("who", [STEWARD, AUTHORITY])
def test_only_the_owner_publishes(town: Town, who: str) -> None:
    """Another department's account, or one without the role, is refused, and that is audited."""
    with pytest.raises(Refused) as caught:
        town.exchange.publish(town.who(who), Accounts([50]), DATASET, lambda _: None)
    assert caught.value.code == "not_the_owner"
    with pytest.raises(Refused) as caught:
        list(town.exchange.dead_letters(town.who(who), DATASET))
    assert [body["reasons"] for body in town.bodies("refusal")] == [["not_the_owner"]] * 2
    town.do(AUTHORITY, c.ChangeRoles(PUBLISHER, ("auditor",)))
    with pytest.raises(Refused) as caught:
        town.publish(50, 1)
    assert caught.value.code == "role_missing"


def test_a_crash_between_append_and_commit_is_mended(
    made_town: Path, folder: Path, engine: KeptEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was appended is not readable until the site is opened again; then it is, once, with its entry."""

    def crash(*_: object) -> None:
        raise Unavailable("audit_unavailable", seconds=0)

    root = copied(made_town, folder / "site")
    with opened(root, engine) as town:
        monkeypatch.setattr(publish, "commit", crash)
        with pytest.raises(Unavailable):
            town.publish(25, 12)
        monkeypatch.undo()
        assert max(amounts(*town.read())) < 25
    with opened(root, engine, Clock(START_NS + 2 * DAY)) as town:
        releases = town.read()
        assert sorted(amounts(*releases)) == of_members(*range(1, 37))
        judge(town, releases)


def test_dead_letters_are_shown_when_they_are_committed(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """To their own department, with the reason and the place, never with a value."""
    owner = town.who(OWNER)
    assert list(town.exchange.dead_letters(owner, DATASET)) == []
    town.publish_records({60: {"region_code": None}})
    [(_, letter)] = town.exchange.dead_letters(owner, DATASET)
    assert (letter["sequence"], letter["row"]) == (60, 60)
    monkeypatch.setattr(publish, "commit", lambda *_: None)
    town.publish_records({61: {"region_code": None}})
    assert len(list(town.exchange.dead_letters(owner, DATASET))) == 1


def test_a_policy_that_the_engine_cannot_run(town: Town) -> None:
    """It refuses every question; a good revision afterwards answers again."""
    document = {"modules": {"plan.rego": "package exchange\nplan := {"}, "codes": {"purposes": {}}}
    revision = town.do(STEWARD, c.SubmitPolicy(document, {"tested": True})).about
    town.do(AUTHORITY, c.ApprovePolicy(revision))
    for _ in range(2):
        assert town.gateway().explain(town.reader, READ).codes == ("policy_unavailable",)
    town.change_policy(added={})
    assert town.gateway().explain(town.reader, READ).allowed


def test_a_plan_for_a_schema_that_the_contract_lacks(town: Town) -> None:
    """The contract's document is not what was accepted: stop."""
    plan = town.gateway().explain(town.reader, READ)
    with pytest.raises(Tampered) as caught:
        town.exchange.view(replace(plan, schema="sha256:" + "0" * 64), town.exchange.control.model())
    assert caught.value.code == "document_damaged"


def test_the_gateway_of_a_site_is_one(town: Town) -> None:
    """Its parts come from the settings: here releases of four records."""
    exchange: Exchange = town.exchange
    assert exchange.gateway is exchange.gateway
    assert {one.released <= 4 for one in exchange.gateway.read(town.reader, READ, {}, "jsonl")} == {True}
    assert exchange.control.model().departments[CONSUMER].id == CONSUMER


def test_no_entry_is_read_to_open_a_site(
    made_town: Path, folder: Path, engine: KeptEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither to open it with all its engines nor for the first request: only what nobody had looked at before."""
    root = copied(made_town, folder / "site")
    with opened(root, engine) as town:
        town.exchange.opened_all()
        with town.exchange.lent_gateway() as gateway:
            list(gateway.read(town.reader, READ, {}, "jsonl"))
        size = town.exchange.audit.size
    read: list[int] = []
    plain = LogReader._leaves

    def counted(reader: LogReader, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        for one in plain(reader, start, stop):
            read.append(one[0])
            yield one

    monkeypatch.setattr(LogReader, "_leaves", counted)
    with opened(root, engine, town.clock) as town:
        town.exchange.opened_all()
        with town.exchange.lent_gateway() as first, town.exchange.lent_gateway() as second:
            for gateway in (first, second):
                assert list(gateway.read(town.reader, READ, {}, "jsonl"))
        assert [index for index in read if index < size] == []
