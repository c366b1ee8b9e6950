"""A trial of one's own file: a site is made, the draft submitted, the file published, one agreement made, and read.

Every step is the real one: the same functions, checks, policy and audit log as on any site, and three different people
for the agreement. Only the names say that it is a trial.
"""

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from exchange.cli.trial_masks import suggested
from exchange.control import commands as c
from exchange.control.tokens import new_token
from exchange.messages import Language
from exchange.site import LEDGERS, VKEY
from exchange.wiring.desk import LocalDesk
from exchange.wiring.sources import files_adapter

if TYPE_CHECKING:
    from adapters.draft import Draft
    from exchange.access import Release
    from exchange.audit.verify_verdict import Verdict
    from exchange.control.model import Principal
    from exchange.publish import Published
    from exchange.wiring import Exchange

OWN: Final = "own.department"
OTHER: Final = "other.department"
AUTHORITY: Final = "authority.trial"
STEWARD: Final = f"steward.{OWN}"
SYSTEM: Final = f"svc.{OWN}"
ASKING: Final = f"steward.{OTHER}"
READER: Final = f"reader.{OTHER}"
AUDITOR: Final = "auditor.trial"
PURPOSE: Final = "trial"
SITE_NAME: Final = "试用 trial"
SHOWN: Final = 5
LETTERS: Final = 20
TOKENS: Final = "tokens"

_DAY_NS: Final = 86_400 * 1_000_000_000
_DEPARTMENTS: Final = {
    OWN: ("本单位（试用）", "one's own department (trial)"),
    OTHER: ("需求单位（试用）", "the department that asks (trial)"),
    "audit.department": ("审计单位（试用）", "the auditors (trial)"),
}
_PEOPLE: Final = {
    STEWARD: (OWN, "steward"),
    SYSTEM: (OWN, "department_system"),
    ASKING: (OTHER, "steward"),
    READER: (OTHER, "department_system"),
    AUDITOR: ("audit.department", "auditor"),
}
OnProgress = Callable[[str, int], None]  # what is counted (`rows`, `published`, `read`), how far it is


@dataclass(frozen=True)
class Proof:
    """How the release stands in the audit log: its `index`, whether its inclusion proof holds, and the whole log's
    offline verdict; `evidence` is the C2SP tlog-proof that an auditor keeps.
    """

    index: int
    size: int
    root: str
    included: bool
    evidence: str
    verdict: "Verdict"


@dataclass(frozen=True)
class Trial:
    """What came of a trial. `owner` and `consumer` are the same first records, as JSON values by field."""

    draft: "Draft"
    published: "Published"
    notes: Sequence[str]
    letters: Sequence[Mapping[str, Any]]
    plan: Sequence[str]
    owner: Sequence[Mapping[str, Any]]
    consumer: Sequence[Mapping[str, Any]]
    released: int
    releases: int
    proof: Proof

    @property
    def hidden(self) -> list[str]:
        """The fields that the agreement does not name."""
        shown = set(self.consumer[0]) if self.consumer else set()
        return [one.field for one in self.draft.fields if one.field not in shown]


