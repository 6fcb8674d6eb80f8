"""The flags of sequence labelling, beside those of every task."""

from __future__ import annotations

from dataclasses import dataclass

from propeller.flags import flag
from reader.tagging.tags import SCHEMES


@dataclass(frozen=True)
class SequenceLabelArgs:
    """sequence labelling: tags and long sentences"""

    chunk_scheme: str = flag("IOB", "how tags make entities", choices=tuple(SCHEMES), facts={"legacy": True})
    o_label: str = flag("O", "the tag outside of entities")
    padding_label: str | None = flag(None, "the tag of [CLS], [SEP] and padding (default: --o_label)")
    long_text: str = flag(
        "window",
        "sentences above --max_seq_len in evaluation and prediction; training cuts them, as in 2019",
        choices=("cut", "window"),
    )
    crf: bool = flag(
        False,
        "tags of a sentence are chosen together, by a CRF over the network's logits",
        facts={"stored": False, "prediction": False},
    )


@dataclass(frozen=True)
class TaggingArgs:
    """sequence labelling"""

    output_format: str = flag(
        "tsv",
        "tsv: a header, text_a, tags, probabilities, entities; jsonl: the same as JSON lines",
        choices=("tsv", "jsonl"),
    )
    tokenized: bool | None = flag(
        None,
        "text_a holds tokens, separated by 0x02 or blanks; false: running text, split into its words here [true, but "
        "false for a .txt of sentences]",
    )
    copy_columns: bool = flag(True, "write the other columns of the input, and its tags as gold_label")


FLAGS, PREDICTION = SequenceLabelArgs, TaggingArgs
EXAMPLE = "--model MODEL --train_set train.tsv --dev_set dev.tsv --checkpoints output/names"
PREDICTION_EXAMPLE = "--model output/names/best --predict_set new.txt --output output/names.tsv"
