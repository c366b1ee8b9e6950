"""What a bundle proves, for people: lines for a terminal, and one printable page of HTML in both languages."""

from __future__ import annotations

import datetime as dt
import html
import json
from typing import Any, Iterator

from .result import Entry, Result
from .words import LANGUAGES, said

_STYLE = """
@page { size: A4; margin: 16mm 14mm }
* { box-sizing: border-box }
body { font: 10.5pt/1.5 "Noto Sans CJK SC", "Microsoft YaHei", "SimSun", "Segoe UI", sans-serif; margin: 1.2rem auto;
  max-width: 54rem; padding: 0 1rem; color: #111; background: #fff }
h1 { font-size: 17pt; margin: 0 0 .4rem }
h2 { font-size: 12pt; margin: 1.1rem 0 .3rem; border-bottom: 1px solid #888; break-after: avoid }
[lang=en] { color: #333 } h1 [lang=en], h2 [lang=en] { font-weight: 400; margin-left: .6em }
.verdict { border: 2px solid; padding: .6rem .8rem; font-size: 13pt; font-weight: 700 }
.ok { color: #14532d; background: #f0fdf4 } .bad { color: #7f1d1d; background: #fef2f2 }
.verdict [lang] { display: block; color: inherit }
p [lang] { display: block }
ul { margin: .2rem 0; padding-left: 1.3rem } li { margin: .25rem 0 } li [lang] { display: block }
table { border-collapse: collapse; width: 100%; font-size: 8.5pt } tr { break-inside: avoid }
th, td { border: 1px solid #999; padding: .25rem .4rem; text-align: left; vertical-align: top;
  overflow-wrap: break-word }
th { background: #f3f4f6; font-weight: 600 } th [lang] { display: block }
dl { display: grid; grid-template-columns: minmax(13rem, max-content) 1fr; gap: .25rem .8rem; margin: .3rem 0 }
dt [lang] { display: block } dd { margin: 0; overflow-wrap: anywhere }
.digits { font: 600 13pt/1.6 "Cascadia Mono", Consolas, "DejaVu Sans Mono", monospace; letter-spacing: .02em }
.box { border: 1px solid #555; padding: .5rem .8rem; break-inside: avoid }
.line { margin-top: 2.2rem; border-top: 1px solid #555; padding-top: .2rem; font-size: 9pt; max-width: 24rem }
@media print { body { margin: 0; max-width: none; padding: 0 } .ok, .bad, th { background: none } }
"""


def lines(result: Result, language: str) -> Iterator[str]:
    """The verdict for a terminal."""
    yield said("verdict_ok" if result.ok else "verdict_bad", language, count=len(result.findings))
    if result.question and result.question["query"] != "who_saw":
        yield said("question_" + result.question["query"], language)
        for key, value in _filters(result.question["filter"]):
            yield "  - " + said(key, language) + ("：" if language == "zh" else ": ") + value
    for line in findings(result, language):
        yield line
    for head, kind, counts in (
        ("head_proved", "proved_", result.proved),
        ("head_unproved", "unproved_", result.unproved),
    ):
        if counts:
            yield said(head, language) + ("：" if language == "zh" else ":")
            for code, count in counts.items():
                yield "  - " + said(kind + code, language, count=count)
    if result.covered:
        yield said("head_covered", language) + ("：" if language == "zh" else ":")
        for key, facts in _covered(result):
            yield "  - " + said(key, language, **facts)
    for name in ("key_fingerprint", "checkpoint_fingerprint"):
        if getattr(result, name):
            yield said(name, language) + ("：" if language == "zh" else ": ") + getattr(result, name)


def findings(result: Result, language: str) -> Iterator[str]:
    """What is wrong, a line each."""
    for one in result.findings:
        yield one.code + ": " + said("finding_" + one.code, language, place=one.place, detail=one.detail)


def page(result: Result, name: str, digest: str, now: dt.datetime) -> str:
    """The page. It needs nothing beside itself and runs no script."""
    parts = [
        "<h1>%s</h1>" % _both("title"),
        "<dl>%s</dl>"
        % "".join(_facts([("file", name), ("file_digest", digest), ("made", now.strftime("%Y-%m-%d %H:%M:%S"))])),
        '<p class="verdict %s">%s</p>' % ("ok" if result.ok else "bad", _verdict(result)),
    ]
    if result.findings:
        found = ((("finding_" + one.code), {"place": one.place, "detail": one.detail}) for one in result.findings)
        parts.append(_section("head_findings", _list(found)))
    parts.append(_section("head_question", _question(result)))
    parts.append(_section("head_answer", _answer(result)))
    if result.covered:
        parts.append(_section("head_covered", _list(_covered(result))))
    for head, kind, counts in (
        ("head_proved", "proved_", result.proved),
        ("head_unproved", "unproved_", result.unproved),
    ):
        parts.append(_section(head, _list((kind + code, {"count": count}) for code, count in counts.items())))
    parts.append(_section("head_compare", _compare(result)))
    title = html.escape(said("title", "zh") + " " + said("title", "en"))
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    body = "\n".join(parts)
    head += "<title>%s</title><style>%s</style>" % (title, _STYLE)
    return '<!doctype html>\n<html lang="zh"><head>%s</head>\n<body>\n%s\n</body></html>\n' % (head, body)


