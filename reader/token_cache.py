"""Ids of the rows of a file on disk, so that later epochs and runs tokenise nothing.

    with TokenCache("cache", table, encoder) as cache:
        if cache.open(): rows = cache.read(np.array([7, 3]))
        elif cache.filling: cache.add(row_numbers, encoded)     # complete, and in place, once every row was added

A cache is the directory `<key>` in the given one, the key a sha256 over the content of the TSV, the tokenizer,
and all that decides a row's ids and label: a stale one is never met, and any of them may be deleted at any time. Files,
little-endian:
    ids.bin     the rows' ids end to end, in the order they came: uint16, or int32 for a vocabulary over 65,536
    rows.bin    one record a row, in the same order (`_record`)
    where.bin   int32 (int64 from 2**31 rows on) [rows]: the place of row i of the TSV in rows.bin
    tags.bin    uint16, a class for every id, where rows have `tags`
    meta.json   sizes and CRC-32 of these
It is written beside and renamed when complete; a damaged one is built again. What a killed process left unfinished goes
when the same cache is opened again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import mmap
import os
import shutil
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from propeller.errors import UserError
from propeller.files import clear_dead, locked_directory
from reader.batching import EncodedRows, offsets_of, ragged_arange

if TYPE_CHECKING:
    from reader.row_encoder import RowEncoder
    from reader.row_file import RowFile


log = logging.getLogger("ernie.reader")

FORMAT = 1
FILES = ("ids.bin", "rows.bin", "where.bin")
SMALL = 64 << 20  # bytes; a larger cache gives its pages back as it is read


class TokenCache:
    """The cache of one (file, tokenizer, settings), see the module. Raises UserError: the directory cannot be made."""

    def __init__(self, directory: str | Path, table: RowFile, encoder: RowEncoder, fill: bool = True) -> None:
        self.num_rows = table.num_rows
        self.key = cache_key(table, encoder)
        self.directory = Path(directory)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{directory}: the token cache cannot be made ({error.strerror}); give another directory"
            ) from None
        self.path = self.directory / self.key
        vocabulary = len(getattr(encoder.tokenizer, "vocab", ()))
        self.id_type = np.dtype("<u2") if 0 < vocabulary <= 65536 else np.dtype("<i4")
        self.record = _record(encoder)
        self.where_type = np.dtype("<i4") if self.num_rows < 2**31 else np.dtype("<i8")
        self.types = dict(zip(FILES, (self.id_type, self.record, self.where_type)))
        if encoder.tagged:
            self.types["tags.bin"] = np.dtype("<u2")
        self.arrays: Any = None  # ids, rows, where, and tags or None: once open
        self.maps: list[mmap.mmap] = []
        self.filling = False
        self.off = False  # after a failure to write: the run goes on without it
        self.fill = fill  # else another process does
        if fill:
            for left in self.directory.glob(f"{self.key}.part-*"):
                clear_dead(left)

    def __enter__(self) -> TokenCache:
        return self

    def __exit__(self, *exc: object) -> None:
        self._drop()
        self.arrays = None  # the maps close when the last array on them goes

    def open(self) -> bool:
        """Whether rows can be read; if not, whether they are wanted for writing is said by `filling`."""
        if self.arrays is not None:
            return True
        if self.off:
            return False
        if not self.path.is_dir():
            self._begin()
            return False
        try:
            self._map()
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.arrays, self.maps = None, []
            if not self.fill:
                return False
            log.warning("token cache %s is damaged (%s): it is built again", self.path, error)
            shutil.rmtree(self.path, ignore_errors=True)
            self._begin()
            return False
        return True

    def _map(self):
        meta = json.loads((self.path / "meta.json").read_text(encoding="utf-8"))
        arrays = []
        for name, dtype in self.types.items():
            with open(self.path / name, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size != meta[name]["size"]:
                    raise ValueError(f"{name} has {size} bytes instead of {meta[name]['size']}")
                if _crc(file) != meta[name]["crc32"]:
                    raise ValueError(f"{name} has another checksum")
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self.maps.append(mapped)
            arrays.append(np.frombuffer(mapped, dtype))
        if not len(arrays[1]) == len(arrays[2]) == self.num_rows:
            raise ValueError(f"{len(arrays[1])} rows instead of {self.num_rows}")
        self.arrays = (*arrays, None)[:4]
        log.info("token cache %s: ids of %d rows", self.path, self.num_rows)

    def read(self, rows: np.ndarray) -> EncodedRows:
        """EncodedRows of these rows (int [n]) of the file."""
        ids, records, places, tags = self.arrays
        found = records[places[rows]]
        lengths = np.ascontiguousarray(found["length"], np.int32)
        tokens = ragged_arange(found["start"], lengths)
        encoded = EncodedRows(
            ids=ids[tokens].astype(np.int32),
            offsets=offsets_of(lengths),
            lengths=lengths,
            first=np.ascontiguousarray(found["first"], np.int32),
            cut=np.ascontiguousarray(found["cut"]),
            tags=None if tags is None else tags[tokens].astype(np.int32),
        )
        names = self.record.names
        encoded.labels = np.ascontiguousarray(found["label"]) if "label" in names else None
        encoded.qids = np.ascontiguousarray(found["qid"]) if "qid" in names else None
        self._give_back()
        return encoded

    def _give_back(self):
        """Mapped pages count as this process's memory, and Linux maps 16 around each one met: a large cache lets go."""
        if sum(map(len, self.maps)) > SMALL and hasattr(mmap, "MADV_DONTNEED"):
            for mapped in self.maps:
                mapped.madvise(mmap.MADV_DONTNEED)

    def _begin(self):
        if self.filling or not self.fill:
            return
        try:
            self.beside, self.lock = locked_directory(f"{self.key}.part-", self.directory)
            names = [name for name in self.types if name != "where.bin"]
            self.files = [open(self.beside / name, "wb") for name in names]  # noqa: SIM115 - closed by _drop
        except OSError as error:
            log.warning("token cache %s: cannot be written (%s): going on without it", self.path, error)
            self.off = True
            return
        self.seen = np.full(self.num_rows, -1, self.where_type)
        self.written = self.tokens = 0
        self.filling = True

    def add(self, rows: np.ndarray, encoded: EncodedRows) -> None:
        """Keeps the rows (int [n], numbers in the file; only the first len(encoded) are there) not kept before."""
        rows = rows[: len(encoded)]
        new = np.flatnonzero(self.seen[rows] < 0)
        if len(new) < len(rows):
            rows, encoded = rows[new], encoded.take(new)
        if not len(rows):
            return
        records = np.zeros(len(rows), self.record)
        records["start"] = encoded.offsets[:-1] + self.tokens
        for name in ("length", "first", "cut", "label", "qid"):
            if name in self.record.names:
                records[name] = getattr(
                    encoded, {"length": "lengths", "label": "labels", "qid": "qids"}.get(name, name)
                )
        try:
            self.files[0].write(encoded.ids.astype(self.id_type).tobytes())
            self.files[1].write(records.tobytes())
            if encoded.tags is not None:
                self.files[2].write(encoded.tags.astype(self.types["tags.bin"]).tobytes())
            self.seen[rows] = np.arange(self.written, self.written + len(rows))
            self.written += len(rows)
            self.tokens += len(encoded.ids)
            if self.written == self.num_rows:
                self._complete()
        except OSError as error:
            log.warning("token cache %s: cannot be written (%s): going on without it", self.path, error)
            self._drop()
            self.off = True

    def _complete(self):
        with open(self.beside / "where.bin", "wb") as file:
            file.write(self.seen)
        for file in self.files:
            file.close()
        meta = {"format": FORMAT}
        for name in self.types:
            with open(self.beside / name, "rb") as file:
                os.fsync(file.fileno())
                meta[name] = {"size": os.fstat(file.fileno()).st_size, "crc32": _crc(file)}
        with open(self.beside / "meta.json", "w", encoding="utf-8") as file:
            json.dump(meta, file)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(OSError):  # another process was first: its cache is as good
            self.beside.rename(self.path)
            _sync_directory(self.directory)
        self._drop()

    def _drop(self):
        if self.filling:
            self.filling = False
            for file in self.files:
                with contextlib.suppress(OSError):
                    file.close()
            shutil.rmtree(self.beside, ignore_errors=True)
            os.close(self.lock)
            self.seen = None


