"""Which form a file has, and the reader of that form."""

from pathlib import Path

from adapters.files.config import FilesConfig
from adapters.files.csvfile import CsvFile
from adapters.files.encoding import is_workbook
from adapters.files.rows import SourceFile


def open_file(path: Path, config: FilesConfig) -> SourceFile:
    """The file, opened for one reading in the form that is set, else in the one its first bytes show.

    Raises:
        Invalid: what the reader of that form raises for a file that it cannot open.
    """
    if config.format == "xlsx" or (config.format == "guess" and is_workbook(path)):
        from adapters.files.workbook import Workbook  # the library behind it is needed for workbooks alone

        return Workbook(path, config)
    return CsvFile(path, config)
