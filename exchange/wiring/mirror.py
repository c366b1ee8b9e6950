"""The control events, mirrored to Kafka by whichever process serves: each once, in their order, without a gap.

The mirror's mark lies with the records' marks and rises in the transaction that stores the events, so any number of
processes may try. That they do not take the writer from one another all the time, one of them leads: on a server the
one that holds an advisory lock of the control database, else the one that owns the site.

No command waits for it: it reads what was committed. What it lacks is told by `behind`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import SQLAlchemyError

from exchange.control.control import Control
from exchange.control.database import translated
from exchange.errors import ExchangeError, Invalid, Tampered
from exchange.log import RecordLog
from exchange.log.server import is_server
from exchange.names import canonical
from exchange.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection

    from exchange.log.kafka.control import ControlTopic

_BATCH: Final = 500
_LOOK_S: Final = 0.25
_FOLLOW_S: Final = 2.0  # of who does not lead
_LONGEST_PAUSE_S: Final = 30.0
_LEAD: Final = "SELECT pg_try_advisory_lock(1163416397, hashtext(current_schema()))"  # 0x4558434D, "EXCM"
_LEAVE: Final = "SELECT pg_advisory_unlock_all()"


class ControlMirror:
    """The mirror of one process. `problem` is why it does not go on, None while it does."""

    def __init__(self, topic: "ControlTopic", control: Control, database: "Engine", readers: Sequence[str]) -> None:
        self._topic, self._control, self._database, self._readers = topic, control, database, readers
        self._place: Connection | None = None
        self._driver: DBAPIConnection | None = None
        self._reached: int | None = None
        self.problem: ExchangeError | None = None

    def behind(self) -> int:
        """How many events are not mirrored, by what this process last saw."""
        return self._control.model().position - (self._reached or 0)

    @contextmanager
    def running(self) -> Iterator["ControlMirror"]:
        """Mirrors on a thread of its own until the end of the block."""
        stop = Event()
        thread = Thread(target=self._run, args=(stop,), name="control-mirror", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join(_LONGEST_PAUSE_S)
            self._resign()

    def look(self) -> int:
        """Asks the brokers how far the mirror is, for whoever does not mirror; see `behind`."""
        self._reached = self._topic.mirrored()
        return self.behind()

    def catch_up(self, stop: Event | None = None) -> int:
        """Mirrors what is there now, or some of it when `stop` is set meanwhile; how many events this process did.

        Raises:
            Unavailable, Invalid("kafka_refused"), Tampered: as of the record log and the event store.
        """
        self._topic.make(self._readers)
        reached, done = self._topic.reached(), 0
        if reached > self._control.model().position:
            detail = f"event {reached} was mirrored, and the event store ends before it"
            raise Tampered("log_damaged", where=self._topic.name, detail=detail)
        self._reached = reached
        while events := self._control.after(reached, _BATCH):
            if stop is not None and stop.is_set():
                break
            try:
                self._topic.add(events, [canonical(event.data) for event in events])
                # A crash here: events and mark are durable together; the next one goes on after them.
                done, reached = done + len(events), events[-1].position
            except Invalid as error:
                if error.code != "sequence_not_after_mark":
                    raise
                reached = self._topic.reached()  # another process was first
            self._reached = reached
        return done

    def _run(self, stop: Event) -> None:
        pause = _LOOK_S
        while not stop.wait(pause):
            try:
                if self._leads():
                    if self._reached is None or self.problem or self._control.after(self._reached, 1):
                        self.catch_up(stop)
                    self.problem, pause = None, _LOOK_S
                else:
                    self._reached = self._topic.mirrored()
                    self.problem, pause = None, _FOLLOW_S
            except ExchangeError as error:
                self.problem, pause = error, min(pause * 2, _LONGEST_PAUSE_S)

    def _leads(self) -> bool:
        """Whether this process mirrors; it tries to take the place whenever nobody has it."""
        if not is_server(self._database):
            return True  # the site has one owner
        with translated(self._database):
            if self._place is not None:
                with suppress(SQLAlchemyError):
                    self._place.exec_driver_sql("SELECT 1")
                    self._place.commit()
                    return True
                self._resign()  # the connection is lost, and the lock with it
            connection = self._database.connect()
            if not connection.exec_driver_sql(_LEAD).scalar():
                connection.close()
                return False
            connection.detach()  # the lock lives as long as this connection, which goes to nobody else
            connection.commit()
            self._place, self._driver = connection, connection.connection.dbapi_connection
            self._reached = None  # others have mirrored meanwhile
        return True

    def _resign(self) -> None:
        if self._place is not None:
            with suppress(SQLAlchemyError):
                if not self._place.invalidated:
                    self._place.exec_driver_sql(_LEAVE)  # at once: a server notices the end of a session only later
            with suppress(SQLAlchemyError):
                self._place.close()
            if self._driver is not None:
                self._driver.close()  # one that was lost is nobody's to close: the pool gave it away
            self._place = None


def mirror_of(log: RecordLog, control: Control, database: "Engine", settings: Settings) -> ControlMirror | None:
    """The mirror of a site whose record log is on Kafka; None where it is not."""
    if settings.engine("log")[0] == "sqlite":
        return None
    from exchange.log.kafka.control import ControlTopic
    from exchange.log.kafka.log import KafkaRecordLog

    assert isinstance(log, KafkaRecordLog)  # noqa: S101 - there are two engines
    readers = settings.text("kafka.control.readers").replace(",", " ").split()
    wrong = [one for one in readers if not one.startswith("User:") or one == "User:*"]
    if wrong:
        raise Invalid("setting_wrong", where="settings", name="kafka.control.readers", expected="User:NAME User:NAME …")
    return ControlMirror(ControlTopic(log, settings.text("origin")), control, database, readers)
