"""Sentences of documents to instances of one text, packed up to max_seq_len: lines of a shard.

    lines, stats = Texts(max_seq_len=512, cls=1, sep=2).lines(documents)

A text is sentences of one document that follow each other (DOC-SENTENCES of Liu et al. 2019, arXiv 1907.11692, section
4.2). A sentence that does not fit opens the next text; one longer than an instance is cut between words. So every token
of a document is in exactly one instance, but for texts of a single token, which are counted as `left_over`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from pretrain.corpus.instances import count, fitting, line_of, with_units
from pretrain.corpus.pieces import Tokens


class Texts:
    """max_seq_len: tokens with [CLS] and [SEP]; cls, sep: ids."""

    def __init__(self, max_seq_len: int, cls: int, sep: int) -> None:
        self.most, self.cls, self.sep = max_seq_len - 2, cls, sep

    def lines(self, documents: Sequence[Sequence[Tokens]]) -> tuple[list[bytes], Counter]:
        """Lines of the documents in their order, with their units, and a Counter. documents: of each its Tokens."""
        stats: Counter = Counter()
        lines = []
        for sentences in documents:
            for text in self._packed(sentences):
                length = sum([tokens.count for tokens in text])
                if length < 2:
                    stats["left_over"] += 1
                    continue
                lines.append(with_units(line_of([text], 0, self.cls, self.sep), [text]))
                count(stats, length + 2)
        return lines, stats

    def _packed(self, sentences) -> Iterator[list[Tokens]]:
        """Lists of Tokens that fit together."""
        held: list[Tokens] = []
        size = 0
        for tokens in sentences:
            for part in fitting(tokens, self.most):
                if held and size + part.count > self.most:
                    yield held
                    held, size = [], 0
                held.append(part)
                size += part.count
        if held:
            yield held
