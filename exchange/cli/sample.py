"""`exchange init DIR --sample`: a site to play with, filled through the product's own three paths and nothing else.

The county of Ningyuan with its departments, people, datasets and agreements; every person in it is made up. Its origin
begins with `sample.` and stands in every checkpoint, so that it never passes for a real site.
"""

import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from exchange.cli.agreements import with_times
from exchange.cli.cast import (
    AUDITOR,
    AUTHORITY,
    CASE,
    CASE_DEAD,
    CASE_HOME,
    CHECKER,
    CLERK,
    OFFICE,
    PUBLISHERS,
    agreements_of_c1,
    own_review,
    register,
    reviewer,
    unfinished,
)
from exchange.cli.register import enrol
from exchange.cli.terminal import Terminal, new_file
from exchange.control import commands as c
from exchange.control.questions import Request
from exchange.errors import Refused
from exchange.settings import secret
from exchange.site import LEDGERS
from exchange.wiring import Exchange, MadeSite, make_site, open_exchange, standing
from exchange.wiring.desk import LocalDesk
from exchange.wiring.sources import files_adapter

if TYPE_CHECKING:
    from adapters.sample.truth import Planted, Truth
    from exchange.control.model import Principal

NAME: Final = "宁远县数据共享交换（样例，数据均为合成）"
CASE_CLOSED: Final = "case-2026-000101"
_SCALE: Final = 0.01  # 200 households
_SEED: Final = 2026
_DAYS: Final = 365
_DAY_NS: Final = 86_400 * 1_000_000_000
_TITLE: Final = "样例，合成数据 sample, synthetic"
_DRAFT_PURPOSE: Final = {
    "relief.check": {"title_zh": "临时救助核对", "title_en": "temporary relief, check", "case_required": True}
}


