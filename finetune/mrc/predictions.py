"""Batch prediction of answers: what infer_mrc.py writes into the folder --output.

predictions.json          question id -> text of its answer
nbest_predictions.json    question id -> its n best answers: text, probability, start_logit, end_logit
null_odds.json            with questions without an answer: question id -> by how much that scores above the best answer
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.mrc import answers as mrc_answers
from finetune.mrc import unanswerable
from finetune.mrc.gold import AnswerGold
from finetune.prediction.run import PredictionJob, Progress, check_writable, ordered_results
from propeller.errors import UserError
from reader.squad.reader import FIRST_UNIQUE_ID

if TYPE_CHECKING:
    from finetune.prediction.args import PredictArgs
    from finetune.prediction.gold import Gold
    from finetune.prediction.model import InferenceModel
    from finetune.spec import ModelSpec
    from reader.ordered import OrderedBatch


PREDICTIONS, NBEST, NULL_ODDS = "predictions.json", "nbest_predictions.json", "null_odds.json"


class MrcJob(PredictionJob):
    """Answers to questions, spans of a passage: SQuAD JSON, whose answers are not needed."""

    unit = "windows"

    def check(self, args: PredictArgs) -> None:
        output = args.data.output
        if not args.data.do_prediction:
            return
        if not output:
            raise UserError(f"no --output: name the folder for {PREDICTIONS} and {NBEST}")
        if Path(output).is_file():
            raise UserError(f"--output {output}: is a file; name a folder, {PREDICTIONS} and {NBEST} go there")
        check_writable(Path(output))

    def prints(self, args: PredictArgs) -> bool:
        return False

    def write(
        self, model: InferenceModel, spec: ModelSpec, reader: Any, args: PredictArgs, progress: Progress
    ) -> Gold | None:
        """Both files, as run_mrc.py lays them out."""
        results, settings = ordered_results(reader, progress, own_logits), spec.settings
        folder, size = Path(str(args.data.output)), (settings.n_best_size, settings.max_answer_length)
        if settings.version_2_with_negative:
            answers = unanswerable.predict(reader, InOrder(results), *size)
            mrc_answers.write(folder / NULL_ODDS, answers.null_odds)
            gold = AnswerGold(reader.file, spec.settings, answers.texts, answers.null_odds)
            predictions, nbest = answers.chosen(unanswerable.threshold_of(settings)), answers.nbest
        else:
            predictions, nbest = mrc_answers.predict(reader, InOrder(results), *size)
            gold = AnswerGold(reader.file, spec.settings, predictions)
        mrc_answers.write(folder / NBEST, nbest)
        mrc_answers.write(folder / PREDICTIONS, predictions)
        return gold


def own_logits(outputs: Mapping[str, np.ndarray], item: OrderedBatch) -> list[tuple[np.ndarray, np.ndarray]]:
    """(start, end) of each window without padding, float32 [tokens]; copies, so that no batch is held for a window."""
    sides = zip(outputs["start_logits"], outputs["end_logits"], item.lengths.tolist())
    return [(start[:length].copy(), end[:length].copy()) for start, end, length in sides]


class InOrder:
    """Logits by unique id, asked for in the order of the windows: those of one question are held, not of the file."""

    def __init__(self, results: Iterator[tuple[np.ndarray, np.ndarray]]) -> None:
        self.results, self.due = results, FIRST_UNIQUE_ID

    def __getitem__(self, unique_id: int) -> tuple[np.ndarray, np.ndarray]:
        if unique_id != self.due:
            raise KeyError(f"window {unique_id} was asked for, {self.due} is due")
        self.due += 1
        return next(self.results)
