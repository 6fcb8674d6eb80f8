"""Where the names of 2019 are."""

TRAIN = {
    "InferenceSpec": "propeller.train.contract",
    "Learner": "propeller.train.estimator",
    "Model": "propeller.train.contract",
    "ModelSpec": "propeller.train.contract",
    "RunState": "propeller.train.run_hooks",
    "Saver": "propeller.train.parameter_saver",
    "WarmStartSetting": "propeller.train.estimator",
    "train_and_eval": "propeller.train.estimator",
}
NAMES = {
    **TRAIN,
    "ArgumentParser": "propeller.hparams",
    "HParams": "propeller.hparams",
    "RunConfig": "propeller.hparams",
    "RunHook": "propeller.train.run_hooks",
    "RunMode": "propeller.train.model",
    "parse_file": "propeller.hparams",
    "parse_hparam": "propeller.hparams",
    "parse_runconfig": "propeller.hparams",
    "run_on_master": "propeller.disconfig",
    "status": "propeller.disconfig",
}
