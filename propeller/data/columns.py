"""Columns of tab-separated files without a header, and the data sets made of them.

    columns = FeatureColumns([
        TextColumn("title", unk_id=1, vocab_file="vocab.txt", tokenizer=CharTokenizer(vocab)),
        LabelColumn("label", vocab_dict={"bad": 0, "good": 1}),
    ])
    train = columns.build_dataset("train", data_dir="data/train", shuffle=True, repeat=True)

A data set's elements are tuples of one int64 array per column. With ``use_gz`` the files are read once, converted to
record files beside them, and read from there until the text or the columns change.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable

import numpy as np

from propeller.data import example
from propeller.data.dataset import Dataset
from propeller.data.gz_files import GzFiles
from propeller.errors import UserError

log = logging.getLogger("propeller.data")

SHUFFLED_ROWS = 1000
REPORTED_ROWS = 5  # malformed rows of a file that get a line in the log each


def at_blanks(text: bytes) -> list:
    """The parts of a text between blanks: the default tokenizer."""
    return text.split()


def read_vocab(path: str) -> dict:
    """token -> id of a file with one token per line, or ``token<TAB>id``.

    Raises:
        UserError: it cannot be read, or an id is no number.
    """
    vocab = {}
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file):
                token, _, given = line.rstrip("\n").partition("\t")
                if given and not given.isdigit():
                    raise UserError(f"{path}, line {number + 1}: id {given!r} is no number: give token<TAB>id")
                vocab[token] = int(given) if given else number
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): give a vocabulary file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text: give a vocabulary file") from error
    return vocab


class Column:
    """One column: raw bytes of a field -> an int64 array, by way of a ``Feature`` where it is stored.

    Attributes:
        name: its name in record files.
        output_shapes: shape of an instance, -1 where it varies.
        output_types: its dtype.
    """

    output_shapes: list = [-1]
    output_types = "int64"

    def __init__(self, name: str) -> None:
        self.name = name

    def raw_to_ids(self, raw: bytes) -> list:
        """The field's numbers; what a subclass defines."""
        raise NotImplementedError

    def raw_to_proto(self, raw: bytes) -> Any:
        """The field as a ``Feature``."""
        return example.int64_feature(self.raw_to_ids(raw))

    def proto_to_instance(self, feature: Any) -> np.ndarray:
        """The array of a ``Feature``."""
        return np.array(feature.int64_list.value, dtype=np.int64).reshape(self.output_shapes)

    def raw_to_instance(self, raw: bytes) -> np.ndarray:
        """The array of a field."""
        return np.array(self.raw_to_ids(raw), dtype=np.int64).reshape(self.output_shapes)

    def facts(self) -> dict:
        """What the numbers depend on beside the text, for telling whether stored ones still hold."""
        return {"name": self.name, "class": type(self).__qualname__}


class TextIDColumn(Column):
    """Numbers with blanks between them."""

    def raw_to_ids(self, raw: bytes) -> list:
        return [_number(part, self.name) for part in raw.split()]


class _WithVocab(Column):
    def __init__(self, name, vocab_file, vocab_dict):
        super().__init__(name)
        self.vocab_file = vocab_file
        words = vocab_dict if vocab_dict is not None else read_vocab(vocab_file) if vocab_file else None
        self.vocab = None if words is None else {_text(token): int(number) for token, number in words.items()}

    def facts(self) -> dict:
        return {**super().facts(), "vocab": sorted(self.vocab.items()) if self.vocab is not None else None}


class TextColumn(_WithVocab):
    """Text, cut into tokens that are looked up in a vocabulary.

    Args:
        name: its name.
        unk_id: the id of a token that is not in the vocabulary.
        vocab_file: one token per line; or vocab_dict: token -> id, tokens as bytes or str.
        tokenizer: called with the field's bytes; returns tokens, as bytes or str.
    """

    def __init__(
        self,
        name: str,
        unk_id: int,
        vocab_file: str | None = None,
        vocab_dict: Mapping | None = None,
        tokenizer: Callable[[bytes], Sequence] = at_blanks,
    ) -> None:
        super().__init__(name, vocab_file, vocab_dict)
        if self.vocab is None:
            raise UserError(f"TextColumn {name}: no vocabulary: give vocab_file or vocab_dict")
        self.unk_id, self.tokenizer = unk_id, tokenizer

    def raw_to_ids(self, raw: bytes) -> list:
        return [self.vocab.get(_text(token), self.unk_id) for token in self.tokenizer(raw)]

    def facts(self) -> dict:
        return {**super().facts(), "unk_id": self.unk_id, "tokenizer": _tokenizer_facts(self.tokenizer)}


class LabelColumn(_WithVocab):
    """A class per row: a word of the vocabulary, or an integer where there is none.

    Args:
        name: its name.
        vocab_dict: label -> number; or vocab_file: one label per line.
    """

    output_shapes: list = []

    def __init__(self, name: str, vocab_dict: Mapping | None = None, vocab_file: str | None = None) -> None:
        super().__init__(name, vocab_file, vocab_dict)

    def raw_to_ids(self, raw: bytes) -> list:
        if self.vocab is None:
            return [_number(raw, self.name)]
        label = _text(raw.strip())
        if label not in self.vocab:
            known = ", ".join(list(self.vocab)[:10])
            raise UserError(f"column {self.name}: label {label!r} is unknown: give one of {known}")
        return [self.vocab[label]]


