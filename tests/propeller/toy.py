"""A small model and data of 2019's form."""

import numpy as np
import paddle

import propeller.paddle as propeller
from propeller.paddle.train import Model

COLUMNS = 4


class Toy(Model):
    """Softmax regression with dropout; logits in EVAL, probabilities in PREDICT."""

    def __init__(self, config, mode, run_config):
        super().__init__(config, mode, run_config)
        self.layer = paddle.nn.Linear(COLUMNS, config.get("classes", 2))
        self.dropout = paddle.nn.Dropout(0.2)

    def forward(self, features):
        logits = self.layer(self.dropout(features[0]))
        propeller.summary.histogram("logits", logits)
        return paddle.nn.functional.softmax(logits) if self.mode is propeller.RunMode.PREDICT else logits

    def loss(self, predictions, label):
        loss = paddle.nn.functional.cross_entropy(predictions, label)
        propeller.summary.scalar("twice", loss * 2)
        return loss

    def backward(self, loss):
        decay = paddle.optimizer.lr.PolynomialDecay(self.config.get("lr", 0.1), 40, 0.0)
        return paddle.optimizer.AdamW(decay, weight_decay=0.01, grad_clip=paddle.nn.ClipGradByGlobalNorm(1.0))

    def metrics(self, predictions, label):
        return {"acc": propeller.metrics.Acc(label, predictions.argmax(axis=1))}


def rows(n=40, seed=0):
    random = np.random.RandomState(seed)
    x = random.randn(n, COLUMNS).astype("float32")
    return [(row, int(row[0] > row[1])) for row in x]


def dataset(name="train", n=40, seed=0, size=5):
    made = propeller.data.Dataset.from_list(rows(n, seed))
    made.name = name
    return made.shuffle(n, seed=3).padded_batch(size) if name == "train" else made.padded_batch(size)


def features(n=7):
    return propeller.data.Dataset.from_list([(row,) for row, _ in rows(n, 5)]).padded_batch(3)
