"""Text files converted to record files once, and anew when the text or what converts it changes.

stored = GzFiles(Path("data/train_gz"), row_to_record, facts)
paths = stored.converted([Path("data/train/part-0")], rows)
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Callable

from propeller.data.buffering import in_a_process
from propeller.data.dataset import write_records
from propeller.errors import UserError
from propeller.files import file_digest, write_file

log = logging.getLogger("propeller.data")

SUMS = ".sums.json"


class GzFiles:
    """A folder of record files, each with the checksum of what it was made from.

    Args:
        folder: where they are; made when something is to be written.
        to_record: ``(path, line, fields) -> bytes``.
        facts: JSON-able: what the records depend on beside the text.
    """

    def __init__(self, folder: Path, to_record: Callable[..., bytes], facts: Any) -> None:
        self.folder, self.to_record = folder, to_record
        self.facts = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()

    def converted(self, files: Sequence[Path], rows: Callable[[Path], Iterable]) -> list:
        """The record files of text files; those that are missing or stale are made, in one process per file.

        Args:
            files: the text files.
            rows: ``(path) -> (line, fields)`` pairs.

        Raises:
            UserError: a row cannot be converted, or the folder cannot be written.
        """
        wanted = {path: f"{file_digest(path)} {self.facts}" for path in files}
        stale = [path for path, digest in wanted.items() if not self._holds(path, digest)]
        if stale:
            log.info("%s: converting %d of %d files", self.folder, len(stale), len(files))
            self._convert_all(stale, wanted, rows)
        return [self.folder / path.name for path in files]

    def _sums(self, path):
        return self.folder / f".{path.name}{SUMS}"

    def _holds(self, path, digest):
        try:
            stored = json.loads(self._sums(path).read_text())
            return stored["from"] == digest and stored["bytes"] == (self.folder / path.name).stat().st_size
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _convert_all(self, stale, wanted, rows):
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be written ({error.strerror}): give gz_dir") from error
        begun, together = time.monotonic(), os.cpu_count() or 1
        for begin in range(0, len(stale), together):
            running = [
                in_a_process(lambda path=path: [self._convert(path, wanted[path], rows)], 1)
                for path in stale[begin : begin + together]
            ]
            for results in running:
                for path, count in results:
                    log.info("%s: %d rows", path, count)
        log.info("%s: converted in %.1f s", self.folder, time.monotonic() - begun)

    def _convert(self, path, digest, rows):
        target = self.folder / path.name
        temporary = self.folder / f".{path.name}.new-{os.getpid()}"
        try:
            with gzip.open(temporary, "wb") as file:
                records = (self.to_record(path, number, fields) for number, fields in rows(path))
                count = write_records(file, records)
            self._sums(path).unlink(missing_ok=True)  # killed from here on, the file is stale
            temporary.replace(target)
            write_file(self._sums(path), json.dumps({"from": digest, "bytes": target.stat().st_size}).encode())
        except OSError as error:
            raise UserError(f"{target}: cannot be written ({error.strerror}): make room, or give gz_dir") from error
        finally:
            temporary.unlink(missing_ok=True)
        return str(target), count
