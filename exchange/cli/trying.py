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
from exchange.cli.terminal import Progress, Terminal, new_file
from exchange.errors import Invalid, Tampered
from exchange.messages import Language

if TYPE_CHECKING:
    from exchange.cli.trial import Trial

PAGE: Final = "trial.html"


def mount(commands: Commands, common: argparse.ArgumentParser, language: Language) -> None:
    """Adds `try`."""
    trying = command(commands, "try", _try, common, language)
    trying.add_argument("file", type=Path, metavar="FILE")
    trying.add_argument("--save", type=Path, metavar="DIR")
    trying.add_argument("--html", type=Path, metavar="FILE")


def _try(terminal: Terminal, parsed: argparse.Namespace) -> int:
    from exchange.cli.trial import try_file
    from exchange.cli.trial_page import page
    from exchange.cli.trial_text import lines

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
    terminal.show(_document(trial, following), lines(trial, following, terminal.language))
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
