"""What an adapter has, sent to an exchange that another process serves: each batch as lines of events."""

import json
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from exchange.cli.wire import Wire
from exchange.errors import Unavailable
from exchange.publish import Published
from exchange.source import Place, SourceBatch
from exchange.view.plain import plain_of_any

if TYPE_CHECKING:
    from exchange.cli.sealing import Sealer
    from exchange.source import Adapter

_BATCH: Final = 10_000
_REQUEST: Final = 8 << 20  # bytes of one request, so that it is far below what a server takes
_MEDIA: Final = "application/vnd.exchange.events+ndjson"
_COUNTS: Final = ("taken", "dead_letters", "already", "last_sequence")


def send_events(
    wire: Wire,
    adapter: "Adapter",
    dataset: str,
    on_batch: Callable[[Published], None],
    sealer: "Sealer | None" = None,
) -> Published:
    """Publishes what the adapter has, as `exchange.publish.publish` does where the log is; the sums are the same.
    Without a `sealer` the exchange signs as the department's delegate.
    """
    source = adapter.source
    seal = "" if sealer is None else sealer.sealed(SourceBatch((), (), ()))[1]
    total = _sent(wire, dataset, Published(source, 0, 0, 0, 0, 0), b"", seal)  # the mark, or why not
    for batch in adapter.batches(total.last_sequence, _BATCH):
        for part in _parts(batch):
            fit, seal = (part, "") if sealer is None else sealer.sealed(part)
            total = _sent(wire, dataset, total, b"".join(_lines(fit)), seal)
        total = Published(source, total.taken, total.rejected, total.already, total.last_sequence, total.batches + 1)
        on_batch(total)  # from here on these records are readable and need not be sent again
    return total


def _sent(wire: Wire, dataset: str, total: Published, body: bytes, seal: str = "") -> Published:
    path, query = ["datasets", dataset, "records"], {"source": total.source, "fates": "bad"}
    headers = {"Content-Type": _MEDIA, **({"Exchange-Seal": seal} if seal else {})}
    # Sent once more where the connection was lost: the second time it is taken already.
    _, _, answer = wire.send("POST", path, body, query, headers, again=True)
    try:
        told = json.loads(answer)
        taken, rejected, already, last = (int(told[name]) for name in _COUNTS)
    except (ValueError, KeyError, TypeError):
        raise Unavailable("server_unexpected", where=dataset, detail="no counts") from None
    return Published(
        total.source, total.taken + taken, total.rejected + rejected, total.already + already, last, total.batches
    )


def _parts(batch: SourceBatch) -> Iterator[SourceBatch]:
    """The batch in parts that are each far below what a server takes."""
    sizes = [len(line) for line in _lines(batch)]
    order = sorted([*batch.sequences, *(one.sequence for one in batch.rejected)])
    if not order:
        return
    first = size = 0
    for at, more in enumerate(sizes):
        if size + more > _REQUEST and size:
            yield _between(batch, order[first], order[at])
            first, size = at, 0
        size += more
    yield batch if first == 0 else _between(batch, order[first], order[-1] + 1)


def _between(batch: SourceBatch, low: int, high: int) -> SourceBatch:
    start, end = (bisect_left(batch.sequences, bound) for bound in (low, high))
    rejected = [one for one in batch.rejected if low <= one.sequence < high]
    return SourceBatch(batch.sequences[start:end], batch.values[start:end], batch.places[start:end], rejected)


def _lines(batch: SourceBatch) -> Iterator[bytes]:
    """The events of a batch by sequence."""
    good = zip(batch.sequences, batch.values, batch.places, strict=True)
    lines = [(sequence, _line(sequence, place, {"value": _plain(value)})) for sequence, value, place in good]
    for one in batch.rejected:
        rejected = {"rejected": {"code": one.code, "shape": dict(one.shape)}}
        lines.append((one.sequence, _line(one.sequence, one.place, rejected)))
    return (line for _, line in sorted(lines))


def _line(sequence: int, place: Place, told: Mapping[str, Any]) -> bytes:
    where = {"file": place.file, "row": place.row, "column": place.column}
    # In ASCII, so that a broken text (a lone surrogate) arrives as it is, to be refused as it would be here.
    return json.dumps({"sequence": sequence, "place": where, **told}).encode() + b"\n"


def _plain(value: Any) -> Any:  # noqa: ANN401  a value of an adapter
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.astimezone(UTC)
    return plain_of_any(value)
