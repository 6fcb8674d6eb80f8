"""``propeller.train`` of 2019: ``Model``, ``Learner``, ``train_and_eval``, ``exporter``, ``hooks``."""

from propeller.lazy import lazy
from propeller.paddle.names import TRAIN

__getattr__, __dir__ = lazy(
    __name__,
    globals(),
    TRAIN,
    modules={
        "distribution": "propeller.disconfig",
        "exporter": "propeller.train.exporters",
        "hooks": "propeller.train.run_hooks",
    },
)
