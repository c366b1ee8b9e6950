"""The four families of failure, told apart by what the caller must do.

| family | the caller | exit code |
|---|---|---|
| `Invalid` | mends the input | 2 |
| `Refused` | is told why; the refusal is in the audit log | 1 |
| `Unavailable` | tries again; nothing was released and nothing acknowledged | 3 |
| `Tampered` | stops: what is on disk is not what was written | 4 |

An error carries a stable `code`, the place it was found and the facts of the case; the sentences for people,
in Chinese and English, stand in `exchange.messages`. No error holds a citizen's id or a record's value.
"""

from typing import ClassVar


class ExchangeError(Exception):
    """One failure: `code` is stable for programs, `where` names the place, `facts` fill the sentence."""

    exit_code: ClassVar[int]
    family: ClassVar[str]

    def __init__(self, code: str, *, where: str = "", **facts: object) -> None:
        super().__init__(code, where, facts)
        self.code = code
        self.where = where
        self.facts = facts

    def __str__(self) -> str:
        facts = ", ".join(f"{name}={value}" for name, value in self.facts.items())
        return " ".join(part for part in (self.code, self.where and f"at {self.where}", facts) if part)


class Invalid(ExchangeError):
    """The input is wrong: mend it and send it again."""

    exit_code = 2
    family = "invalid"


class Refused(ExchangeError):
    """The rules say no. Asking again unchanged gives the same answer."""

    exit_code = 1
    family = "refused"


class Unavailable(ExchangeError):
    """Something needed is down, busy or too slow: nothing was guessed, try again."""

    exit_code = 3
    family = "unavailable"


class Tampered(ExchangeError):
    """Stored bytes are not what was written: stop and call the auditor."""

    exit_code = 4
    family = "tampered"
