"""`backup` and `restore`: the same site again, or nothing; and nothing older than what an auditor knows."""

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from io import BytesIO
from pathlib import Path
from unittest import mock

import pytest

from exchange.audit.embedded import EmbeddedAuditStore
from exchange.audit.files import DiskFiles
from exchange.audit.log import AuditLog
from exchange.audit.note import Checkpoint, sign_checkpoint
from exchange.control.database import open_engine, revisions
from exchange.errors import Unavailable
from exchange.names import canonical
from exchange.signing.keys import SigningKey
from exchange.site import free_bytes
from exchange.wiring.archive import HEADER, MANIFEST
from tests.audit.building import approved
from tests.simulator import (
    AGREEMENT,
    ASKED,
    AUDITOR,
    AUTHORITY,
    CASE,
    CHECKER,
    DATASET,
    MEMBERS,
    Ran,
    Site,
    row,
)

KEYS = ("actor.key", "audit.key", "pseudonym.key", "subject.key")


@pytest.fixture(scope="module")
def backup(made: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of the small exchange: look, do not touch."""
    file = tmp_path_factory.mktemp("backup") / "site.tar"
    assert made.run("backup", str(file)).code == 0
    return file


def restored(site: Site, file: Path, *words: str, who: str | None = None) -> tuple[Ran, Site]:
    """What a restore says, and the folder of the restored site with its people's tokens beside it."""
    folder = Path(str(site.folder) + "-again")
    folder.mkdir(exist_ok=True)
    shutil.copytree(site.folder / "tokens", folder / "tokens", dirs_exist_ok=True)
    shutil.copytree(site.folder, folder, ignore=shutil.ignore_patterns("site", "tokens"), dirs_exist_ok=True)
    ran = site.run("restore", str(file), str(folder / "site"), *words, "--json", who=who)
    return ran, Site(folder)


def _kept(site: Site, name: str) -> Path:
    file = site.folder / name
    assert site.run("audit", "checkpoint", "--out", str(file), who=AUDITOR).code == 0
    return file


@pytest.mark.parametrize("name", ["site.tar", "site.tar.gz"])
def test_a_restored_site_is_the_same_site(site: Site, name: str) -> None:
    """Its log has the same root and entries, its records are read, its people work on; what was sent stays sent."""
    file, entries = site.folder / name, site.entries()
    ran = site.run("backup", str(file), "--json")
    assert ran.code == 0, ran.stderr
    assert "KEYS" in ran.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    assert not [one for one in site.folder.iterdir() if one.name.startswith(".")]
    kept = _kept(site, "kept")
    again, copy = restored(site, file, "--checkpoint", str(kept))
    assert again.code == 0, again.stderr
    assert (again.json["root"], again.json["size"]) == (ran.json["root"], len(entries))
    assert copy.entries() == entries
    assert copy.read().records == site.read().records
    assert {"taken: 0", "last_sequence: 6"} <= set(copy.publish().stdout.splitlines())
    assert "taken: 1" in copy.publish(copy.rows([row(MEMBERS[0], 7)], "next.csv")).stdout
    assert len(copy.run("lookup", DATASET, *ASKED, who=CHECKER, stdin=MEMBERS[0]).records) == 1
    assert copy.run("audit", "verify", "--checkpoint", str(kept)).code == 0
    modes = {
        one: (copy.root / one).stat().st_mode & 0o777 for one in ("keys", "data", "keys/audit.key", "data/control.db")
    }
    assert modes == {"keys": 0o700, "data": 0o700, "keys/audit.key": 0o600, "data/control.db": 0o600}


def test_a_backup_without_keys_holds_none(site: Site) -> None:
    """Not a byte of them; a restore asks for them by name and takes no other ones."""
    file = site.folder / "site.tar"
    ran = site.run("backup", str(file), "--without-keys", "--json")
    assert set(ran.json["left_out"]) >= {f"keys/{name}" for name in KEYS}
    content = file.read_bytes()
    for key in (site.root / "keys").glob("*.key"):
        lines = key.read_bytes().splitlines()
        assert max(lines, key=len) not in content
    assert (site.root / "keys" / "audit.vkey").read_bytes() in content
    missing, copy = restored(site, file)
    assert (missing.code, missing.error_code) == (2, "backup_keys_needed")
    assert "keys/audit.key" in missing.stderr
    assert not copy.root.exists()
    wrong = site.folder / "wrong"
    shutil.copytree(site.root / "keys", wrong)
    (wrong / "subject.key").unlink()
    assert restored(site, file, "--keys", str(wrong))[0].error_code == "key_unreadable"
    shutil.copy(wrong / "actor.key", wrong / "subject.key")
    shutil.copy(next(wrong.glob("seal-*.key")), wrong / "audit.key")
    assert restored(site, file, "--keys", str(wrong))[0].error_code == "backup_key_differs"
    right, copy = restored(site, file, "--keys", str(site.root / "keys"))
    assert (right.code, copy.read().code) == (0, 0)


def test_a_key_that_lies_elsewhere_is_told(site: Site) -> None:
    """It is in no backup, said at the backup and at the restore; a link is followed nowhere."""
    shutil.move(site.root / "keys" / "pseudonym.key", site.folder / "elsewhere.key")
    with (site.root / "exchange.toml").open("a", encoding="utf-8") as toml:
        toml.write(f'[keys]\npseudonym = "file:{site.folder / "elsewhere.key"}"\n')
    (site.root / "adapters" / "link.toml").symlink_to(site.folder / "pension.toml")
    file = site.folder / "site.tar"
    ran = site.run("backup", str(file), "--json")
    assert ran.json["left_out"] == ["adapters/link.toml", f"file:{site.folder / 'elsewhere.key'}"]
    again, copy = restored(site, file)
    assert again.code == 0
    assert "elsewhere.key" in again.stderr
    assert not (copy.root / "adapters" / "link.toml").exists()


def test_a_data_folder_on_another_disk(site: Site) -> None:
    """Where `data` is a link, what lies behind it is backed up, and restored into a folder."""
    shutil.move(site.data, site.folder / "disk")
    site.data.symlink_to(site.folder / "disk")
    file = site.folder / "site.tar"
    assert site.run("backup", str(file), "--json").json["left_out"] == []
    again, copy = restored(site, file)
    assert (again.code, copy.data.is_symlink()) == (0, False)
    assert copy.read().records == site.read().records


def test_an_older_backup_than_a_kept_checkpoint_is_refused(site: Site) -> None:
    """Whoever kept the newer one would lose entries; forced, an entry says who, why and what was kept."""
    file, early = site.folder / "site.tar", _kept(site, "early")
    assert site.run("backup", str(file)).code == 0
    assert site.run("agreement", "revoke", AGREEMENT, "--reason", "later", who=AUTHORITY).code == 0
    late = _kept(site, "late")
    words = ["--checkpoint", str(early), "--checkpoint", str(late)]
    ran, copy = restored(site, file, *words)
    assert (ran.code, ran.error_code) == (2, "backup_older")
    assert not copy.root.exists()
    assert [one for one in copy.folder.iterdir() if one.name.startswith(".")] == []
    assert restored(site, file, *words, "--force", " ")[0].error_code == "command_line"
    forced, copy = restored(site, file, *words, "--force", "the disk burnt", who=AUTHORITY)
    assert (forced.code, forced.json["forced"]) == (0, True), forced.stderr
    assert "Tell the auditor" in forced.stderr
    [(index, _, body)] = copy.entries("restore")
    assert (index, body["size"], body["reason"], body["department"]) == (
        *(forced.json["size_now"] - 1, forced.json["size"]),
        *("the disk burnt", "ny.shuju"),
    )
    assert body["root"].hex() == forced.json["root"]
    assert body["kept_size"] == int(late.read_text("utf-8").splitlines()[1])
    assert copy.run("audit", "verify", "--checkpoint", str(early)).code == 0
    found = copy.run("audit", "verify", "--checkpoint", str(late), "--json")
    assert (found.code, {one["code"] for one in found.json["findings"]} <= {"log_cut_off", "history_rewritten"}) == (
        4,
        True,
    )


def test_a_force_without_a_token_names_nobody(site: Site) -> None:
    """A restore needs no token; one that is no longer good is refused, and no site is left."""
    file = site.folder / "site.tar"
    assert site.run("backup", str(file)).code == 0
    late = _kept(site, "late")
    words = ("--checkpoint", str(late), "--force", "x")
    assert site.run("case", "close", CASE, "--reason", "x", who=CHECKER).code == 0
    (site.folder / "tokens" / "nobody.token").write_text("ex_nobody_nothing", "utf-8")
    late.write_bytes(_kept(site, "later").read_bytes())
    refused, copy = restored(site, file, *words, who="nobody")
    assert (refused.code, copy.root.exists()) == (1, False)
    forced, copy = restored(site, file, *words)
    assert forced.code == 0
    [(_, _, body)] = copy.entries("restore")
    assert (body["actor"], body["department"]) == (None, None)


def test_a_force_that_is_not_needed_is_no_entry(site: Site, backup: Path) -> None:
    """And a checkpoint of another log, or one that was changed, is told as such."""
    ran, copy = restored(site, backup, "--force", "in case")
    assert (ran.code, ran.json["forced"], copy.entries("restore")) == (0, False, [])
    shutil.rmtree(copy.root)
    other = site.folder / "other"
    kept = _kept(site, "kept").read_bytes()
    for note in (b"", kept.replace(b"exchange", b"interchange"), kept[:-9] + b"AAAAAAA=\n"):
        other.write_bytes(note)
        assert restored(site, backup, "--checkpoint", str(other))[0].code == 4
        assert not copy.root.exists()


def test_a_backup_of_another_history_is_refused(site: Site, backup: Path) -> None:
    """Signed with the same key, over no more entries, but other ones: no force restores that."""
    origin, size, _ = _kept(site, "kept").read_text("utf-8").split("\n")[:3]
    key = SigningKey.load(site.root / "keys" / "audit.key")
    other = site.folder / "other"
    for entries in (int(size), int(size) - 3):
        other.write_bytes(sign_checkpoint(Checkpoint(origin, entries, bytes(32)), key))
        ran, copy = restored(site, backup, "--checkpoint", str(other), "--force", "x")
        assert (ran.code, ran.error_code, copy.root.exists()) == (4, "backup_unsound", False)
        assert "history_rewritten" in ran.stderr


def test_a_folder_with_something_in_it_is_left_alone(site: Site, backup: Path) -> None:
    """An empty one is used."""
    taken = site.folder / "taken"
    taken.mkdir()
    (taken / "x").write_text("x", "utf-8")
    assert site.run("restore", str(backup), str(taken)).error_code == "site_exists"
    assert [one.name for one in taken.iterdir()] == ["x"]
    (taken / "x").unlink()
    assert site.run("restore", str(backup), str(taken)).code == 0
    assert site.run("restore", str(site.folder / "no-such"), str(site.folder / "new")).error_code == "file_unreadable"
    assert site.run("backup", str(site.folder / "no" / "such")).error_code == "system"


def changed(file: Path, change: Callable[[dict[str, bytes]], object]) -> Path:
    """A copy of a backup in which something is otherwise, with a manifest that fits."""
    with tarfile.open(file) as tar:
        content = {one.name: tar.extractfile(one).read() for one in tar}  # type: ignore[union-attr]  # plain files
    content.pop(MANIFEST)
    change(content)
    files = {name: [len(data), hashlib.sha256(data).hexdigest()] for name, data in content.items()}
    content[MANIFEST] = canonical({"format": "exchange.backup-manifest/1", "files": files})
    new = file.with_name("changed.tar")
    with tarfile.open(new, "w") as tar:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, BytesIO(data))
    return new


