"""The trial as one HTML page: no scripts, nothing fetched, every text escaped, fit for printing."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Final

from exchange.cli.trial_text import audit_lines, field_type, letters, place, reasons, side_by_side
from exchange.messages import Language, text

if TYPE_CHECKING:
    from exchange.cli.trial import Trial

_STYLE: Final = """
body { font: 16px/1.6 system-ui, "Noto Sans CJK SC", "Microsoft YaHei", sans-serif; color: #1a1a1a; background: #fff;
  max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; } h3 { font-size: 1rem; margin-bottom: .3rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border: 1px solid #767676; padding: .25rem .6rem; text-align: left; vertical-align: top;
  overflow-wrap: break-word; }
th { background: #eef1f4; } .class { white-space: nowrap; font-weight: 600; }
.views { table-layout: fixed; } .views td:first-child { width: 26%; } .views td { width: 37%; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f5f6f7; padding: .6rem; font-size: .8rem; }
.warning { border-left: .3rem solid #b00020; padding: .2rem .8rem; }
@media print { body { margin: 0; max-width: none; font-size: 11pt; } section, tr { break-inside: avoid; } }
""".strip()
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"


def page(trial: "Trial", following: Sequence[str], language: Language) -> str:
    """The page in this language."""
    title = text("trial_title", language, file=trial.draft.table.path.name)
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="{"zh-CN" if language == "zh" else "en"}">',
            '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head>",
            f"<body><main><h1>{escape(title)}</h1>",
            f'<p class="warning">{escape(text("trial_page_warning", language))}</p>',
            *_draft(trial, language),
            *_published(trial, language),
            *_views(trial, language),
            *_section("trial_plan", language, _preformatted(trial.plan)),
            *_section("trial_audit", language, _audit(trial, language)),
            *_section("trial_next", language, _preformatted(following)),
            "</main></body></html>",
            "",
        ]
    )


def _draft(trial: "Trial", language: Language) -> Iterable[str]:
    draft = trial.draft
    facts = {"rows": draft.rows, "fields": len(draft.fields), "dataset": draft.dataset}
    notes = [text("trial_rows", language, **facts), *(text(note.key, language, **note.facts) for note in draft.notes)]
    rows = [
        [
            place(trial, one),
            one.header or "-",
            one.field,
            field_type(one, language),
            one.security_class,
            "; ".join(reasons(one, language)) if language == "en" else "；".join(reasons(one, language)),
        ]
        for one in draft.fields
    ]
    yield _list(notes)
    yield from _section(
        "trial_draft", language, _table(("column", "header", "field", "type", "class", "why"), rows, language)
    )


def _published(trial: "Trial", language: Language) -> Iterable[str]:
    told = text("trial_published", language, taken=trial.published.taken, rejected=trial.published.rejected)
    yield f"<section><h2>{escape(told)}</h2>"
    yield _list(trial.notes)
    if trial.letters:
        rows = [[str(row), column, why, shape] for row, column, why, shape in letters(trial, language)]
        yield f"<h3>{escape(text('trial_letters', language))}</h3>"
        yield _table(("row", "column", "why", "shape"), rows, language)
        if (more := trial.published.rejected - len(trial.letters)) > 0:
            yield f"<p>{escape(text('trial_letters_more', language, count=more))}</p>"
    yield "</section>"


def _views(trial: "Trial", language: Language) -> Iterable[str]:
    if not trial.owner:
        yield f"<section><h2>{escape(text('trial_no_views', language))}</h2></section>"
        return
    yield f"<section><h2>{escape(text('trial_views', language, count=len(trial.owner)))}</h2>"
    heads = [text(f"trial_{key}", language) for key in ("head_field", "owner", "consumer")]
    for number, rows in enumerate(side_by_side(trial, language), 1):
        yield f"<h3>{escape(text('trial_record', language, number=number))}</h3>"
        yield _rows(heads, rows, "views")
    yield "</section>"


def _audit(trial: "Trial", language: Language) -> str:
    proof = f"<h3>{escape(text('trial_proof', language))}</h3>{_preformatted([trial.proof.evidence])}"
    return _list(audit_lines(trial, language)) + proof


def _section(key: str, language: Language, body: str) -> Iterable[str]:
    return [f"<section><h2>{escape(text(key, language))}</h2>", body, "</section>"]


def _preformatted(lines: Iterable[str]) -> str:
    return f"<pre>{escape(chr(10).join(lines))}</pre>"


def _list(texts: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(one)}</li>" for one in texts)
    return f"<ul>{items}</ul>" if items else ""


def _table(keys: Sequence[str], rows: Sequence[Sequence[str]], language: Language) -> str:
    return _rows([text(f"trial_head_{key}", language) for key in keys], rows, "")


def _rows(heads: Sequence[str], rows: Sequence[Sequence[str]], name: str) -> str:
    head = "".join(f'<th scope="col">{escape(one)}</th>' for one in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<table class="{name}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
