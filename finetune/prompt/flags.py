"""The flags of classification by a template, beside those of every task."""

from __future__ import annotations

from dataclasses import dataclass

from propeller.flags import flag


@dataclass(frozen=True)
class PromptFlags:
    """classification by a template: what stands around a text, and the words for the labels"""

    template: str = flag(
        "{text_a} {mask}",
        "the text around {text_a}, {mask} and, for pairs, {text_b}; {sep} begins the second segment",
        metavar="TEXT",
    )
    label_words: str | None = flag(
        None,
        "the word at the mask for each label, as in 'negative=terrible,positive=great' [the labels themselves]",
        metavar="LABEL=WORD,...",
    )


FLAGS = PromptFlags
EXAMPLE = (
    "--model MODEL --train_set train.tsv --dev_set dev.tsv --template '{text_a} It was {mask}.' "
    "--label_words negative=terrible,positive=great --checkpoints output/prompt"
)