def _header(**changes: object) -> Callable[[dict[str, bytes]], object]:
    def change(content: dict[str, bytes]) -> None:
        content[HEADER] = canonical({**json.loads(content[HEADER]), **changes})

    return change


def _bundle(content: Mapping[str, bytes]) -> str:
    return next(name for name in content if name.startswith("data/audit/tile/entries/"))


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


CHANGES: dict[str, tuple[Callable[[dict[str, bytes]], object], str]] = {
    "an entry": (lambda c: c.update({_bundle(c): _flip(c[_bundle(c)], 900)}), "backup_unsound"),
    "no bundle": (lambda c: c.pop(_bundle(c)), "backup_unsound"),
    "no log": (lambda c: c.pop("data/audit/checkpoint"), "backup_unsound"),
    "a page": (lambda c: c.update({"data/records.db": _flip(c["data/records.db"], 16_384)}), "backup_unsound"),
    "no database": (lambda c: c.update({"data/records.db": b"garbage" * 99}), "backup_unsound"),
    "no records": (lambda c: c.pop("data/records.db"), "log_behind_commits"),
    "no control": (lambda c: c.pop("data/control.db"), "control_database_missing"),
    "no settings": (lambda c: c.pop("exchange.toml"), "no_site"),
    "no key": (lambda c: c.pop("keys/audit.key"), "key_unreadable"),
    "no vkey": (lambda c: c.pop("keys/audit.vkey"), "backup_unreadable"),
    "another vkey": (lambda c: c.update({"keys/audit.vkey": b"x"}), "audit_key_malformed"),
    "elsewhere": (
        lambda c: c.update({"exchange.toml": c["exchange.toml"] + b'[engines]\nlog = "sqlite:/tmp/x.db"\n'}),
        "backup_outside",
    ),
    "no header": (lambda c: c.pop(HEADER), "backup_unreadable"),
    "a later form": (_header(format="exchange.backup/2"), "backup_format"),
    "another form": (_header(format="x"), "backup_unreadable"),
    "a header of other kinds": (_header(made_ns="x"), "backup_unreadable"),
    "another checkpoint": (_header(checkpoint="x"), "audit_note_invalid"),
    "hostile keys": (_header(left_out=["x", 7], keys_left_out=["keys/../../x", "/x", 7]), ""),
    "no site's file": (lambda c: c.update({"etc/passwd": b""}), "backup_unreadable"),
    "a file as a folder": (lambda c: c.update({"data/records.db/x": b""}), "backup_unreadable"),
    "nothing": (lambda c: c.clear(), "backup_cut_off"),
    "a later database": (
        lambda c: c.update({"data/control.db": _later(c["data/control.db"])}),
        "control_database_newer",
    ),
}


