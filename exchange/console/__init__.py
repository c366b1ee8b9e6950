"""The pages, in Chinese and English: server-rendered, without scripts, each fit for print.

`mount` adds them to the API's app. A request is a `Visit` (`visits`): who signed in (`sessions`), in which language.
What it shows comes from a `ReadingRoom` alone, so that who may see what is decided, and written into the audit log,
where every desk's is. Templates hold no sentence of their own: all stand in the message catalogue.
"""

from exchange.console.house import mount

__all__ = ["mount"]
