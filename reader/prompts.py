"""Rows with a template around their texts and masks where a word of the label belongs.

    prompt = Prompt.of("{text_a} It was {mask} .", tokenizer, (1, 2))
    reader = PromptReader("train.tsv", tokenizer, prompt=prompt, num_labels=2, max_seq_len=128, batch_size=8)
    batch, _ = next(reader.batches())
    batch["src_ids"]            # int64 [16, seq]: of 8 texts, each with one mask and with two
    batch["prompt_rows"]        # float32 [8, 16]: 1 where a row is of a text

A row is ``[CLS] template [SEP]``; ``{sep}`` in the template begins a second segment. Texts are cut so that the template
stays whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from propeller.errors import UserError
from reader.batching import EncodedRows, offsets_of, truncate_pair_lengths
from reader.parted import PartedReader, PartedRows, PartsEncoder, encode_parts, parts_of
from reader.row_encoder import LabelRule, RowEncoder

if TYPE_CHECKING:
    from reader.row_file import RowFile
    from reader.tokenizer import Tokenizer

PLACES = ("text_a", "text_b", "mask", "sep")


@dataclass(frozen=True)
class Prompt:
    """A template in pieces.

    Attributes:
        parts: ids of literal text, as tuples, and the names of ``PLACES`` in their order.
        counts: how many masks rows have: a row of a text for each.
        mask_id, cls_id, sep_id, unk_id: of the vocabulary.
    """

    parts: tuple[tuple[int, ...] | str, ...]
    counts: tuple[int, ...]
    mask_id: int
    cls_id: int
    sep_id: int
    unk_id: int

    @classmethod
    def of(cls, template: str, tokenizer: Tokenizer, counts: Sequence[int]) -> Prompt:
        """From a template's text. Raises UserError, see ``check_template``."""
        check_template(template)
        words = [part for part in re.split(r"(\{\w+\})", template) if part]
        ids = iter(tokenizer.encode_batch([word for word in words if not _place(word)]))
        parts = tuple(_place(word) or tuple(next(ids)) for word in words)
        return cls(parts, tuple(counts), tokenizer.mask_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.unk_id)

    @property
    def has_pair(self) -> bool:
        """Whether there is a place for ``text_b``."""
        return "text_b" in self.parts

    @property
    def fixed(self) -> int:
        """Tokens of the longest row beside its texts."""
        literals = sum(len(part) for part in self.parts if isinstance(part, tuple))
        return literals + 2 + self.parts.count("sep") + max(self.counts)

    def rows(self, encoded: EncodedRows, max_seq_len: int) -> EncodedRows:
        """A row for each text and each of ``counts``.

        Args:
            encoded: of each row text_a and text_b, as ``reader.parted.encode_parts`` makes it.
        """
        rows, firsts, cut = [], [], []
        room = max_seq_len - self.fixed
        for first, second in parts_of(encoded):
            lengths = truncate_pair_lengths(np.array([len(first)]), np.array([len(second)]), room)
            one, other = (int(length[0]) for length in lengths)
            for count in self.counts:
                row, border = self._row(first[:one], second[:other], count)
                rows.append(row)
                firsts.append(border)
                cut.append(one < len(first) or other < len(second))
        sizes = np.array([len(row) for row in rows], np.int64)
        flat = np.array([number for row in rows for number in row], np.int32)
        return EncodedRows(flat, offsets_of(sizes), sizes.astype(np.int32), np.array(firsts, np.int32), np.array(cut))

    def _row(self, first, second, count):
        """(ids, length of the first segment)."""
        values = {"text_a": first, "text_b": second, "mask": [self.mask_id] * count, "sep": [self.sep_id]}
        row, border = [self.cls_id], 0
        for part in self.parts:
            row += values[part] if isinstance(part, str) else part
            border = len(row) if part == "sep" else border
        row.append(self.sep_id)
        return row, border or len(row)


