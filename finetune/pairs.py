"""A model of pairs of texts and rows of one text, or the other way round: a line of the log says so.

warn_of_pairs(True, reader, "tickets.csv")
warn_of_request(True, [("a fine film", "")])
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reader.batch_reader import BatchReader

log = logging.getLogger("ernie.finetune")


def warn_of_pairs(pairs: bool | None, reader: BatchReader, path: str) -> None:
    """Warn where the rows of a file are no pairs, and the model was trained on pairs, or the other way round.

    Args:
        pairs: what the model's record says; None: nothing.
        reader: of the file.
        path: named in the warning.
    """
    columns = columns_of(reader)
    if pairs is None or columns is None or pairs == ("text_b" in columns):
        return
    if pairs:
        log.warning(
            "%s: the model was trained on pairs of texts, and these rows have one text, which it answers worse: name "
            "the column of the second text with --text_pair_column", path,
        )  # fmt: skip
    else:
        log.warning(
            "%s: the model was trained on single texts, and these rows have a second one, which it answers worse: "
            "leave --text_pair_column out, or rename the column if it is called text_b", path,
        )  # fmt: skip


def warn_of_request(pairs: bool | None, given: Iterable[tuple[str, str]]) -> bool:
    """Warn where no text of a request is a pair, and the model was trained on pairs, or where one is and it was not.

    Args:
        pairs: what the model's record says; None: nothing.
        given: of each text it and the second one, "" where there is none.

    Returns:
        whether there was something to warn of.
    """
    if pairs is None or pairs == any(second.strip() for _, second in given):
        return False
    if pairs:
        log.warning(
            "the model was trained on pairs of texts, and is asked for single ones, which it answers worse: give the "
            "second text of each too (said once)"
        )
    else:
        log.warning(
            "the model was trained on single texts, and is asked for pairs, which it answers worse: give one text of "
            "each (said once)"
        )
    return True


def columns_of(reader: BatchReader) -> Collection[str] | None:
    """The columns of a reader's file, or None where it has none."""
    return getattr(getattr(reader, "table", None), "columns", None)
