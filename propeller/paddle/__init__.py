"""The names and calls of 2019: ``import propeller.paddle as propeller``.

    propeller.train_and_eval(model_class_or_model_fn=MyModel, params=propeller.parse_hparam(args),
                             run_config=propeller.parse_runconfig(args), train_dataset=train, eval_dataset=dev)

They are faces of the one training loop (``propeller.train.trainer``). ``Model``, ``Learner``, ``RunConfig`` and
``RunHook`` are other classes here than in ``propeller`` itself, whose own are named in docs/propeller.md; everything
else is the same. Nothing is imported before it is asked for.
"""

from propeller.lazy import lazy
from propeller.paddle.names import NAMES

__getattr__, __dir__ = lazy(
    __name__,
    globals(),
    NAMES,
    modules={
        "data": "propeller.data",
        "distribution": "propeller.disconfig",
        "metrics": "propeller.metrics",
        "service": "propeller.service",
        "summary": "propeller.summary",
        "train": "propeller.paddle.train",
        "utils": "propeller.utils",
    },
)
