"""An auditor's search as one file that proves itself: what `exchange.wiring.searching` finds, as a bundle.

There are two forms. A *list* holds the entries that were found, each with its proof. The *complete* form holds every
entry of a range of the log instead, so that whoever judges it finds the answer again himself (`exchange.evidence`).
"""

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from exchange.audit import tiles
from exchange.errors import Invalid, Refused
from exchange.site import VKEY
from exchange.wiring.evidence import FORMAT, archive, begun, opened_kept, put_entries
from exchange.wiring.searching import Sought, What, check_period, wanted_of

if TYPE_CHECKING:
    from exchange.audit.subjects import SubjectIndex, Wanted
    from exchange.control.model import Principal
    from exchange.wiring.exchange import Exchange

MOST_LISTED: Final = 10_000  # entries in a list
MOST_WHOLE: Final = 100_000  # entries of the log in a complete answer
MOST_BYTES: Final = 200 << 20  # and their bytes: the judge reads a bundle whole
_PAGE: Final = 10_000
_FILTERS: Final = ("officer", "department", "dataset", "case", "purpose", "field", "from_ns", "until_ns")


def search_bundle(
    exchange: "Exchange",
    who: "Principal",
    what: What,
    sought: Sought,
    kept: Sequence[bytes] = (),
    *,
    complete: bool = False,
    on_entries: Callable[[int], None] = lambda _: None,
) -> bytes:
    """What is found, with every proof; the question and its answer are an entry of the log before this returns.
    `on_entries` is told how many entries are in, now and then.

    Raises:
        Refused: `auditor_required`, audited.
        Invalid: `search_range`; `bundle_too_large` where more is found, or more is between the first entry of the
            period and its last, than one file should hold: ask about a shorter period.
        Tampered: `audit_note_invalid`, `audit_log_shorter` for a kept checkpoint.
    """
    if "auditor" not in who.roles:
        exchange.refuse(who, f"audit {what}", Refused("auditor_required"))
    check_period(sought)
    vkey = exchange.settings.path(VKEY).read_text("utf-8").strip()
    olds = opened_kept(exchange, vkey, kept)
    size = exchange.audit.size
    index, wanted = exchange.followed(), wanted_of(exchange, what, sought, size)
    span = _span(exchange, index, wanted) if complete else None
    leaves = _leaves(exchange, span, on_entries) if span else []
    answer = [at for at, _ in _found(index, wanted, MOST_WHOLE if span else MOST_LISTED)]
    question: dict[str, Any] = {
        "format": FORMAT,
        "query": what,
        "filter": {name: value for name in _FILTERS if (value := getattr(wanted, name)) is not None},
        "size": size,
        "answer": answer,
        **({"range": span} if span else {}),
    }
    entry = exchange.note_query(who, what, parameters=question, size=size, results=len(answer), told=True)
    # A crash here: a question of the auditor's whose answer nobody got.
    signed, files = begun(exchange, vkey, question, entry, olds)
    alone = {entry, *(() if span else answer)}
    if what == "grants":
        shown = exchange.audit.entries(span[0], span[1]) if span else ((at, *exchange.audit.entry(at)) for at in answer)
        alone |= _requests(index, shown, size)
    if span:
        files.update(range_files(span[0], leaves, exchange.audit.range_proof(span[0], span[1], signed.size)))
    alone |= exchange.audit.schema_entries([*leaves, *map(exchange.audit.leaf, alone)])
    put_entries(exchange, files, alone - set(range(*span) if span else ()), signed.size, on_entries)
    return archive(files)


def range_files(lo: int, leaves: Sequence[bytes], proof: Sequence[bytes]) -> dict[str, bytes]:
    """The entries from `lo` on as files of a bundle: as C2SP tlog-tiles has them, cut where its bundles end; and the
    hashes beside them.
    """
    files = {"range/proof": b"".join(base64.b64encode(one) + b"\n" for one in proof)}
    at, end = lo, lo + len(leaves)
    while at < end:
        stop = min(end, (at // tiles.WIDTH + 1) * tiles.WIDTH)
        files[f"range/{at}"] = b"".join(map(tiles.frame, leaves[at - lo : stop - lo]))
        at = stop
    return files


def _found(index: "SubjectIndex", wanted: "Wanted", most: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
    after, count = -1, 0
    while page := index.find(wanted, after, _PAGE):
        count += len(page)
        if count > most:
            raise Invalid("bundle_too_large", where="answer", found=f"> {most}", most=most)
        yield from page.items()
        after = max(page)


def _span(exchange: "Exchange", index: "SubjectIndex", wanted: "Wanted") -> list[int]:
    """From which entry on and before which one: all that state a time of the period, and on either side one that does
    not, where there is one. Who looks for releases that nobody confirmed needs all that came after them.
    """
    size = wanted.size or 0
    first, last = index.period(wanted.from_ns, wanted.until_ns, size)
    lo = 0 if wanted.from_ns is None else max((size if first is None else first) - 1, 0)
    hi = size if wanted.until_ns is None or wanted.unconfirmed else max(-1 if last is None else last, lo) + 2
    hi = min(hi, size)
    # The entries of kinds that nobody looks for are not in the index, and are of the period too.
    while lo > 0 and hi - lo <= MOST_WHOLE and exchange.audit.entry(lo)[1]["time_ns"] >= (wanted.from_ns or 0):
        lo -= 1
    while wanted.until_ns is not None and hi < size and hi - lo <= MOST_WHOLE:
        if exchange.audit.entry(hi - 1)[1]["time_ns"] >= wanted.until_ns:
            break
        hi += 1
    if hi - lo > MOST_WHOLE:
        raise Invalid("bundle_too_large", where="range", found=hi - lo, most=MOST_WHOLE)
    return [lo, hi]


def _leaves(exchange: "Exchange", span: Sequence[int], on_entries: Callable[[int], None]) -> list[bytes]:
    leaves: list[bytes] = []
    total = 0
    for leaf in exchange.audit.leaves(*span):
        total += len(leaf) + 2
        if total > MOST_BYTES:
            raise Invalid("bundle_too_large", where="range", found=f"> {len(leaves)}", most=f"{MOST_BYTES} B")
        leaves.append(leaf)
        on_entries(len(leaves))
    return leaves


def _requests(index: "SubjectIndex", shown: Iterable[tuple[int, str, Mapping[str, Any]]], size: int) -> set[int]:
    """The first event of each agreement that is spoken of: it alone says whose it is and what it is about."""
    from exchange.audit.subjects import Wanted

    about = {body["aggregate"] for _, kind, body in shown if kind == "control"}
    firsts: dict[str, int] = {}
    for at, facts in _found(index, Wanted(("control",), aggregate="agreement", size=size), size):
        firsts.setdefault(facts["aggregate"], at)
    return {at for name, at in firsts.items() if name in about}
