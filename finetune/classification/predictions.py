"""Batch prediction of classes or numbers, with the forms of 2019's infer_classifyer.py.

tsv     a header and one line per row: the columns of the input, label, prob_<label> for each class; or score
jsonl   {"text_a": ..., "label": ..., "label_id": ..., "probabilities": {label: p}}, or {"text_a": ..., "score": ...}
probs   the probabilities of a row with tabs between, as in 2019; or the number
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.prediction.formats import JsonLines, TableFormat
from finetune.prediction.run import STANDARD, PredictionJob
from finetune.spec import shown
from propeller.errors import UserError

if TYPE_CHECKING:
    from finetune.prediction.args import PredictArgs
    from finetune.prediction.model import InferenceModel
    from finetune.spec import ModelSpec


class ClassifyJob(PredictionJob):
    """Classes of sentences and sentence pairs with their probabilities; numbers in regression."""

    def task_of(self, stored: str | None, args: PredictArgs, where: str | Path) -> str:
        """A checkpoint of 2019 does not say whether it predicts a number: the flag does."""
        given = args.script.is_regression
        if stored is not None and given is not None and given != (stored == "regression"):
            raise UserError(f"--is_regression {shown(given)}: but {where} is of the task {stored!r}; leave it out")
        name = super().task_of(stored, args, where)
        if not given and name != "regression":
            return name
        if args.model.label_map_config:
            raise UserError(f"--label_map_config {args.model.label_map_config}: a regression has none; leave it out")
        if args.model.num_labels not in (None, 1):
            raise UserError(f"--num_labels {args.model.num_labels}: a regression has 1; leave it out")
        return "regression"

    def settings(self, task_name: str) -> dict[str, Any]:
        return {"metric": "pearson_and_spearman", "is_regression": True} if task_name == "regression" else {}

    def format(self, model: InferenceModel, spec: ModelSpec, columns: Sequence[str], args: PredictArgs) -> TableFormat:
        name = args.script.output_format
        if name == "auto":
            name = "probs" if args.data.output in (None, STANDARD) else "tsv"
        kind = {"tsv": TableFormat, "jsonl": JsonLines, "probs": Probabilities}[name]
        return kind(model.task, spec, columns, args.script.copy_columns, keep_label=True)


class Probabilities(TableFormat):
    """The numbers alone, in full, as in 2019."""

    def line(self, row: Mapping[str, str], decoded: Mapping[str, Any]) -> str:
        numbers = decoded["probabilities"].values() if "probabilities" in decoded else [decoded["score"]]
        return "\t".join(map(str, numbers)) + "\n"
