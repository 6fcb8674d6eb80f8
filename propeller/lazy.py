"""Modules whose names are imported when they are asked for.

__getattr__, __dir__ = lazy(__name__, globals(), {"Learner": "propeller.train.trainer"}, modules=("data",))
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Callable


def lazy(
    name: str, present: Mapping, places: Mapping[str, str], modules: Sequence[str] | Mapping[str, str] = ()
) -> tuple[Callable, Callable]:
    """``__getattr__`` and ``__dir__`` of a module.

    Args:
        name: the module's name.
        present: its ``globals()``.
        places: name of an attribute -> the module that has it.
        modules: name of an attribute that is a module -> where it is; a sequence: below this one.
    """
    if not isinstance(modules, Mapping):
        modules = {each: f"{name}.{each}" for each in modules}

    def get(attribute):
        if attribute in places:
            return getattr(importlib.import_module(places[attribute]), attribute)
        if attribute in modules:
            return importlib.import_module(modules[attribute])
        raise AttributeError(f"module {name!r} has no attribute {attribute!r}")

    return get, lambda: sorted([*present, *places, *modules])
