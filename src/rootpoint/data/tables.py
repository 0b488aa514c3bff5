"""Tables of the user's own, read with care: what could be misread is refused."""

from __future__ import annotations

import csv
import io
import re
import warnings
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from rootpoint.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from pandas import DataFrame

Frame: TypeAlias = "DataFrame"

SEPARATORS = (",", ";", "\t")
MAX_BYTES = 512 * 2**20  # of a file that is read whole
_NUMBER = re.compile(r"\s*[-+]?\d[\d.]*(,\d+)?(e[-+]?\d+)?\s*", re.IGNORECASE)


def read_table(path: str | Path, rows: range | None = None) -> Frame:
    """The rows of a CSV file as a data frame, numbered as in the file from 0.

    path   UTF-8, the names of the columns in the first line, separated by commas, semicolons or
           tabs (which of them, the first line tells), quoted by "…" where needed
    rows   those to give out; nothing after them is read. All, if left out
    Columns of numbers have decimal points; other columns are texts. Raises InputError, which names
    the file, if it is empty, has no names or the same one twice, lines of different lengths,
    decimal commas, no such rows, or more than 512 MiB to be read; MissingExtraError without pandas.
    Cost: memory and time for the rows up to the last one given out.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingExtraError("reading tables", "tables") from error
    path = Path(path).expanduser()
    _check_file(path, rows)
    separator = _check_head(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # it would drop values
            frame = pd.read_csv(
                path,
                sep=separator,
                index_col=False,
                encoding="utf-8-sig",
                skipinitialspace=True,
                low_memory=False,
                nrows=None if rows is None else rows.stop,
            )
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not encoded in UTF-8: save it as UTF-8") from error
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise InputError(
            f"{path} has lines with more values than the {_shown(separator)}-separated names in "
            f'the first one; quote values that hold the separator: "…" ({error})'
        ) from error
    start = 0 if rows is None else rows.start
    if len(frame) <= start:
        raise InputError(f"{path} has no row {start}: it has {len(frame)}, counted from 0")
    frame = frame.iloc[start:]
    _check_decimals(path, frame)
    return frame


def flaw(table: Frame) -> str | None:
    """The first value of a table that is no finite number, and where it stands; None if there is
    none.
    """
    import numpy as np
    import pandas as pd

    numbers = table.apply(pd.to_numeric, errors="coerce")
    rows, columns = np.nonzero(~np.isfinite(numbers.to_numpy(dtype=np.float64)))
    if not len(rows):
        return None
    value = table.iat[int(rows[0]), int(columns[0])]
    what = "no value" if pd.isna(value) else f"{value!r}"
    return f"{what} in row {table.index[rows[0]]}, column {table.columns[columns[0]]!r}"


def _check_file(path: Path, rows: range | None) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a table in it")
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    size = path.stat().st_size
    if size == 0:
        raise InputError(f"{path} is empty")
    if rows is None and size > MAX_BYTES:
        raise InputError(
            f"{path} has {size / 2**20:.0f} MiB, more than {MAX_BYTES // 2**20}: choose some rows, "
            "as --rows 0:1000"
        )


def _check_head(path: Path) -> str:
    """The separator. Raises InputError if the first line does not name the columns."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = "".join(islice(file, 1))
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not encoded in UTF-8: save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    if "\0" in head:
        raise InputError(f"{path} is no text: give a CSV file")
    split = {s: next(csv.reader(io.StringIO(head), delimiter=s), [""]) for s in SEPARATORS}
    separator = max(split, key=lambda s: len(split[s]))
    names = [name.strip() for name in split[separator]]
    if all(not name for name in names):
        raise InputError(f"the first line of {path} is empty: it must name the columns")
    if all(_NUMBER.fullmatch(name) for name in names):
        raise InputError(f"the first line of {path} holds numbers only: it must name the columns")
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise InputError(f"{path} has two columns {twice[0]!r}: give them different names")
    return separator


def _check_decimals(path: Path, frame: Frame) -> None:
    """Raise InputError if all values of some column of texts look like 1,5."""
    for name in frame.columns:
        values = frame[name].dropna()
        if values.dtype.kind in "biuf" or not len(values):
            continue
        texts = values.astype(str)
        numbers = texts.str.fullmatch(_NUMBER.pattern, flags=re.IGNORECASE)
        commas = texts.str.contains(",", regex=False)
        if bool(numbers.all()) and bool(commas.any()):
            first = next(text for text in texts if "," in text)
            raise InputError(
                f"{path} writes numbers with commas ({first} in column {name!r}), which can be "
                "read in two ways: save it with decimal points and without separated thousands"
            )


def _shown(separator: str) -> str:
    return {",": "comma", ";": "semicolon", "\t": "tab"}[separator]