def make_sample(root: Path, terminal: Terminal) -> MadeSite:
    """Makes a sample site in a folder that is not there or empty; tokens lie in its `tokens`, files of the departments'
    systems in its `departments`.

    Raises:
        Invalid: `site_exists`; `sample_data_missing`: then nothing was made.
    """
    from adapters.sample.county import county
    from adapters.sample.writing import write

    today = datetime.fromtimestamp(terminal.now_ns() // 1_000_000_000, UTC).date()
    made_up = county(_SEED, _SCALE, today)
    made = make_site(
        root,
        name=NAME,
        origin=None,
        department=OFFICE,
        principal=AUTHORITY,
        now_ns=terminal.now_ns,
        random_bytes=secrets.token_bytes,
        sample=True,
        titles=("宁远县数据局", "Ningyuan Data Office"),
    )
    # A crash from here on leaves a sample with less in it: still a sample, and a new one is made in seconds.
    tokens = made.root / "tokens"
    tokens.mkdir(mode=0o700)
    with new_file(tokens / f"{AUTHORITY}.token") as stream:
        if stream is not None:
            stream.write(made.token + "\n")
    truth = write(made_up, made.root / "departments")
    # Where the pages look for them, when a corrected file is sent again.
    shutil.copytree(made.root / "departments" / "adapters", made.root / "adapters", dirs_exist_ok=True)
    with (
        open_exchange(made.root, "exchange init --sample", {}, terminal.now_ns, secrets.token_bytes) as exchange,
        terminal.progress(None, "steps") as bar,
    ):
        for step, _ in enumerate(_Sample(exchange, tokens, truth, terminal.now_ns).steps(), 1):
            bar.to(step)
    return made


@dataclass(frozen=True)
class _Sample:
    """A site while it is filled; whoever acts shows the own token."""

    exchange: Exchange
    tokens: Path
    truth: "Truth"
    now_ns: Callable[[], int]

    def steps(self) -> Iterator[object]:
        """Everything that happens, in its order; one item for each step, to count them by."""
        yield from self.people()
        yield from self.policy()
        yield from self.datasets()
        yield from self.published()
        yield from self.agreements()
        yield from self.cases()
        yield from self.reads()
        yield from self.refusals()

    def actor(self, who: str) -> "Principal":
        text = secret(f"file:{who}.token", self.tokens, {})
        return self.exchange.control.model().principal_for(text, self.now_ns())

    def do(self, who: str, command: c.Command) -> str:
        """One control command by one person; the id of what it was about."""
        return self.exchange.control.execute(self.actor(who), command).about

    def people(self) -> Iterator[object]:
        people, expires = register(), self.now_ns() + _DAYS * _DAY_NS
        desk = LocalDesk(self.exchange, self.actor(AUTHORITY))
        yield from enrol(desk, people["departments"], people["principals"], expires, self.tokens)

    def policy(self) -> Iterator[object]:
        """The standing policy in force, and a draft with one purpose more that waits for somebody's approval."""
        from exchange.policy.bundle import load_bundle

        bundle = load_bundle(standing("policies"))
        purposes = {**bundle.codes["purposes"], **_DRAFT_PURPOSE}
        draft = replace(bundle, codes={**bundle.codes, "purposes": purposes})
        for submitter, one in (("steward.ny.minzheng", bundle), ("deputy.ny.minzheng", draft)):
            tests = dict(self.exchange.engine.test(one))
            document = {"modules": dict(one.modules), "codes": dict(one.codes)}
            revision = self.do(submitter, c.SubmitPolicy(document, tests))
            yield revision if one is draft else self.do(AUTHORITY, c.ApprovePolicy(revision))

    def datasets(self) -> Iterator[object]:
        from exchange.contracts.contract import load

        for dataset, department in PUBLISHERS.items():
            folder = self.exchange.settings.path("schemas") / department / dataset
            shutil.copytree(standing("schemas") / department / dataset, folder)
            yield self.do(f"steward.{department}", c.SubmitContract(load(folder).to_document()))

    def published(self) -> Iterator[object]:
        """Every file by its own department's system; bad records go to the dead letters. The registry's correction is
        left in its folder, to be published by whoever plays.
        """
        from adapters.files.config import load_config

        source = self.exchange.settings.path("departments")
        for name, file in self.truth.files.items():
            if not name.endswith("-correction.csv"):
                config = load_config(source / file.config)
                desk = LocalDesk(self.exchange, self.actor(f"svc.{PUBLISHERS[config.dataset]}"))
                ledgers = self.exchange.settings.path(LEDGERS)
                adapter, dataset = files_adapter(source / file.config, [source / name], ledgers, desk)
                yield desk.publish(adapter, dataset, lambda _: None)

    def agreements(self) -> Iterator[object]:
        """C1's and each department's own, in force; and one at every other stage of its life."""
        own = [self.exchange.contract(dataset) for dataset in PUBLISHERS]
        asked = [*agreements_of_c1().values(), *(own_review(one) for one in own if one.share_type == "conditional")]
        for steward, terms in asked:
            yield self._agreed(steward, terms)
        for stage, (steward, terms) in unfinished().items():
            yield self._left_at(stage, steward, terms)

    def _requested(self, steward: str, terms: dict[str, Any]) -> str:
        zone = self.exchange.settings.zone
        return self.do(steward, c.RequestAgreement(with_times(terms, zone, terms["dataset"])))

    def _agreed(self, steward: str, terms: dict[str, Any]) -> str:
        name = self._requested(steward, terms)
        self.do(reviewer(terms), c.ReviewAgreement(name, "endorse", "范围必要 the scope is needed"))
        return self.do(AUTHORITY, c.ApproveAgreement(name))

    def _left_at(self, stage: str, steward: str, terms: dict[str, Any]) -> str:
        provider = reviewer(terms)
        if stage == "revoked":
            name = self._agreed(steward, terms)
            return self.do(provider, c.RevokeAgreement(name, "用途已结束 the purpose is over"))
        name = self._requested(steward, terms)
        if stage == "endorsed":
            self.do(provider, c.ReviewAgreement(name, "endorse", "范围必要 the scope is needed"))
        elif stage == "returned":
            self.do(provider, c.ReviewAgreement(name, "return", "请说明为何需要该字段 say why this field is needed"))
        elif stage == "rejected":
            self.do(AUTHORITY, c.RejectAgreement(name, "监督用途不需要姓名 supervision needs no names"))
        return name

    def cases(self) -> Iterator[object]:
        """One application that all departments of C1 may use, one with hard cases, one of a household, one closed."""
        others = [one for one in self.truth.planted if one.case in {"b", "c"}]
        home = self.truth.role("applicant_d").household_id
        applied = self.truth.members(self.truth.role("applicant").application_id)
        everyone = ("ny.minzheng", "ny.gongan", "ny.renshe", "ny.caizheng")
        yield self._opened(CASE, "低保申请 dibao application", _ids(applied), everyone)
        yield self._opened(CASE_DEAD, "低保复核 dibao recheck", _ids(others), everyone)
        yield self._opened(CASE_HOME, "低保重复申请 applied twice", [home], everyone, "household")
        yield self._opened(CASE_CLOSED, "低保申请（已办结） decided", _ids(applied), everyone)
        yield self.do(CLERK, c.CloseCase(CASE_CLOSED, "已办结 decided"))

    def _opened(
        self, case: str, title: str, ids: Sequence[str], departments: Sequence[str], subject: str = "person"
    ) -> str:
        members = self.exchange.tags(subject, ids)
        return self.do(CLERK, c.OpenCase(case, subject, f"{title}（{_TITLE}）", members, departments))

    def reads(self) -> Iterator[object]:
        """What clerk, checker and providers have read by now."""
        for who, dataset, purpose, case in (
            (CLERK, "hrss.pension_account", "dibao.intake", CASE),
            (CLERK, "fin.receipt", "dibao.intake", CASE),
            (CHECKER, "ca.dibao_standard", "open.use", None),
            (CHECKER, "ps.hukou_person", "dibao.initial_check", CASE),
            (CHECKER, "hrss.pension_account", "dibao.initial_check", CASE),
            (CHECKER, "fin.receipt", "dibao.initial_check", CASE),
            (CHECKER, "ps.hukou_person", "dibao.initial_check", CASE_DEAD),
            (CHECKER, "hrss.pension_account", "dibao.initial_check", CASE_DEAD),
            (CHECKER, "ca.dibao_application", "dibao.initial_check", CASE_HOME),
            ("steward.ny.renshe", "hrss.pension_account", "own.review", CASE),
        ):
            yield self._read(who, Request("read", dataset, purpose, case))
        applicant = self.truth.role("spouse").person_id
        asked = Request("lookup", "hrss.pension_account", "dibao.initial_check", CASE)
        yield self.exchange.gateway.lookup(self.actor(CHECKER), asked, [applicant], "jsonl")

    def _read(self, who: str, request: Request) -> int:
        return sum(one.released for one in self.exchange.gateway.read(self.actor(who), request, {}, "jsonl"))

    def refusals(self) -> Iterator[object]:
        """What was asked and not given, each with another reason; and what an auditor has asked about it."""
        neighbour = self.truth.role("neighbour").person_id
        gateway = self.exchange.gateway
        outside = Request("lookup", "hrss.pension_account", "dibao.intake", CASE)
        asked: list[Callable[[], object]] = [
            lambda: gateway.lookup(self.actor(CLERK), outside, [neighbour], "jsonl"),
            lambda: self._read(CLERK, Request("read", "ps.hukou_person", "dibao.intake", CASE)),
            lambda: self._read(CHECKER, Request("read", "fin.receipt", "dibao.initial_check")),
            lambda: self._read(CHECKER, Request("read", "ps.hukou_person", "dibao.initial_check", CASE_CLOSED)),
            lambda: self._read(CHECKER, Request("read", "ca.dibao_application", "dibao.review", CASE_HOME)),
            lambda: self._read(AUDITOR, Request("read", "mz.division", "open.use")),
            lambda: self.do("steward.ny.minzheng", c.ApproveAgreement("agr-1")),
            lambda: self.exchange.who_saw(
                self.actor(CLERK), bytes.fromhex(self.exchange.tags("person", [neighbour])[0])
            ),
        ]
        for attempt in asked:
            with suppress(Refused):
                attempt()
            yield attempt
        (tag,) = self.exchange.tags("person", [neighbour])
        yield self.exchange.who_saw(self.actor(AUDITOR), bytes.fromhex(tag))


def _ids(people: "Sequence[Planted]") -> list[str]:
    return [one.person_id for one in people]
