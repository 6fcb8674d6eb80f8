"""Extractive reading comprehension: CMRC2018, DRCD, DuReader, SQuAD 1.1.

python run_mrc.py --train_set cmrc2018/train.json --dev_set cmrc2018/dev.json --max_seq_len 512 --doc_stride 128 ...
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import paddle.nn.functional as F

from ernie.modeling import Linear
from finetune import mrc_answers
from finetune.args import split
from finetune.mrc_scores import LANGUAGES, language_of, score
from finetune.task import ENCODER_INPUTS, FinetuneTask
from propeller.errors import UserError
from propeller.flags import flag
from propeller.metrics import Metric
from propeller.train.model import Input
from reader.squad import SquadReader
from reader.squad_file import SquadFile

log = logging.getLogger("ernie.finetune")


@dataclass(frozen=True)
class MrcArgs:
    """reading comprehension: windows, answers, scores"""

    doc_stride: int = flag(128, "tokens from one window of a long context to the next")
    max_query_length: int = flag(64, "tokens kept of a question")
    max_answer_length: int = flag(100, "longest answer predicted, in tokens")
    n_best_size: int = flag(20, "answers kept for each question")
    mrc_language: str = flag(
        "auto",
        "new: exact match and F1 of CMRC 2018 (zh, as in 2019) or SQuAD (en); auto: zh if half of the questions are",
        choices=LANGUAGES,
    )


class WindowLogits(Metric):
    """Keeps the logits of every window, whatever its batch was padded to: ``logits``, unique id -> (start, end)."""

    def reset(self):
        self._logits = {}

    def update(self, arrays):
        """arrays: start and end logits, float32 [batch, seq]; unique ids, int64 [batch, 1]."""
        start, end, unique_ids = arrays
        self._logits.update(zip(unique_ids.ravel().tolist(), zip(start, end)))

    def eval(self):
        return {"logits": self._logits}


class ReadingComprehension(FinetuneTask):
    """The answer to a question as a span of its context: where it starts and where it ends."""

    name = "mrc"
    head_prefix = ("cls_mrc_out",)
    flags = MrcArgs
    run_files = tuple(f"{step}{kind}*predictions.json" for step in ("", "[0-9]*_") for kind in ("dev", "test"))
    drops_blanks = False
    handler = "finetune.serving_mrc:MrcHandler"
    inputs = (
        *ENCODER_INPUTS,
        Input("start", [None, 1], "int64", label=True),
        Input("end", [None, 1], "int64", label=True),
        Input("unique_ids", [None, 1], "int64", label=True),
    )

    def __init__(self, config, head, mode, optimizer=None):
        super().__init__(config, head, mode, optimizer)
        # As in 2019 there is no dropout between the encoder and this layer.
        self.mrc_out = Linear(
            config, config.hidden_size, 2, weight_name="cls_mrc_out_w", bias_name="cls_mrc_out_b"
        )  # fmt: skip

    def forward(self, features):
        """-> ``start_logits`` and ``end_logits``, float32 [batch, seq], padding too."""
        logits = self.mrc_out(self.encoder(features))  # [batch, seq, 2]
        return {"start_logits": logits[:, :, 0], "end_logits": logits[:, :, 1]}

    def loss(self, predictions, label):
        """The mean of the two cross entropies over the places of the window, its padding too, as in 2019.

        Only training has places: in evaluation the reader gives 0, and the loss means nothing.
        """
        start = F.cross_entropy(predictions["start_logits"], label["start"])
        return (start + F.cross_entropy(predictions["end_logits"], label["end"])) / 2

    def metrics(self, predictions, label):
        """The logits, in evaluation; nothing while training, as in 2019."""
        if self.training_mode:
            return {}
        tensors = [predictions["start_logits"], predictions["end_logits"], label["unique_ids"]]
        return {"logits": WindowLogits(tensors)}

    @classmethod
    def variant(cls, args):
        for name in ("doc_stride", "max_query_length", "max_answer_length", "n_best_size"):
            if getattr(args.task, name) < 1:
                raise UserError(f"--{name} must be at least 1, not {getattr(args.task, name)}")
        return cls

    @classmethod
    def open_reader(cls, path, tokenizer, args, label_map, training=False, labelled=True):
        """A ``SquadReader``; ``--num_workers`` and ``--token_cache_dir`` have no effect on it."""
        train = args.train
        return SquadReader(
            path,
            tokenizer,
            answers="train" if training else "score" if labelled else None,
            doc_stride=args.task.doc_stride,
            max_query_length=args.task.max_query_length,
            max_seq_len=args.model.max_seq_len,
            batch_size=train.batch_size if training else train.predict_batch_size or train.batch_size,
            in_tokens=train.in_tokens,
            task_id=args.model.task_id,
            shuffle=training and args.data.shuffle,
            seed=train.random_seed,
            epochs=train.epoch if training else 1,
            bucket_window=args.data.bucket_window if training else 0,
            num_workers=args.data.num_workers,
            **cls.sharing(args, training),
        )

    @classmethod
    def is_labelled(cls, path):
        """Whether any question has an answer."""
        return SquadFile(path).has_answers

    @classmethod
    def finish_scores(cls, scores, reader, args):
        """``em``, ``f1``, ``avg``, ``question_num``; the predictions are written beside the checkpoints.

        They are named as in 2019: ``STEP_dev_predictions.json`` and ``STEP_dev_nbest_predictions.json``, and without
        STEP those of the latest evaluation; ``test`` for test sets, ``dev_2`` for the second one of several files.
        """
        predictions, nbest = mrc_answers.predict(
            reader, scores["logits"], args.task.n_best_size, args.task.max_answer_length
        )
        kind, files = scores["event"], split(getattr(args.data, f"{scores['event']}_set"))
        number = files.index(scores["file"]) + 1 if scores["file"] in files else 1
        name = kind if number == 1 else f"{kind}_{number}"
        for stem in (f"{scores['step']}_{name}", name):
            for what, value in (("predictions", predictions), ("nbest_predictions", nbest)):
                mrc_answers.write(Path(args.run.checkpoints) / f"{stem}_{what}.json", value)
        questions = reader.file.questions
        language = args.task.mrc_language
        if language == "auto":
            language = language_of([question.text for question in questions])
        log.info("%s: scored as %s", scores["file"], {"zh": "Chinese, CMRC 2018", "en": "English, SQuAD 1.1"}[language])
        return score(language, {question.id: question.answers for question in questions}, predictions)

    @classmethod
    def best_by(cls, head):
        return "avg"

    @classmethod
    def evaluation_line(cls, head, scores, elapsed):
        text = "em: {em:f}, f1: {f1:f}, avg: {avg:f}, question_num: {question_num:d}".format(**scores)
        return f"{text}, elapsed time: {elapsed:f} s"

    @classmethod
    def write_predictions(cls, outputs, reader, save, args):
        """``save``: question id -> text, as JSON; beside it ``save``.nbest: question id -> its n best answers."""
        metric = WindowLogits([])
        for predicted, batch in outputs:
            metric.update([predicted["start_logits"], predicted["end_logits"], batch["unique_ids"]])
        logits = metric.eval()["logits"]
        predictions, nbest = mrc_answers.predict(reader, logits, args.task.n_best_size, args.task.max_answer_length)
        mrc_answers.write(f"{save}.nbest", nbest)
        mrc_answers.write(save, predictions)
        return len(logits)  # windows, the reader's rows