def _later(database: bytes) -> bytes:
    return database.replace(revisions()[-1].encode(), b"9" * len(revisions()[-1]))


QUICK = {"an entry", "no header", "a later form", "elsewhere", "nothing"}
EACH = [name if name in QUICK else pytest.param(name, marks=pytest.mark.torture) for name in CHANGES]


@pytest.mark.parametrize("name", EACH)
def test_a_backup_that_does_not_hold_together_makes_no_site(site: Site, backup: Path, name: str) -> None:
    """Whoever changed it made the manifest fit: one clear error, and neither a site nor a leftover."""
    change, code = CHANGES[name]
    copy = site.folder / "backup" / "site.tar"
    copy.parent.mkdir()
    shutil.copy(backup, copy)
    ran, target = restored(site, changed(copy, change))
    assert (ran.error_code, target.root.exists()) == (code, not code), ran.stderr
    assert not [one for one in target.folder.iterdir() if one.name.startswith(".")]


def test_a_disk_without_room_for_it_makes_no_site(site: Site, backup: Path) -> None:
    """A member that does not fit is refused before it is written."""
    with mock.patch("exchange.wiring.restoring.check_room", side_effect=Unavailable("disk_reserve", free=1, reserve=2)):
        ran, copy = restored(site, backup)
    assert (ran.code, ran.error_code, copy.root.exists()) == (3, "disk_reserve", False)


