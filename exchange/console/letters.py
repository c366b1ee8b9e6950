"""Dead letters: what could not be published and why; and the corrected file, published again."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from starlette.datastructures import UploadFile
from starlette.responses import Response

from exchange.console.reading import own_datasets
from exchange.console.visits import Form, Here, Visit
from exchange.errors import ExchangeError, Invalid
from exchange.messages import Language

router: Final = APIRouter()
_MOST: Final = 100
_CHUNK: Final = 1 << 20
# A file's name may be part of what identifies its rows and stands in dead letters: it is kept, or refused.
_NAME: Final = re.compile(r"(?!.*\d{11})[\w(（][\w .()（）-]{0,119}", re.UNICODE)


@router.get("/dead-letters")
def choose(visit: Here) -> Response:
    """The steward's own datasets, to choose from."""
    visit.desk.need("dead_letters", "steward")
    return visit.page("choose.html", rows=own_datasets(visit), heading="page_dead_letters", leads="dead-letters")


@router.get("/datasets/{name}/dead-letters")
def dead_letters(visit: Here, name: str) -> Response:
    """Reasons, places and shapes, never values; the newest first."""
    return _letters(visit, name, None)


@router.post("/datasets/{name}/records")
def replay(posted: Form, name: str) -> Response:
    """The corrected file, through the adapter that it was published with. Rows that were sent before change nothing.
    (The address ends as the API's does: a body of records may be large there.)
    """
    visit = posted.visit
    try:
        with _kept(posted.file("file")) as path:
            published, notes = visit.desk.replay(name, posted.text("adapter"), [path])
    except Invalid as error:
        return _letters(visit, name, error)
    told = {"taken": published.taken, "rejected": published.rejected, "already": published.already}
    answer = visit.next(f"/datasets/{name}/dead-letters", "page_replayed", **told)
    if visit.session:
        visit.session.told += [("page_note", {"note": _in(visit.language, note)}) for note in notes]
    return answer


def _in(language: Language, note: str) -> str:
    """An adapter's note in one language: it writes both, the English first."""
    en, _, zh = note.rpartition(" | ")
    return zh if language == "zh" else en or zh


@contextmanager
def _kept(file: UploadFile | None) -> Iterator[Path]:
    """The file under its own name, in a folder of its own until the end of the block."""
    if file is None:
        raise Invalid("upload_missing", where="file")
    name = file.filename or ""
    if not _NAME.fullmatch(name):
        raise Invalid("upload_name_refused", where="file")
    with tempfile.TemporaryDirectory(prefix="exchange-") as folder:
        path = Path(folder) / name
        with path.open("xb") as written:
            while chunk := file.file.read(_CHUNK):
                written.write(chunk)
        yield path


def _letters(visit: Visit, name: str, error: ExchangeError | None) -> Response:
    desk = visit.desk
    found = desk.dead_letters(name)
    sent = {source: desk.sent(source) for source in {one["source"] for one in found}}
    rows = [{**one, "since": sent[one["source"]] - one["sequence"]} for one in found]
    rows.sort(key=lambda one: (one["source"], -one["sequence"]))
    return visit.page(
        "dead_letters.html",
        400 if error else 200,
        dataset=desk.dataset(name),
        rows=rows[:_MOST],
        total=len(rows),
        configurations=desk.configurations(name),
        error=error,
    )