def _both(key: str, **facts: Any) -> str:
    return "".join('<span lang="%s">%s</span>' % (one, html.escape(said(key, one, **facts))) for one in LANGUAGES)


def _verdict(result: Result) -> str:
    return _both("verdict_ok" if result.ok else "verdict_bad", count=len(result.findings))


def _section(head: str, body: str) -> str:
    return "<h2>%s</h2>\n%s" % (_both(head), body)


def _list(items: Any) -> str:
    return "<ul>%s</ul>" % "".join("<li>%s</li>" % _both(key, **facts) for key, facts in items)


def _facts(rows: list[tuple[str, str]]) -> Iterator[str]:
    for key, value in rows:
        yield "<dt>%s</dt><dd>%s</dd>" % (_both(key), html.escape(value))


def _question(result: Result) -> str:
    if not result.question:
        return "<p>%s</p>" % _both("question_none")
    question = result.question
    parts = ["<p>%s</p>" % _both("question_" + question["query"])]
    if question["query"] == "who_saw":
        parts.append(
            "<ul>%s</ul>" % "".join("<li><code>%s</code></li>" % html.escape(str(tag)) for tag in question["tags"])
        )
    elif question["filter"]:
        parts.append("<dl>%s</dl>" % "".join(_facts(_filters(question["filter"]))))
    else:
        parts.append("<p>%s</p>" % _both("filter_none"))
    parts.append(
        "<p>%s</p>"
        % _both("question_asked", index=question["asked"], size=question["size"], time=_utc(result.asked_ns))
    )
    return "".join(parts)


def _filters(given: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("filter_" + name, _utc(value) if name in ("from_ns", "until_ns") else str(value))
        for name, value in sorted(given.items())
    ]


def _utc(ns: int) -> str:
    """A time to the second, in UTC; what is no time of a calendar as it stands."""
    try:
        at = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=ns // 10**9)  # noqa: DTZ001  # UTC
    except OverflowError:
        return "%d ns" % ns
    return at.strftime("%Y-%m-%d %H:%M:%S")


def _covered(result: Result) -> Iterator[tuple[str, dict[str, Any]]]:
    told = result.covered
    if "first" in told:
        earliest, latest = _utc(told["earliest_ns"]), _utc(told["latest_ns"])
        yield "covered_range", {"first": told["first"], "last": told["last"], "size": result.size}
        yield "covered_times", {"earliest": earliest, "latest": latest, "backwards": told["backwards"]}
        return
    yield "covered_entries", {"sealed": told["sealed"], "entries": told["entries"], "size": result.size}
    for place, end in told["records"].items():
        yield "covered_records", {"place": place, "end": end}
    for name in ("excluded", "later"):
        if told[name]:
            yield "covered_" + name, {"indexes": ", ".join(map(str, told[name]))}


def _answer(result: Result) -> str:
    if not result.answer:
        return "<p>%s</p>" % _both(_none(result)) if result.question else ""
    names = ("index", "time", "what", "who", "dataset", "purpose", "fields")
    head = "".join("<th>%s</th>" % _both("col_" + name) for name in names)
    return "<table><thead><tr>%s</tr></thead><tbody>%s</tbody></table>" % (head, "".join(map(_row, result.answer)))


def _none(result: Result) -> str:
    return "answer_none" if result.question["query"] == "who_saw" else "answer_none_found"


def _row(one: Entry) -> str:
    try:
        return _cells(one)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):  # fields that no kind of ours has
        return '<tr><td>%d</td><td colspan="6">?</td></tr>' % one.index


def _cells(one: Entry) -> str:
    body = one.body
    who = body.get("recipient") or body.get("consumer") or body.get("department") or body.get("owner") or "-"
    why = ", ".join(str(body[name]) for name in ("purpose", "case", "agreement") if body.get(name))
    cells = [
        str(one.index),
        _utc(body["time_ns"]),
        None,
        who,
        body.get("dataset") or "-",
        why or "-",
        _shown(body),
    ]
    texts = [_both("kind_" + one.kind) if cell is None else html.escape(cell) for cell in cells]
    return "<tr>%s</tr>" % "".join("<td>%s</td>" % text for text in texts)


def _shown(body: dict[str, Any]) -> str:
    if body.get("fields"):
        try:
            return ", ".join("%s (%s)" % (field["path"], field["mask"]["kind"]) for field in json.loads(body["fields"]))
        except (ValueError, KeyError, TypeError):
            return "?"
    told = [*(body.get("reasons") or ()), *(body.get(name) for name in ("type", "event", "use", "revision", "query"))]
    return ", ".join(str(one) for one in told if one) or "-"


def _compare(result: Result) -> str:
    rows = [("origin", result.origin), ("checkpoint_size", str(result.size))]
    digits = "".join(
        '<p>%s<br><span class="digits">%s</span></p>' % (_both(name), html.escape(getattr(result, name) or "-"))
        for name in ("key_fingerprint", "checkpoint_fingerprint")
    )
    facts = "<dl>%s</dl>" % "".join(_facts(rows))
    return '<div class="box"><p>%s</p>%s%s<p class="line">%s</p></div>' % (
        _both("compare"),
        facts,
        digits,
        _both("signature_line"),
    )
