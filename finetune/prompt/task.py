"""Classification by a word at a mask, for a few rows or none (pattern-exploiting training; Schick & Schutze 2021,
arXiv 2001.07676, section 3.1).

    python -m finetune prompt --template "{text_a} It was {mask} ." --label_words negative=terrible,positive=great \
        --train_set few.tsv --dev_set dev.tsv ...

A label's score is the mean of the log-probabilities of its word's pieces, each at a mask of its own; probabilities are
the softmax over the labels. A word of n pieces is asked for with n masks, so a text is read once for each number of
pieces there is. The head is that of pre-training: a model without it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import paddle.nn.functional as F

from ernie.modeling import MaskedLMHead
from finetune import metrics
from finetune.answers import ByAccuracy
from finetune.losses import divergence, mean_class_loss
from finetune.prompt.flags import PromptFlags
from finetune.prompt.words import Verbalizer
from finetune.task import ENCODER_INPUTS, FinetuneTask
from propeller.errors import UserError
from propeller.metrics import Collected, Metric
from propeller.train.model import Input, RunMode
from reader.prompts import Prompt, PromptReader, check_template
from reader.task_reader import TaskReader

if TYPE_CHECKING:
    from ernie.config import ErnieConfig
    from finetune.spec import ModelSpec, Reading
    from reader.batch_reader import BatchReader
    from reader.tokenizer import Tokenizer


class PromptClassifier(ByAccuracy, FinetuneTask):
    """Classification by a word that the masked language model puts into a template."""

    name = "prompt"
    flags = PromptFlags
    needs_head = True
    answer_outputs = ("scores",)
    not_in_table = ("label_id",)
    handler = "finetune.prompt.handler:PromptHandler"
    report = "finetune.reporting.classes:report_of_scores"
    loss_flags = ("class_weights", "label_smoothing", "focal_gamma", "rdrop_alpha", "fgm_epsilon")
    inputs = (
        Input("prompt_rows", [None, None], "float32", label=True),  # its rows are the texts
        *ENCODER_INPUTS,
        Input("labels", [None, 1], "int64", label=True),
    )

    def __init__(self, config: ErnieConfig, spec: ModelSpec, mode: RunMode, optimizer: Any = None) -> None:
        super().__init__(config, spec, mode, optimizer)
        self.words = Verbalizer.stored(spec)
        self.lm = MaskedLMHead(config, self.encoder)

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """-> ``scores``, float32 [rows, num_labels]: 0 for labels whose words have another number of pieces than the
        row has masks."""
        states = self.encoder(features)  # [rows, seq, hidden]
        most = self.words.counts[-1]
        with paddle.amp.auto_cast(enable=False):
            masked = (features["src_ids"] == self.words.mask_id).astype("float32") * features["input_mask"]
            turn = paddle.cumsum(masked, axis=1) * masked  # [rows, seq]: 1 at the first mask, 2 at the second
            chosen = paddle.stack([(turn == float(k + 1)).astype("float32") for k in range(most)], axis=1)
            picked = paddle.matmul(chosen, states.astype("float32"))  # [rows, most, hidden]
        picked = F.dropout(picked.reshape([-1, self.config.hidden_size]), self.spec.dropout, training=self.training)
        words = self.lm.scores(picked)  # [rows * most, vocab]
        with paddle.amp.auto_cast(enable=False):
            logs = F.log_softmax(words.astype("float32")).reshape([-1, most * self.config.vocab_size])
            scores = paddle.matmul(paddle.gather(logs, self._places(), axis=1), self._means())  # [rows, num_labels]
            lengths = paddle.assign(np.array([[len(ids) for ids in self.words.pieces]], "float32"))
            there = (masked.sum(axis=1, keepdim=True) == lengths).astype("float32")
            return {"scores": scores * there}

    def _places(self):
        """int64 [pieces]: of each label's pieces where its log-probability lies among [most * vocab]."""
        size = self.config.vocab_size
        return paddle.assign(np.array([k * size + piece for ids in self.words.pieces for k, piece in enumerate(ids)]))

    def _means(self):
        """float32 [pieces, num_labels]."""
        pieces = self.words.pieces
        owner = np.repeat(np.arange(len(pieces)), [len(ids) for ids in pieces])
        means = np.zeros((len(owner), len(pieces)), "float32")
        means[np.arange(len(owner)), owner] = [1.0 / len(pieces[label]) for label in owner]
        return paddle.assign(means)

    def logits(self, predictions: Mapping[str, Any], label: Mapping[str, Any]) -> Any:
        """The scores of texts, float32 [batch, num_labels]."""
        return paddle.matmul(label["prompt_rows"], predictions["scores"])

    def loss(self, predictions: dict[str, Any], label: dict[str, Any]) -> Any:
        """Mean cross entropy over the labels' words; while training as ``spec.loss`` changes it."""
        return mean_class_loss(self.logits(predictions, label), label["labels"], self.train_loss)

    def divergence(self, one: dict[str, Any], other: dict[str, Any], label: dict[str, Any]) -> Any:
        return divergence(self.logits(one, label), self.logits(other, label)).mean()

    def metrics(self, predictions: dict[str, Any], label: dict[str, Any]) -> dict[str, Metric]:
        """Accuracy."""
        probs = F.softmax(self.logits(predictions, label))
        return {"scores": Collected([probs, label["labels"]], metrics.simple_accuracy)}

    @classmethod
    def score_rows(
        cls, outputs: Mapping[str, np.ndarray], labels: np.ndarray, qids: np.ndarray | None, spec: ModelSpec
    ) -> Mapping[str, float]:
        return metrics.simple_accuracy(metrics.softmax(outputs["scores"]), labels)

    @classmethod
    def check_settings(cls, spec: ModelSpec) -> None:
        check_template(spec.settings.template)

    @classmethod
    def check(cls, spec: ModelSpec) -> None:
        cls.check_settings(spec)
        if spec.num_labels < 2:
            raise UserError(f"--num_labels must be at least 2 for classification, not {spec.num_labels}")

    @classmethod
    def with_vocabulary(cls, spec: ModelSpec, tokenizer: Tokenizer) -> ModelSpec:
        words = Verbalizer.of(spec, tokenizer)
        prompt = Prompt.of(spec.settings.template, tokenizer, words.counts)
        if prompt.fixed >= spec.max_seq_len:
            raise UserError(
                f"--template takes {prompt.fixed} tokens of --max_seq_len {spec.max_seq_len}: raise that, or shorten it"
            )
        return spec.replace(facts={**spec.facts, **words.facts()})

    @classmethod
    def prompt(cls, spec: ModelSpec, tokenizer: Tokenizer) -> Prompt:
        """The template in pieces of the vocabulary."""
        return Prompt.of(spec.settings.template, tokenizer, Verbalizer.stored(spec).counts)

    @classmethod
    def reader_options(cls, spec: ModelSpec, reading: Reading, tokenizer: Tokenizer) -> dict[str, Any]:
        return {"prompt": cls.prompt(spec, tokenizer)}

    @classmethod
    def reader_class(cls, spec: ModelSpec) -> type[TaskReader]:
        return PromptReader

    @classmethod
    def by_example(
        cls, outputs: Mapping[str, np.ndarray], batch: Mapping[str, np.ndarray], reader: BatchReader
    ) -> Mapping[str, np.ndarray]:
        """``scores`` of texts, float32 [batch, num_labels]."""
        return {"scores": batch["prompt_rows"] @ outputs["scores"]}

    @classmethod
    def decode(cls, outputs: Mapping[str, np.ndarray], row: Any, spec: ModelSpec) -> dict[str, Any]:
        """``label``, ``label_id``, the probability of each label; of equal ones the first (``metrics.best_class``)."""
        probs = metrics.softmax(outputs["scores"])
        best, labels = int(metrics.best_class(probs)), spec.labels
        return {"label": labels[best], "label_id": best, "probabilities": dict(zip(labels, probs.tolist()))}

    @classmethod
    def answers_changed(
        cls,
        exact: Mapping[str, np.ndarray],
        rough: Mapping[str, np.ndarray],
        batch: Mapping[str, np.ndarray],
        spec: ModelSpec,
    ) -> np.ndarray:
        """1 for a row that gets another label."""
        one, other = (metrics.best_class(metrics.softmax(outputs["scores"])) for outputs in (exact, rough))
        return (one != other).astype(float)
