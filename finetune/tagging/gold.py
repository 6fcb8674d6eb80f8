"""Tags in a file of sentences to predict: the entities found are scored against them, as in an evaluation.

gold = TagGold.of(reader, running=False)                # None where the file has no column of tags
gold.add(outputs, sentence, {"text_a": "Paris is far", "label": "B-LOC O O"})
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from finetune.metrics import f1_score
from finetune.prediction.gold import LABEL, Gold, log
from finetune.tagging.crf import viterbi
from reader.row_encoder import MODEL, LabelRule
from reader.survey import is_placeholder
from reader.tagging.reader import TaggingReader
from reader.tagging.sentence import BLANK, Sentence, split_tokens


class TagGold(Gold):
    """Tags of sentences. Entities are counted over word pieces with [CLS] and [SEP], as ``ChunkScores`` does.

    Args:
        reader: of the file, read without its labels.
    """

    what = "sentences"

    def __init__(self, reader: TaggingReader) -> None:
        super().__init__()
        self.tags, self.table, self.separator = reader.tags, reader.table, reader.encoder.separator
        self.rule = LabelRule("class", dict(reader.tags.mapping), reader.tags.num_labels, origin=MODEL)
        self.outside = reader.tags.names[reader.tags.outside]
        self.rows = self.inferred = self.labelled = self.correct = 0

    @classmethod
    def of(cls, reader: TaggingReader, running: bool) -> TagGold | None:
        """The tags of a file that is to be predicted; None without such a column.

        Args:
            reader: of the file.
            running: whether its text is cut into tokens here: tags then belong to other tokens.
        """
        if LABEL not in reader.table.columns:
            return None
        if running:
            log.info("%s: its labels are kept and not compared: with --tokenized false there are other tokens",
                     reader.table.path)  # fmt: skip
            return None
        return cls(reader)

    def add(self, outputs: Mapping[str, np.ndarray], sentence: Sentence, row: Mapping[str, str]) -> None:
        """The next sentence of the file.

        Args:
            outputs: what was predicted, [pieces + 2, ...], put together from windows.
            sentence: its tokens, and word pieces of each.
            row: column -> text.
        """
        number, words = self.rows, [tag.strip(BLANK) for tag in split_tokens(row[LABEL], self.separator)]
        self.rows += 1
        sure = [word for word in words if not is_placeholder(word, self.tags.mapping)]
        try:
            if len(words) != len(sentence.tokens):
                raise ValueError(f"{len(sentence.tokens)} tokens but {len(words)} tags; give every token one tag")
            wanted = self.tags.classes_of_pieces([int(self.rule.read(word)) for word in words], sentence.pieces)
        except ValueError as problem:
            if sure:
                self.refuse(self.table.layout.where(number), problem)
            return
        self.read += 1
        self.sure = self.sure or any(word != self.outside for word in sure)
        found = _classes(outputs)
        padding = self.tags.padding
        wanted = [padding, *wanted[: len(found) - 2], padding]  # a sentence may have been cut
        inferred, labelled = (set(self.tags.entities(row)) for row in (found, wanted))
        self.inferred += len(inferred)
        self.labelled += len(labelled)
        self.correct += len(inferred & labelled)

    def scores(self) -> Mapping[str, float]:
        return f1_score(self.inferred, self.labelled, self.correct)


def _classes(outputs):
    """The class of each piece, [CLS] and [SEP] among them."""
    if "transitions" in outputs:
        return viterbi(outputs["logits"], outputs["transitions"]).tolist()
    return outputs["probs"].argmax(axis=-1).tolist()