def cache_key(table: RowFile, encoder: RowEncoder) -> str:
    """sha256 hex over what decides the ids and labels of a file's rows."""
    labels = encoder.labels
    parts = {
        "format": FORMAT,
        "content": table.identity,
        "tokenizer": encoder.tokenizer.fingerprint,
        "max_seq_len": encoder.max_seq_len,
        "classes": [_class_name(encoder), _class_name(labels)],  # a subclass may read the same field otherwise
        "labels": [labels.kind, sorted((labels.mapping or {}).items()), labels.mapping is None, labels.num_labels],
    }
    if table.dropped:
        parts["dropped"] = table.dropped
    if labels.separator != ",":
        parts["separator"] = labels.separator
    if encoder.cache_facts is not None:
        parts["more"] = encoder.cache_facts
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _class_name(value):
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _record(encoder):
    fields = [("start", "<i8"), ("length", "<i4"), ("first", "<i4"), ("cut", "?")]
    if encoder.labels_rows:
        fields.append(("label", np.dtype(encoder.labels.dtype).newbyteorder("<"), encoder.labels.shape))
    if encoder.qid is not None:
        fields.append(("qid", "<i8"))
    return np.dtype(fields)


def _crc(file) -> int:
    value = 0
    for block in iter(lambda: file.read(1 << 20), b""):
        value = zlib.crc32(block, value)
    return value


def _sync_directory(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
