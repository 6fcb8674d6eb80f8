"""Multiple choice: which of the options of a row is right, as in C3, RACE, SWAG or COPA.

    python -m finetune multiple_choice --train_set train.jsonl --dev_set dev.jsonl ...

A row has ``text_a``, at will ``text_b`` (the question), ``choices`` and ``label``. Every option gets a score from the
pooled vector of ``[CLS] text_a [SEP] text_b option [SEP]``; the probabilities of a row are the softmax over the scores
of its options (Radford et al. 2018, section 3.3). The network that predicts gives scores of options, which
``by_example`` puts together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import paddle.nn.functional as F

from ernie.modeling import Linear
from finetune import metrics
from finetune.answers import ByAccuracy
from finetune.losses import divergence
from finetune.multiple_choice.flags import MultipleChoiceFlags
from finetune.task import ENCODER_INPUTS, FinetuneTask
from propeller.errors import UserError
from propeller.metrics import Metric
from propeller.train.model import Input, RunMode
from reader.choices import COLUMNS, ChoiceReader, Choices
from reader.row_encoder import LabelRule
from reader.survey import is_placeholder, label_fields
from reader.tables.form import PLAIN, TableForm
from reader.tables.opening import open_table
from reader.task_reader import TaskReader

if TYPE_CHECKING:
    from ernie.config import ErnieConfig
    from finetune.spec import ModelSpec, Reading
    from reader.batch_reader import BatchReader
    from reader.tokenizer import Tokenizer

NOTHING = -10000.0  # below every score


class MultipleChoice(ByAccuracy, FinetuneTask):
    """Multiple choice: a score per option over the pooled [CLS] vector, softmax over the options of a row."""

    name = "multiple_choice"
    head_prefix = ("choice_out",)
    pools_cls = True
    flags = MultipleChoiceFlags
    label_kind = "choice"
    num_labels = 1
    more_columns = ("choices",)
    answer_outputs = ("scores",)
    handler = "finetune.multiple_choice.handler:ChoiceHandler"
    report = "finetune.reporting.options:report"
    loss_flags = ("rdrop_alpha", "fgm_epsilon")
    inputs = (
        Input("choice_mask", [None, None], "float32", label=True),  # its rows are the questions
        Input("choice_places", [None, None], "int64", label=True),
        *ENCODER_INPUTS,
        Input("labels", [None, 1], "int64", label=True),
    )

    def __init__(self, config: ErnieConfig, spec: ModelSpec, mode: RunMode, optimizer: Any = None) -> None:
        super().__init__(config, spec, mode, optimizer)
        names = {"weight_name": "choice_out_w", "bias_name": "choice_out_b"}
        self.out = Linear(config, config.hidden_size, 1, **names)

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """-> ``scores``, float32 [options, 1]."""
        pooled = self.pooled(features)  # [options, hidden]
        return {"scores": self.out(F.dropout(pooled, self.spec.dropout, training=self.training))}

    def logits(self, predictions: Mapping[str, Any], label: Mapping[str, Any]) -> Any:
        """The scores of the options of questions, float32 [batch, most]; where there is none, far below all others."""
        with paddle.amp.auto_cast(enable=False):
            scores = predictions["scores"].astype("float32").flatten()  # [options]
            places, mask = label["choice_places"], label["choice_mask"]
            picked = paddle.gather(scores, places.flatten()).reshape(paddle.shape(mask))  # [batch, most]
            return picked * mask + (1.0 - mask) * NOTHING

    def loss(self, predictions: dict[str, Any], label: dict[str, Any]) -> Any:
        """Mean cross entropy of the right options."""
        return F.cross_entropy(self.logits(predictions, label), label["labels"])

    def divergence(self, one: dict[str, Any], other: dict[str, Any], label: dict[str, Any]) -> Any:
        return divergence(self.logits(one, label), self.logits(other, label)).mean()

    def metrics(self, predictions: dict[str, Any], label: dict[str, Any]) -> dict[str, Metric]:
        """Accuracy."""
        return {"scores": ChoiceAccuracy([self.logits(predictions, label), label["labels"]])}

    @classmethod
    def check_settings(cls, spec: ModelSpec) -> None:
        separator = spec.settings.choice_separator
        if not separator or set(separator) & set("\t\r\n"):
            raise UserError(f"--choice_separator {separator!r}: give a text of one character or more without a tab")

    @classmethod
    def check(cls, spec: ModelSpec) -> None:
        cls.check_settings(spec)
        if spec.num_labels != 1:
            raise UserError(
                f"--num_labels {spec.num_labels}: multiple choice has one score per option, and each row says how many "
                "options it has: leave it out"
            )
        if spec.label_map:
            raise UserError(
                f"{spec.label_map_source}: multiple choice has no label map, a label names one of the options of its "
                "row: leave --label_map_config out"
            )

    @classmethod
    def reader_class(cls, spec: ModelSpec) -> type[TaskReader]:
        return ChoiceReader

    @classmethod
    def reader_options(cls, spec: ModelSpec, reading: Reading, tokenizer: Tokenizer) -> dict[str, Any]:
        return {"choices": choices_of(spec)}

    @classmethod
    def is_labelled(cls, path: str, spec: ModelSpec, form: TableForm = PLAIN) -> bool:
        return any(not is_placeholder(word) for word in label_fields(open_table(path, known=COLUMNS, form=form)))

    @classmethod
    def by_example(
        cls, outputs: Mapping[str, np.ndarray], batch: Mapping[str, np.ndarray], reader: BatchReader
    ) -> Mapping[str, np.ndarray]:
        """``scores`` of questions, float32 [batch, most]; -inf where a question has no such option."""
        scores = outputs["scores"].ravel()[batch["choice_places"]]
        return {"scores": np.where(batch["choice_mask"] > 0, scores, -np.inf)}

    @classmethod
    def decode(cls, outputs: Mapping[str, np.ndarray], row: Any, spec: ModelSpec) -> dict[str, Any]:
        """``label`` as the file's labels are, ``choice``, its text, and ``probabilities``, a list.

        Args:
            outputs: ``scores``, float32 [most].
            row: with ``choices``: the options, or a field of a file that holds them.
        """
        choices, given = choices_of(spec), row["choices"]
        options = choices.options(given) if isinstance(given, str) else list(given)
        probs = metrics.softmax(outputs["scores"].ravel()[: len(options)])
        best = int(metrics.best_class(probs))
        return {
            "label": choices.written(best, options),
            "choice": options[best],
            "probabilities": probs.tolist(),
        }

    @classmethod
    def gold_label(cls, row: Mapping[str, str], rule: LabelRule, spec: ModelSpec) -> int:
        choices = choices_of(spec)
        return choices.read(row["label"], choices.options(row["choices"]))

    @classmethod
    def scored_outputs(cls, outputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """``best``, the number of the likeliest option."""
        return {"best": np.asarray(metrics.best_class(metrics.softmax(outputs["scores"].ravel())))}

    @classmethod
    def score_rows(
        cls, outputs: Mapping[str, np.ndarray], labels: np.ndarray, qids: np.ndarray | None, spec: ModelSpec
    ) -> Mapping[str, float]:
        return {"acc": float((outputs["best"] == labels.ravel()).mean())}

    @classmethod
    def answers_changed(
        cls,
        exact: Mapping[str, np.ndarray],
        rough: Mapping[str, np.ndarray],
        batch: Mapping[str, np.ndarray],
        spec: ModelSpec,
    ) -> np.ndarray:
        """1 for a row whose likeliest option is another one."""
        return (exact["scores"].argmax(axis=1) != rough["scores"].argmax(axis=1)).astype(float)


class ChoiceAccuracy(Metric):
    """``acc``: the share of questions whose likeliest option is the right one.

    Fetched are scores, float32 [batch, most], and labels, int64 [batch, 1].
    """

    def reset(self) -> None:
        self._right = self._all = 0

    def update(self, arrays: Sequence[np.ndarray]) -> None:
        scores, labels = arrays
        self._right += int((metrics.best_class(metrics.softmax(scores)) == labels.ravel()).sum())
        self._all += len(labels)

    def eval(self) -> dict[str, float]:
        return {"acc": self._right / self._all} if self._all else {}


def choices_of(spec: ModelSpec) -> Choices:
    """How options and labels are read."""
    settings = spec.settings
    return Choices() if settings is None else Choices(settings.choice_separator, settings.choice_labels)
