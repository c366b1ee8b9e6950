"""What was measured on: without it a figure says nothing."""

import os
import platform
import sqlite3
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Final

_LIBRARIES: Final = (
    *("fastavro", "sqlalchemy", "cryptography", "celine-regorus"),
    *("kafka-python", "confluent-kafka", "psycopg", "opa-python-client"),
)


def described() -> Iterator[str]:
    """Lines on processor, memory, load, disk, Python and libraries."""
    yield f"{_processor()}, {os.cpu_count()} cores, {_memory_gb():.0f} GB, {platform.system()}"
    yield f"load {os.getloadavg()[0]:.1f} at the start: above 0.5 something else runs, trust ratios alone"
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    yield f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {libraries}"


def _processor() -> str:
    about = Path("/proc/cpuinfo")
    lines = about.read_text("utf-8").splitlines() if about.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory_gb() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
