"""Pre-training: from raw text to shards (`python -m pretrain.build_data`), and what is learnt from them.

The data side (build_data, build_vocab, inspect and what they import) never imports Paddle.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any

from propeller.errors import UserError

if TYPE_CHECKING:
    from pretrain.declaration import Declaration
    from pretrain.task import PretrainTask

# name -> module:class of a ``Declaration``, which is imported when it is asked for. None of these files needs Paddle.
TASKS = {
    "knowledge_masking": "pretrain.tasks.knowledge_masking:KnowledgeMasking",
    "capitalization": "pretrain.tasks.capitalization:Capitalization",
    "token_document_relation": "pretrain.tasks.token_document_relation:TokenDocumentRelation",
    "sentence_reordering": "pretrain.tasks.sentence_reordering:SentenceReordering",
    "sentence_distance": "pretrain.tasks.sentence_distance:SentenceDistance",
    "discourse_relation": "pretrain.tasks.discourse_relation:DiscourseRelation",
    "ir_relevance": "pretrain.tasks.ir_relevance:IrRelevance",
    "whole_word_masking": "pretrain.tasks.whole_word_masking:WholeWordMasking",
    "replaced_token_detection": "pretrain.tasks.replaced_token_detection:ReplacedTokenDetection",
}
DEFAULT_TASK = "knowledge_masking"  # of a build without --tasks and of a run without --task_list


def declared(name: str) -> type[Declaration]:
    """The ``Declaration`` of that name, the builder half of the task.

    Raises:
        UserError: there is no such task, or it is not a ``Declaration``.
    """
    from pretrain.declaration import Declaration

    if name not in TASKS:
        raise UserError(f"task {name!r} is unknown: give one of {', '.join(TASKS)}")
    module, _, attribute = TASKS[name].partition(":")
    declaration = getattr(importlib.import_module(module), attribute)
    if not (isinstance(declaration, type) and issubclass(declaration, Declaration)):
        raise UserError(
            f"task {name}: {TASKS[name]} is not a pretrain.declaration.Declaration; give the class that makes its "
            "instances, which names the network"
        )
    if declaration.name != name:
        raise UserError(f"task {name}: {TASKS[name]} has the name {declaration.name!r}; give it that of TASKS")
    return declaration


def task_class(name: str) -> type[PretrainTask]:
    """The ``PretrainTask`` of that name, the network half of the task. Imports Paddle.

    Raises:
        UserError: as ``declared``; the task names no network.
    """
    return _with_network(declared(name))  # type: ignore[arg-type]  # mypy doubts that classes are hashable


@functools.cache
def _with_network(declaration: Any) -> type[PretrainTask]:
    facts = {"name": declaration.name, "declared": declaration, "__doc__": declaration.__doc__}
    return type(declaration.__name__, (declaration.network(),), facts)
