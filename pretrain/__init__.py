"""Pre-training: from raw text to shards (`python -m pretrain.build_data`), and what is learnt from them.

The data side (build_data, build_vocab, inspect and what they import) never imports Paddle.
"""

import importlib

from propeller.errors import UserError

# name -> module:class; a class is imported when it is asked for. Of these files only that of knowledge masking needs
# Paddle: the others declare a ``ClassTask``, whose network pretrain/class_model.py has.
TASKS = {
    "knowledge_masking": "pretrain.tasks.knowledge_masking:KnowledgeMasking",
    "capitalization": "pretrain.tasks.capitalization:Capitalization",
    "token_document_relation": "pretrain.tasks.token_document_relation:TokenDocumentRelation",
    "sentence_reordering": "pretrain.tasks.sentence_reordering:SentenceReordering",
    "sentence_distance": "pretrain.tasks.sentence_distance:SentenceDistance",
    "discourse_relation": "pretrain.tasks.discourse_relation:DiscourseRelation",
    "ir_relevance": "pretrain.tasks.ir_relevance:IrRelevance",
}


def declared(name):
    """The class that ``TASKS`` has under that name: a ``ClassTask``, or a ``PretrainTask``.

    Raises:
        UserError: there is no such task.
    """
    if name not in TASKS:
        raise UserError(f"task {name!r} is unknown: give one of {', '.join(TASKS)}")
    module, _, attribute = TASKS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def task_class(name):
    """The ``PretrainTask`` class of that name. Raises UserError: there is no such task."""
    from pretrain.class_model import model_of
    from pretrain.classes import ClassTask

    found = declared(name)
    return model_of(found) if issubclass(found, ClassTask) else found
