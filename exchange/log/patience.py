"""A connection to a PostgreSQL server that waits for no answer for ever.

A server whose processes are stopped keeps its connections: the kernel acknowledges what is sent, so neither keepalives
nor `tcp_user_timeout` end them. A statement may be long, so its time says nothing; but a server that lives lets a new
client in.
"""

import time
from collections.abc import Callable, Generator
from typing import Any

import psycopg
from psycopg import errors


class PatientConnection(psycopg.Connection[Any]):
    """Where no answer has come for `quiet_s`, a new connection is tried, within its own `connect_timeout`: if the
    server lets nobody in, this one is closed and `psycopg.OperationalError` raised; else it waits as long once more.
    """

    quiet_s = 5.0
    lets_in: Callable[[], bool]

    def wait(self, gen: Generator[Any, Any, Any], *given: Any, **named: Any) -> Any:  # noqa: ANN401 - psycopg's own
        """Every wait for the server passes here. psycopg looks up from it ten times a second."""
        return super().wait(self._bounded(gen), *given, **named)

    def _bounded(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        try:
            wanted = next(gen)
            quiet_since = time.monotonic()
            while True:
                ready = yield wanted
                if ready:
                    quiet_since = time.monotonic()
                elif time.monotonic() - quiet_since > self.quiet_s:
                    if not self.lets_in():
                        self.close()
                        raise psycopg.OperationalError("the server does not answer, and lets nobody in")
                    quiet_since = time.monotonic()
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value


def connect(*where: Any, **options: Any) -> PatientConnection:  # noqa: ANN401 - as psycopg's own
    """As `psycopg.connect`."""

    def lets_in() -> bool:
        try:
            psycopg.connect(*where, **options).close()
        except errors.ConnectionTimeout:
            return False
        except psycopg.Error:
            return True  # it answers; or it is gone, and then the connection itself will say so
        return True

    made = PatientConnection.connect(*where, **options)
    made.lets_in = lets_in
    return made
