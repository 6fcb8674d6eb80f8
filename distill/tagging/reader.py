"""Tagged sentences with what a teacher says of each of their tokens.

The teacher's logits are those of tokens, whatever its word pieces were; here they go to the student's word pieces.
``reader.tagging.token_logits`` has the rule.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distill.questions import TokenQuestions
from distill.taught import Taught
from reader.tagging.reader import TaggingReader
from reader.tagging.sentence import split_tokens
from reader.tagging.token_logits import TokenLogits


class TaughtTaggingReader(Taught, TaggingReader):
    """A ``TaggingReader`` whose batches have a teacher's logits of each word piece.

    Beside what a ``TaggingReader`` gives: ``teacher_logits`` float32 [batch, seq, columns]; ``is_taught`` float32
    [batch, seq], 1 at the pieces of tokens that the teacher knows, 0 at [CLS], [SEP] and padding; ``is_labelled``
    float32 [batch, 1]. Without labels of people ``labels`` is the teacher's best class of each piece.
    """

    known_columns = ("text_a", "label", "teacher_a")

    def __init__(self, *args: Any, **others: Any) -> None:
        super().__init__(*args, **others)
        self.token_logits = TokenLogits(self.tags)

    def teach(self, batch: dict[str, np.ndarray], numbers: np.ndarray) -> None:
        rows, longest = batch["src_ids"].shape
        logits = np.zeros((rows, longest, self.columns), np.float32)
        taught = np.zeros((rows, longest), np.float32)
        if self.source is not None:
            self._teach(logits, taught, batch["seq_lens"][:, 0], numbers)
        batch.update(teacher_logits=logits, is_taught=taught)
        batch["is_labelled"] = np.full((rows, 1), self.is_labelled, np.float32)
        if not self.is_labelled:  # scores while training are then how often the student says what the teacher does
            best = logits.argmax(axis=-1)
            batch["labels"] = np.where(taught > 0, best, self.tags.padding).astype(np.int64)

    def _teach(self, logits, taught, seq_lens, numbers):
        """Fill in what the teacher says of the rows with these numbers in the whole file."""
        questions = self.source.questions
        assert isinstance(questions, TokenQuestions)
        texts = [split_tokens(fields[questions.own], questions.separator) for _, fields in questions.fields(numbers)]
        pieces = self.encoder.pieces(token for tokens in texts for token in tokens)
        counts = np.array([len(pieces[token]) for tokens in texts for token in tokens], np.int64)
        said = self.source.take(numbers)  # [tokens, columns]
        spread = self.token_logits.spread(said, counts)
        known = np.repeat(np.isfinite(said).all(axis=1), counts)
        begin = token = 0
        for row, length in enumerate(questions.lengths(numbers).tolist()):
            end = begin + int(counts[token : token + length].sum())
            kept = min(end - begin, int(seq_lens[row]) - 2)  # what is cut has no place
            logits[row, 1 : 1 + kept] = np.where(known[begin : begin + kept, None], spread[begin : begin + kept], 0.0)
            taught[row, 1 : 1 + kept] = known[begin : begin + kept]
            begin, token = end, token + length
