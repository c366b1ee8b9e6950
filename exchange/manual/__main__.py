"""`python -m exchange.manual DIR`: writes the manual as a web site (`make docs`)."""

import sys
from pathlib import Path

from exchange.manual import files


def main(folder: Path) -> None:
    """Writes every file of the manual below this folder."""
    for name, content in files().items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
