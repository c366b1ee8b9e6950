"""What the access path is made of, and what comes out of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from exchange.audit.log import AuditLog
from exchange.control.control import Control
from exchange.control.model import Model
from exchange.errors import Unavailable
from exchange.log import RecordLog
from exchange.plan import Plan, Question
from exchange.signing.pseudonyms import Actors
from exchange.signing.tags import SubjectTagger
from exchange.site import no_reserve
from exchange.state import StateStore
from exchange.view.compiled import View


@dataclass(frozen=True, slots=True)
class Release:
    """One batch of a view, audited: its entry stands at `index` of the log that `checkpoint` signs.

    `payload` is in the asked format, after the reader's `head`: a file of releases is written by `following`.
    `excluded` is None unless the agreement allows counts.
    """

    index: int
    checkpoint: bytes
    partition: int | None
    next_position: int | None
    head: bytes
    payload: bytes
    released: int
    excluded: int | None
    withheld: int


def following(former: Release | None, release: Release) -> bytes:
    """What is written for `release` into a file that holds the releases up to `former`; None: nothing is there yet.

    Raises:
        Unavailable: `view_changed`: the view has another schema now, so no file can hold both.
    """
    if former is None:
        return release.head + release.payload
    if former.head != release.head:
        raise Unavailable("view_changed", partition=release.partition)
    return release.payload


@dataclass(frozen=True, slots=True)
class Parts:
    """What the path is made of.

    `decide` asks the policy that is active in a model for a question's plan (it never raises for a policy's fault),
    `view` compiles a plan for its dataset as it is in a model, `committed` says up to where each partition's
    records have their `record.commit` entry (one with none is left out), `partitions` how many the topic has, given
    that, `members` gives the set of tags of that name, `start_run` writes the opening entry of
    a gateway's run. At most `release_records` records are in a release, `in_flight` releases in flight; a plan is
    used again for at most `plan_ns`. `room` raises where the disk's reserve is reached.
    """

    control: Control
    decide: Callable[[Question, Model], Plan]
    view: Callable[[Plan, Model], View]
    log: RecordLog
    state: StateStore
    audit: AuditLog
    committed: Callable[[str], Mapping[int, int]]
    partitions: Callable[[str, Mapping[int, int]], int]
    members: Callable[[str], frozenset[bytes]]
    start_run: Callable[[bytes], None]
    tagger: SubjectTagger
    actors: Actors
    now_ns: Callable[[], int]
    random_bytes: Callable[[int], bytes]
    release_records: int
    in_flight: int
    plan_ns: int
    room: Callable[[], None] = no_reserve
