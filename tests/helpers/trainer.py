"""Shared with tests/propeller/test_trainer.py: a toy model, its batches and its runs."""

import contextlib

import numpy as np
import paddle
from paddle import nn

from ernie.optimization import AdamW, OptimizationConfig
from propeller.metrics import Collected
from propeller.train.journal import Journal
from propeller.train.model import Input, Model, RunMode
from propeller.train.saver import Saver
from propeller.train.trainer import Evaluation, Learner, RunConfig
from propeller.variables import read_variable, write_variable
from tests.helpers.runs import read_records

ROWS = 20


class Toy(Model):
    """Softmax regression with dropout."""

    inputs = (Input("x", [None, 4], "float32"), Input("y", [None, 1], "int64", label=True))

    def __init__(self, mode):
        super().__init__()
        attrs = [paddle.ParamAttr(name=name) for name in ("toy_w", "toy_b")]
        self.layer = nn.Linear(4, 2, weight_attr=attrs[0], bias_attr=attrs[1])
        if mode is RunMode.TRAIN:
            self.optimizer = AdamW(OptimizationConfig(learning_rate=0.05, num_train_steps=30, warmup_steps=2))

    def forward(self, features):
        x = nn.functional.dropout(features["x"], 0.3, training=self.training)
        return {"logits": self.layer(x)}

    def loss(self, predictions, label):
        return nn.functional.cross_entropy(predictions["logits"], label["y"])

    def metrics(self, predictions, label):
        def accuracy(logits, y):
            return {"acc": float(np.mean(logits.argmax(1) == y.ravel()))}

        return {"acc": Collected([predictions["logits"], label["y"]], accuracy)}


class Position:
    def __init__(self, epoch, rows):
        self.epoch, self.rows = epoch, rows

    def to_dict(self):
        return {"epoch": self.epoch, "rows": self.rows}


class Batches:
    """A deterministic reader: ROWS rows an epoch, in batches of ``size``."""

    def __init__(self, size=6, epochs=3, spoil=None):
        random = np.random.RandomState(0)
        self.x = random.randn(ROWS, 4).astype("float32")
        self.y = (self.x[:, :1] > 0).astype("int64")
        self.size, self.epochs, self.spoil = size, epochs, spoil

    def open(self, position=None):
        return contextlib.nullcontext(Queue(self._batches(position)))

    def _batches(self, position):
        start = Position(**position) if position else Position(0, 0)
        for epoch in range(start.epoch, self.epochs):
            order = np.random.RandomState(epoch).permutation(ROWS)
            for row in range(start.rows if epoch == start.epoch else 0, ROWS, self.size):
                rows = order[row : row + self.size]
                batch = {"x": self.x[rows].copy(), "y": self.y[rows]}
                if (epoch, row) == self.spoil:
                    batch["x"][:] = np.nan
                yield batch, Position(epoch, min(row + self.size, ROWS))


class Queue:
    def __init__(self, iterator):
        self.iterator = iterator

    def __iter__(self):
        return self.iterator

    def queue_size(self):
        return 0


def train(folder, batches=None, hooks=(), evaluations=None, keep=3, **config):
    """One run into the folder; returns (state, name -> array, records of metrics.jsonl)."""
    batches = batches or Batches()
    config = {"log_steps": 2, "eval_steps": 3, "save_steps": 4, "best_by": "acc", "seed": 7, **config}
    learner = Learner(Toy, RunConfig(**config))
    if evaluations is None:
        evaluations = [Evaluation("dev", "dev.tsv", Batches(epochs=1).open)]
    with contextlib.closing(Saver(folder, write_variable, read_variable, keep)) as saver:
        journal = Journal(folder)
        state = learner.train(batches.open, ROWS, saver, evaluations, [journal, *hooks])
        arrays = learner.read(learner.parameter_shapes(RunMode.TRAIN))
        return state, arrays, records(folder)


def records(folder):
    lines = read_records(folder)
    return [{k: v for k, v in line.items() if k not in ("speed", "elapsed", "queue_size")} for line in lines]


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
