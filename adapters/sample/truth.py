"""What has to be found in the files: counted and named by the generator itself, to compare the exchange with."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from exchange.errors import Invalid

LABEL = "合成数据 SYNTHETIC: no person, household, account or firm is real"


@dataclass(frozen=True)
class FileTruth:
    """One file: its records, how many of them are good, and how many are refused under which code.

    `wrong_check`: ids of a wrong check digit among all its rows, which are taken.
    """

    dataset: str
    source: str
    config: str
    rows: int
    good: int
    rejected: Mapping[str, int] = field(default_factory=dict)
    wrong_check: int = 0


@dataclass(frozen=True)
class Planted:
    """A person planted for a hard case of C1, in a role; `person_id` is the 18-digit (or kept 15-digit) id."""

    case: str
    role: str
    person_id: str
    name: str
    household_id: str
    application_id: str = ""
    note: str = ""


@dataclass(frozen=True)
class Truth:
    """The generator's own truth."""

    seed: int
    scale: float
    as_of: str
    persons: int
    households: int
    files: Mapping[str, FileTruth]
    planted: tuple[Planted, ...]
    label: str = LABEL

    def role(self, role: str) -> Planted:
        """The one planted in this role.

        Raises:
            Invalid: `sample_role_unknown`.
        """
        for planted in self.planted:
            if planted.role == role:
                return planted
        raise Invalid("sample_role_unknown", role=role)

    def members(self, application_id: str) -> tuple[Planted, ...]:
        """The members of a planted application, the applicant first."""
        return tuple(planted for planted in self.planted if planted.application_id == application_id)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, path: Path) -> "Truth":
        """Read what `save` wrote.

        Raises:
            Invalid: `sample_truth_unreadable`.
        """
        try:
            document = json.loads(path.read_text("utf-8"))
            files = {name: FileTruth(**file) for name, file in document.pop("files").items()}
            planted = tuple(Planted(**one) for one in document.pop("planted"))
            return cls(files=files, planted=planted, **document)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise Invalid("sample_truth_unreadable", where=path.name, detail=type(error).__name__) from error
