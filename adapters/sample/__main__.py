"""`python -m adapters.sample --out DIR --seed N --scale X`: writes the synthetic county's files and their truth."""

import argparse
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from adapters.sample.county import AS_OF, county
from adapters.sample.truth import LABEL
from adapters.sample.writing import write
from exchange.errors import ExchangeError


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files; 0, or the error's exit code."""
    parser = argparse.ArgumentParser(prog="python -m adapters.sample", description=LABEL)
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0, help="1 = 20,000 households")
    parser.add_argument("--as-of", type=date.fromisoformat, default=AS_OF, help="the day it is in the county")
    chosen = parser.parse_args(arguments)
    try:
        truth = write(county(chosen.seed, chosen.scale, chosen.as_of), chosen.out)
    except (ExchangeError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code if isinstance(error, ExchangeError) else 2
    sys.stderr.write(f"{LABEL}\n")
    for name, file in truth.files.items():
        refused = sum(file.rejected.values())
        sys.stdout.write(f"{chosen.out / name}\t{file.dataset}\t{file.rows} rows\t{refused} to be refused\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
