"""Bodies of records in each form that publishing takes, as events for the PUBLISH path.

A record that cannot be published is an event with its reason, and the others go on; a body that cannot be read on
raises, after the events before that place. Memory in use is one record or block, whatever the body's size.
"""

from exchange.api.bodies.adapter import BodyAdapter, Event, Form, Reader
from exchange.api.bodies.containers import container, frames
from exchange.api.bodies.content import Content
from exchange.api.bodies.lines import events, records
from exchange.api.bodies.table import rows

__all__ = ["EVENTS", "READERS", "BodyAdapter", "Content", "Event", "Form"]

EVENTS = "application/vnd.exchange.events+ndjson"
READERS: dict[str, Reader] = {
    "application/avro": container,
    "application/x-ndjson": records,
    "text/csv": rows,
    "application/vnd.kafka.binary.v2+json": frames,
    EVENTS: events,
}
