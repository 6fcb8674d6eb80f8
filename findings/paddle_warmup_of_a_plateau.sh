#!/bin/sh
# `LinearWarmup` of paddlepaddle 3.3.1 takes "any subclass of LRScheduler" for the time after the warmup, but gives the number
# of the step to its `step`. `ReduceOnPlateau` takes that number for the loss. It rises, so the rate is cut again and again
# although nobody gave a loss; for a score that should rise (mode="max") it is never cut. There is no error. Step
# `ReduceOnPlateau` yourself after the warmup instead.
# Output seen (Python 3.11, numpy 2.4.6):
#   warmup of 4 steps to 0.5, patience 1, factor 0.5; no loss is given
#   mode="min": 0.000 0.125 0.250 0.375 0.500 0.500 0.250 0.250 0.125 0.125 0.062 0.062
#   mode="max": 0.000 0.125 0.250 0.375 0.500 0.500 0.500 0.500 0.500 0.500 0.500 0.500
#   loss of 1.0, 0.9, 0.8, ... to ReduceOnPlateau alone: 0.500 0.500 0.500 0.500 0.500 0.500 0.500 0.500
#   score of 0.5 each time to ReduceOnPlateau alone: 0.500 0.500 0.500 0.250 0.250 0.125 0.125 0.062
. "$(dirname "$0")/common.sh"
in_venv paddlepaddle==3.3.1 numpy==2.4.6 setuptools==80.9.0
cat >plateau.py <<'PYTHON'
from paddle.optimizer.lr import LinearWarmup, ReduceOnPlateau


def plateau(mode):
    return ReduceOnPlateau(0.5, mode=mode, patience=1, factor=0.5)


def rates(scheduler, values):
    found = []
    for value in values:
        found.append(f"{scheduler():.3f}")
        scheduler.step(*value)
    return " ".join(found)


with open("seen", "w") as file:
    print("warmup of 4 steps to 0.5, patience 1, factor 0.5; no loss is given", file=file)
    for mode in ("min", "max"):
        print(f'mode="{mode}":', rates(LinearWarmup(plateau(mode), 4, 0.0, 0.5), [()] * 12), file=file)
    falling, level = [(1 - step / 10,) for step in range(8)], [(0.5,)] * 8
    print("loss of 1.0, 0.9, 0.8, ... to ReduceOnPlateau alone:", rates(plateau("min"), falling), file=file)
    print("score of 0.5 each time to ReduceOnPlateau alone:", rates(plateau("max"), level), file=file)
PYTHON
python plateau.py >log 2>&1 || { cat log; exit 1; }
expect seen
