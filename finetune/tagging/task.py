"""Sequence labelling, one tag per token: MSRA-NER.

    python run_sequence_labeling.py --train_set data/msra_ner/train.tsv --dev_set data/msra_ner/dev.tsv --num_labels 7 \
        --label_map_config data/msra_ner/label_map.json --chunk_scheme IOB ...

A line of the prediction file is `text_a<TAB>tags<TAB>probabilities<TAB>entities`: the first column as it stands in the
input, one tag per token and the probability of each, separated as in the input (by 0x02 or blanks), and a JSON list of
`{"text", "start", "end", "type"}`. Places count characters of the original text, the end exclusive. The original text
is text_a, without any 0x02.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import paddle.nn.functional as F

from ernie.layers import Linear
from finetune import task_class
from finetune.losses import class_losses, divergence
from finetune.metrics import f1_score
from finetune.tagging.flags import SequenceLabelArgs
from finetune.tagging.lines import SentenceLines
from finetune.tagging.sentences import decode_sentence, joined_sentences, token_tags
from finetune.task import ENCODER_INPUTS, FinetuneTask
from propeller.errors import UserError
from propeller.files import atomic_text
from propeller.metrics import Metric
from propeller.train.model import Input, RunMode
from reader.survey import is_placeholder, label_fields, list_fields
from reader.tables.form import PLAIN, TableForm
from reader.tables.opening import open_table
from reader.tagging.reader import TaggingReader
from reader.tagging.sentence import BLANK, find_separator, split_tokens
from reader.tagging.tags import TagSet

if TYPE_CHECKING:
    from ernie.config import ErnieConfig
    from finetune.spec import ModelSpec, Reading
    from reader.batch_reader import BatchReader
    from reader.tokenizer import Tokenizer


__all__ = ["ChunkScores", "SequenceLabel", "tag_set", "token_tags"]


def tag_set(spec: ModelSpec) -> TagSet:
    """The ``TagSet`` of a ``ModelSpec``. Raises UserError: settings and label map do not fit."""
    settings = spec.settings
    return TagSet(
        spec.label_map or {},
        settings.chunk_scheme,
        settings.o_label,
        settings.padding_label,
        spec.num_labels,
        spec.label_map_source,
    )


def _at_tokens(values, label):
    """[batch, seq] with 0 at padding."""
    places = paddle.cumsum(paddle.ones_like(label["labels"]), axis=1)  # 1, 2, ... [batch, seq]
    return values * (places <= label["seq_lens"]).astype(values.dtype)


class SequenceLabel(FinetuneTask):
    """One tag per token: softmax over the vector of every word piece."""

    name = "sequence_label"
    head_prefix: tuple[str, ...] = ("cls_seq_label_out",)
    flags: type = SequenceLabelArgs
    tags_tokens = True
    answer_outputs: tuple[str, ...] = ("probs",)
    teaches = "logits"
    handler = "finetune.tagging.handler:TaggingHandler"
    job = "finetune.tagging.predictions:TaggingJob"
    report = "finetune.reporting.tags:report"
    script = "infer_sequence_labeling.py"
    loss_flags = ("class_weights", "label_smoothing", "focal_gamma", "rdrop_alpha", "fgm_epsilon")
    inputs = (
        *ENCODER_INPUTS,
        Input("labels", [None, None], "int64", label=True),
        Input("seq_lens", [None, 1], "int64", label=True),
        Input("keep", [None, 2], "int64", label=True),
        Input("last_part", [None, 1], "int64", label=True),
    )

    def __init__(self, config: ErnieConfig, spec: ModelSpec, mode: RunMode, optimizer: Any = None) -> None:
        super().__init__(config, spec, mode, optimizer)
        self.out = Linear(
            config,
            config.hidden_size,
            spec.num_labels,
            weight_name="cls_seq_label_out_w",
            bias_name="cls_seq_label_out_b",
        )

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """-> ``logits`` and ``probs``, float32 [batch, seq, num_labels]."""
        encoded = self.token_states(features)  # [batch, seq, hidden]
        logits = self.out(F.dropout(encoded, self.spec.dropout, training=self.training))
        return {"logits": logits, "probs": F.softmax(logits)}

    def loss(self, predictions: dict[str, Any], label: dict[str, Any]) -> Any:
        """The sum of the cross entropies over the tokens, divided by the number of places, padding included.

        The 2019 code does the same, and its hyper-parameters depend on it: a sentence weighs less among longer ones.
        While training they are as ``spec.loss`` changes them.
        """
        return self.token_losses(predictions["logits"], label).mean()

    def token_losses(self, logits: Any, label: dict[str, Any]) -> Any:
        """The loss of each place, float32 [batch, seq]; 0 at padding."""
        losses = class_losses(logits, label["labels"].unsqueeze(-1), self.train_loss).squeeze(-1)
        return _at_tokens(losses, label)

    def divergence(self, one: dict[str, Any], other: dict[str, Any], label: dict[str, Any]) -> Any:
        return _at_tokens(divergence(one["logits"], other["logits"]), label).mean()

    @classmethod
    def count_classes(cls, batch: Mapping[str, np.ndarray], spec: ModelSpec) -> np.ndarray:
        """Padding has labels, and does not count."""
        labels = batch["labels"]
        counted = np.arange(labels.shape[1]) < batch["seq_lens"]
        return np.bincount(labels[counted], minlength=spec.num_labels)

    def loss_weight(self, batch: dict[str, np.ndarray]) -> int:
        """The number of places in the batch, padding included: the loss is the mean over them."""
        return batch["labels"].size

    def metrics(self, predictions: dict[str, Any], label: dict[str, Any]) -> dict[str, Metric]:
        """Chunk F1, precision and recall; while training they cover one batch."""
        predicted = predictions["logits"].argmax(axis=-1)
        return {
            "chunks": ChunkScores([predicted, label["labels"], label["keep"], label["last_part"]], tag_set(self.spec))
        }

    @classmethod
    def variant(cls, settings: Any) -> type[FinetuneTask]:
        """With a CRF by its flag."""
        return task_class("sequence_label_crf") if settings.crf and cls is SequenceLabel else cls

    @classmethod
    def check(cls, spec: ModelSpec) -> None:
        """The tags and their scheme."""
        if getattr(spec.settings, "crf", False) and cls.name.startswith("student"):
            raise UserError("--crf true: a student has no CRF: leave it out")
        if not spec.label_map:
            raise UserError('--label_map_config is needed: a JSON file {"B-PER": 0, ..., "O": 6} of the tags')
        tag_set(spec)

    @classmethod
    def labels(cls, spec: ModelSpec) -> list[str]:
        return tag_set(spec).names

    @classmethod
    def open_reader(cls, path: str, tokenizer: Tokenizer, spec: ModelSpec, reading: Reading) -> BatchReader:
        return TaggingReader(path, tokenizer, labelled=reading.labelled, **cls.reader_arguments(spec, reading))

    @classmethod
    def is_labelled(cls, path: str, spec: ModelSpec, form: TableForm = PLAIN) -> bool:
        """Whether any tag of a test file is more than a placeholder or O."""
        tags = tag_set(spec)
        known, outside = set(tags.names), tags.names[tags.outside]
        table = open_table(path, known=TaggingReader.known_columns, form=form, lists=True)
        separator = find_separator(table)
        return any(
            word != outside and not is_placeholder(word, known)
            for field in label_fields(table)
            for word in split_tokens(field, separator)
        )

    @classmethod
    def label_words(cls, path: str, form: TableForm, settings: Any = None) -> Iterator[str]:
        """The tags of all tokens."""
        known = (*TaggingReader.known_columns, *cls.more_columns)
        table = open_table(path, ("text_a", "label"), known, form, lists=True)
        separator = find_separator(table)
        for field in list_fields(table):
            yield from (tag.strip(BLANK) for tag in split_tokens(field, separator))

    @classmethod
    def order_labels(cls, words: Collection[str], settings: Any) -> list[str]:
        """By type and prefix, ``--o_label`` the last; it is there whether a token has it or not, for padding.

        So is I- of every B-: a token of several word pieces needs it, though all entities be of one token.
        """
        outside = settings.o_label
        inside = {f"I{tag[1:]}" for tag in words if tag.startswith("B-")} if settings.chunk_scheme == "IOB" else set()
        rest = sorted({*words, *inside} - {outside}, key=lambda tag: (tag.partition("-")[2], "BIMES".find(tag[0]), tag))
        return [*rest, outside]

    @classmethod
    def reader_arguments(cls, spec: ModelSpec, reading: Reading) -> dict[str, Any]:
        """The keyword arguments of a ``TaggingReader``."""
        return {
            "tags": tag_set(spec),
            "label_origin": spec.label_origin,
            "windows": not reading.training and spec.settings.long_text == "window",
            "token_cache_dir": reading.token_cache_dir,
            "max_seq_len": spec.max_seq_len,
            "task_id": spec.task_id,
            **reading.batching(),
        }

    @classmethod
    def finish_scores(
        cls, scores: dict[str, Any], reader: BatchReader, spec: ModelSpec, folder: Path
    ) -> dict[str, Any]:
        """Sentences are counted, not windows of them."""
        return {**scores, "data_num": reader.num_examples}

    @classmethod
    def best_by(cls, spec: ModelSpec) -> str:
        return "f1"

    @classmethod
    def score_names(cls, spec: ModelSpec) -> tuple[str, ...]:
        return ("loss", "f1", "precision", "recall")

    @classmethod
    def evaluation_line(cls, spec: ModelSpec, scores: Mapping[str, Any], elapsed: float) -> str:
        """The 2019 line."""
        return f"{_scores(scores)}, elapsed time: {elapsed:f} s"

    @classmethod
    def training_line(cls, record: Mapping[str, Any]) -> str:
        """The 2019 line."""
        return f"loss: {record['loss']:f}, {_scores(record)}"

    @classmethod
    def examples(cls, outputs: Iterable, reader: Any) -> Iterator[tuple[dict[str, Any], Any]]:
        """Whole sentences: ``probs`` float32 [pieces, classes] and ``classes`` int64 [pieces], both without [CLS] and
        [SEP], and the ``Sentence``."""
        for sentence, joined in zip(reader.sentences(), joined_sentences(outputs, cls.answer_outputs)):
            probs, classes = cls.sentence(joined)
            yield {"probs": probs, "classes": classes}, sentence

    @classmethod
    def sentence(cls, outputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(probabilities float32 [pieces, classes], classes int64 [pieces]) of a sentence, without [CLS] and [SEP].

        Args:
            outputs: of ``answer_outputs``, put together from windows, see ``joined_sentences``.
        """
        probs = outputs["probs"][1:-1]
        return probs, probs.argmax(axis=-1)

    @classmethod
    def decode(cls, outputs: Mapping[str, np.ndarray], row: Any, spec: ModelSpec) -> dict[str, Any]:
        """``entities``, and of every token its text, place, tag and probability, see ``finetune.tagging.handler``.

        A token without a word piece, or after the cut of a long sentence, is O or inside the entity around it.
        """
        return decode_sentence(tag_set(spec), row, outputs["probs"], outputs["classes"])

    @classmethod
    def answers_changed(
        cls,
        exact: Mapping[str, np.ndarray],
        rough: Mapping[str, np.ndarray],
        batch: Mapping[str, np.ndarray],
        spec: ModelSpec,
    ) -> np.ndarray:
        """1 for a token that gets another tag."""
        changed = exact["probs"].argmax(axis=-1) != rough["probs"].argmax(axis=-1)  # [batch, seq]
        return changed[batch["input_mask"] > 0].astype(float)

    @classmethod
    def write_predictions(cls, outputs: Iterable, reader: Any, save: str, spec: ModelSpec) -> int:
        """One line per sentence, see the module."""
        lines = SentenceLines(reader.tags)
        with atomic_text(save) as file:
            for arrays, sentence in cls.examples(outputs, reader):
                file.write(lines.tsv(sentence, decode_sentence(reader.tags, sentence, **arrays)))
        lines.log_misplaced(save)
        return lines.written


