"""What was converted, read back with the project's own readers.

check_table(Path("train.tsv"), LabelRule("class"))      # its number of rows; UserError where a reader refuses it
"""

from __future__ import annotations

import numpy as np

from propeller.errors import UserError
from reader.row_encoder import LabelRule, RowEncoder
from reader.squad.file import SquadFile
from reader.tagging.reader import TaggingEncoder
from reader.tagging.tags import TagSet
from reader.tsv import TsvFile

ROWS = 4096  # at once
LONGEST = 1 << 20


class WholeTexts:
    """A tokenizer without a vocabulary: a text is one token, its length the id; fields are what is looked at."""

    pad_id = cls_id = sep_id = 0
    fingerprint = "whole texts"

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """The length of each text, in a list; an empty one for an empty text."""
        return [[len(text)] if text else [] for text in texts]


def check_table(path, rule: LabelRule) -> int:
    """The number of rows of a TSV. Raises UserError: file, line, what a reader says to it."""
    table = TsvFile(path, ("text_a",) if rule.kind is None else ("text_a", "label"))
    return _encoded(table, RowEncoder(table.path, table.columns, WholeTexts(), LONGEST, rule))


def check_tagged(path, label_map: dict[str, int], scheme: str | None = None) -> int:
    """The number of sentences of a TSV of tagged text.

    Args:
        label_map: tag -> class.
        scheme: of ``reader.tagging.tags.SCHEMES``, or None for tags that make no entities.
    """
    table = TsvFile(path, ("text_a", "label"), ("text_a", "label"))
    rule = LabelRule("class", label_map, len(label_map))
    # A text is one piece at most, so nothing is spread over pieces and tags without a scheme need no map of their own.
    tags = TagSet({"O": 0}) if scheme is None else TagSet(label_map, scheme, source=f"{path}: its label map")
    return _encoded(table, TaggingEncoder(table, WholeTexts(), LONGEST, rule, tags, whole=True))


def _encoded(table, encoder):
    with table.open() as fd:
        for begin in range(0, table.num_rows, ROWS):
            rows = np.arange(begin, min(begin + ROWS, table.num_rows))
            encoded = encoder.encode(table.read(fd, rows), rows)
            if encoded.error:
                raise UserError(encoded.error)
    return table.num_rows


def check_squad(path, answers: str | None) -> int:
    """The number of questions of a file in SQuAD's layout. answers: see SquadFile."""
    file = SquadFile(path, answers)
    return len(file.questions) + len(file.left_out)
