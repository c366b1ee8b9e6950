"""The worker process of the embedded engine: regorus behind a pipe, run by path with `python -I`.

It imports nothing of ours, so that it starts fast.

regorus holds the interpreter while it evaluates, cannot be interrupted and works only on the thread that made it
(interfaces.md): hence a process of its own, which its parent kills when an evaluation is past its deadline.

Both ways a frame is: 4 bytes length (big endian), 1 byte kind, body. To the worker: `L` load `{"modules": {path: text},
"codes": …}`, `Q` a question, `R` a rule's name. From it: `A` the JSON answer, `U` undefined, `E` `{"detail", "where"}`.
End of input ends the worker, so it never outlives its parent.
"""

import json
import os
import re
import struct
import sys

import regorus

ENTRY = "data.exchange.plan"
MAX_ANSWER = 1 << 20
MAX_MEMORY = 1 << 30


def limit_memory() -> None:
    """Where the platform can, bounds this process: a policy that eats memory ends its worker, not the machine."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def receive() -> "tuple[bytes, bytes]":
    """One frame's kind and body; ends the process when the parent is gone."""
    length, kind = struct.unpack(">I1s", read(5))
    return kind, read(length)


def read(length: int) -> bytes:
    """That many bytes of the input."""
    data = bytearray()
    while len(data) < length:
        part = os.read(0, length - len(data))
        if not part:
            sys.exit(0)
        data += part
    return bytes(data)


def send(kind: bytes, body: bytes) -> None:
    """One frame to the parent."""
    data = memoryview(struct.pack(">I1s", len(body), kind) + body)
    while data:
        data = data[os.write(1, data) :]


def load(body: bytes) -> "regorus.Engine":
    """An engine with this bundle, every rule of it compiled."""
    bundle = json.loads(body)
    engine = regorus.Engine()
    engine.set_gather_prints(True)
    for path, text in bundle["modules"].items():
        engine.add_policy(path, text)
    engine.add_data_json(json.dumps({"codes": bundle["codes"]}))  # as Python objects, false would become 0
    engine.eval_query_as_json("1")
    return engine


def evaluate(engine: "regorus.Engine | None", kind: bytes, body: bytes) -> "tuple[bytes, bytes]":
    """The answer's frame for a question or a rule's name."""
    if engine is None:
        return failure("no_policy")
    engine.set_input_json(body.decode("utf-8") if kind == b"Q" else "{}")
    answer = engine.eval_rule_as_json(ENTRY if kind == b"Q" else body.decode("ascii"))
    engine.take_prints()
    if answer == '"<undefined>"':
        return b"U", b""
    if len(answer) > MAX_ANSWER:
        return failure("answer_too_large")
    return b"A", answer.encode("utf-8")


def failure(detail: str, where: str = "") -> "tuple[bytes, bytes]":
    """The frame of a failure."""
    return b"E", json.dumps({"detail": detail, "where": where}).encode("utf-8")


def failed(error: BaseException, *, loading: bool) -> "tuple[bytes, bytes]":
    """What may be said of an error of regorus. Its message shows values of the question, except while loading."""
    message = str(error)
    if not loading and message.startswith("not a valid rule path"):
        return b"U", b""
    place = re.search(r"--> (\S+?:[0-9]+):[0-9]+", message)
    said = re.search(r"^error: (.*)$", message, re.MULTILINE)
    detail = said[1][:200] if said and loading else "evaluation"
    return failure(detail, place[1] if place else "")


def main() -> None:
    """Answers frames until the parent is gone."""
    limit_memory()
    engine = None
    while True:
        kind, body = receive()
        try:
            if kind == b"L":
                engine = load(body)
                answer = b"U", b""
            else:
                answer = evaluate(engine, kind, body)
        except BaseException as error:  # noqa: BLE001 - regorus panics with a BaseException
            answer = failed(error, loading=kind == b"L")
        send(*answer)


if __name__ == "__main__":
    main()
