#!/bin/sh
# optuna 5.0.0: `create_study(..., direction="maximize", load_if_exists=True)` on a study that was made with another direction
# keeps that one and says nothing. A search that is continued by a program whose score has to be large then
# looks for the smallest, and `best_value` is the worst one. Shown with "minimize", the default when none was given.
# Output seen (Python 3.11):
#   asked for MAXIMIZE, searches with MINIMIZE
#   accuracies tried: 0.2 0.9 0.5, best: 0.2
. "$(dirname "$0")/common.sh"
in_venv optuna==5.0.0
cat >study.py <<'PYTHON'
import warnings

import optuna

warnings.simplefilter("error")
optuna.logging.set_verbosity(optuna.logging.WARNING)
about = {"storage": "sqlite:///studies.db", "study_name": "rates"}
optuna.create_study(**about)
study = optuna.create_study(**about, direction=optuna.study.StudyDirection.MAXIMIZE.name.lower(), load_if_exists=True)
print(f"asked for MAXIMIZE, searches with {study.direction.name}")
tried = [0.2, 0.9, 0.5]
for accuracy in tried:
    study.optimize(lambda trial, accuracy=accuracy: accuracy, n_trials=1)
print(f"accuracies tried: {' '.join(map(str, tried))}, best: {study.best_value}")
PYTHON
python study.py >seen
expect seen
