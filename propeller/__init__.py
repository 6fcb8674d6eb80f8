"""propeller, the engine: knows Paddle, knows nothing of ERNIE or of text.

import propeller
class MyModel(propeller.Model): ...
propeller.Learner(MyModel, propeller.RunConfig(seed=1)).train(...)
"""

import importlib

# Imported when asked for: readers and --help need no Paddle.
_PLACES = {
    "Evaluation": "propeller.train.trainer",
    "Input": "propeller.train.model",
    "Learner": "propeller.train.trainer",
    "Model": "propeller.train.model",
    "RunConfig": "propeller.train.trainer",
    "RunHook": "propeller.train.hooks",
    "RunMode": "propeller.train.model",
    "Saver": "propeller.train.saver",
}


def __getattr__(name):
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'propeller' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_PLACES])
