"""Parquet files, by pyarrow (requirements-data.txt).

    table = ParquetFile("rows.parquet", form=TableForm(text_a="sentence"))

Rows are read by number in any order, which the blocks of a Parquet file are slow at: on opening, the columns that count
are written to a temporary file of JSON lines, block by block, and rows are read there.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import weakref
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from propeller.errors import UserError
from propeller.files import temporary_directory
from reader.row_file import Layout, Places, RowFile
from reader.tables.form import KNOWN_COLUMNS, PLAIN, TableForm, is_copied
from reader.tables.json_table import text_of

BATCH_ROWS = 4096
BLOCK = 1 << 22
INSTALL = "python -m pip install -r requirements-data.txt"


def import_parquet() -> Any:
    """``pyarrow.parquet``. Raises UserError: it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise UserError(f"Parquet is read with pyarrow, which is not installed: {INSTALL}") from None
    return pyarrow.parquet


class ParquetLayout(Layout):
    """A row is a JSON list of its fields.

    Args:
        path: of the Parquet file.
        columns: names of the fields.
    """

    def __init__(self, path: str, columns: list[str]) -> None:
        super().__init__(path, columns, first=1, unit="row")

    def fields(self, record: bytes) -> list[str]:
        values = json.loads(record)
        if isinstance(values, str):  # what is wrong with the row
            raise ValueError(values)
        return values


class ParquetFile(RowFile):
    """The rows of a Parquet file, see ``RowFile``; rows are numbered from 1 in messages.

    Raises:
        UserError: what ``RowFile`` raises; pyarrow is not installed, or cannot read the file; no room for the columns.
    """

    what = "Parquet file"

    def __init__(
        self,
        path: str | Path,
        required: Iterable[str] = ("text_a",),
        known: Collection[str] = KNOWN_COLUMNS,
        form: TableForm = PLAIN,
        lists: bool = False,
    ) -> None:
        super().__init__(path)
        with self._open_first() as fd:
            self.sha256 = _digest(fd)
        parquet = import_parquet()
        stack = contextlib.ExitStack()
        folder = stack.enter_context(temporary_directory("ernie-parquet-"))
        weakref.finalize(self, stack.close)
        self.data_path = str(folder / "rows")
        import pyarrow

        try:
            with parquet.ParquetFile(self.path) as source:
                names = list(source.schema_arrow.names)
                found = form.choose(self.path, names, required, known)
                self.facts.update(form.facts(names, found))
                self.columns = [ours for ours, _ in found]
                keys = [names[number] for _, number in found]
                self._write(source.iter_batches(BATCH_ROWS, columns=keys), keys, lists)
        except (pyarrow.ArrowException, UnicodeDecodeError) as error:
            said = str(error).split("\n", 1)[0]
            raise UserError(f"{self.path}: is not a Parquet file that pyarrow reads ({said}); write it again") from None
        except OSError as error:
            raise UserError(
                f"{self.path}: its columns cannot be written to {folder} ({error.strerror or error}); make room, or "
                "set TMPDIR to another folder"
            ) from None
        if not self.num_rows:
            raise UserError(f"{self.path}: there is no row; give a file with rows")
        self.layout = ParquetLayout(self.path, self.columns)

    def _write(self, batches, keys, lists):
        """The columns as JSON lines, and where each row begins."""
        places, at = Places(2**32), 0
        with open(self.data_path, "wb") as file:
            for batch in batches:
                columns = [batch.column(batch.schema.get_field_index(key)).to_pylist() for key in keys]
                for values in zip(*columns):
                    line = _line(self.columns, keys, values, lists)
                    places.values.append(at)
                    at += file.write(line)
        status = Path(self.data_path).stat()
        self.data_size, self.data_mtime_ns = status.st_size, status.st_mtime_ns
        self.starts = places.array()


def _line(columns, keys, values, lists):
    try:
        fields: Any = [
            json.dumps(value, ensure_ascii=False, default=_as_text)
            if is_copied(name)
            else text_of(name, _plain(value), lists, key)
            for name, key, value in zip(columns, keys, values)
        ]
    except ValueError as problem:
        fields = str(problem)
    return json.dumps(fields, ensure_ascii=False).encode("utf-8") + b"\n"


def _plain(value):
    """A value of Arrow as JSON has it: dates, decimals and the like as text."""
    if value is None or isinstance(value, (str, bool, int, float, list, dict)):
        return value
    if isinstance(value, bytes):
        return {"bytes": len(value)}  # refused, whatever it holds
    return str(value)


def _as_text(value):
    """A value that is only copied and that JSON does not have: bytes in base64, dates and the like as text."""
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else str(value)


def _digest(fd):
    digest, at = hashlib.sha256(), 0
    while block := os.pread(fd, BLOCK, at):
        digest.update(block)
        at += len(block)
    return digest.hexdigest()
