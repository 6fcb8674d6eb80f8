"""Rows of running text for sequence labelling: text_a is text as people write it, not tokens with separators.

    reader = RunningTextReader("new.tsv", tokenizer, tags=tags, labelled=False, max_seq_len=256, batch_size=32)
    for sentence in reader.sentences(): sentence.tokens     # words, punctuation marks and CJK characters

The tokens are those that a tokenizer of words sees (see ``Sentence.of_words``): where the training data was split
otherwise, split new text in the same way and use ``TaggingReader``.
"""

from __future__ import annotations

import numpy as np

from reader.batching import EncodedRows, encode_rows
from reader.row_encoder import LabelRule
from reader.tagging.reader import TaggingEncoder, TaggingReader
from reader.tagging.sentence import Sentence


class RunningTextEncoder(TaggingEncoder):
    """Turns lines of running text into EncodedRows, to predict only. Args: as TaggingEncoder."""

    def encode(self, lines: list[bytes], rows: np.ndarray) -> EncodedRows:
        """EncodedRows of the lines up to the first bad one. Args: as RowEncoder.encode."""
        sentences, error = [], None
        for line, row in zip(lines, rows):
            try:
                sentences.append(self.sentence(line))
            except ValueError as problem:
                error = f"{self.layout.where(int(row))}: {problem}"
                break
        pieces = self.pieces(token for sentence in sentences for token in sentence.tokens)
        ids = [[piece for token in sentence.tokens for piece in pieces[token]] for sentence in sentences]
        encoded = encode_rows(ids, None, self.max_seq_len, self.tokenizer.cls_id, self.tokenizer.sep_id)
        encoded.error = error
        return encoded

    def _has_tokens(self, text):
        return bool(Sentence.of_words(text, self.tokenizer).tokens)

    def sentence(self, line: bytes) -> Sentence:
        """The tokens of a line."""
        return Sentence.of_words(self._fields(line)[self.text_a], self.tokenizer)


class RunningTextReader(TaggingReader):
    """A TaggingReader of running text. Args: as TaggingReader, labelled being False."""

    def make_encoder(self, labels: LabelRule) -> RunningTextEncoder:
        """What turns lines into rows; with windows they are whole."""
        return RunningTextEncoder(self.table, self.tokenizer, self.max_seq_len, labels, self.tags, whole=self.windows)
