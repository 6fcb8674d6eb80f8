"""Extractive reading comprehension: CMRC2018, DRCD, DuReader, SQuAD 1.1 and 2.0.

python run_mrc.py --train_set cmrc2018/train.json --dev_set cmrc2018/dev.json --max_seq_len 512 --doc_stride 128 ...
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import paddle.nn.functional as F

from ernie.layers import Linear
from finetune.losses import divergence
from finetune.mrc import answers as mrc_answers
from finetune.mrc import unanswerable
from finetune.mrc.flags import MrcArgs
from finetune.mrc.gold import language_by
from finetune.mrc.scores import SCRIPTS, score
from finetune.task import ENCODER_INPUTS, FinetuneTask
from propeller.flags import check_least
from propeller.metrics import Metric
from propeller.train.model import Input, RunMode
from reader.squad.file import SquadFile
from reader.squad.reader import Document, SquadReader, Window
from reader.tables.form import PLAIN, TableForm

if TYPE_CHECKING:
    from ernie.config import ErnieConfig
    from finetune.spec import ModelSpec, Reading
    from reader.batch_reader import BatchReader
    from reader.tokenizer import Tokenizer


log = logging.getLogger("ernie.finetune")

FILES = ("predictions", "nbest_predictions")


class AskedQuestion(NamedTuple):
    """A question as ``decode`` takes it: its context, the ``Document`` of it and the windows over it."""

    context: str
    document: Document
    windows: list[Window]


class WindowLogits(Metric):
    """Keeps the logits of every window, whatever its batch was padded to: ``logits``, unique id -> (start, end)."""

    def reset(self) -> None:
        self._logits: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def update(self, arrays: Sequence[np.ndarray]) -> None:
        """arrays: start and end logits, float32 [batch, seq]; unique ids, int64 [batch, 1]."""
        start, end, unique_ids = arrays
        self._logits.update(zip(unique_ids.ravel().tolist(), zip(start, end)))

    def eval(self) -> dict[str, Any]:
        return {"logits": self._logits}


class ReadingComprehension(FinetuneTask):
    """The answer to a question as a span of its context: where it starts and where it ends."""

    name = "mrc"
    head_prefix = ("cls_mrc_out",)
    flags = MrcArgs
    run_files = tuple(
        f"{step}{kind}*{what}.json"
        for step in ("", "[0-9]*_")
        for kind in ("dev", "test")
        for what in ("predictions", "null_odds")
    )
    drops_blanks = False
    answer_outputs = ("start_logits", "end_logits")
    handler = "finetune.mrc.handler:MrcHandler"
    job = "finetune.mrc.predictions:MrcJob"
    report = "finetune.reporting.answers:report"
    script = "infer_mrc.py"
    loss_flags = ("rdrop_alpha", "fgm_epsilon")
    former_flags = {  # version 0.1 had no dropout there, and left questions without an answer out
        "head_dropout": 0.0,
        "version_2_with_negative": False,
        "null_score_diff_threshold": None,
        "tune_null_threshold": "none",
    }
    inputs = (
        *ENCODER_INPUTS,
        Input("start", [None, 1], "int64", label=True),
        Input("end", [None, 1], "int64", label=True),
        Input("unique_ids", [None, 1], "int64", label=True),
    )

    def __init__(self, config: ErnieConfig, spec: ModelSpec, mode: RunMode, optimizer: Any = None) -> None:
        super().__init__(config, spec, mode, optimizer)
        self.mrc_out = Linear(
            config, config.hidden_size, 2, weight_name="cls_mrc_out_w", bias_name="cls_mrc_out_b"
        )  # fmt: skip

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """-> ``start_logits`` and ``end_logits``, float32 [batch, seq], padding too."""
        encoded = self.encoder(features)  # [batch, seq, hidden]
        logits = self.mrc_out(F.dropout(encoded, self.spec.dropout, training=self.training))  # [batch, seq, 2]
        if self.encoder.skips_padding:  # no state there that could be told apart from an answer
            logits = logits + (features["input_mask"].unsqueeze(-1) - 1.0) * 10000.0
        return {"start_logits": logits[:, :, 0], "end_logits": logits[:, :, 1]}

    def loss(self, predictions: dict[str, Any], label: dict[str, Any]) -> Any:
        """The mean of the two cross entropies over the places of the window: its padding too, as in 2019, where the
        encoder computes it.

        Only training has places: in evaluation the reader gives 0, and the loss means nothing.
        """
        start = F.cross_entropy(predictions["start_logits"], label["start"])
        return (start + F.cross_entropy(predictions["end_logits"], label["end"])) / 2

    def divergence(self, one: dict[str, Any], other: dict[str, Any], label: dict[str, Any]) -> Any:
        """The mean of those of the starts and of the ends."""
        names = ("start_logits", "end_logits")
        start, end = (divergence(one[name], other[name]).mean() for name in names)
        return (start + end) / 2

    def metrics(self, predictions: dict[str, Any], label: dict[str, Any]) -> dict[str, Metric]:
        """The logits, in evaluation; nothing while training, as in 2019."""
        if self.training_mode:
            return {}
        tensors = [predictions["start_logits"], predictions["end_logits"], label["unique_ids"]]
        return {"logits": WindowLogits(tensors)}

    @classmethod
    def check_settings(cls, spec: ModelSpec) -> None:
        check_least(spec.settings, doc_stride=1, max_query_length=1, max_answer_length=1, n_best_size=1)
        unanswerable.check(spec.settings)

    @classmethod
    def check(cls, spec: ModelSpec) -> None:
        cls.check_settings(spec)

    @classmethod
    def labels(cls, spec: ModelSpec) -> list[str]:
        return []

    @classmethod
    def open_reader(cls, path: str, tokenizer: Tokenizer, spec: ModelSpec, reading: Reading) -> BatchReader:
        """A ``SquadReader``; ``--num_workers`` and ``--token_cache_dir`` have no effect on it."""
        return SquadReader(
            path,
            tokenizer,
            answers="train" if reading.training else "score" if reading.labelled else None,
            on_bad=reading.on_bad,
            unanswerable=spec.settings.version_2_with_negative,
            doc_stride=spec.settings.doc_stride,
            max_query_length=spec.settings.max_query_length,
            max_seq_len=spec.max_seq_len,
            task_id=spec.task_id,
            **reading.batching(),
        )

    @classmethod
    def is_labelled(cls, path: str, spec: ModelSpec, form: TableForm = PLAIN) -> bool:
        """Whether any question has an answer that stands in its context; placeholders are none."""
        return SquadFile(path, on_bad="skip").has_answers

    @classmethod
    def label_words(cls, path: str, form: TableForm, settings: Any = None) -> Iterator[str]:
        """Answers are no labels."""
        return iter(())

    @classmethod
    def finish_scores(cls, scores: dict[str, Any], reader: Any, spec: ModelSpec, folder: Path) -> dict[str, Any]:
        """``em``, ``f1``, ``avg``, ``question_num``; the predictions are written beside the checkpoints.

        They are named as in 2019: ``STEP_dev_predictions.json`` and ``STEP_dev_nbest_predictions.json``, and without
        STEP those of the latest evaluation; ``test`` for test sets, ``dev_2`` for the second one of several files.
        With questions without an answer there are the scores of SQuAD 2.0 beside, and ``null_odds.json``.
        """
        settings, questions = spec.settings, reader.file.questions
        language = language_by(settings, questions)
        also = ", with SQuAD 2.0's rules for questions without an answer" if settings.version_2_with_negative else ""
        log.info("%s: scored as %s%s", scores["file"], SCRIPTS[language], also)
        answers = {question.id: question.answers for question in questions}
        found: dict[str, Any] = {}
        if settings.version_2_with_negative:
            tuned = settings.tune_null_threshold if scores["stem"] == "dev" else "none"
            files, found = unanswerable.evaluate(reader, scores["logits"], settings, answers, language, tuned)
        else:
            size = settings.n_best_size, settings.max_answer_length
            files = dict(zip(FILES, mrc_answers.predict(reader, scores["logits"], *size)))
        for stem in (f"{scores['step']}_{scores['stem']}", scores["stem"]):
            for what, value in files.items():
                mrc_answers.write(Path(folder) / f"{stem}_{what}.json", value)
        if found:
            return found
        predictions = files[FILES[0]]
        if language == "dureader":
            other = score("zh", answers, predictions)
            log.info("%s: by the rules of CMRC 2018 (--mrc_language zh) em: %f, f1: %f",
                     scores["file"], other["em"], other["f1"])  # fmt: skip
        return score(language, answers, predictions)

    @classmethod
    def best_by(cls, spec: ModelSpec) -> str:
        return "avg"

    @classmethod
    def score_names(cls, spec: ModelSpec) -> tuple[str, ...]:
        """Without the loss, which means nothing in evaluation."""
        return ("em", "f1", "avg")

    @classmethod
    def evaluation_line(cls, spec: ModelSpec, scores: Mapping[str, Any], elapsed: float) -> str:
        text = "em: {em:f}, f1: {f1:f}, avg: {avg:f}, question_num: {question_num:d}".format(**scores)
        if spec.settings.version_2_with_negative:
            text += unanswerable.log_text(scores)
        return f"{text}, elapsed time: {elapsed:f} s"

    @classmethod
    def answers_changed(
        cls,
        exact: Mapping[str, np.ndarray],
        rough: Mapping[str, np.ndarray],
        batch: Mapping[str, np.ndarray],
        spec: ModelSpec,
    ) -> np.ndarray:
        """1 for a window whose likeliest beginning or end lies elsewhere."""
        padding = batch["input_mask"] == 0  # [batch, seq]
        changed = np.zeros(len(padding), bool)
        for name in cls.answer_outputs:
            one, other = (np.where(padding, -np.inf, outputs[name]).argmax(axis=1) for outputs in (exact, rough))
            changed |= one != other
        return changed.astype(float)

    @classmethod
    def decode(cls, outputs: Mapping[str, Any], row: Any, spec: ModelSpec) -> dict[str, Any]:
        """The best answer, its place and probability, and the n best; null and [] where no part could be one.

        With questions without an answer, ``unanswerable.decoded`` has the keys.

        Args:
            outputs: ``start_logits`` and ``end_logits``, each a list with one array [tokens] per window.
            row: ``AskedQuestion``.
        """
        settings = spec.settings
        logits = mrc_answers.own_logits(row.windows, list(zip(outputs["start_logits"], outputs["end_logits"])))
        spans = mrc_answers.best_spans(
            row.context, row.document, row.windows, logits, settings.n_best_size, settings.max_answer_length
        )
        if settings.version_2_with_negative:
            return unanswerable.decoded(spans, logits, unanswerable.threshold_of(settings))
        if not spans:
            return {"answer": None, "start": None, "end": None, "probability": 1.0, "nbest": []}
        best = spans[0]
        return {
            "answer": best.text,
            "start": best.start,
            "end": best.end,
            "probability": best.probability,
            "nbest": [span._asdict() for span in spans],
        }

    @classmethod
    def write_predictions(cls, outputs: Iterable, reader: Any, save: str, spec: ModelSpec) -> int:
        """``save``: question id -> text, as JSON; beside it ``save``.nbest: question id -> its n best answers.

        With questions without an answer also ``save``.null_odds, see ``unanswerable.Answers``.
        """
        metric = WindowLogits([])
        for predicted, batch in outputs:
            metric.update([predicted["start_logits"], predicted["end_logits"], batch["unique_ids"]])
        logits = metric.eval()["logits"]
        settings = spec.settings
        if settings.version_2_with_negative:
            answers = unanswerable.predict(reader, logits, settings.n_best_size, settings.max_answer_length)
            mrc_answers.write(f"{save}.null_odds", answers.null_odds)
            predictions, nbest = answers.chosen(unanswerable.threshold_of(settings)), answers.nbest
        else:
            predictions, nbest = mrc_answers.predict(reader, logits, settings.n_best_size, settings.max_answer_length)
        mrc_answers.write(f"{save}.nbest", nbest)
        mrc_answers.write(save, predictions)
        return len(logits)  # windows, the reader's rows
