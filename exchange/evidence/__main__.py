"""`python exchange-verify.pyz BUNDLE`: judges an evidence bundle on any machine that has Python 3.8 or later.

No network, nothing to install; it writes the report and nothing else. Exit status: 0 the evidence holds, 4 it does
not, 2 it was called wrongly.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import os
import sys

from .check import check
from .report import lines, page

_HELP = "检查一个证据包，并写出可打印的中英文报告 / check an evidence bundle and write a printable report"


def main(words: list[str] | None = None) -> int:
    """Runs the command; gives its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")  # a console of another code page
    parser = argparse.ArgumentParser(prog="exchange-verify.pyz", description=_HELP)
    parser.add_argument(
        "bundle", help="证据包（.zip 文件或解压后的文件夹） / the bundle, a .zip file or the folder it was unpacked to"
    )
    parser.add_argument(
        "--key", metavar="VKEY|FILE", help="日志公钥或其文件 / the log's public key, or a file that holds it"
    )
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="FILE",
        help="您留存的检查点，可重复 / a checkpoint that you kept; may be repeated",
    )
    parser.add_argument(
        "--state",
        action="append",
        default=[],
        metavar="FILE",
        help="“exchange audit verify --state”留存的文件，可重复 / what `audit verify --state` keeps",
    )
    parser.add_argument(
        "--table", metavar="FILE.csv", help="同一问题导出的 CSV 表格 / a table (CSV) of the same question"
    )
    parser.add_argument(
        "--report",
        metavar="FILE",
        help="报告文件（默认：证据包旁的 .html） / where the report goes (beside the bundle)",
    )
    parser.add_argument("--language", choices=("zh", "en"), default="zh", help="屏幕语言 / language on the screen")
    parser.add_argument("--json", action="store_true", help="以 JSON 输出 / the verdict as JSON")
    given = parser.parse_args(words)
    try:
        key = _text(given.key) if given.key and os.path.isfile(given.key) else given.key
        kept, states = [_bytes(name) for name in given.checkpoint], [_bytes(name, 1 << 26) for name in given.state]
        table = _bytes(given.table, 1 << 28) if given.table else None
    except OSError as error:
        sys.stderr.write("%s: %s\n" % (error.filename, error.strerror))
        return 2
    now = _now()
    result = check(given.bundle, key, kept, states, table=table, now_ns=int(now.timestamp()) * 10**9)
    report = given.report or given.bundle.rstrip("/\\") + ".report.html"
    text = page(result, os.path.basename(given.bundle), digest_of(given.bundle), now)
    try:
        with open(report, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        sys.stderr.write("%s: %s\n" % (report, error.strerror))
        return 2
    if given.json:
        sys.stdout.write(json.dumps(result.document(), ensure_ascii=False, sort_keys=True) + "\n")
    else:
        sys.stdout.write("\n".join([*lines(result, given.language), report, ""]))
    return 0 if result.ok else 4


def _now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)


def _bytes(name: str, most: int = 1 << 20) -> bytes:
    with open(name, "rb") as file:
        return file.read(most)


def _text(name: str) -> str:
    return _bytes(name).decode("utf-8", "replace").strip()


def digest_of(path: str) -> str:
    """SHA-256 of an archive; of a folder, over the names and sums of its files."""
    if os.path.isdir(path):
        sums = [
            (os.path.relpath(os.path.join(at, name), path), at, name)
            for at, _, names in os.walk(path)
            for name in names
        ]
        parts = (one.replace(os.sep, "/") + " " + digest_of(os.path.join(at, name)) for one, at, name in sorted(sums))
        return hashlib.sha256("\n".join(parts).encode("utf-8")).hexdigest()
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    except OSError:
        return "-"
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
