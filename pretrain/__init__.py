"""Pre-training: from raw text to shards (`python -m pretrain.build_data`), and what is learnt from them.

The data side (build_data, build_vocab, inspect and what they import) never imports Paddle.
"""

import importlib

# name -> module:class; the class is imported when it is asked for, so that the data side and --help need no Paddle.
TASKS = {"knowledge_masking": "pretrain.tasks.knowledge_masking:KnowledgeMasking"}


def task_class(name):
    """The ``PretrainTask`` class of that name."""
    module, _, attribute = TASKS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
