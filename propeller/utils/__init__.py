"""Small tools for data: ``propeller.utils.data``."""

from propeller.lazy import lazy

__getattr__, __dir__ = lazy(__name__, globals(), {}, modules=("data",))