def try_file(
    root: Path,
    file: Path,
    *,
    language: Language,
    environment: Mapping[str, str],
    now_ns: Callable[[], int],
    on_progress: OnProgress,
) -> Trial:
    """Plays the whole trial on a new site in the empty folder `root`.

    Raises:
        Invalid: the file is no table that can be read; what the steps of it raise.
    """
    from adapters.draft import draft_file, write_draft
    from exchange.wiring import make_site, open_exchange

    draft = draft_file(file, department=OWN, on_rows=lambda rows: on_progress("rows", rows))
    # The system's variables may name other engines for the user's own site: a trial has its own settings.
    own = {name: value for name, value in environment.items() if not name.startswith("EXCHANGE_")}
    made = make_site(
        root,
        name=SITE_NAME,
        origin=None,
        department="trial.authority",
        principal=AUTHORITY,
        now_ns=now_ns,
        random_bytes=secrets.token_bytes,
    )
    contract, config = write_draft(draft, root)
    _add_purpose(root / "policies" / "codes.json")
    with open_exchange(root, "exchange try", own, now_ns, secrets.token_bytes) as exchange:
        _people(exchange, root, made.token, now_ns)
        _policy(exchange, root / "policies")
        _submit(exchange, contract)
        published, notes = _publish(exchange, config, file, on_progress)
        told = islice(exchange.dead_letters(_who(exchange, SYSTEM), draft.dataset), LETTERS)
        letters = [letter for _, letter in told]
        _agree(exchange, draft, now_ns())
        plan = _explained(exchange, draft.dataset, language)
        owner = _first(exchange, draft.dataset) if published.taken else []
        consumer, releases, last = _read(exchange, draft.dataset, on_progress)
        kept = exchange.audit.checkpoint()
        proof = _proof(exchange, last, root)
    verdict = _verified(root, kept)
    return Trial(
        draft=draft,
        published=published,
        notes=notes,
        letters=letters,
        plan=plan,
        owner=owner,
        consumer=consumer,
        released=sum(one[0] for one in releases),
        releases=len(releases),
        proof=Proof(*proof, verdict),
    )


def _add_purpose(codes: Path) -> None:
    """The trial's own purpose beside the standing ones, in the trial's own policy."""
    document = json.loads(codes.read_text("utf-8"))
    document["purposes"][PURPOSE] = {"title_zh": "试用", "title_en": "trial", "case_required": False}
    codes.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", "utf-8")


def _who(exchange: "Exchange", name: str) -> "Principal":
    return exchange.control.model().principal(name)


def _people(exchange: "Exchange", root: Path, first_token: str, now_ns: Callable[[], int]) -> None:
    authority = _who(exchange, AUTHORITY)
    for department, titles in _DEPARTMENTS.items():
        key = exchange.delegated_seal_key(department)
        exchange.control.execute(authority, c.AddDepartment(department, *titles, "000000", None, None, "extranet", key))
    tokens = root / TOKENS
    tokens.mkdir(mode=0o700)
    _write_token(tokens, AUTHORITY, first_token)
    for name, (department, role) in _PEOPLE.items():
        exchange.control.execute(authority, c.AddPrincipal(name, department, (role,)))
        text, identity, digest = new_token(secrets.token_bytes)
        _write_token(tokens, name, text)
        exchange.control.execute(authority, c.IssueToken(name, identity, digest, now_ns() + 30 * _DAY_NS))


def _write_token(folder: Path, name: str, text: str) -> None:
    from exchange.cli.terminal import new_file

    with new_file(folder / f"{name}.token") as stream:
        if stream is not None:
            stream.write(text + "\n")


def _policy(exchange: "Exchange", folder: Path) -> None:
    from exchange.policy.bundle import load_bundle

    bundle = load_bundle(folder)
    document = {"modules": dict(bundle.modules), "codes": dict(bundle.codes)}
    results = dict(exchange.engine.test(bundle))
    exchange.control.execute(_who(exchange, STEWARD), c.SubmitPolicy(document, results))
    exchange.control.execute(_who(exchange, AUTHORITY), c.ApprovePolicy(bundle.revision))


def _submit(exchange: "Exchange", contract: Path) -> None:
    from exchange.contracts.contract import load

    exchange.control.execute(_who(exchange, STEWARD), c.SubmitContract(load(contract).to_document()))


def _publish(
    exchange: "Exchange", config: Path, file: Path, on_progress: OnProgress
) -> "tuple[Published, Sequence[str]]":
    desk = LocalDesk(exchange, _who(exchange, SYSTEM))
    adapter, dataset = files_adapter(config, [file], exchange.settings.path(LEDGERS), desk)
    published = desk.publish(adapter, dataset, lambda so_far: on_progress("published", so_far.taken + so_far.rejected))
    return published, adapter.notes


