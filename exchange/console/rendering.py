"""Templates to pages: sentences from the message catalogue, times in the site's zone, everything else escaped."""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from exchange.errors import ExchangeError
from exchange.messages import Language, describe, error_codes, text
from exchange.view.sentences import mask_sentence, row_sentences
from exchange.wiring.preview import HIDDEN
from exchange.wiring.searching import WHATS

if TYPE_CHECKING:
    from exchange.console.visits import Visit

_FOLDER: Final = Path(__file__).parent / "templates"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST: Final = 20_000  # of a text as it stands in the page
_SHORT: Final = 19  # of a digest: `sha256:` and twelve digits
# What looks like a person's number (GB 11643): it belongs in no address. In the syntax of HTML's `pattern`, too.
PERSON: Final = r"[0-9]{6}(19|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9Xx]"
_NAVIGATION: Final[Sequence[tuple[str, str, frozenset[str]]]] = (
    ("/", "page_overview", frozenset()),
    ("/catalogue", "page_catalogue", frozenset()),
    ("/agreements", "page_agreements", frozenset()),
    ("/records", "page_records", frozenset({"steward", "department_system"})),
    ("/side-by-side", "page_side_by_side", frozenset({"steward"})),
    ("/dead-letters", "page_dead_letters", frozenset({"steward"})),
    ("/who-saw", "page_who_saw", frozenset({"auditor"})),
    ("/audit", "page_audit", frozenset({"auditor"})),
)
_TABS: Final = (("/audit", "page_tab_log"), *((f"/audit/{what}", f"sheet_{what}") for what in WHATS))


class _Unsaid(dict[str, object]):
    """Facts of a sentence of which some are not known any more."""

    def __missing__(self, _key: str) -> str:
        return "…"


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(short=_short, pretty=_pretty, cut=_cut, begun=_begun)
    return made


def rendered(visit: "Visit", template: str, **facts: Any) -> str:  # noqa: ANN401
    """The page of a template for a visit, in its language."""
    from exchange.console.house import STYLE

    language, settings = visit.language, visit.house.exchange.settings
    words = _Words(language)
    me = visit.room.me() if visit.room else None
    roles = set(me["roles"]) if me else set()
    path = visit.request.url.path
    return _environment().get_template(template).render(
        t=words.say,
        word=words.word,
        entry_word=words.entry_word,
        reason=words.reason,
        masked=words.masked,
        rows_told=words.rows,
        time=lambda ns: time_text(ns, settings.zone),
        day=lambda ns: time_text(ns, settings.zone)[:10],
        title=words.title,
        said=words.said,
        fault=words.fault,
        cell=words.cell,
        hidden=HIDDEN,
        language=language,
        other="en" if language == "zh" else "zh",
        site=settings.text("name") or text("page_site", language),
        site_language="zh-CN" if any("\u4e00" <= letter <= "\u9fff" for letter in settings.text("name")) else "en",
        origin=settings.text("origin"),
        sample=settings.is_sample,
        style=STYLE,
        me=me,
        roles=roles,
        asks=bool(roles & {"steward", "department_system"}),
        csrf=visit.session.csrf if visit.session else "",
        here=path,
        switch=_with_query(visit, lang="en" if language == "zh" else "zh"),
        tabs=_TABS if "auditor" in roles else (),
        navigation=[(href, key) for href, key, need in _NAVIGATION if me and (not need or need & roles)],
        **facts,
    )  # fmt: skip


def _with_query(visit: "Visit", **changes: str) -> str:
    """This page's address with other parameters, without a host: whatever name the browser knows us by. What somebody
    put into it that looks like a person's number does not come back.
    """
    asked = visit.request.query_params.multi_items()
    kept = [(name, value) for name, value in asked if name not in changes and not re.search(PERSON, f"{name} {value}")]
    return f"{visit.request.url.path}?{urlencode([*kept, *changes.items()])}"


class _Words:
    """The sentences of one language."""

    def __init__(self, language: Language) -> None:
        self._language = language

    def say(self, key: str, **facts: object) -> str:
        return text(key, self._language, **facts)

    def word(self, kind: str, value: object) -> str:
        """A word of a closed list for people; itself where the catalogue has none."""
        try:
            return text(f"page_{kind}_{value}", self._language)
        except KeyError:
            return str(value)

    def said(self, error: ExchangeError) -> tuple[str, str]:
        """What is wrong, at the field as its label calls it, and what to do."""
        what, todo = describe(error, self._language)
        try:
            label = text(f"page_filter_{error.where}", self._language)
        except KeyError:
            return what, todo
        return label + what.removeprefix(error.where), todo

    def fault(self, error: ExchangeError) -> str:
        """What is wrong, for a reader who sees where."""
        what = describe(error, self._language)[0]
        return what.removeprefix(error.where).lstrip("：: ") if error.where else what

    def entry_word(self, name: str) -> str:
        """What a field of an entry is called, as tables of a search call it where they have it."""
        for key in (f"page_body_{name}", f"column_{name}"):
            with suppress(KeyError):
                return text(key, self._language)
        return name

    def reason(self, code: str) -> str:
        """Why: a reason of a plan, or an error, as a sentence whose facts are not all known here."""
        try:
            return text(f"reason_{code}", self._language)
        except KeyError:
            entry = error_codes().get(code)
            return entry[self._language].format_map(_Unsaid()) if entry else code

    def masked(self, mask: Mapping[str, Any]) -> str:
        return mask_sentence(mask, self._language)

    def rows(self, tree: Mapping[str, Any]) -> list[str]:
        return row_sentences(tree, self._language)

    def title(self, thing: Any) -> str:  # noqa: ANN401  # whatever has titles in both languages
        """Its title in the language, else in the other."""
        titles = thing if isinstance(thing, Mapping) else {"title_zh": thing.title_zh, "title_en": thing.title_en}
        other = "en" if self._language == "zh" else "zh"
        return str(titles[f"title_{self._language}"] or titles[f"title_{other}"])

    def cell(self, value: object) -> str:
        """A value of a record as people read it."""
        if value is None:
            return text("page_null", self._language)
        if isinstance(value, bool):
            return text("page_true" if value else "page_false", self._language)
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def time_text(ns: int | None, zone: Any) -> str:  # noqa: ANN401
    """To the second, with the offset; a dash where there is none, or none that a calendar has."""
    if ns is None:
        return "—"
    try:
        return (_EPOCH + timedelta(seconds=ns // 1_000_000_000)).astimezone(zone).isoformat(sep=" ", timespec="seconds")
    except OverflowError:
        return "—"


def _short(digest: str | None) -> str:
    return "—" if not digest else digest if len(digest) <= _SHORT else digest[:_SHORT] + "…"


def _begun(words: str) -> str:
    """The words as the beginning of a line has them."""
    return words[:1].upper() + words[1:]


def _cut(text: str) -> str:
    """As much of a text as a page bears; the API and the command line give all of it."""
    kept = text[:_LONGEST]
    while len(escape(kept)) > _LONGEST:
        kept = kept[: len(kept) * 4 // 5]
    return text if kept == text else kept + " …"


def _pretty(value: Any) -> str:  # noqa: ANN401
    """A value of an entry; JSON within it is set out, a list of plain values stands in a line."""
    if isinstance(value, list) and not any(isinstance(one, list | dict) for one in value):
        return ", ".join("—" if one is None else str(one) for one in value)
    if isinstance(value, str) and value[:1] in "{[":
        try:
            return json.dumps(json.loads(value), ensure_ascii=False, indent=1)
        except ValueError:
            return value
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)
