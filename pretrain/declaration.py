"""The builder half of a pre-training task: its name, its instances, and which network learns from them.

    class SentenceLength(Declaration):
        name = "sentence_length"
        kind = "number"
        model = "my_package.heads:LengthModel"
        def lines(self, documents, rng_of): ...

A task is one file in ``pretrain/tasks/`` with one subclass of ``Declaration``, and one line in ``pretrain.TASKS``. The
network half, a ``pretrain.task.PretrainTask``, needs Paddle. Nothing here does: the processes that build shards import
task files too, so a task file that holds both halves imports Paddle inside ``network``.
"""

from __future__ import annotations

import importlib
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Callable, ClassVar

from propeller.errors import UserError

if TYPE_CHECKING:  # builder.py imports this file, and pretrain.task imports Paddle
    from pretrain.corpus.builder import Plan, Text
    from pretrain.task import PretrainTask
    from tokenization_base import BaseTokenizer

Lines = list[bytes]
RngOf = Callable[[int], random.Random]


class Declaration:
    """A pre-training task. One object builds the shards of one process.

    Args:
        plan: ``pretrain.corpus.builder.Plan``.
        tokenizer: one of ``tokenization.TOKENIZERS``.

    Attributes:
        name: the task's name in ``pretrain.TASKS``.
        kind: what its shards hold and its batches offer, one of ``reader.pretraining.batches.KINDS``.
        model: ``module:Class`` of its network half; None: ``network`` returns the class.
        named_seeds: whether the name is part of the seeds that its instances are drawn with, so that tasks draw
            independently of each other. False keeps the shards of a task that existed before there were several.
        mask_units: of the kind ``masking``, the unit that is always masked whole, one of
            ``reader.pretraining.masking.LEVELS``; None: what ``--mask_units`` says.
        pairs_of_texts: of the kind ``masking``, whether instances are pairs, which ``--generate_neg_sample`` makes more
            of.
        fewer_classes: what else the user can do, besides building shards of more text, if a class has no instance.
    """

    name: ClassVar[str] = ""
    kind: ClassVar[str] = "sentence"
    model: ClassVar[str | None] = None
    named_seeds: ClassVar[bool] = True
    mask_units: ClassVar[str | None] = None
    pairs_of_texts: ClassVar[bool] = True
    fewer_classes: ClassVar[str] = "give the head only the classes that there are"

    def __init__(self, plan: Plan, tokenizer: BaseTokenizer) -> None:
        self.plan, self.tokenizer = plan, tokenizer

    def lines(self, documents: Sequence[Text], rng_of: RngOf) -> tuple[Lines, Counter]:
        """Make the instances of the documents of one block.

        Args:
            documents: each has at least one sentence.
            rng_of: maps a place in ``documents`` to a generator for that document. Call nothing but ``random()`` on it.

        Returns:
            The lines of a shard (see ``reader.pretraining.shards``), and a Counter with ``instances``, ``tokens`` and,
            under the length itself as an int key, how many instances have each length. The functions ``count`` of
            ``pretrain.corpus.instances`` fill it. ``left_over`` counts texts that gave no instance.
        """
        raise NotImplementedError

    @classmethod
    def class_names(cls, plan: Plan) -> tuple[str, ...] | None:
        """Names of the classes 0, 1, ... that a plan makes; None: instances have no classes."""
        return None

    @classmethod
    def fingerprints(cls, plan: Plan) -> dict[str, str]:
        """SHA-256, by name of the ``Plan`` field, of each file that decides the instances of this task alone."""
        return {}

    @classmethod
    def statistics(cls, total: Mapping, names: Sequence[str] | None) -> dict[str, Any]:
        """The counts of the task in stats.json, in their order there.

        Args:
            total: sums of what ``lines`` counted.
            names: what ``class_names`` returned.
        """
        return {"instances": total["instances"], "tokens": total["tokens"]}

    @classmethod
    def report(cls, stats: Mapping[str, Any]) -> str:
        """What the command line reports of stats.json besides sizes."""
        return f"kind {cls.kind}"

    @classmethod
    def head_settings(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of the head, completed and checked, as the checkpoint stores them.

        Args:
            given: ``head`` of the task list.

        Raises:
            UserError: a setting is unknown or wrong.
        """
        if given:
            raise cls.wrong_head(given, "{}")
        return {}

    @classmethod
    def wrong_head(cls, given: Mapping[str, Any], wanted: str) -> UserError:
        """The error for a ``head`` of the task list that is not understood."""
        return UserError(f"task {cls.name}: its head is {dict(given)}; give {wanted}, nothing else")

    @classmethod
    def network(cls) -> type[PretrainTask]:
        """The class of the network half. This is where Paddle is imported.

        Raises:
            UserError: the task names no network.
        """
        if not cls.model:
            raise UserError(f'task {cls.name}: {cls.__name__} has no network; give it model = "module:Class"')
        module, _, attribute = cls.model.partition(":")
        return getattr(importlib.import_module(module), attribute)
