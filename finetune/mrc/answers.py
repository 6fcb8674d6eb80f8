"""From the logits of windows to the n best answers of each question (Devlin et al. 2019, run_squad.py).

predictions, nbest = predict(reader, logits, n_best_size=20, max_answer_length=100)
write("checkpoints/dev_predictions.json", predictions)

The text of an answer is cut from the context by the places of its tokens. The 2019 code joined the word pieces again
and looked for the result in the text, which went wrong where the pieces are no longer letters of the text (unknown
tokens, folded characters): it then gave the whole of the words that the answer touches.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from propeller.files import atomic_text
from reader.squad.reader import Document, SquadReader, Window, max_context

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from reader.squad.file import Question


NO_ANSWER = "empty"  # what 2019 predicted, and wrote, where no candidate was left


def best_indexes(logits: ArrayLike, count: int) -> np.ndarray:
    """The places of the `count` highest logits, the highest first; of equal ones the first. logits: [n]."""
    return np.argsort(-np.asarray(logits, np.float64), kind="stable")[:count]


def softmax(scores: Sequence[float]) -> list[float]:
    """Probabilities of a list of scores."""
    if not scores:
        return []
    top = max(scores)
    exponentials = [math.exp(score - top) for score in scores]
    total = sum(exponentials)
    return [value / total for value in exponentials]


class LogitsById(Protocol):
    """The logits of windows by unique id: a dict, or anything else that is indexed like one."""

    def __getitem__(self, unique_id: int, /) -> Sequence[np.ndarray]:
        """(start, end) of a window, float [n] each."""


class Span(NamedTuple):
    """An answer: its text, which is ``context[start:end]``; its share among the best; the logits of both its ends."""

    text: str
    start: int
    end: int
    probability: float
    start_logit: float
    end_logit: float


def bounds(context: str, document: Document, first: int, last: int) -> tuple[int, int]:
    """The characters from token `first` to token `last` of a Document, with the accents after its last letter."""
    end = int(document.end[last])
    while end < len(context) and unicodedata.combining(context[end]):
        end += 1
    return int(document.begin[first]), end


def cut(context: str, document: Document, first: int, last: int) -> str:
    """The text from token `first` to token `last` of a Document, see `bounds`."""
    start, end = bounds(context, document, first, last)
    return context[start:end]


def best_spans(
    context: str,
    document: Document,
    windows: list[Window],
    logits: Sequence[Sequence[np.ndarray]],
    n_best_size: int,
    max_answer_length: int,
) -> list[Span]:
    """The best answers of a question, the best first; none where no candidate is left.

    A candidate begins at one of the n_best_size highest start logits of a window and ends at one of its highest end
    logits. Both lie in the context, it is at most max_answer_length tokens long, and its first token has the most
    context in this window. Candidates of equal text count once, with the best score; probabilities are over those left.

    Args:
        context: the text of the question's context.
        document, windows: of the question, see SquadReader.
        logits: a pair (start, end) for each window, float [n] each; n is the number of the window's tokens or more.
        n_best_size: how many of the highest logits are candidates for a begin, and for an end.
        max_answer_length: longest answer, in tokens.
    """
    columns = [_candidates(*each, n_best_size, max_answer_length)
               for each in zip(windows, max_context(windows, len(document.tokens)), logits)]  # fmt: skip
    first, last, start_logits, end_logits = (np.concatenate(column) for column in zip(*columns))
    order = np.argsort(-(start_logits + end_logits), kind="stable")
    best: dict[str, tuple[int, int, float, float]] = {}
    for i in order.tolist():
        if len(best) == n_best_size:
            break
        text = cut(context, document, first[i], last[i])
        if text not in best:
            best[text] = (*bounds(context, document, first[i], last[i]), float(start_logits[i]), float(end_logits[i]))
    chances = softmax([start_logit + end_logit for _, _, start_logit, end_logit in best.values()])
    return [
        Span(text, start, end, chance, start_logit, end_logit)
        for (text, (start, end, start_logit, end_logit)), chance in zip(best.items(), chances)
    ]


def n_best(
    context: str,
    document: Document,
    windows: list[Window],
    logits: Sequence[Sequence[np.ndarray]],
    n_best_size: int,
    max_answer_length: int,
) -> list[dict]:
    """`best_spans` as 2019 wrote them: dicts of text, probability, start_logit, end_logit; at least one."""
    spans = best_spans(context, document, windows, logits, n_best_size, max_answer_length)
    return [
        {
            "text": span.text,
            "probability": span.probability,
            "start_logit": span.start_logit,
            "end_logit": span.end_logit,
        }
        for span in spans or [Span(NO_ANSWER, 0, 0, 1.0, 0.0, 0.0)]
    ]


def own_logits(windows: Sequence[Window], logits: Sequence[Sequence[np.ndarray]]) -> list[list[np.ndarray]]:
    """The part of each window's (start, end) logits that belongs to its own tokens, without padding."""
    return [[side[: w.first + w.length + 1] for side in pair] for w, pair in zip(windows, logits)]


def _candidates(window, has_most_context, logits, n_best_size, max_answer_length):
    """First and last token in the context, start and end logit of a window's candidates: four arrays [candidates]."""
    start_logits, end_logits = (np.asarray(side, np.float64) for side in logits)
    starts, ends = best_indexes(start_logits, n_best_size), best_indexes(end_logits, n_best_size)
    start, end = np.repeat(starts, len(ends)), np.tile(ends, len(starts))
    first, last = start - window.first, end - window.first  # in the window's part of the context
    good = (first >= 0) & (last < window.length) & (last >= first) & (last - first < max_answer_length)
    good[good] = has_most_context[first[good]]
    start, end = start[good], end[good]
    return first[good] + window.start, last[good] + window.start, start_logits[start], end_logits[end]


def predict(
    reader: SquadReader, logits: LogitsById, n_best_size: int, max_answer_length: int
) -> tuple[dict[str, str], dict[str, list[dict[str, Any]]]]:
    """(question id -> text, question id -> list of its n best answers) for all questions of a SquadReader.

    Logits after a window's own tokens belong to padding and are ignored, so the answers do not depend on which windows
    share a batch. The 2019 code ranked them too, and they displaced real candidates.

    Args:
        reader: of the questions.
        logits: unique id of a window -> (start, end), float [n] each.
        n_best_size, max_answer_length: see ``best_spans``.
    """
    predictions: dict[str, str] = {}
    nbest: dict[str, list[dict[str, Any]]] = {}
    for question, document, windows, own in question_logits(reader, logits):
        answers = n_best(question.context, document, windows, own, n_best_size, max_answer_length)
        predictions[question.id], nbest[question.id] = answers[0]["text"], answers
    return predictions, nbest


def question_logits(
    reader: SquadReader, logits: LogitsById
) -> Iterator[tuple[Question, Document, list[Window], list[list[np.ndarray]]]]:
    """(question, tokens of its context, its windows, their logits without padding) for each question of a reader.

    Args:
        reader: of the questions.
        logits: unique id of a window -> (start, end); they are asked for in the order of the windows.
    """
    known: tuple[str, Document] | None = None
    for number, question in enumerate(reader.file.questions):
        if known is None or question.context is not known[0] or question.start is not None:
            known = question.context, reader.document(number)
        windows = reader.windows(number)
        yield question, known[1], windows, own_logits(windows, [logits[window.unique_id] for window in windows])


def write(path: str | Path, value: Any) -> None:
    """Write JSON as 2019 laid it out, whole or not at all."""
    with atomic_text(path) as file:
        file.write(json.dumps(value, indent=4) + "\n")
