"""Batch prediction of answers: what infer_mrc.py writes into the folder --output.

predictions.json          question id -> text of its answer
nbest_predictions.json    question id -> its n best answers: text, probability, start_logit, end_logit
"""

from __future__ import annotations

from pathlib import Path

from finetune import mrc_answers
from finetune.mrc import MrcArgs
from finetune.prediction import Job, check_writable, ordered_results
from propeller.errors import UserError
from reader.squad import FIRST_UNIQUE_ID

PREDICTIONS, NBEST = "predictions.json", "nbest_predictions.json"


class MrcJob(Job):
    """Answers to questions, spans of a passage: SQuAD 1.1 JSON, whose answers are not needed."""

    tasks = ("mrc",)
    task_flags = MrcArgs
    unit = "windows"
    settings = None

    def check(self, args):
        output = args.data.output
        if not args.data.do_prediction:
            return
        if not output:
            raise UserError(f"no --output: name the folder for {PREDICTIONS} and {NBEST}")
        if Path(output).is_file():
            raise UserError(f"--output {output}: is a file; name a folder, {PREDICTIONS} and {NBEST} go there")
        check_writable(Path(output))

    def prints(self, args):
        return False

    def open_reader(self, path, model, read):
        self.settings = {"n_best_size": read.task.n_best_size, "max_answer_length": read.task.max_answer_length}
        return super().open_reader(path, model, read)

    def write(self, model, reader, args, progress):
        """Both files, as run_mrc.py lays them out."""
        results = ordered_results(reader, progress, own_logits)
        predictions, nbest = mrc_answers.predict(reader, InOrder(results), **self.settings)
        folder = Path(args.data.output)
        mrc_answers.write(folder / NBEST, nbest)
        mrc_answers.write(folder / PREDICTIONS, predictions)


def own_logits(outputs, item):
    """(start, end) of each window without padding, float32 [tokens]; copies, so that no batch is held for a window."""
    sides = zip(outputs["start_logits"], outputs["end_logits"], item.lengths.tolist())
    return [(start[:length].copy(), end[:length].copy()) for start, end, length in sides]


class InOrder:
    """Logits by unique id, asked for in the order of the windows: those of one question are held, not of the file."""

    def __init__(self, results):
        self.results, self.due = results, FIRST_UNIQUE_ID

    def __getitem__(self, unique_id):
        if unique_id != self.due:
            raise KeyError(f"window {unique_id} was asked for, {self.due} is due")
        self.due += 1
        return next(self.results)