def test_a_broken_site_makes_no_backup(site: Site) -> None:
    """A damaged store, a lost tile, records behind their marks: the backup that would fail later is not made."""
    file = site.folder / "site.tar"

    def fails(code: str, more: Mapping[str, str] | None = None) -> None:
        ran = site.run("backup", str(file), more=more)
        assert (ran.error_code, file.exists()) == (code, False), ran.stderr

    for place in ("../records.db", "/tmp/records.db", "records.db", "data/../../records.db"):
        fails("backup_outside", {"EXCHANGE_ENGINES_LOG": f"sqlite:{place}"})
    fails("engine_unknown", {"EXCHANGE_ENGINES_LOG": "nosuch:x"})
    odd = site.root / "adapters" / "a\nb.toml"
    odd.write_text("", "utf-8")
    fails("backup_name")
    odd.unlink()
    records, audit = site.data / "records.db", site.data / "audit"
    whole = records.read_bytes()
    records.write_bytes(whole[:20_000] + b"\xff" * 20_000 + whole[40_000:])
    fails("backup_source_damaged")
    records.write_bytes(b"garbage" * 9_999)
    fails("backup_source_damaged")
    records.unlink()
    fails("log_behind_commits")
    records.write_bytes(whole)
    tile = next((audit / "tile" / "0").rglob("[0-9]*.p")) / str(len(site.entries()))
    tile.rename(site.folder / "tile")
    fails("audit_log_damaged")
    shutil.move(site.folder / "tile", tile)
    assert site.run("backup", str(file)).code == 0
    file.unlink()
    (site.data / "control.db").unlink()
    fails("control_database_missing")