class FeatureColumns:
    """The columns of a file, in their order."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = list(columns)
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise UserError(f"columns {', '.join(names)}: give each a name of its own")

    def build_dataset(
        self,
        name: str,
        use_gz: bool = True,
        data_dir: str | None = None,
        gz_dir: str | None = None,
        data_file: str | None = None,
        shuffle: bool = False,
        repeat: bool = False,
        shard: bool = False,
        seed: int = 0,
    ) -> Dataset:
        """The rows of a file, or of all files of a folder.

        Args:
            name: the data set's name.
            use_gz: convert the files to ``gz_dir`` first, and read from there.
            data_dir: a folder; or data_file: one file.
            gz_dir: None: ``<data_dir>_gz``, or ``<data_file>_gz``.
            shuffle: the order of the files, and rows within 1,000.
            repeat: for ever.
            shard: only this process's share of the rows, where there are several processes.
            seed: of the shuffling.

        Returns:
            a data set of tuples with one array per column. Rows with another number of columns are left out, logged
            and counted.

        Raises:
            UserError: there is no file; when it is read: a field cannot be converted.
        """
        files, folder = self._files(data_dir, data_file)
        if use_gz:
            stored = GzFiles(Path(gz_dir) if gz_dir else Path(f"{folder}_gz"), self._row_to_record, self._digest())
            files = stored.converted(files, self._rows)
        dataset = Dataset.from_list([str(path) for path in files])
        if shuffle:
            dataset = dataset.shuffle(len(files), seed)
        dataset = dataset.interleave(self._stored_rows if use_gz else self._text_rows, len(files), 1)
        if shuffle:
            dataset = dataset.shuffle(SHUFFLED_ROWS, seed)
        if repeat:
            dataset = dataset.repeat()
        if shard:
            from propeller.disconfig import status

            dataset = dataset.shard(status.num_replica, status.replica_id)
        return self._named(dataset, name)

    def build_dataset_from_stdin(self, name: str) -> Dataset:
        """The lines of standard input; of each as many columns as it has, so the label may be missing."""

        def lines():
            for line in sys.stdin.buffer:
                fields = line.rstrip(b"\r\n").split(b"\t")
                yield tuple(column.raw_to_instance(field) for column, field in zip(self.columns, fields))

        made = Dataset.from_generator_func(lines)
        made.name = name
        return made

    def _named(self, dataset, name):
        dataset.name = name
        dataset.data_shapes = [column.output_shapes for column in self.columns]
        dataset.data_types = [column.output_types for column in self.columns]
        return dataset

    def _files(self, data_dir, data_file):
        if (data_dir is None) == (data_file is None):
            raise UserError("build_dataset: give either data_dir or data_file")
        if data_file is not None:
            if not Path(data_file).is_file():
                raise UserError(f"{data_file}: no such file: give a file of tab-separated columns")
            return [Path(data_file)], str(data_file)
        folder = Path(data_dir)
        files = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
        files = [path for path in files if not path.name.startswith(".")]
        if not files:
            raise UserError(f"{folder}: holds no file: give a folder of files of tab-separated columns")
        return files, str(folder).rstrip("/")

    def _rows(self, path):
        """(number of the line, fields) of a text file's rows that have all the columns."""
        dropped = number = 0
        for number, line in enumerate(Dataset.from_file(str(path)), 1):
            fields = line.split(b"\t")
            if len(fields) == len(self.columns):
                yield number, fields
                continue
            dropped += 1
            if dropped <= REPORTED_ROWS:
                found, wanted = len(fields), len(self.columns)
                log.warning("%s, line %d: %d columns, not %d: the row is left out", path, number, found, wanted)
        if dropped:
            log.warning("%s: %d of %d rows left out", path, dropped, number)

    def _text_rows(self, path):
        def rows():
            for number, fields in self._rows(path):
                yield self._convert(path, number, fields, lambda column, field: column.raw_to_instance(field))

        return Dataset.from_generator_func(rows)

    def _stored_rows(self, path):
        def instance(record):
            features = example.decode(record)
            return tuple(column.proto_to_instance(features[column.name]) for column in self.columns)

        return Dataset.from_record_file(path).map(instance)

    def _row_to_record(self, path, number, fields):
        features = self._convert(path, number, fields, lambda column, field: column.raw_to_proto(field))
        return example.encode({column.name: feature for column, feature in zip(self.columns, features)})

    def _convert(self, path, number, fields, convert):
        try:
            return tuple(convert(column, field) for column, field in zip(self.columns, fields))
        except UserError as error:
            raise UserError(f"{path}, line {number}: {error}") from error

    def _digest(self):
        return [column.facts() for column in self.columns]


def _text(token):
    return token.decode("utf8", "replace") if isinstance(token, bytes) else token


def _number(part, name):
    try:
        return int(part)
    except ValueError:
        raise UserError(f"column {name}: {_text(part)!r} is no integer: correct it, or give a vocabulary") from None


def _tokenizer_facts(tokenizer):
    """Name and code of a function; class and attributes of an object."""
    code = getattr(tokenizer, "__code__", None)
    if code is not None:
        return [tokenizer.__qualname__, code.co_code.hex(), repr(code.co_consts), repr(code.co_names)]
    facts = getattr(tokenizer, "facts", None)
    return [type(tokenizer).__qualname__, facts() if facts else None]
