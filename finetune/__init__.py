"""Fine-tuning: one class a task, found by name in ``TASKS``."""

import importlib

# name -> module:class; the class is imported when it is asked for, so that --help needs no Paddle.
TASKS = {
    "classify": "finetune.classifier:Classifier",
    "regression": "finetune.regression:Regression",
    "sequence_label": "finetune.sequence_label:SequenceLabel",
    "mrc": "finetune.mrc:ReadingComprehension",
    "embed": "finetune.encoder:Embed",
}


def task_class(name):
    """The ``FinetuneTask`` class of that name."""
    module, _, attribute = TASKS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
