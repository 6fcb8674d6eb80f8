"""What a pre-training task whose head tells classes declares: its classes, and how its instances are made from text.

    class SentenceDistance(ClassTask):
        name = "sentence_distance"
        def lines(self, documents, rng_of): ...

Nothing here needs Paddle: the processes that build shards import task files too. The network of such a task, one layer
over the pooled output or over the states of tokens, is ``pretrain.class_model``.
"""

from __future__ import annotations

LEVELS = ("sentence", "token")


class ClassTask:
    """A task whose head tells classes. One object builds the shards of one process.

    Args:
        plan: ``pretrain.builder.Plan``.
        tokenizer: of ``tokenization.TOKENIZERS``.

    Attributes:
        name: as in ``pretrain.TASKS``.
        level: ``sentence``: the class is one of the whole input, told from the pooled [CLS]; ``token``: one of every
            token, told from its own state.
        default_classes: how many classes the head has where the task list does not say; None: it must.
        fewer_classes: what may be done, beside building shards of more text, where a class has no instance.
    """

    name = None
    level = "sentence"
    default_classes = None
    fewer_classes = "give the head only the classes that there are"

    def __init__(self, plan, tokenizer):
        self.plan, self.tokenizer = plan, tokenizer

    @classmethod
    def class_names(cls, plan) -> tuple:
        """Names of the classes 0, 1, ... that a plan makes."""
        raise NotImplementedError

    def lines(self, documents, rng_of):
        """Instances of the documents of one block.

        Args:
            documents: list of ``pretrain.builder.Text``, none without a sentence.
            rng_of: place in ``documents`` -> a ``random.Random`` of its own, of which only ``random()`` is called.

        Returns:
            (lines of a shard, see ``reader.shards``; a Counter with ``instances``, ``tokens``, how many have each
            length, and ``class_N`` for every class: of instances, or of tokens at the token level).
        """
        raise NotImplementedError
