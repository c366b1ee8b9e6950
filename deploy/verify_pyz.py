"""`python -m deploy.verify_pyz`: writes `exchange-verify.pyz`, as `make dist` does."""

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Final

from exchange.wiring.checker import NAME, checker

ROOT: Final = Path(__file__).resolve().parent.parent


def main() -> int:
    """Writes it into `--out`, and says its digest."""
    parser = argparse.ArgumentParser(prog="python -m deploy.verify_pyz")
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / NAME)
    file = parser.parse_args().out.resolve()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(checker())
    sys.stdout.write(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
