"""The exchange over HTTP: what a `Desk` does, for programs in any language. `exchange serve` runs it.

A request goes through `edge` (limits, its id, its log line), is told whose it is by `caller`, and comes to one of the
rooms' routes: `control`, `access`, `publishing`, `audit`, `health`. Whatever goes wrong becomes a problem document
(RFC 9457) by the one table in `problems`.
"""
