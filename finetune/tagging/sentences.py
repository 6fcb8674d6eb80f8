"""Tags of sentences from the outputs of a network, which are of word pieces and of windows.

for sentence, joined in zip(reader.sentences(), joined_sentences(outputs, ("probs",))):
    decode_sentence(tags, sentence, joined["probs"][1:-1])      # {"entities": [...], "tokens": [...]}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from reader.tagging.sentence import Sentence
    from reader.tagging.tags import TagSet

PER_SENTENCE = "transitions"  # the output of a CRF that is not one row per piece


def whole_sentences(
    outputs: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]], name: str = "probs"
) -> Iterator[np.ndarray]:
    """An output, float32 [pieces, classes], of each sentence, without [CLS] and [SEP], put together from windows."""
    for joined in joined_sentences(outputs, (name,)):
        yield joined[name][1:-1]


def joined_sentences(
    outputs: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]], names: Sequence[str]
) -> Iterator[dict[str, np.ndarray]]:
    """name -> array [pieces + 2, classes] of each sentence, put together from what counts of its windows.

    Args:
        outputs: pairs (name -> arrays of a batch's rows, batch).
        names: the outputs that are wanted; ``transitions``, which is of no piece, is that of the last window.
    """
    parts: list[tuple] = []
    for predicted, batch in outputs:
        for *row, (begin, end), last in zip(*(predicted[name] for name in names), batch["keep"], batch["last_part"]):
            parts.append(tuple(array if name == PER_SENTENCE else array[begin:end] for name, array in zip(names, row)))
            if last:
                yield {
                    name: arrays[-1] if name == PER_SENTENCE else np.concatenate(arrays)
                    for name, arrays in zip(names, zip(*parts))
                }
                parts = []


def token_tags(
    tags: TagSet, pieces: Sequence[int], probs: np.ndarray, classes: np.ndarray | None = None
) -> tuple[list[int], list[float]]:
    """A class and its probability for each token.

    The class is the one whose spread over the word pieces gives their classes. The probability is that of the first
    piece. A token without word pieces, or after the cut of a long sentence, gets probability 1 and the class O, or the
    class that continues the entity on both sides of it.

    Args:
        tags: the ``TagSet``.
        pieces: number of word pieces of each token.
        probs: float32 [pieces, classes].
        classes: int [pieces], those of the pieces; None: the most probable of each.
    """
    best, at = probs.argmax(axis=-1) if classes is None else classes, 0
    found: list[int | None] = []
    chances: list[float] = []
    for count in pieces:
        seen = best[at : at + count].tolist()
        found.append(tags.gather(seen) if len(seen) else None)
        chances.append(float(probs[at, seen[0]]) if len(seen) else 1.0)
        at += count
    return tags.fill(found), chances


def find_entities(tags: TagSet, sentence: Sentence, classes: Sequence[int]) -> list[dict[str, Any]]:
    """The entities of a ``Sentence``: dicts of text, start, end (characters of the original text) and type."""
    ends = [begin + len(token) for begin, token in zip(sentence.begins, sentence.tokens)]
    entities = []
    for kind, first, last in tags.entities(classes):
        start, end = sentence.begins[first], ends[last]
        entities.append({"text": sentence.original[start:end], "start": start, "end": end, "type": kind})
    return entities


def decode_sentence(
    tags: TagSet, sentence: Sentence, probs: np.ndarray, classes: np.ndarray | None = None
) -> dict[str, Any]:
    """The decoded prediction of a ``Sentence``.

    Args:
        probs: float32 [pieces, classes], without [CLS] and [SEP].
        classes: int [pieces], see ``token_tags``.
    """
    numbers, chances = token_tags(tags, sentence.pieces, probs, classes)
    tokens = [
        {
            "text": token,
            "start": begin,
            "end": begin + len(token),
            "tag": tags.names[number],
            "probability": chance,
        }
        for token, begin, number, chance in zip(sentence.tokens, sentence.begins, numbers, chances)
    ]
    return {"entities": find_entities(tags, sentence, numbers), "tokens": tokens}