def _scores(scores):
    return f"f1: {scores['f1']:f}, precision: {scores['precision']:f}, recall: {scores['recall']:f}"


class ChunkScores(Metric):
    """Entities predicted, labelled and both, over sentences put together from their windows.

    They are counted over word pieces with [CLS] and [SEP], as in 2019. tensors: predicted classes and labels int64
    [batch, seq], and ``keep`` and ``last_part`` of ``TaggingReader``.
    """

    def __init__(self, tensors: Iterable[Any], tags: TagSet) -> None:
        self.tags = tags
        super().__init__(tensors)

    def reset(self) -> None:
        self.inferred = self.labelled = self.correct = 0
        self._predicted: list[int] = []  # the sentence whose windows are being put together
        self._wanted: list[int] = []

    def update(self, arrays: Sequence[np.ndarray]) -> None:
        for predicted, wanted, (begin, end), last in zip(*arrays):
            self._predicted += predicted[begin:end].tolist()
            self._wanted += wanted[begin:end].tolist()
            if last:
                self._count(self._predicted)
                self._predicted = []

    def _count(self, predicted):
        """Count the entities of the sentence whose labels are collected."""
        inferred, labelled = (set(self.tags.entities(row)) for row in (predicted, self._wanted))
        self.inferred += len(inferred)
        self.labelled += len(labelled)
        self.correct += len(inferred & labelled)
        self._wanted = []

    def eval(self) -> dict[str, float]:
        return f1_score(self.inferred, self.labelled, self.correct)
