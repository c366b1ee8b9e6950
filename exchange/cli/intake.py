"""`intake`: which account at the Kafka brokers may send a dataset's records, and the worker that publishes them."""

import argparse
import json
import signal
from contextlib import closing
from dataclasses import asdict
from threading import Event
from typing import TYPE_CHECKING

from exchange.cli.opening import desk_of, site_of
from exchange.cli.options import Commands, Group
from exchange.cli.register import done
from exchange.cli.terminal import Terminal
from exchange.control import commands as c
from exchange.errors import ExchangeError
from exchange.messages import Language
from exchange.settings import Settings, read_settings

if TYPE_CHECKING:
    from exchange.wiring.intake import Progress


def mount(commands: Commands, common: argparse.ArgumentParser, language: Language) -> None:
    """Adds `intake`."""
    group = Group(commands, "intake", common, language)
    opening = group.command("open", _open)
    opening.add_argument("dataset")
    opening.add_argument("--user", required=True, metavar="NAME")
    opening.add_argument("--partitions", type=int, default=1)
    group.command("close", _close).add_argument("dataset")
    run = group.command("run", _run)
    run.add_argument("dataset", nargs="*")


def _settings(terminal: Terminal, parsed: argparse.Namespace) -> Settings:
    """Of the site itself: its account at the brokers is needed here, whoever holds the site."""
    return read_settings(site_of(terminal, parsed), terminal.environment)


def _open(terminal: Terminal, parsed: argparse.Namespace) -> None:
    from exchange.log.kafka.intake import IntakeTopic
    from exchange.wiring.intake import open_kafka

    user = parsed.user if parsed.user.startswith("User:") else f"User:{parsed.user}"
    with desk_of(terminal, parsed) as desk, closing(open_kafka(_settings(terminal, parsed))) as log:
        topic = IntakeTopic(log, parsed.dataset)
        topic.check(user, parsed.partitions)
        told = desk.execute(c.OpenIntake(parsed.dataset, user))
        # A crash here: it is allowed and not yet possible. The same command again makes the topic.
        partitions = topic.open(user, parsed.partitions)
        ids = desk.dataset(parsed.dataset)["schema_ids"]
        done(terminal, told)
    document = {
        "topic": topic.name,
        "partitions": partitions,
        "user": user,
        "transactional_id_prefix": f"{topic.name}-",
        "schema_id": list(ids.values())[-1],
    }
    terminal.show(document, [f"{name}: {value}" for name, value in document.items()])


def _close(terminal: Terminal, parsed: argparse.Namespace) -> None:
    from exchange.log.kafka.intake import IntakeTopic
    from exchange.wiring.intake import open_kafka

    with desk_of(terminal, parsed) as desk, closing(open_kafka(_settings(terminal, parsed))) as log:
        told = desk.execute(c.CloseIntake(parsed.dataset))
        # A crash here: nothing is taken any more, and the account may still write. The same command again ends that.
        IntakeTopic(log, parsed.dataset).close()
        done(terminal, told)


def _run(terminal: Terminal, parsed: argparse.Namespace) -> None:
    from exchange.wiring.intake import IntakeWorker, open_kafka

    stop = Event()

    def on_batch(progress: "Progress") -> None:
        so_far = progress.published
        counts = {"taken": so_far.taken, "dead_letters": so_far.rejected, "already": so_far.already}
        line = {**asdict(progress), "published": None, **counts, "time_ns": terminal.now_ns()}
        del line["published"]
        terminal.stdout.write(json.dumps(line) + "\n")
        terminal.stdout.flush()

    def on_failure(error: ExchangeError, pause_s: float) -> None:
        terminal.error(error)
        terminal.say("intake_again", seconds=round(pause_s, 1))

    with desk_of(terminal, parsed) as desk, closing(open_kafka(_settings(terminal, parsed))) as log:
        worker = IntakeWorker(desk, log, on_batch)
        names = worker.begin(parsed.dataset)
        former = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            terminal.say("intake_ready", datasets=", ".join(names))
            worker.run(stop, on_failure)
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
    terminal.say("intake_stopped")
