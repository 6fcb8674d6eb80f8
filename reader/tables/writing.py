"""Rows of a file into several files of its form, as they stand, with all of their columns.

write_parts(open_table("rows.csv"), np.array([0, 0, 1]), [Path("train.csv"), Path("dev.csv")])
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from propeller.errors import UserError
from propeller.files import atomic_bytes
from reader.row_file import CHUNK_ROWS, Layout, RowFile
from reader.tables.json_table import JsonArrayFile, JsonLinesFile
from reader.tables.parquet_table import BATCH_ROWS, ParquetFile, import_parquet


def write_parts(table: RowFile, parts: np.ndarray, targets: Sequence[Path | None]) -> None:
    """Write each row to the file of its part, in the order of the rows.

    Args:
        table: the rows.
        parts: int [rows]: a place in ``targets``.
        targets: the files; None: of a part without rows.

    Raises:
        UserError: a file cannot be written, or the rows have changed.
    """
    with contextlib.ExitStack() as stack:
        try:
            for target in targets:
                if target is not None:
                    target.parent.mkdir(parents=True, exist_ok=True)
            files = [None if target is None else stack.enter_context(atomic_bytes(target)) for target in targets]
            if isinstance(table, ParquetFile):
                _write_parquet(table, parts, files)
            else:
                _write_records(table, parts, files)
        except OSError as error:
            raise UserError(f"the parts of {table.path} cannot be written ({error.strerror}); make room") from None


def _write_records(table, parts, files):
    """The bytes of each row."""
    is_array = isinstance(table, JsonArrayFile)
    plain = Layout(table.path, table.columns)
    with table.open() as fd:
        header = b"" if is_array or isinstance(table, JsonLinesFile) else os.pread(fd, int(table.starts[0]), 0)
        for file in files:
            if file is not None:
                file.write(b"[\n" if is_array else header)
        begun = [False] * len(files)
        for begin in range(0, table.num_rows, CHUNK_ROWS):
            rows = np.arange(begin, min(begin + CHUNK_ROWS, table.num_rows))
            for part, record in zip(parts[rows].tolist(), plain.read(fd, *table.bounds(rows))):
                if is_array:
                    files[part].write(b",\n" * begun[part] + record)
                else:
                    files[part].write(record.rstrip(b"\r\n") + (b"\r\n" if record.endswith(b"\r\n") else b"\n"))
                begun[part] = True
        for file in files:
            if is_array and file is not None:
                file.write(b"\n]\n")


def _write_parquet(table: ParquetFile, parts: np.ndarray, files: Sequence[IO[bytes] | None]) -> None:
    """All columns, by their types."""
    parquet = import_parquet()
    with parquet.ParquetFile(table.path) as source, contextlib.ExitStack() as stack:
        schema = source.schema_arrow
        writers = [None if file is None else stack.enter_context(parquet.ParquetWriter(file, schema)) for file in files]
        at = 0
        for batch in source.iter_batches(BATCH_ROWS):
            own = parts[at : at + batch.num_rows]
            at += batch.num_rows
            for number, writer in enumerate(writers):
                if writer is not None and (own == number).any():
                    writer.write_batch(batch.take(np.flatnonzero(own == number)))
