"""Our own order of writes, broken on purpose, for the lives of a log in this process.

`ordered` is the sequencer's commit as steps in any order; in the right one it is as good as the real one, which a test
shows. Each mutant names the sweep that must catch it.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from exchange.audit import embedded, sequencer, staging
from exchange.audit.embedded import EmbeddedAuditStore
from exchange.audit.files import DiskFiles, Files, put
from exchange.audit.note import Checkpoint, sign_checkpoint
from exchange.audit.sequencer import Committed, Sequencer
from exchange.audit.store import Change, Head

RIGHT: Final = ("stage", "swap", "tiles", "publish", "unstage", "tell")


def _nobody(_: Committed) -> None:
    """Nobody waits."""


class Patch(Protocol):
    """`pytest.MonkeyPatch.setattr`."""

    def __call__(self, target: Any, name: str, value: Any) -> None:
        """Replaces an attribute until the test ends."""
        ...


def ordered(patch: Patch, order: Sequence[str], *, staged: bool = True) -> None:
    """The commit in this order of steps; `staged`: tiles are written from the bundle, else from memory."""

    def write(self: Any, draft: Any) -> None:
        edge, files = self._edge.append(draft.leaves)
        root, store, old = edge.root(), self._store, self.head.size
        name = staging.name_of(edge.size, root)
        bundle = staging.pack(old, edge.size, files)
        at_ns = self._later()
        signed = sign_checkpoint(Checkpoint(self.head.origin, edge.size, root), self._key)
        head = Head(self.head.origin, edge.size, root, signed, at_ns)
        change = Change(draft.taken, draft.refused, draft.raised, draft.schemas)
        steps: dict[str, Callable[[], object]] = {
            "stage": lambda: store.stage(name, bundle),
            "swap": lambda: store.swap(old, head, change),
            "tiles": lambda: store.write(staging.unpack(store.staged(name), name) if staged else files),
            "publish": lambda: store.publish(signed),
            "unstage": store.unstage,
            "tell": lambda: getattr(self, "resolve", _nobody)(Committed(draft.indexes, draft.refusals, head)),
        }
        for step in order:
            steps[step]()
        store.prune(sequencer._filled(old, edge.size))
        self.head, self._edge, self._epochs = head, edge, draft.epochs
        self._schemas |= draft.schemas.keys()

    patch(Sequencer, "_write", write)


def in_place(patch: Patch) -> None:
    """Files are written under their own name, without a temporary one and its renaming."""

    def put_in_place(files: Files, items: Iterable[tuple[str, bytes]]) -> None:
        for name, data in items:
            folder = name.rpartition("/")[0]
            files.make_folder(folder)
            files.write(name, data)
            files.sync_folder(folder)

    patch(embedded, "put", put_in_place)


def no_sync(patch: Patch) -> None:
    """A file gets its name before its bytes are durable."""

    def write(self: Any, name: str, data: bytes) -> None:
        handle = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(handle, data)
        os.close(handle)

    patch(DiskFiles, "write", write)


def no_folder_sync(patch: Patch) -> None:
    """The new names in a folder are not made durable."""

    def put_without(files: Files, items: Sequence[tuple[str, bytes]]) -> None:
        put(_WithoutFolders(files), items)

    patch(embedded, "put", put_without)


class _WithoutFolders:
    def __init__(self, inner: Files) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def sync_folder(self, _name: str) -> None:
        """Does nothing."""


def no_epochs(patch: Patch) -> None:
    """The sequencer takes releases whose right has ended."""
    patch(sequencer, "_behind", lambda _row, _epochs: None)


def forgotten_epochs(patch: Patch) -> None:
    """The epochs that a commit raised are in memory only: the next sequencer does not know them."""
    swap = EmbeddedAuditStore.swap

    def without(self: EmbeddedAuditStore, old: int, head: Head, change: Change) -> None:
        swap(self, old, head, Change(change.taken, change.refused, {}, change.schemas))

    patch(EmbeddedAuditStore, "swap", without)


def index_used_twice(patch: Patch) -> None:
    """Two entries of one commit are told the same index."""
    draft = Sequencer._draft

    def same(self: Sequencer, rows: Sequence[Any]) -> Any:
        made = draft(self, rows)
        made.indexes = dict.fromkeys(made.indexes, min(made.indexes.values(), default=0))
        return made

    patch(Sequencer, "_draft", same)


def unstaged_first(patch: Patch) -> None:
    """The staged bundle is removed before it is looked whether it is needed."""
    recover = sequencer._recover

    def first(store: Any, key: Any) -> Head:
        store.unstage()
        return recover(store, key)

    patch(sequencer, "_recover", first)


def recovered_by_checkpoint_alone(patch: Patch) -> None:
    """Recovery publishes the committed checkpoint and leaves the tiles to whoever comes."""
    real = sequencer._apply

    def apply(store: Any, old: int, head: Head) -> None:
        published = store.published()
        if published is not None and int(published.split(b"\n")[1]) < head.size:
            store.publish(head.checkpoint)
        real(store, old, head)

    patch(sequencer, "_apply", apply)


def taken_again(patch: Patch) -> None:
    """Rows keep waiting when they have their index."""

    def swap(self: EmbeddedAuditStore, old: int, head: Head, change: Change) -> None:
        real(self, old, head, Change((), change.refused, change.epochs, change.schemas))

    real = EmbeddedAuditStore.swap
    patch(EmbeddedAuditStore, "swap", swap)


@dataclass(frozen=True)
class Mutant:
    """`damage` breaks the code; the sweep over the calls of `layer` that go wrong this `way` must catch it."""

    damage: Callable[[Patch], None]
    layer: str
    way: str


def _order(*order: str, staged: bool = True) -> Callable[[Patch], None]:
    return partial(ordered, order=order, staged=staged)


MUTANTS: Final[Mapping[str, Mutant]] = {
    "released before the commit": Mutant(
        _order("stage", "tell", "swap", "tiles", "publish", "unstage"), "store", "kill"
    ),
    "released before it is public": Mutant(
        _order("stage", "swap", "tell", "tiles", "publish", "unstage"), "store", "kill"
    ),
    "no staging": Mutant(_order("swap", "tiles", "publish", "tell", staged=False), "store", "kill"),
    "staged after the commit": Mutant(
        _order("swap", "stage", "tiles", "publish", "unstage", "tell"), "store", "before"
    ),
    "public before the commit": Mutant(
        _order("stage", "publish", "swap", "tiles", "unstage", "tell"), "store", "before"
    ),
    "public before its tiles": Mutant(_order("stage", "swap", "publish", "tiles", "unstage", "tell"), "store", "kill"),
    "tiles from memory before staging": Mutant(
        _order("tiles", "stage", "swap", "publish", "unstage", "tell", staged=False), "store", "before"
    ),
    "tiles before the commit": Mutant(_order("stage", "tiles", "swap", "publish", "unstage", "tell"), "store", "kill"),
    "unstaged before it is public": Mutant(
        _order("stage", "swap", "unstage", "tiles", "publish", "tell", staged=False), "store", "kill"
    ),
    "written in place": Mutant(in_place, "files", "cut"),
    "renamed before it is synced": Mutant(no_sync, "files", "cut"),
    "names that are not synced": Mutant(no_folder_sync, "files", "cut"),
    "epochs are not looked at": Mutant(no_epochs, "store", "before"),
    "epochs in memory only": Mutant(forgotten_epochs, "store", "before"),
    "an index used twice": Mutant(index_used_twice, "store", "before"),
    "unstaged before it is recovered": Mutant(unstaged_first, "store", "kill"),
    "recovered by its checkpoint alone": Mutant(recovered_by_checkpoint_alone, "store", "kill"),
    "a row taken twice": Mutant(taken_again, "store", "before"),
}
