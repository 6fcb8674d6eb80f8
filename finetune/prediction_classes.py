"""Batch prediction of classes or numbers: what infer_classifyer.py writes.

tsv     a header and a line a row: qid, text_a, text_b as in the input, label, prob_<label> for each class; or score
jsonl   {"text_a": ..., "label": ..., "label_id": ..., "probabilities": {label: p}}, or {"text_a": ..., "score": ...}
probs   the probabilities of a row with tabs between, as in 2019; or the number
"""

from __future__ import annotations

import json

from finetune.predict_args import ClassifyArgs
from finetune.prediction import STANDARD, Job, open_output, ordered_results, table_rows
from propeller.errors import UserError
from reader.tsv import where

COPIED = ("qid", "text_a", "text_b")


class ClassifyJob(Job):
    """Classes of sentences and sentence pairs with their probabilities; numbers in regression."""

    tasks = ("classify", "regression")
    flags = ClassifyArgs

    def write(self, model, reader, args, progress):
        """A line a row, as ``--output_format`` says."""
        lines = make_format(model, reader.table.columns, args)
        key = "logits" if model.bundle.task == "regression" else "probs"
        results = ordered_results(reader, progress, lambda outputs, _: outputs[key].tolist())
        with open_output(args.data.output) as file:
            file.write(lines.header())
            for number, (values, fields) in enumerate(zip(results, table_rows(reader.table))):
                if not fields["text_a"].strip():
                    raise UserError(f"{where(reader.table.path, number)}: text_a is empty; put its text there or "
                                    "remove the row")  # fmt: skip
                file.write(lines.line(fields, values))


def make_format(model, columns, args):
    """What makes lines of predictions."""
    name = args.script.output_format
    if name == "auto":
        name = "probs" if args.data.output in (None, STANDARD) else "tsv"
    labels = None if model.bundle.task == "regression" else model.labels
    copied = [column for column in columns if column in COPIED] if args.script.copy_columns else []
    return {"tsv": Tsv, "jsonl": JsonLines, "probs": Probabilities}[name](labels, copied)


class Probabilities:
    """The numbers alone, in full, as in 2019.

    Args:
        labels: words of the classes, or None in regression.
        copied: columns of the input that stand before a prediction.
    """

    def __init__(self, labels, copied):
        self.labels, self.copied = labels, copied

    def header(self):
        """The first line, or nothing."""
        return ""

    def line(self, fields, values):
        """The line of a row. fields: column -> text; values: floats, a probability each or the number."""
        return "\t".join(map(str, values)) + "\n"


class Tsv(Probabilities):
    """A table with a header."""

    def header(self):
        if self.labels is None:
            return "\t".join([*self.copied, "score"]) + "\n"
        names = ["prob_" + " ".join(label.split()) for label in self.labels]  # no tab of a label word parts columns
        return "\t".join([*self.copied, "label", *names]) + "\n"

    def line(self, fields, values):
        copied = [fields[name] for name in self.copied]
        if self.labels is None:
            return "\t".join([*copied, f"{values[0]:.7g}"]) + "\n"
        label = self.labels[best(values)]
        return "\t".join([*copied, " ".join(label.split()), *(f"{value:.7g}" for value in values)]) + "\n"


class JsonLines(Probabilities):
    """An object a row."""

    def line(self, fields, values):
        row = {name: int(fields[name]) if name == "qid" else fields[name] for name in self.copied}
        if self.labels is None:
            row["score"] = values[0]
        else:
            number = best(values)
            row.update(label=self.labels[number], label_id=number, probabilities=dict(zip(self.labels, values)))
        return json.dumps(row, ensure_ascii=False) + "\n"


def best(values):
    """The class of the highest probability, of equal ones the first."""
    return max(range(len(values)), key=values.__getitem__)