def _agree(exchange: "Exchange", draft: "Draft", now_ns: int) -> None:
    """Requested by the one who asks, reviewed by the owner, approved by the authority: three people."""
    asked = {
        "consumer": OTHER,
        "dataset": draft.dataset,
        "purpose": PURPOSE,
        "legal_basis": "试用",
        "actions": ["read"],
        "fields": [{"path": path, "mask": mask} for path, mask in suggested(draft).items()],
        "rows": {"op": "all"},
        "case_bound": False,
        "zone": "extranet",
        "counts": False,
        "not_before_ns": now_ns - _DAY_NS,
        "expires_ns": now_ns + 30 * _DAY_NS,
        "purge_by": None,
    }
    agreement = exchange.control.execute(_who(exchange, ASKING), c.RequestAgreement(asked)).about
    exchange.control.execute(_who(exchange, STEWARD), c.ReviewAgreement(agreement, "endorse", "试用"))
    exchange.control.execute(_who(exchange, AUTHORITY), c.ApproveAgreement(agreement))


def _explained(exchange: "Exchange", dataset: str, language: Language) -> list[str]:
    from exchange.control.questions import Request
    from exchange.view.sentences import explain

    plan = exchange.gateway.explain(_who(exchange, READER), Request("read", dataset, PURPOSE))
    return explain(plan, exchange.contract(dataset), language, exchange.settings.zone)


def _first(exchange: "Exchange", dataset: str) -> list[dict[str, Any]]:
    """The first records as their owner published them, as JSON values."""
    from exchange.avro.records import Codec
    from exchange.view.plain import plain

    schema = exchange.contract(dataset).schemas[-1]
    codec, convert = Codec(schema), plain(schema.document, schema.named)
    stored = exchange.log.read(dataset, 0, 0, SHOWN)
    values = [codec.decode(value) for value in stored.values]
    return [convert(value) if convert else value for value in values]


def _read(
    exchange: "Exchange", dataset: str, on_progress: OnProgress
) -> "tuple[list[dict[str, Any]], list[tuple[int, int]], int]":
    """Everything that the consumer may have: the first records, each release's count and index, the first's index."""
    first: list[dict[str, Any]] = []
    releases: list[tuple[int, int]] = []
    done = 0
    for release in _releases(exchange, dataset):
        if not releases:
            first = [json.loads(line) for line in islice(release.payload.splitlines(), SHOWN)]
        releases.append((release.released, release.index))
        done += release.released
        on_progress("read", done)
    return first, releases, releases[0][1] if releases else exchange.audit.size - 1


def _releases(exchange: "Exchange", dataset: str) -> "Iterator[Release]":
    from exchange.control.questions import Request

    return exchange.gateway.read(_who(exchange, READER), Request("read", dataset, PURPOSE), {}, "jsonl")


def _proof(exchange: "Exchange", index: int, root: Path) -> tuple[int, int, str, bool, str]:
    """The release's place in the log, with its inclusion proof checked under the signed checkpoint."""
    from exchange.audit.note import open_checkpoint
    from exchange.audit.tiles import included
    from exchange.signing.merkle import leaf_hash

    vkey = (root / VKEY).read_text("utf-8").strip()
    checkpoint = open_checkpoint(exchange.audit.checkpoint(), vkey)
    leaf = leaf_hash(exchange.audit.leaf(index))
    path = exchange.audit.proof(index, checkpoint.size)
    holds = included(leaf, index, checkpoint.size, path, checkpoint.root)
    return index, checkpoint.size, checkpoint.root.hex(), holds, exchange.audit.evidence(index).decode()


def _verified(root: Path, kept: bytes) -> "Verdict":
    """The offline verifier's word, on the log's folder and its public key alone."""
    from exchange.audit.verify import verify

    return verify(root / "data" / "audit", (root / VKEY).read_text("utf-8").strip(), [kept])