def test_a_store_that_is_held_for_long_makes_no_backup(site: Site) -> None:
    """Its lock is waited for, and then said to be held; the other lock was given back meanwhile."""
    with closing(sqlite3.connect(site.data / "records.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with mock.patch.multiple("exchange.wiring.snapshots", _SECOND_LOCK_S=0.0, _TRIES=2, _PAUSE_S=0.0):
            ran = site.run("backup", str(site.folder / "site.tar"))
    assert (ran.code, ran.error_code) == (3, "backup_busy")


def test_a_backup_is_taken_while_the_site_is_held(site: Site) -> None:
    """It needs no lock of the site, and what waits in the outbox or was not yet committed is in the restored log."""
    file = site.folder / "site.tar"
    with site.opened() as exchange:
        ran = site.run("backup", str(file))
        assert ran.code == 0, ran.stderr
        assert exchange.audit.size
    again, _ = restored(site, file)
    assert again.code == 0


class _DyingFiles(DiskFiles):
    """A disk that fails when the tiles are written: after the commit point, before the log shows it."""

    def rename(self, old: str, new: str) -> None:
        if new.startswith("tile/"):
            raise OSError(5, "Input/output error")
        super().rename(old, new)


def test_a_commit_that_is_not_applied_yet_is_in_the_backup(site: Site) -> None:
    """A crash between the commit and its tiles: the staged bundle is what the backup takes them from."""
    before = len(site.entries())
    engine = open_engine(f"sqlite:///{site.data / 'control.db'}")
    store = EmbeddedAuditStore(site.data / "audit", engine, _DyingFiles(site.data / "audit"))
    log = AuditLog(store, SigningKey.load(site.root / "keys" / "audit.key"), time.time_ns)
    with pytest.raises(Unavailable, match="audit_stopped"):
        log.append(approved(1, "agr-99"))
    log.close()
    engine.dispose()
    ran = site.run("backup", str(site.folder / "site.tar"), "--json")
    assert ran.json["size"] == before + 1, ran.stderr
    again, copy = restored(site, site.folder / "site.tar")
    assert (again.code, again.json["root"]) == (0, ran.json["root"])
    assert len(copy.entries()) == before + 1


def test_a_ledger_that_its_adapter_holds_is_in_the_backup(site: Site) -> None:
    """A publisher lets nobody open its ledger: it is copied all the same, with what its WAL holds."""
    from adapters.files.ledger import open_ledger

    path = next((site.data / "ledgers").glob("*.db"))
    with open_ledger(path, "ny.renshe/pension", 6) as (ledger, lost):
        assert not lost
        ledger.send(b"key", 1, b"content")
        ledger.commit()
        ran = site.run("backup", str(site.folder / "site.tar"))
        assert ran.code == 0, ran.stderr
    again, copy = restored(site, site.folder / "site.tar")
    assert again.code == 0
    with closing(sqlite3.connect(next((copy.data / "ledgers").glob("*.db")))) as found:
        assert found.execute("SELECT value FROM about WHERE name = 'high'").fetchone() == (7,)
    assert copy.publish(copy.rows([row(MEMBERS[0], 7)], "next.csv")).code == 0


def test_a_ledger_that_never_stands_still_makes_no_backup(site: Site) -> None:
    """Rather no backup than one with a torn ledger."""
    with (
        mock.patch.multiple("exchange.wiring.snapshots", _TRIES=3, _PAUSE_S=0.0),
        mock.patch("exchange.wiring.snapshots._head", side_effect=[bytes([n]) for n in range(20)]),
    ):
        ran = site.run("backup", str(site.folder / "site.tar"))
    assert (ran.code, ran.error_code) == (3, "backup_busy")


def test_a_backup_of_an_older_revision_is_upgraded(site: Site) -> None:
    """The copy is brought to this program's revision while it is restored."""
    with closing(sqlite3.connect(site.data / "control.db")) as plain, plain:
        plain.execute(f"UPDATE alembic_version SET version_num = '{revisions()[1]}'")
        plain.execute("DROP TABLE seals")
        plain.execute("DROP TABLE committed")
        plain.execute("DROP TABLE audit_details")
    (site.data / "records.db").unlink()
    ran = site.run("backup", str(site.folder / "site.tar"), "--json")
    assert ran.json["revision"] == revisions()[1]
    again, copy = restored(site, site.folder / "site.tar")
    assert again.code == 0, again.stderr
    assert copy.run("db", "upgrade", "--dry-run", "--json").json["steps"] == []


WORKER = """
import sys, time
from pathlib import Path
from tests.simulator import ASKED, CHECKER, DATASET, MEMBERS, SYSTEM, Site, row
site, stop = Site(Path(sys.argv[1])), Path(sys.argv[1]) / "stop"
from adapters.files.adapter import FilesAdapter
from adapters.files.config import load_config
from exchange.control.questions import Request
from exchange.site import ledger
config = load_config(site.folder / "pension.toml")
with site.opened() as exchange:
    people = exchange.control.model().principals
    request = Request("read", DATASET, ASKED[1], ASKED[3])
    turn = 0
    while not stop.exists():
        turn += 1
        file = site.rows([row(MEMBERS[0], 100 * turn), row(MEMBERS[1], 100 * turn + 1)], f"turn-{turn}.csv")
        adapter = FilesAdapter(config, [file], ledger(site.data / "ledgers", config.source))
        exchange.publish(people[SYSTEM], adapter, config.dataset, lambda _: None)
        list(exchange.gateway.read(people[CHECKER], request, {}, "jsonl"))
        print(turn, flush=True)
"""


@contextmanager
def _working(site: Site) -> "Iterator[subprocess.Popen[str]]":
    """Another process that publishes and reads until the block ends; it must not have failed."""
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(site.folder)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "LANG": "C.UTF-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield worker
    finally:
        (site.folder / "stop").touch()
        _, err = worker.communicate(timeout=60)
    assert worker.returncode == 0, err


def _turn(worker: "subprocess.Popen[str]") -> int:
    assert worker.stdout is not None
    return int(worker.stdout.readline() or -1)


@pytest.mark.whole
@pytest.mark.processes
def test_backups_while_another_process_publishes_and_reads(site: Site, tmp_path: Path) -> None:
    """Each one restores, verifies, and goes on; and what was acknowledged before it began is in it."""
    taken: list[tuple[Path, int]] = []
    with _working(site) as worker:
        for number in range(6):
            turn = _turn(worker)
            assert turn > 0
            file = tmp_path / f"backup-{number}.tar"
            ran = site.run("backup", str(file))
            assert ran.code == 0, ran.stderr
            taken.append((file, turn))
    last = _kept(site, "last")
    for file, turn in taken:
        ran, copy = restored(site, file)
        assert ran.code == 0, ran.stderr
        shown = {one["person_id"]: one["monthly_benefit_fen"] for one in copy.read().records}
        assert min(shown.values()) >= 100 * turn
        assert (
            site.run("restore", str(file), str(tmp_path / "no"), "--checkpoint", str(last)).error_code == "backup_older"
        )
        assert "taken: 2" in copy.publish(copy.rows([row(one, 9) for one in MEMBERS], "next.csv")).stdout
        assert sorted(one["monthly_benefit_fen"] for one in copy.read().records)[:2] == [9, 9]
        assert copy.run("audit", "verify").code == 0
        shutil.rmtree(copy.folder)


@pytest.mark.whole
@pytest.mark.processes
def test_a_backup_that_is_killed_leaves_nothing(site: Site, tmp_path: Path) -> None:
    """In the middle of a gigabyte: not a file, not a hidden one; the site is as it was, and a backup is made."""
    big = site.root / "adapters" / "big.bin"
    with big.open("wb") as file:
        file.truncate(1 << 30)
    out = tmp_path / "out"
    out.mkdir()
    free = free_bytes(out)
    process = subprocess.Popen(
        [sys.executable, "-m", "exchange", "backup", str(out / "site.tar")], env=site.environment(None), cwd=site.folder
    )
    while free_bytes(out) > free - (64 << 20):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert list(out.iterdir()) == []
    assert not [one for one in site.folder.iterdir() if one.name.startswith(".")]
    big.unlink()
    assert site.read().code == 0
    assert site.run("backup", str(out / "site.tar")).code == 0
