#!/bin/sh
# `LinearLR.step(epoch)` of paddlepaddle 3.3.1 does not set the rate of that epoch: it multiplies the last rate by the factor
# between the epoch and the one before. A training that continues by `step(epoch)`, or calls it twice for one epoch, has
# another rate until its end, without an error. The documentation says that `epoch` is the current epoch and that the rate
# increases linearly; the other schedulers know a rate by its epoch. `set_state_dict` before `step()` keeps the rate.
# Output seen (Python 3.11, numpy 2.4.6):
#   from 0.1 to 0.2 in 10 epochs; epoch 5 is 0.15
#   LinearLR, step() five times: 0.1500
#   LinearLR, step(5): 0.1071
#   LinearLR, step(1) to step(5), each twice: 0.2250
#   LinearLR, step(5), then step() to epoch 10: 0.1429
#   PolynomialDecay, step() five times: 0.1500
#   PolynomialDecay, step(5): 0.1500
. "$(dirname "$0")/common.sh"
in_venv paddlepaddle==3.3.1 numpy==2.4.6 setuptools==80.9.0
cat >rates.py <<'PYTHON'
from paddle.optimizer.lr import LinearLR, PolynomialDecay

MAKERS = {"LinearLR": lambda: LinearLR(0.2, 10, start_factor=0.5), "PolynomialDecay": lambda: PolynomialDecay(0.1, 10, 0.2)}


def rate(name, *epochs):
    scheduler = MAKERS[name]()
    for epoch in epochs:
        scheduler.step(epoch)
    return f"{scheduler():.4f}"


with open("seen", "w") as file:
    print("from 0.1 to 0.2 in 10 epochs; epoch 5 is 0.15", file=file)
    print("LinearLR, step() five times:", rate("LinearLR", *[None] * 5), file=file)
    print("LinearLR, step(5):", rate("LinearLR", 5), file=file)
    print("LinearLR, step(1) to step(5), each twice:", rate("LinearLR", 1, 1, 2, 2, 3, 3, 4, 4, 5, 5), file=file)
    print("LinearLR, step(5), then step() to epoch 10:", rate("LinearLR", 5, *[None] * 5), file=file)
    print("PolynomialDecay, step() five times:", rate("PolynomialDecay", *[None] * 5), file=file)
    print("PolynomialDecay, step(5):", rate("PolynomialDecay", 5), file=file)
PYTHON
python rates.py >log 2>&1 || { cat log; exit 1; }
expect seen
