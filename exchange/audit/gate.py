"""One-shot gates: what `threading.Event` is, for the many that are opened once, at a fraction of its price."""

from threading import Lock


class Gate:
    """Shut when made, opened once, by whoever; any number of threads may wait for it. `waited` is whether one ever
    had to.
    """

    __slots__ = ("_lock", "waited")

    def __init__(self) -> None:
        self._lock = Lock()
        self._lock.acquire()
        self.waited = False

    def open(self) -> None:
        """Lets all pass, now and later. A second time is an error."""
        self._lock.release()

    def wait(self, timeout_s: float = -1) -> bool:
        """Returns when it is open; False where it is not after so many seconds. Without a number it waits for ever."""
        if not self._lock.acquire(blocking=False):
            self.waited = True
            if not self._lock.acquire(timeout=timeout_s):
                return False
        self._lock.release()  # for the next one
        return True
