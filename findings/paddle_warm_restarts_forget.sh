#!/bin/sh
# The state of `CosineAnnealingWarmRestarts` of paddlepaddle 3.3.1 is the number of the epoch and the last rate. Where it is
# within its cycle, and how long the cycle is, are neither saved nor computed from the epoch. The documentation calls what
# `state_dict` gives the state of the scheduler, but a training that continues from it, here through that of the optimizer,
# has one right rate and then those of the first cycle anew, without an error. Other schedulers go on where they were, and
# so does this one by `step(epoch)`.
# Output seen (Python 3.11, numpy 2.4.6):
#   T_0=4, T_mult=2, whole: 0.100 0.085 0.050 0.015 0.100 0.096 0.085 0.069 0.050 0.031 0.015 0.004 0.100 0.099
#   state after 6 epochs: last_epoch 6, last_lr 0.085
#   continued from the state: 0.085 0.085 0.050 0.015 0.100 0.096 0.085 0.069
#   continued by step(6): 0.085 0.069 0.050 0.031 0.015 0.004 0.100 0.099
#   CosineAnnealingDecay, T_max=10, whole: 0.100 0.098 0.090 0.079 0.065 0.050 0.035 0.021 0.010 0.002
#   continued from the state: 0.035 0.021 0.010 0.002
. "$(dirname "$0")/common.sh"
in_venv paddlepaddle==3.3.1 numpy==2.4.6 setuptools==80.9.0
cat >restarts.py <<'PYTHON'
import paddle
from paddle.optimizer.lr import CosineAnnealingDecay, CosineAnnealingWarmRestarts


def rates(scheduler, count):
    found = []
    for _ in range(count):
        found.append(f"{scheduler():.3f}")
        scheduler.step()
    return " ".join(found)


def optimizer_with(scheduler):
    return paddle.optimizer.SGD(scheduler, parameters=[paddle.create_parameter([1], "float32")])


def state_after(scheduler, epochs):
    optimizer = optimizer_with(scheduler)
    rates(scheduler, epochs)
    return optimizer.state_dict()


def continued(scheduler, state):
    optimizer_with(scheduler).set_state_dict(state)
    return scheduler


def restarts():
    return CosineAnnealingWarmRestarts(0.1, T_0=4, T_mult=2)


def cosine():
    return CosineAnnealingDecay(0.1, T_max=10)


with open("seen", "w") as file:
    print("T_0=4, T_mult=2, whole:", rates(restarts(), 14), file=file)
    state = state_after(restarts(), 6)
    shown = ", ".join(f"{name} {round(value, 3)}" for name, value in state["LR_Scheduler"].items())
    print(f"state after 6 epochs: {shown}", file=file)
    print("continued from the state:", rates(continued(restarts(), state), 8), file=file)
    scheduler = restarts()
    scheduler.step(6)
    print("continued by step(6):", rates(scheduler, 8), file=file)
    print("CosineAnnealingDecay, T_max=10, whole:", rates(cosine(), 10), file=file)
    print("continued from the state:", rates(continued(cosine(), state_after(cosine(), 6)), 4), file=file)
PYTHON
python restarts.py >log 2>&1 || { cat log; exit 1; }
expect seen
