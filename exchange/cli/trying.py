"""`try`: what the exchange makes of a file of one's own, from the first look at it to the audit proof of a release."""

import argparse
import shlex
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from exchange.cli.options import Commands, command
from exchange.cli.terminal import Progress, Terminal, aligned, clipped, new_file
from exchange.errors import Invalid, Tampered
from exchange.messages import Language, describe, text

if TYPE_CHECKING:
    from exchange.cli.trial import Trial

PAGE: Final = "trial.html"
_REASON: Final = 76
_HEADER: Final = 24
_VALUE: Final = 36


def mount(commands: Commands, common: argparse.ArgumentParser, language: Language) -> None:
    """Adds `try`."""
    trying = command(commands, "try", _try, common, language)
    trying.add_argument("file", type=Path, metavar="FILE")
    trying.add_argument("--save", type=Path, metavar="DIR")
    trying.add_argument("--html", type=Path, metavar="FILE")


def _try(terminal: Terminal, parsed: argparse.Namespace) -> int:
    from exchange.cli.trial import try_file
    from exchange.cli.trial_page import page

    with _tidy_when_ended(), new_file(parsed.html) as html, _folder(parsed.save) as root:
        with _Bars(terminal) as bars:
            trial = try_file(
                root,
                parsed.file,
                language=terminal.language,
                environment=terminal.environment,
                now_ns=terminal.now_ns,
                on_progress=bars.to,
            )
        following = next_commands(trial, parsed.file, parsed.save)
        shown = page(trial, following, terminal.language)
        if html is not None:
            html.write(shown)
        if parsed.save is not None:
            with new_file(root / PAGE) as kept:
                if kept is not None:
                    kept.write(shown)
    terminal.show(_document(trial, following), _lines(trial, following, terminal.language))
    if parsed.html is not None:
        terminal.say("trial_page", file=parsed.html)
    if parsed.save is None:
        terminal.say("trial_gone")
    else:
        terminal.say("trial_saved", folder=parsed.save)
        terminal.say("trial_page", file=parsed.save / PAGE)
    return 0 if trial.proof.included and trial.proof.verdict.ok else Tampered.exit_code


@contextmanager
def _folder(save: Path | None) -> Iterator[Path]:
    """Where the site is made: a folder that is gone afterwards, or that becomes `save` when all went well."""
    if save is None:
        with tempfile.TemporaryDirectory(prefix="exchange-try-") as name:
            yield Path(name) / "site"
        return
    if save.exists() and (not save.is_dir() or any(save.iterdir())):
        raise Invalid("site_exists", where=str(save))
    save.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".exchange-try-", dir=save.absolute().parent) as name:
        yield Path(name) / "site"
        # A crash before this leaves a hidden folder beside it, and `save` as it was.
        (Path(name) / "site").replace(save)


@contextmanager
def _tidy_when_ended() -> Iterator[None]:
    """A signal that would end the process at once ends it like Ctrl-C: what was made of the file is removed first."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    ending = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    try:
        before = {number: signal.signal(number, end) for number in ending}
    except ValueError:  # not the main thread of its process, which is whoever's that started it
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Bars:
    """One bar after the other: rows looked at, records published, records read."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._stage = ""
        self._bar = Progress(None)

    def __enter__(self) -> "_Bars":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.__exit__()

    def to(self, stage: str, done: int) -> None:
        """So much of this stage is done."""
        if stage != self._stage:
            self._bar.__exit__()
            self._stage, self._bar = stage, self._terminal.progress(None, f" {stage}")
        self._bar.to(done)


def next_commands(trial: "Trial", file: Path, save: Path | None) -> list[str]:
    """Three commands to go on with: on the site that was kept, or to keep one."""
    given = shlex.quote(str(file))
    if save is None:
        return [
            f"exchange try {given} --save my-trial",
            f"exchange try {given} --html trial.html",
            "exchange init my-site",
        ]
    from exchange.cli.trial import PURPOSE, READER, SYSTEM

    dataset, site = trial.draft.dataset, shlex.quote(str(save))
    tokens = {who: shlex.quote(f"file:{save}/tokens/{who}.token") for who in (READER, SYSTEM)}
    config = shlex.quote(str(save / "adapters" / f"{dataset}.toml"))
    return [
        f"exchange read {dataset} --purpose {PURPOSE} --site {site} --token {tokens[READER]}",
        f"exchange publish {config} {given} --site {site} --token {tokens[SYSTEM]}",
        f"exchange audit verify --site {site}",
    ]


def _lines(trial: "Trial", following: Sequence[str], language: Language) -> Iterator[str]:
    """The whole as text, section by section."""

    def say(key: str, **facts: object) -> str:
        return text(f"trial_{key}", language, **facts)

    draft = trial.draft
    yield say("title", file=clipped(draft.table.path.name, 80))
    yield "  " + say("rows", rows=draft.rows, fields=len(draft.fields), dataset=draft.dataset)
    for note in draft.notes:
        yield "  " + clipped(text(note.key, language, **note.facts), 110)
    yield from ["", say("draft")]
    yield from _draft_table(trial, language)
    yield from ["", say("published", taken=trial.published.taken, rejected=trial.published.rejected)]
    yield from (f"  {clipped(note, 110)}" for note in trial.notes)
    if trial.letters:
        yield "  " + say("letters")
        rows = [(str(row), column, why, shape) for row, column, why, shape in letters(trial, language)]
        heads = (say("head_row"), say("head_column"), say("head_why"), say("head_shape"))
        yield from ("    " + line for line in aligned([heads, *([clipped(cell, 50) for cell in row] for row in rows)]))
        if (more := trial.published.rejected - len(trial.letters)) > 0:
            yield "    " + say("letters_more", count=more)
    yield ""
    yield from _views(trial, language)
    yield from ["", say("plan"), *(f"  {line}" for line in trial.plan)]
    yield from ["", say("audit"), *(f"  {line}" for line in audit_lines(trial, language))]
    yield from ["", say("next"), *(f"  $ {line}" for line in following)]


