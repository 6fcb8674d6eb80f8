"""The contract of a fine-tuning task: a Model over one ERNIE encoder (ERNIE 2.0, arXiv 1907.12412, section 3.3).

A task is one file with one class, one line in ``finetune.TASKS`` and one recipe. It declares what a batch holds, its
head, its loss, its scores and the JSON form of one prediction. Training, batch prediction, the server, the web page and
the Python API are made of that, and know no task by name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from paddle import nn

from ernie.config import ErnieConfig
from ernie.inputs import ENCODER_INPUTS
from ernie.memory import training_line
from ernie.modeling import ErnieEncoder
from finetune.answers import Answers
from finetune.labels import in_order
from finetune.losses import PLAIN as PLAIN_LOSS
from finetune.losses import LossOptions
from finetune.prediction.formats import TableFormat
from finetune.spec import PAIRS, ModelSpec, Reading
from propeller.files import atomic_text
from propeller.train.model import Input, Model, RunMode
from reader.batch_reader import BatchReader
from reader.row_file import LIST_PART, has_blank_end, labels_in
from reader.survey import is_placeholder, label_fields, list_fields
from reader.tables.form import KNOWN_COLUMNS, PLAIN, TableForm
from reader.tables.opening import open_table
from reader.task_reader import TaskReader

if TYPE_CHECKING:
    from propeller.train.trainer import Learner
    from reader.tokenizer import Tokenizer


__all__ = ["ENCODER_INPUTS", "FinetuneTask", "ModelSpec", "Reading"]


class FinetuneTask(Answers, Model):
    """An encoder with a head; what its answers are is in ``finetune.answers``.

    Args:
        config: ``ErnieConfig`` of the encoder.
        spec: ``ModelSpec``: number of classes, score, the task's own settings.
        mode: the ``RunMode`` this copy is built for.
        optimizer: in train mode, what applies the gradients.

    Attributes:
        name: the task's name in ``TASKS`` and in checkpoints.
        head_prefix: what the names of the head's parameters begin with; a pre-trained model does not provide those.
        flags: a frozen dataclass of the task's own flags (made with ``propeller.flags.flag``), or None. They reach
            every method as ``spec.settings``.
        label_kind: how the label column is read, see ``reader.row_encoder.LabelRule``.
        num_labels: the number of classes where neither a flag, the model nor a label map says it.
        tags_tokens: whether a row has a label for each of its tokens.
        more_columns: columns of its files beside those of every task.
        trains: whether there is something to train.
        pools_cls: whether the head stands on the pooled [CLS], which is then the vector of a text that was trained.
        needs_head: whether the weights that training begins with must have the task's head.
        run_files: glob patterns of what ``finish_scores`` writes into --checkpoints; --overwrite removes them.
        drops_blanks: whether --for_cn has its effect; not where a label or an answer has its place in the text.
        teaches: the output of ``forward`` that a student may learn from, which requests may ask for; "": none.
        handler: ``module:class`` that turns requests into rows and outputs into answers. The default takes texts and
            pairs of texts and answers with ``decode``.
        job: ``module:class`` of batch prediction. The default reads rows and writes TSV or JSON lines of
            ``decode``.
        former_flags: flags that came after version 0.1, with what its runs of the task did, where that is not what
            ``finetune.training.fingerprint.FORMER`` says.
        report: ``module:function`` of ``finetune.report``, called with the inference model, the reader of a labelled
            file and its path; "": the task has none.
        script: the command that predicts with models of the task, for messages.
        loss_flags: the flags of ``finetune.training.options.LossArgs`` that the task knows. Those of the cross entropy
            reach ``loss`` as ``train_loss``; ``--rdrop_alpha`` needs ``divergence``. A class with a ``loss`` of its own
            does not inherit them: it says which it knows.
    """

    name: str = ""
    head_prefix: tuple[str, ...] = ()
    flags: type | None = None
    label_kind: str | None = "class"
    num_labels = 2
    tags_tokens = False
    more_columns: tuple[str, ...] = ()
    trains = True
    pools_cls = False
    needs_head = False
    run_files: tuple[str, ...] = ()
    drops_blanks = True
    teaches = ""
    handler = "finetune.serving.handler:TextHandler"
    job = "finetune.prediction.run:PredictionJob"
    report = ""
    script = "python -m finetune.prediction"
    former_flags: Mapping[str, Any] = {}
    loss_flags: tuple[str, ...] = ("fgm_epsilon",)
    inputs: tuple[Input, ...] = ENCODER_INPUTS

    def __init__(self, config: ErnieConfig, spec: ModelSpec, mode: RunMode, optimizer: Any = None) -> None:
        super().__init__()
        self.config, self.spec, self.mode, self.optimizer = config, spec, mode, optimizer
        self.encoder = self.make_encoder(config)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "loss" in vars(cls) and "loss_flags" not in vars(cls):
            cls.loss_flags = FinetuneTask.loss_flags

    @classmethod
    def read_config(
        cls, path_or_dict: str | Path | Mapping[str, Any], source: str = "config", vocab_path: str | None = None
    ) -> Any:
        """The shape of the network, from ``ernie_config.json`` or its content; ``ErnieConfig`` or what has its face.

        Args:
            path_or_dict: see ``ErnieConfig``.
            source: see there.
            vocab_path: the vocabulary, where it is known, for shapes that follow from it.

        Raises:
            UserError: see ``ErnieConfig``.
        """
        return ErnieConfig(path_or_dict, source)

    def make_encoder(self, config: Any) -> Any:
        """The layer that turns a batch into vectors, see ``ErnieEncoder``."""
        return ErnieEncoder(config)

    def token_states(self, features: dict[str, Any]) -> Any:
        """The vector of each token, float32 [batch, seq, hidden]."""
        return self.encoder(features)

    def pooled(self, features: dict[str, Any]) -> Any:
        """The vector of each example, float32 [batch, hidden]."""
        return self.encoder.pool(self.encoder(features))

    @classmethod
    def memory_line(cls, config: Any, spec: ModelSpec, **setting: Any) -> str | None:
        """The line of the log on memory, see ``ernie.memory.training_line``; None for networks it does not know."""
        return training_line(config, **setting)

    def segments(self) -> tuple[nn.Layer, ...]:
        """The encoder's layers."""
        return tuple(self.encoder.layers)

    @property
    def training_mode(self) -> bool:
        """Whether this copy belongs to the train Program."""
        return self.mode is RunMode.TRAIN

    @property
    def train_loss(self) -> LossOptions:
        """How the loss of a class is changed; only while training."""
        return self.spec.loss if self.training_mode else PLAIN_LOSS

    def divergence(self, one: dict[str, Any], other: dict[str, Any], label: dict[str, Any]) -> Any:
        """How far two predictions of ``forward`` are apart, a scalar, the mean over what ``loss`` is the mean over."""
        raise NotImplementedError

    @classmethod
    def knows_loss_flag(cls, name: str, spec: ModelSpec) -> bool:
        """Whether a flag of ``loss_flags`` has an effect with these settings."""
        return name in cls.loss_flags

    @classmethod
    def count_classes(cls, batch: Mapping[str, np.ndarray], spec: ModelSpec) -> np.ndarray:
        """How often each class is the label of a place that the loss counts: int [num_labels]."""
        return np.bincount(batch["labels"].ravel(), minlength=spec.num_labels)

    @classmethod
    def variant(cls, settings: Any) -> type[FinetuneTask]:
        """The class that the settings ask for: this one, or a sibling that the same script serves."""
        return cls

    @classmethod
    def check(cls, spec: ModelSpec) -> None:
        """Raise UserError where settings do not go together, or do not go with labels and number of classes."""

    @classmethod
    def check_settings(cls, spec: ModelSpec) -> None:
        """The part of ``check`` that needs no labels: it comes before a training file is opened. Raises UserError."""

    @classmethod
    def with_vocabulary(cls, spec: ModelSpec, tokenizer: Tokenizer) -> ModelSpec:
        """The spec with what the network needs to know of the vocabulary, as ``facts``.

        Raises:
            UserError: settings or labels do not go with it.
        """
        return spec

    @classmethod
    def metric(cls, settings: Any) -> str | None:
        """The name of the score, as the record of the model has it."""
        return "simple_accuracy"

    @classmethod
    def labels(cls, spec: ModelSpec) -> list[str]:
        """The words for the classes, in their order; [] where there are no classes."""
        return spec.labels if cls.label_kind in ("class", "set") else []

    @classmethod
    def open_reader(cls, path: str, tokenizer: Tokenizer, spec: ModelSpec, reading: Reading) -> BatchReader:
        """The reader of a file: ``num_examples``, ``batches(start)``, ``stats``, ``fingerprint()``."""
        return cls.reader_class(spec)(
            path,
            tokenizer,
            label_map=None if spec.label_map is None else dict(spec.label_map),
            num_labels=spec.num_labels,
            label_kind=cls.label_kind if reading.labelled else None,
            label_origin=spec.label_origin,
            token_cache_dir=reading.token_cache_dir,
            max_seq_len=spec.max_seq_len,
            task_id=spec.task_id,
            **cls.reader_options(spec, reading, tokenizer),
            **reading.batching(),
        )

    @classmethod
    def reader_class(cls, spec: ModelSpec) -> type[TaskReader]:
        """The reader of TSV files."""
        return TaskReader

    @classmethod
    def reader_options(cls, spec: ModelSpec, reading: Reading, tokenizer: Tokenizer) -> dict[str, Any]:
        """Further arguments of the ``TaskReader`` of a file, by name."""
        return {}

    @classmethod
    def prepare(cls, learner: Learner, spec: ModelSpec) -> None:
        """Called before training begins or goes on: sets weights that a train Program only looks at."""

    @classmethod
    def known_by(cls, spec: ModelSpec) -> dict[str, Any]:
        """What a run's result depends on besides flags, data and initial weights; JSON-able, {} for nothing."""
        return {}

    @classmethod
    def tells_waiting(cls, spec: ModelSpec) -> bool:
        """Whether batches may be long in coming, so that the log is to say how long training waits for them."""
        return False

    @classmethod
    def saves_at_error(cls, spec: ModelSpec) -> bool:
        """Whether a batch that cannot be read may be had later, so that the steps before it are worth a checkpoint."""
        return False

    @classmethod
    def is_labelled(cls, path: str, spec: ModelSpec, form: TableForm = PLAIN) -> bool:
        """Whether a test file, stored in a form, has labels to score against; placeholders (-1, nothing) are none."""
        fields = label_fields(open_table(path, known=(*KNOWN_COLUMNS, *cls.more_columns), form=form))
        return any(not is_placeholder(word, spec.label_map or ()) for word in fields)

    @classmethod
    def label_words(cls, path: str, form: TableForm, settings: Any = None) -> Iterator[str]:
        """The labels of a training file as they stand there, "" in a row without; nothing where they are no words."""
        if cls.label_kind in ("class", "set"):
            table = open_table(path, ("text_a", "label"), (*KNOWN_COLUMNS, *cls.more_columns), form)
            between = getattr(settings, "label_separator", ",") or ","  # ``check`` refuses an empty one
            for word in list_fields(table) if cls.label_kind == "set" else label_fields(table):
                if cls.label_kind == "set":
                    yield from labels_in(word, between)
                else:
                    yield "" if LIST_PART in word or has_blank_end(word) else word  # refused where it is read

    @classmethod
    def order_labels(cls, words: Collection[str], settings: Any) -> list[str]:
        """The labels that were found, in the order of their classes, see ``finetune.labels``."""
        return in_order(words)

    @classmethod
    def trained_on_pairs(cls, record: Mapping[str, Any]) -> bool | None:
        """Whether a model learnt from pairs of texts, so that it is to be given such; None: not known, or no matter.

        Args:
            record: of the model.
        """
        return record.get(PAIRS)

    @classmethod
    def more_tests(cls, settings: Any) -> list[tuple[str, str]]:
        """Further files to predict after the test sets: pairs of a file and where its predictions go."""
        return []

    @classmethod
    def finish_scores(
        cls, scores: dict[str, Any], reader: BatchReader, spec: ModelSpec, folder: Path
    ) -> dict[str, Any]:
        """The scores of an evaluation, from what ``metrics`` collected and the reader it was collected from.

        Args:
            scores: ``loss``, ``data_num``, what ``metrics`` gave, ``event`` (``dev`` or ``test``), ``file``, ``step``,
                and ``stem``: the beginning of names of files about this evaluation (``dev``, ``dev_2``, ``test``).
            reader: of the file that was evaluated.
            spec: the record of the model, with what earlier evaluations found.
            folder: where such files go.

        Returns:
            the scores. ``tuned`` among those of the first dev set (``stem`` is ``dev``), ``{"flags": {name: value}}``,
            are settings that were found on it: the checkpoint's record gets them, and later files are scored and
            predicted with them. Such a flag has the fact ``tuned``, the one that asks for it the fact ``tunes``.
        """
        return scores

    @classmethod
    def write_predictions(cls, outputs: Iterable, reader: BatchReader, save: str, spec: ModelSpec) -> int:
        """Write the prediction file of a test set; returns the number of rows.

        The lines are those of the 2019 scripts. A task that they did not have gets the TSV of batch prediction.

        Args:
            outputs: see ``examples``.
            reader: the reader the batches come from.
            save: the file's path.
            spec: the record of the model.
        """
        written, table = 0, TableFormat(cls, spec, reader.table.columns)
        with atomic_text(save) as file:
            for arrays, row in cls.examples(outputs, reader):
                line = cls.legacy_line(arrays, row, spec)
                if line is None:
                    file.write(table.line(row, cls.decode(arrays, row, spec)))
                else:
                    file.write(f"{line}\n")
                written += 1
        return written


def with_qid(line: str, row: Mapping[str, str]) -> str:
    """A prediction line, begun with its row's ``qid`` and a tab where the row has one, as in 2019."""
    return f"{int(row['qid'])}\t{line}" if "qid" in row else line
