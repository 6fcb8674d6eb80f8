"""The words for labels: what a masked language model is asked to say.

label_words("negative=terrible,positive=great", ["negative", "positive"])       # ["terrible", "great"]
Verbalizer.of(spec, tokenizer).facts()          # what checkpoints and bundles hold of it
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from propeller.errors import UserError

if TYPE_CHECKING:
    from finetune.spec import ModelSpec
    from reader.tokenizer import Tokenizer


def label_words(text: str | None, labels: Sequence[str]) -> list[str]:
    """The word of each label, in their order.

    Raises:
        UserError: a label has none, or has two; a name is no label.
    """
    if text is None:
        return list(labels)
    words: dict[str, str] = {}
    for part in text.split(","):
        label, equals, word = (piece.strip() for piece in part.partition("="))
        if not equals or not word:
            raise UserError(f"--label_words: {part!r} is no LABEL=WORD: correct it")
        if label not in labels:
            raise UserError(f"--label_words: {label!r} is no label of the model ({', '.join(labels)}): correct it")
        if label in words:
            raise UserError(f"--label_words: {label!r} has two words: give one")
        words[label] = word
    for label in labels:
        if label not in words:
            raise UserError(f"--label_words: the label {label!r} has no word: add {label}=WORD")
    return [words[label] for label in labels]


class Verbalizer(NamedTuple):
    """pieces: of each label the ids of its word; mask_id: that of [MASK]."""

    pieces: list[list[int]]
    mask_id: int

    @classmethod
    def of(cls, spec: ModelSpec, tokenizer: Tokenizer) -> Verbalizer:
        """From the settings, the labels and a vocabulary.

        Raises:
            UserError: see ``label_words``; a word is not in the vocabulary, or two labels have the same one.
        """
        words = label_words(spec.settings.label_words, spec.labels)
        pieces = [list(ids) for ids in tokenizer.encode_batch(words)]
        for label, word, ids in zip(spec.labels, words, pieces):
            if not ids or tokenizer.unk_id in ids:
                raise UserError(
                    f"the word {word!r} of the label {label!r} has pieces that the vocabulary lacks: name another one "
                    "with --label_words"
                )
            other = spec.labels[pieces.index(ids)]
            if other != label:
                raise UserError(f"the labels {other!r} and {label!r} have the same word: give them --label_words")
        return cls(pieces, tokenizer.mask_id)

    @classmethod
    def stored(cls, spec: ModelSpec) -> Verbalizer:
        """From the record of a model; a single piece per label where it holds none, as for a network without one."""
        facts = spec.facts
        return cls(facts.get("label_pieces", [[number] for number in range(spec.num_labels)]), facts.get("mask_id", 3))

    def facts(self) -> dict[str, Any]:
        """What a record holds."""
        return {"label_pieces": self.pieces, "mask_id": self.mask_id}

    @property
    def counts(self) -> tuple[int, ...]:
        """The different numbers of pieces, rising."""
        return tuple(sorted({len(ids) for ids in self.pieces}))