def _place(word):
    return word[1:-1] if word.startswith("{") and word[1:-1] in PLACES else None


def check_template(template: str) -> None:
    """Raise UserError where a template lacks a text or its mask, or has a place that is none."""
    found = re.findall(r"\{(\w*)\}", template)
    for name in found:
        if name not in PLACES:
            raise UserError(f"--template: {{{name}}} is no place: give {', '.join(f'{{{each}}}' for each in PLACES)}")
    for name in PLACES:
        if found.count(name) != 1 and not (name in ("text_b", "sep") and not found.count(name)):
            raise UserError(
                f"--template {template!r}: has {{{name}}} {found.count(name)} times: give it once, as in "
                "'{text_a} It was {mask} .'"
            )


def encode_pairs(pairs: Sequence[tuple[str, str]], tokenizer: Tokenizer, prompt: Prompt) -> EncodedRows:
    """(text_a, text_b) pairs as ``encode_parts`` makes them; a mask that a text holds is unknown."""
    ids = iter(tokenizer.encode_batch([text for pair in pairs for text in pair]) if pairs else [])
    parts = [[_unmasked(next(ids), prompt) for _ in pair] for pair in pairs]
    return encode_parts(parts, prompt.cls_id, prompt.sep_id)


def _unmasked(ids, prompt):
    return [prompt.unk_id if number == prompt.mask_id else number for number in ids] if prompt.mask_id in ids else ids


def rows_of(counts: int, per_text: int) -> np.ndarray:
    """``prompt_rows`` of so many texts with ``per_text`` rows each."""
    return np.repeat(np.eye(counts, dtype=np.float32), per_text, axis=1)


class PromptEncoder(PartsEncoder):
    """Turns lines into text_a and text_b, see ``encode_pairs``; the template comes with the batch."""

    def __init__(
        self, table: RowFile, tokenizer: Tokenizer, max_seq_len: int, labels: LabelRule, prompt: Prompt
    ) -> None:
        super().__init__(table, tokenizer, max_seq_len, labels)
        self.prompt = prompt
        self.cache_facts = [prompt.mask_id]
        if prompt.has_pair and self.text_b is None:
            raise UserError(f"{table.path}: has no column text_b, which --template has a place for: add it")
        if self.text_b is not None and not prompt.has_pair:
            raise UserError(f"{table.path}: has a column text_b, and --template no place {{text_b}} for it: give one")

    def _tokenise(self, fields):
        pairs = [(row[self.text_a], "" if self.text_b is None else row[self.text_b]) for row in fields]
        return encode_pairs(pairs, self.tokenizer, self.prompt)


class PromptReader(PartedReader):
    """A ``PartedReader`` of texts that stand in a template. A batch has ``batch_size`` texts with all their rows.

    ``prompt_rows`` are the owners of rows; see the module.

    Args:
        prompt: ``Prompt``.
        the others: as ``TaskReader``.

    Raises:
        UserError: batches are counted in tokens; the template leaves no room.
    """

    several = ("with --template", "texts")

    def __init__(self, path: str | Path, tokenizer: Tokenizer, *, prompt: Prompt, **others: Any) -> None:
        self.prompt = prompt
        super().__init__(path, tokenizer, **others)

    def make_encoder(self, labels: LabelRule) -> RowEncoder:
        """What turns lines into rows, one per text."""
        return PromptEncoder(self.table, self.tokenizer, self.max_seq_len, labels, self.prompt)

    def as_read(self, rows: EncodedRows) -> tuple[np.ndarray, np.ndarray]:
        parted = self.part(rows)
        return parted.rows.lengths.reshape(-1, len(self.prompt.counts)).max(axis=1), parted.cut

    def part(self, rows: EncodedRows) -> PartedRows:
        parted, per_text = self.prompt.rows(rows, self.max_seq_len), len(self.prompt.counts)
        return PartedRows(parted, {"prompt_rows": rows_of(len(rows), per_text)}, parted.cut[::per_text])
