"""What must hold after any fault, by what the clients were told, what lies in Kafka, and the audit log as exported.

No code of the exchange takes part: Kafka is read with librdkafka, entries with fastavro, signatures with cryptography,
and the tree is RFC 6962 in a few lines of our own.
"""

import base64
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, TopicPartition
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.simulator import DATASET
from tests.torture.leaves import decoded, leaves_of, size_of
from tests.torture.servers.clients import BASE
from tests.torture.servers.stack import SOURCE, Stack
from tests.torture.servers.victims import admin_of

_TAKEN_IN: Final = re.compile(r"ny\.renshe/kafka/[^/]+/[^/]+/([0-9]+)/([0-9]+)")
_SIGNATURE: Final = re.compile("\u2014 (\\S+) (\\S+)")


class Broken(Exception):
    """A guarantee does not hold."""


def need(holds: bool, what: str) -> None:
    """Raises `Broken` unless it holds."""
    if not holds:
        raise Broken(what)


@dataclass
class Witness:
    """What was seen of one site so far; each look goes on from the one before."""

    stack: Stack
    published: Counter[str] = field(default_factory=Counter)
    leaves: list[bytes] = field(default_factory=list)
    entries: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    proved: dict[int, bytes] = field(default_factory=dict)  # roots by size, of checkpoints that were verified
    releases: int = 0
    _positions: dict[tuple[str, int], int] = field(default_factory=dict)

    def look(self) -> None:
        """Judges all that was told until now. Publisher and reader may go on meanwhile."""
        acknowledged = [line["acknowledged"] for line in self._told("publisher") if "acknowledged" in line]
        releases = [line for line in self._told("reader") if "index" in line]
        self.published.update(self._readable())
        twice = [one for one, times in self.published.items() if times > 1]
        need(not twice, f"twice in Kafka: {len(twice)} event ids, {twice[:3]}")
        missing = [n for n in range(1, max(acknowledged, default=0) + 1) if f"{SOURCE}/{n}" not in self.published]
        need(not missing, f"acknowledged and not readable: {len(missing)} records, {missing[:3]}")
        self._judge_log(releases)
        self.releases = len(releases)

    def complete(self) -> None:
        """After the reader has read all there is: it got every acknowledged record, and none twice."""
        got = Counter(amount for line in self._told("reader") for amount in line.get("amounts", ()))
        twice = [amount for amount, times in got.items() if times > 1]
        need(not twice, f"handed over twice to one who read on: {twice[:3]}")
        acknowledged = [line["acknowledged"] for line in self._told("publisher") if "acknowledged" in line]
        missing = [n for n in range(1, max(acknowledged, default=0) + 1) if BASE + n not in got]
        missing += [line["number"] for line in self._told("producer") if BASE + line["number"] not in got]
        need(not missing, f"acknowledged and handed to nobody: {len(missing)}, {missing[:3]}")

    def not_taken_in(self) -> set[tuple[int, int]]:
        """Partition and offset of what the brokers acknowledged to the producer, and no reader gets yet."""
        self.published.update(self._readable())
        taken = {(int(match[1]), int(match[2]) - 1) for one in self.published if (match := _TAKEN_IN.fullmatch(one))}
        return {(line["delivered"][0], line["delivered"][1]) for line in self._told("producer")} - taken

    def _told(self, client: str) -> list[dict[str, Any]]:
        ledger = self.stack.ledgers.get(client)
        if ledger is None:
            return []
        ledger.news()
        return list(ledger.lines)

    def _readable(self) -> Iterator[str]:
        """Event ids that a reader of committed records gets, since the last look."""
        consumer = Consumer(
            {
                **admin_of(self.stack.kafka),
                "group.id": "witness",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "check.crcs": True,
                "fetch.wait.max.ms": 20,
            }
        )
        try:
            begin = f"{self.stack.prefix}.log."
            found = consumer.list_topics(timeout=20).topics
            for topic in sorted(name for name in found if name in (begin + DATASET, f"{begin}dead.{DATASET}")):
                for partition in found[topic].partitions:
                    yield from self._of_partition(consumer, topic, partition)
        finally:
            consumer.close()

    def _of_partition(self, consumer: Consumer, topic: str, partition: int) -> Iterator[str]:
        at = self._positions.get((topic, partition), 0)
        consumer.assign([TopicPartition(topic, partition, at)])
        while True:
            message: Any = consumer.poll(20)
            need(message is not None, f"Kafka does not answer a reader of {topic}/{partition}")
            error = message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                return
            need(error is None, f"Kafka: {error}")
            self._positions[topic, partition] = message.offset() + 1
            yield dict(message.headers())["id"].decode()

    def _judge_log(self, releases: list[dict[str, Any]]) -> None:
        """The exported log goes on from what was seen of it, under signed checkpoints, and has every release."""
        folder = self.stack.site.folder / "exported"
        ran = self.stack.site.process("audit", "export", str(folder))
        need(ran.code == 0, f"the audit log cannot be exported: {ran.stderr}")
        key = (self.stack.site.root / "keys" / "audit.vkey").read_text("utf-8").strip()
        leaves = leaves_of(folder)
        need(leaves[: len(self.leaves)] == self.leaves, "entries that were seen have changed")
        self.leaves, self.entries = leaves, decoded(leaves, self.entries)
        shown = [base64.b64decode(line["checkpoint"]) for line in releases[self.releases :]]
        claims = [opened(note, key) for note in [(folder / "checkpoint").read_bytes(), *shown]]
        need(max(size for size, _ in claims) <= len(leaves), "a checkpoint was shown that is longer than the log")
        wanted = {size for size, _ in claims} - self.proved.keys()
        self.proved.update((size, root) for size, root in roots(leaves) if size in wanted)
        for size, root in claims:
            need(self.proved[size] == root, f"the checkpoint of {size} entries is no prefix of the log")
        for line in releases[self.releases :]:
            self._judge_release(line, size_of(base64.b64decode(line["checkpoint"])))

    def _judge_release(self, line: dict[str, Any], size: int) -> None:
        index = line["index"]
        need(index < size, f"release {index} was handed over under a checkpoint of {size} entries")
        kind, body = self.entries[index]
        need(kind == "release", f"released, and entry {index} is {kind}")
        need(body["payload_digest"] == line["digest"], f"other bytes were released than entry {index} says")
        told = {name: line[name] for name in ("partition", "lo", "hi", "released")}
        found = {name: body[name] for name in told}
        need(found == told, f"entry {index} says {found}, the reader got {told}")


