"""Fine-tuning: one class per task, found by name in ``TASKS``, and the Python API.

    import finetune

    predictor = finetune.load("output/sst2/best")
    predictor(["a fine film", "dull"])          # [{"label": ..., "probabilities": ...}, ...]
    finetune.train("classify", train_set="train.tsv", dev_set="dev.tsv", ...)
    finetune.train("multitask", tasks=[{"name": "sentiment", "task": "classify", ...}, ...], ...)

Importing this package loads neither Paddle nor a task; both come when they are first needed.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from finetune.task import FinetuneTask

# name -> module:class; the class is imported when it is asked for.
TASKS = {
    "classify": "finetune.classification.classifier:Classifier",
    "multi_label_classification": "finetune.classification.multi_label:MultiLabel",
    "regression": "finetune.classification.regression:Regression",
    "multiple_choice": "finetune.multiple_choice.task:MultipleChoice",
    "prompt": "finetune.prompt.task:PromptClassifier",
    "sequence_label": "finetune.tagging.task:SequenceLabel",
    "sequence_label_crf": "finetune.tagging.crf_task:CrfSequenceLabel",
    "mrc": "finetune.mrc.task:ReadingComprehension",
    "embed": "finetune.embedding.task:Embed",
    "sentence_vectors": "finetune.vectors.task:SentenceVectors",
    "student": "distill.students.classifier:Student",
    "student_regression": "distill.students.regression:StudentRegression",
    "student_sequence_label": "distill.tagging.task:StudentSequenceLabel",
}

SEVERAL = "multitask"  # several tasks over one encoder: no task of its own
EXAMPLE = "--model MODEL --train_set train.tsv --dev_set dev.tsv --checkpoints output/run"
PREDICTION_EXAMPLE = "--model output/run/best --predict_set new.tsv --output output/new.tsv"

__all__ = ["TASKS", "load", "task_class", "train"]  # noqa: F822 load and train come from finetune.api


def task_class(name: str) -> type[FinetuneTask]:
    """The ``FinetuneTask`` class of that name."""
    module, _, attribute = TASKS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


class TaskFlags(NamedTuple):
    """The flags of a task.

    Attributes:
        about: what it does, in a few words.
        task: the dataclass of its own flags, or None.
        prediction: that of its batch prediction's own flags, or None for those of every task.
        has_columns: whether its files have columns, which flags may name.
        example, prediction_example: flags of a run and of a prediction, for their help.
    """

    about: str
    task: type | None
    prediction: type | None
    has_columns: bool = True
    example: str = EXAMPLE
    prediction_example: str = PREDICTION_EXAMPLE


def flags_of(name: str) -> TaskFlags:
    """The flags of a task. Those in a file ``flags.py`` beside the task are read without loading Paddle."""
    room = TASKS[name].partition(":")[0].rpartition(".")[0]
    if importlib.util.find_spec(f"{room}.flags") is None:
        task = task_class(name)
        return TaskFlags(_first_line(task), task.flags, None)
    flags = importlib.import_module(f"{room}.flags")
    about = getattr(flags, "ABOUT", None) or _first_line(flags.FLAGS)
    example = getattr(flags, "EXAMPLE", EXAMPLE)
    prediction_example = getattr(flags, "PREDICTION_EXAMPLE", PREDICTION_EXAMPLE)
    own = (flags.FLAGS, getattr(flags, "PREDICTION", None))
    return TaskFlags(about, *own, getattr(flags, "HAS_COLUMNS", True), example, prediction_example)


def what_it_learns(name: str) -> str:
    """The first line of a task's docstring. It is read without the module, which would load Paddle."""
    module, _, attribute = TASKS[name].partition(":")
    found = importlib.util.find_spec(module)
    source = importlib.util.decode_source(Path(found.origin).read_bytes()) if found and found.origin else ""
    classes = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == attribute)
    return ((ast.get_docstring(next(classes)) or "") + "\n").partition("\n")[0].rstrip(".")


def _first_line(value: object) -> str:
    return (value.__doc__ or "").strip().partition("\n")[0].rstrip(".")


def legacy_flags() -> Iterator[tuple[str, Field]]:
    """The flags of single tasks that the 2019 scripts had: (what they are for, dataclass field). Loads no task."""
    rooms = {module.partition(":")[0].rpartition(".")[0] for module in TASKS.values()}
    for room in sorted(rooms):
        if importlib.util.find_spec(f"{room}.flags") is None:
            continue
        group = importlib.import_module(f"{room}.flags").FLAGS
        if group is None:
            continue
        title = group.__doc__.partition(":")[0]
        for entry in fields(group):
            if entry.metadata.get("facts", {}).get("legacy"):
                yield title, entry


def __getattr__(name: str) -> Any:
    if name in ("load", "train"):
        return getattr(importlib.import_module("finetune.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
