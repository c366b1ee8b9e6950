"""`exchange demo`: the main job, played from end to end in a folder of its own."""

import argparse
import shutil
from pathlib import Path
from typing import Final

from exchange.cli.options import Commands, command, given_settings
from exchange.cli.terminal import Terminal
from exchange.errors import Invalid, Unavailable
from exchange.messages import Language

MARK: Final = "exchange-demo"  # a file that says whose folder this is


def mount(commands: Commands, common: argparse.ArgumentParser, language: Language) -> None:
    """Adds `demo`."""
    demo = command(commands, "demo", _demo, common, language)
    demo.add_argument("dir", type=Path, nargs="?", default=Path(MARK))
    demo.add_argument("--seed", type=int, default=2026)
    demo.add_argument("--scale", type=float, default=1.0)
    demo.add_argument("--engines", choices=["embedded", "real"], default="embedded")
    demo.add_argument("--set", metavar="NAME=VALUE", action="append", default=[])
    demo.add_argument("--keep", action="store_true")


def _demo(terminal: Terminal, parsed: argparse.Namespace) -> int:
    from adapters.sample.county import check_scale
    from exchange.cli.play import play
    from exchange.cli.servers import real_servers
    from exchange.settings import new_settings

    check_scale(parsed.scale)
    given = given_settings(parsed.set)
    new_settings(parsed.dir, given)  # a setting that is none takes no former demo away either
    if parsed.engines == "embedded":
        served = given.get("engines.policy", "").startswith("opa+")  # OPA pulls its policies from a site that is served
        return play(claimed(parsed.dir), terminal.language, parsed.seed, parsed.scale, given, served=served)
    terminal.say("demo_servers")
    with real_servers(parsed.dir, claimed, given, keep=parsed.keep) as (folder, played):
        return play(folder, terminal.language, parsed.seed, parsed.scale, played, leaves_site=parsed.keep, served=True)


def claimed(folder: Path) -> Path:
    """The folder, empty but for its mark. What a former demo left in it is taken away, and nothing else ever is.

    Raises:
        Invalid: `demo_folder_in_use`: something else lies there.
        Unavailable: `system`: it cannot be used.
    """
    from exchange.cli.servers import stop_opa

    folder = folder.absolute()
    try:
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise Invalid("demo_folder_in_use", where=folder.name)
        if folder.is_dir() and any(folder.iterdir()):
            if not (folder / MARK).is_file() and not (folder / "departments" / "truth.json").is_file():
                raise Invalid("demo_folder_in_use", where=folder.name)
            stop_opa(folder)
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MARK).write_text("exchange demo: all data here are made up; the next demo replaces it\n", "utf-8")
    except OSError as error:
        raise Unavailable("system", where=folder.name, detail=error.strerror) from None
    return folder.resolve()