def opened(note: bytes, vkey: str) -> tuple[int, bytes]:
    """Size and root of a signed note (C2SP), verified under the key."""
    name, key_id, encoded = vkey.split("+", 2)
    key = base64.b64decode(encoded)
    need(sha256(name.encode() + b"\n" + key).digest()[:4].hex() == key_id, "the verifier key is malformed")
    text, _, signatures = note.rpartition(b"\n\n")
    text += b"\n"
    for line in signatures.decode().splitlines():
        match = _SIGNATURE.fullmatch(line)
        if match is not None and match[1] == name:
            signature = base64.b64decode(match[2])
            Ed25519PublicKey.from_public_bytes(key[1:]).verify(signature[4:], text)  # InvalidSignature
            origin, size, root = text.decode().splitlines()
            need(origin == name, f"a checkpoint of another log: {origin}")
            return int(size), base64.b64decode(root)
    raise Broken("a checkpoint without the log's signature")


def roots(leaves: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The RFC 6962 root of each size from 1 on."""
    stack: list[bytes] = []
    for size, leaf in enumerate(leaves, 1):
        node, rest = sha256(b"\0" + leaf).digest(), size - 1
        while rest & 1:
            node, rest = sha256(b"\1" + stack.pop() + node).digest(), rest >> 1
        stack.append(node)
        root = stack[-1]
        for left in reversed(stack[:-1]):
            root = sha256(b"\1" + left + root).digest()
        yield size, root