def _draft_table(trial: "Trial", language: Language) -> Iterator[str]:
    keys = ("column", "header", "field", "type", "class", "why")
    table = [[text(f"trial_head_{key}", language) for key in keys]]
    for one in trial.draft.fields:
        kind = field_type(one, language)
        why = [clipped(reason, _REASON) for reason in reasons(one, language)]
        table.append([place(trial, one), clipped(one.header, _HEADER), one.field, kind, one.security_class, why[0]])
        table.extend(["", "", "", "", "", more] for more in why[1:])
    yield from (f"  {line}" for line in aligned(table))


def _views(trial: "Trial", language: Language) -> Iterator[str]:
    if not trial.owner:
        yield text("trial_no_views", language)
        return
    yield text("trial_views", language, count=len(trial.owner))
    heads = [text(f"trial_{key}", language) for key in ("head_field", "owner", "consumer")]
    for number, rows in enumerate(side_by_side(trial, language), 1):
        shown = [[label, clipped(owner, _VALUE), clipped(consumer, _VALUE)] for label, owner, consumer in rows]
        yield f"  {text('trial_record', language, number=number)}"
        yield from (f"    {line}" for line in aligned([heads, *shown]))


def place(trial: "Trial", one: Any) -> str:  # noqa: ANN401  a `DraftField`
    """Where a field's column stands: its letters in a workbook, else its number."""
    if trial.draft.table.form != "xlsx":
        return str(one.column)
    letters, number = "", one.column
    while number:
        number, letter = divmod(number - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return letters


def reasons(one: Any, language: Language) -> list[str]:  # noqa: ANN401  a `DraftField`
    """Why a field is proposed as it is, as sentences."""
    return [text(reason.key, language, **reason.facts) for reason in one.reasons]


def field_type(one: Any, language: Language) -> str:  # noqa: ANN401  a `DraftField`
    """A field's type in words."""
    kind = text(f"draft_type_{one.type}", language)
    return f"{kind}, {text('draft_may_be_empty', language)}" if one.nullable else kind


def letters(trial: "Trial", language: Language) -> Iterator[tuple[int, str, str, str]]:
    """Each row that was left out: its number in the file, the column, why, and the cell's shape."""
    for one in trial.letters:
        why = describe(Invalid(one["code"]), language)[0] if one["code"] in _plainly_said() else one["code"]
        yield one["row"], one["column"] or "-", why, ", ".join(one["shape"].values())


def _plainly_said() -> set[str]:
    """The codes whose sentence needs no facts, which a dead letter does not keep."""
    from exchange.messages import error_codes

    return {code for code, entry in error_codes().items() if "{" not in entry["en"]}


def side_by_side(trial: "Trial", language: Language) -> Iterator[list[tuple[str, str, str]]]:
    """For each of the first records its fields: label, the owner's value, the consumer's."""
    withheld = text("trial_withheld", language)
    for owner, consumer in zip(trial.owner, trial.consumer, strict=False):
        yield [
            (
                one.label_zh if language == "zh" else one.label_en,
                value_text(owner[one.field]),
                value_text(consumer[one.field]) if one.field in consumer else withheld,
            )
            for one in trial.draft.fields
        ]


def value_text(value: object) -> str:
    """A JSON value for people."""
    return "-" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def audit_lines(trial: "Trial", language: Language) -> list[str]:
    """Where the release stands in the audit log, and that this was checked."""
    proof = trial.proof
    facts: dict[str, object] = {"index": proof.index, "size": proof.size}
    told = {"count": trial.released, "releases": trial.releases, **facts}
    first = text("trial_released", language, **told) if trial.releases else text("trial_decided", language, **facts)
    included = text("trial_included" if proof.included else "trial_not_included", language, root=proof.root[:16] + "…")
    whole = text("verify_ok" if proof.verdict.ok else "verify_bad", language, size=proof.verdict.size)
    return [first, included, whole, *(one.sentence(language) for one in proof.verdict.findings)]


def _document(trial: "Trial", following: Sequence[str]) -> dict[str, Any]:
    """The whole as JSON."""
    draft, proof = trial.draft, trial.proof
    return {
        "dataset": draft.dataset,
        "form": draft.table.form,
        "encoding": draft.table.encoding,
        "header": draft.table.config.header,
        "header_lines": draft.table.config.header_lines,
        "rows": draft.rows,
        "key": list(draft.key),
        "subject": {"type": draft.subject_type, "path": draft.subject_path},
        "skipped": list(draft.skip),
        "fields": [
            {
                "column": one.column,
                "header": one.header,
                "field": one.field,
                "type": one.type,
                "nullable": one.nullable,
                "class": one.security_class,
                "tags": list(one.tags),
                "kind": one.kind,
                "reasons": [reason.key.removeprefix("draft_") for reason in one.reasons],
            }
            for one in draft.fields
        ],
        "taken": trial.published.taken,
        "dead_letters": trial.published.rejected,
        "letters": [dict(one) for one in trial.letters],
        "owner": list(trial.owner),
        "consumer": list(trial.consumer),
        "released": trial.released,
        "audit": {
            "index": proof.index,
            "size": proof.size,
            "root": proof.root,
            "included": proof.included,
            "verified": proof.verdict.ok,
        },
        "next": list(following),
    }
