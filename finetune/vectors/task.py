"""Sentence vectors: an encoder trained so that texts of like meaning have vectors of a small angle.

python -m finetune sentence_vectors --objective simcse --train_set sentences.tsv --dev_set sts-dev.tsv ...

``--objective`` says what is learnt from; dev and test sets are pairs with a score, and the cosines of their vectors are
compared with the scores.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import paddle.nn.functional as F

from ernie.modeling import Linear
from ernie.pooling import MEAN
from finetune import metrics
from finetune.embedding.pooled import pool_states
from finetune.prediction.formats import table_rows
from finetune.task import ENCODER_INPUTS, FinetuneTask
from finetune.vectors.flags import (
    CONTRASTIVE,
    COSINE,
    PAIRS,
    SIMCSE,
    TEACHER,
    TEXTS,
    TRIPLETS,
    SentenceVectorFlags,
)
from finetune.vectors.losses import contrastive, cosines
from finetune.vectors.teacher import TeacherVectors, is_model, stored_vectors, teacher_digest
from propeller.errors import UserError
from propeller.metrics import Collected, Metric
from propeller.train.model import Input, RunMode
from reader.batch_reader import drawn
from reader.several import COLUMNS, NEGATIVE, SeveralTextsReader
from reader.tables.form import LINES, SKIP
from reader.tables.opening import holds_lines, open_table

if TYPE_CHECKING:
    from ernie.config import ErnieConfig
    from finetune.spec import ModelSpec, Reading
    from reader.batch_reader import BatchReader
    from reader.tokenizer import Tokenizer


CORRELATIONS = metrics.METRICS["pearson_and_spearman"]
# flag -> the objectives that it is for
ONLY = {"temperature": CONTRASTIVE, "projection": CONTRASTIVE, "teacher_vectors": (TEACHER,)}


class SentenceVectors(FinetuneTask):
    """Sentence vectors: texts of like meaning near each other, by contrast, by scores, or after a teacher.

    In training and evaluation a batch is [rows, texts, seq]. A network that predicts reads one text per row, as
    encoders do, and gives its vector under the name of the pooling.
    """

    name = "sentence_vectors"
    head_prefix = ("sentence_projection",)
    flags = SentenceVectorFlags
    label_kind = "float"
    num_labels = 1
    more_columns = (NEGATIVE,)
    handler = "finetune.embedding.handler:EmbedHandler"
    job = ""
    script = "ernie_encoder.py"
    loss_flags = ()

    def __init__(self, config: ErnieConfig, spec: ModelSpec, mode: RunMode, optimizer: Any = None) -> None:
        super().__init__(config, spec, mode, optimizer)
        self.settings = spec.settings or SentenceVectorFlags()
        self.pooling = self.settings.pooling or MEAN
        given, hidden = self.settings, config.hidden_size
        self.projection = None
        if mode is RunMode.PREDICT:
            return
        texts = TEXTS[given.objective] if self.training_mode else 2
        rows = [Input(entry.name, [None, texts, None], entry.dtype) for entry in ENCODER_INPUTS]
        if not self.training_mode or given.objective == COSINE:
            self.inputs = (*rows, Input("labels", [None, 1], "float32", label=True))
        elif given.objective == TEACHER:
            self.inputs = (*rows, Input("teacher_vectors", [None, hidden], "float32", label=True))
        else:
            self.inputs = (*rows, Input("same", [None, None], "float32", label=True))
        if self.training_mode and given.projection:
            names = {"weight_name": "sentence_projection_w", "bias_name": "sentence_projection_b"}
            self.projection = Linear(config, hidden, hidden, **names, act="tanh")

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """-> ``vectors``, float32 [rows, texts, hidden]; a network that predicts: the pooling's name, [batch, hidden].

        With SimCSE a row's text is there twice, so that dropout makes two vectors of it (section 3).
        """
        given = self.settings
        if self.mode is RunMode.PREDICT:
            return {self.pooling: pool_states(self.encoder, features, self.pooling)}
        if self.training_mode and given.objective == SIMCSE:
            features = {name: paddle.concat([value, value], axis=1) for name, value in features.items()}
        texts = features["src_ids"].shape[1]
        flat = {name: value.flatten(0, 1) for name, value in features.items()}
        vectors = pool_states(self.encoder, flat, self.pooling)  # [rows * texts, hidden]
        if self.projection is not None:
            vectors = self.projection(F.dropout(vectors, self.spec.dropout, training=self.training))
        return {"vectors": vectors.reshape([-1, texts, self.config.hidden_size])}

    def loss(self, predictions: dict[str, Any], label: dict[str, Any]) -> Any:
        """The mean over rows of what the objective says; in evaluation that of ``cosine``."""
        vectors, given = predictions["vectors"], self.settings
        if self.training_mode and given.objective == TEACHER:
            return F.mse_loss(vectors[:, 0], label["teacher_vectors"])
        if self.training_mode and given.objective in CONTRASTIVE:
            return self._contrast(vectors, label["same"])[0]
        return F.mse_loss(cosines(vectors[:, 0], vectors[:, 1]), label["labels"] / given.largest_score)

    def _contrast(self, vectors, same):
        first, *others = vectors.unbind(1)
        return contrastive(first, others, same, self.settings.temperature)

    def metrics(self, predictions: dict[str, Any], label: dict[str, Any]) -> dict[str, Metric]:
        """Of contrast how often the own second text is the nearest; in evaluation the correlations with the scores."""
        vectors, objective = predictions["vectors"], self.settings.objective
        if not self.training_mode:
            pair = cosines(vectors[:, 0], vectors[:, 1])
            return {"scores": Collected([pair, label["labels"]], CORRELATIONS.compute)}
        if objective not in CONTRASTIVE:
            return {}
        hits = self._contrast(vectors, label["same"])[1]
        return {"scores": Collected([hits], lambda hits: {"acc": float(hits.mean())})}

    @classmethod
    def trained_on_pairs(cls, record: Mapping[str, Any]) -> bool | None:
        """No matter: vectors are of single texts, scores of pairs, whatever the objective reads."""
        return None

    @classmethod
    def check_settings(cls, spec: ModelSpec) -> None:
        """Raise UserError for settings that do not go together."""
        given = spec.settings
        for name, objectives in ONLY.items():
            default = SentenceVectorFlags.__dataclass_fields__[name].default
            if getattr(given, name) != default and given.objective not in objectives:
                raise UserError(
                    f"--{name} is for --objective {' and '.join(objectives)}: give that, or leave --{name} out"
                )
        if given.objective == TEACHER and not given.teacher_vectors:
            raise UserError(f"--objective {TEACHER} needs --teacher_vectors: the vectors of the rows of --train_set")
        if not 0 < given.temperature < math.inf:
            raise UserError(f"--temperature must be above 0, not {given.temperature:g}")
        if not 0 < given.largest_score < math.inf:
            raise UserError(f"--largest_score must be above 0, not {given.largest_score:g}")

    @classmethod
    def check(cls, spec: ModelSpec) -> None:
        cls.check_settings(spec)
        if spec.label_map is not None or spec.num_labels != 1:
            raise UserError("--label_map_config and --num_labels are for classes: leave them out, a score is a number")

    @classmethod
    def metric(cls, settings: Any) -> str | None:
        return None

    @classmethod
    def memory_line(cls, config: Any, spec: ModelSpec, **setting: Any) -> str | None:
        """None: how many texts a row has is not known here."""
        return None

    @classmethod
    def known_by(cls, spec: ModelSpec) -> dict[str, Any]:
        path = spec.settings.teacher_vectors
        return {"teacher_vectors": teacher_digest(path)} if path else {}

    @classmethod
    def reader_class(cls, spec: ModelSpec) -> type[SeveralTextsReader]:
        return SeveralTextsReader

    @classmethod
    def open_reader(cls, path: str, tokenizer: Tokenizer, spec: ModelSpec, reading: Reading) -> BatchReader:
        given = spec.settings
        texts, vectors, kind = 2, None, "float" if reading.labelled else None
        if reading.training:
            if TEXTS[given.objective] == 1 and holds_lines(path, replace(reading.form, others=SKIP)):
                reading = replace(reading, form=replace(reading.form, format=LINES))
            cls._check_columns(path, given, reading)
            texts, kind = TEXTS[given.objective], "float" if given.objective == COSINE else None
            if given.objective == TEACHER:
                vectors = cls._teacher_vectors(path, spec, reading)
        return SeveralTextsReader(
            path,
            tokenizer,
            texts=texts,
            apart=not reading.labelled,
            vectors=vectors,
            label_kind=kind,
            token_cache_dir=reading.token_cache_dir,
            max_seq_len=spec.max_seq_len,
            task_id=spec.task_id,
            **reading.batching(),
        )

    @classmethod
    def _teacher_vectors(cls, path, spec, reading):
        source, columns = spec.settings.teacher_vectors, (spec.network or {}).get("hidden_size")
        if not is_model(source):
            return stored_vectors(source, columns)
        table = open_table(path, known=SeveralTextsReader.known_columns, form=reading.form)
        few = reading.max_rows is not None and reading.max_rows < table.num_rows
        rows = drawn(table.num_rows, reading.max_rows, reading.seed) if few else None
        return TeacherVectors(source, table, columns, rows, reading.token_cache_dir)

    @classmethod
    def _check_columns(cls, path, given, reading):
        """Raise UserError where a training file has more texts than the objective reads."""
        columns = open_table(path, known=SeveralTextsReader.known_columns, form=reading.form).columns
        unread = [name for name in COLUMNS[TEXTS[given.objective] :] if name in columns]
        if unread:
            others = f"--objective {PAIRS} or {COSINE}" if unread[0] == "text_b" else f"--objective {TRIPLETS}"
            raise UserError(
                f"{path}: has a column {unread[0]}, which --objective {given.objective} does not read: give {others}, "
                "or remove or rename the column"
            )

    @classmethod
    def examples(cls, outputs: Iterable, reader: Any) -> Iterator[tuple[dict[str, Any], Any]]:
        """The vectors of each row's texts, float32 [texts, hidden], and the row."""
        rows = table_rows(reader.table)
        for predicted, _ in outputs:
            (vectors,) = predicted.values()
            for pair in vectors.reshape(-1, reader.texts_of_row, vectors.shape[-1]):
                yield {"vectors": pair}, next(rows)

    @classmethod
    def decode(cls, outputs: Mapping[str, np.ndarray], row: Any, spec: ModelSpec) -> dict[str, Any]:
        """``similarity``: the cosine of the vectors of two texts."""
        one, other = outputs["vectors"].astype(np.float64)
        length = max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-12)
        return {"similarity": float(np.clip(one @ other / length, -1.0, 1.0))}

    @classmethod
    def best_by(cls, spec: ModelSpec) -> str:
        return "spearmanr"

    @classmethod
    def score_names(cls, spec: ModelSpec) -> tuple[str, ...]:
        return ("loss", *CORRELATIONS.names)

    @classmethod
    def training_line(cls, record: Mapping[str, Any]) -> str:
        line = super().training_line(record)
        return f"{line}, ave acc: {record['acc']:f}" if "acc" in record else line
