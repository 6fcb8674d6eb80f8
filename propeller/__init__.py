"""propeller, the engine: knows Paddle, knows nothing of ERNIE or of text.

    import propeller
    class MyModel(propeller.Model): ...
    propeller.Learner(MyModel, propeller.RunConfig(seed=1)).train(...)

``import propeller.paddle as propeller`` gives the names and calls of 2019 over the same training loop
(docs/propeller.md).
"""

from propeller.lazy import lazy

# Imported when asked for: readers and --help need no Paddle.
__getattr__, __dir__ = lazy(
    __name__,
    globals(),
    {
        "ArgumentParser": "propeller.hparams",
        "Evaluation": "propeller.train.trainer",
        "HParams": "propeller.hparams",
        "Input": "propeller.train.model",
        "Learner": "propeller.train.trainer",
        "Model": "propeller.train.model",
        "RunConfig": "propeller.train.trainer",
        "RunHook": "propeller.train.hooks",
        "RunMode": "propeller.train.model",
        "Saver": "propeller.train.saver",
        "parse_file": "propeller.hparams",
        "parse_hparam": "propeller.hparams",
        "parse_runconfig": "propeller.hparams",
        "train_and_eval": "propeller.train.estimator",
    },
    modules=("data", "metrics", "paddle", "service", "train", "utils"),
)
