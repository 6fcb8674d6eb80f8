#!/bin/sh
# `paddle.Model.fit` of paddlepaddle 3.3.1 shuffles by `DistributedBatchSampler`, with one process too, whose order depends on
# the number of the epoch alone. Runs with different seeds see the rows in one order, so the spread over seeds lacks what the
# order adds. `DataLoader(shuffle=True)` draws from numpy instead, so with `paddle.seed` alone no run repeats another. The
# documentation says that `paddle.seed` seeds "the random number generation", and of `fit` only that it shuffles; that of the
# sampler's `set_epoch` says that the epoch is the seed. For an order of its own give `fit` a DataLoader and seed numpy.
# Output seen (Python 3.11, numpy 2.4.6):
#   Model.fit, seeds of Paddle, numpy and Python 1, two epochs: 62173054 72160435
#   Model.fit, seeds of Paddle, numpy and Python 2, two epochs: 62173054 72160435
#   DataLoader, paddle.seed(1) before each: 62173054 and 16370425
#   DataLoader, numpy.random.seed(1) before each: 72160435 and 72160435
. "$(dirname "$0")/common.sh"
in_venv paddlepaddle==3.3.1 numpy==2.4.6 setuptools==80.9.0
cat >orders.py <<'PYTHON'
import random

import numpy as np
import paddle

ROWS = 8


class Rows(paddle.io.Dataset):
    def __init__(self):
        self.asked = []

    def __len__(self):
        return ROWS

    def __getitem__(self, index):
        self.asked.append(index)
        return np.zeros([1], "float32"), np.zeros([1], "float32")


def shown(asked):
    return " ".join("".join(map(str, asked[first : first + ROWS])) for first in range(0, len(asked), ROWS))


def fit(seed):
    for one in (paddle.seed, np.random.seed, random.seed):
        one(seed)
    rows, network = Rows(), paddle.nn.Linear(1, 1)
    model = paddle.Model(network)
    model.prepare(paddle.optimizer.SGD(parameters=network.parameters()), paddle.nn.MSELoss())
    model.fit(rows, batch_size=2, epochs=2, verbose=0)
    return shown(rows.asked)


def load(*seeds):
    for seed in seeds:
        seed(1)
    rows = Rows()
    list(paddle.io.DataLoader(rows, batch_size=2, shuffle=True))
    return shown(rows.asked)


with open("seen", "w") as file:
    for seed in (1, 2):
        print(f"Model.fit, seeds of Paddle, numpy and Python {seed}, two epochs: {fit(seed)}", file=file)
    for name, seed in (("paddle.seed(1)", paddle.seed), ("numpy.random.seed(1)", np.random.seed)):
        np.random.seed(0)  # so that this script repeats itself
        one, other = load(seed), load(seed)
        print(f"DataLoader, {name} before each: {one} and {other}", file=file)
PYTHON
python orders.py >log 2>&1 || { cat log; exit 1; }
expect seen
