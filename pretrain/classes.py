"""The builder half of a pre-training task whose head predicts classes.

    class SentenceDistance(ClassTask):
        name = "sentence_distance"
        def lines(self, documents, rng_of): ...

Its network, one layer over the pooled output or over the states of tokens, is in ``pretrain.class_model``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pretrain.declaration import Declaration
from reader.pretraining.shards import TOKEN_CLASSES_MOST

if TYPE_CHECKING:
    from pretrain.corpus.builder import Plan

LEVELS = ("sentence", "token")
MODELS = {"sentence": "pretrain.class_model:SentenceModel", "token": "pretrain.class_model:TokenModel"}


class ClassTask(Declaration):
    """A task whose head predicts classes. The Counter of ``lines`` has ``class_N`` for every class too.

    Attributes:
        level: ``sentence``: the class is one of the whole input, predicted from the pooled [CLS]; ``token``: one of
            every token, predicted from its own state.
        default_classes: how many classes the head has where the task list does not say; None: the list must say.
    """

    level: ClassVar[str] = "sentence"
    default_classes: ClassVar[int | None] = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.level not in LEVELS:
            raise TypeError(f"{cls.__name__}: level is {cls.level!r}; give one of {', '.join(LEVELS)}")
        cls.kind = cls.level
        if cls.model is None or cls.model in MODELS.values():  # not one of the task's own
            cls.model = MODELS[cls.level]

    @classmethod
    def class_names(cls, plan: Plan) -> tuple[str, ...]:
        """Names of the classes 0, 1, ... that a plan makes."""
        raise NotImplementedError

    @classmethod
    def statistics(cls, total: Mapping, names: Sequence[str] | None) -> dict[str, Any]:
        """See ``Declaration``; with how many instances, or tokens, each class has."""
        classes = {name: total[f"class_{number}"] for number, name in enumerate(names or ())}
        return {**super().statistics(total, names), "classes": classes}

    @classmethod
    def report(cls, stats: Mapping[str, Any]) -> str:
        """See ``Declaration``."""
        told = ", ".join(f"{name}: {count}" for name, count in stats["classes"].items() if count)
        if not told:
            return f"nothing has a class of {', '.join(stats['classes'])}"
        absent = [name for name, count in stats["classes"].items() if not count]
        return f"{told}; none of {', '.join(absent)}" if absent else told

    @classmethod
    def head_settings(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """``classes``: how many the head has."""
        classes = given.get("classes", cls.default_classes)
        most = TOKEN_CLASSES_MOST if cls.level == "token" else 2**31
        if set(given) - {"classes"} or type(classes) is not int or not 1 < classes <= most:
            numbers = f"2 to {most}" if cls.level == "token" else "2 on"
            raise cls.wrong_head(given, f'"classes": a whole number from {numbers}')
        return {"classes": classes}
