"""R-Drop and FGM, which run the network twice a batch, against numpy.

python -m pytest tests/finetune/test_two_passes.py
"""

import numpy as np
import paddle
import pytest

from ernie.config import ErnieConfig
from ernie.optimization import AdamW, OptimizationConfig
from finetune import task_class
from finetune.spec import ModelSpec, settings_of
from finetune.training.fgm import FGM
from finetune.training.rdrop import AGAIN, RDrop
from propeller.train import program
from propeller.train.model import Input, Model, RunMode
from tests.helpers.operators import load_or_skip
from tests.helpers.tiny import CONFIG

LENGTHS = (6, 4, 2)


@pytest.fixture(params=[False, True], ids=["padded", "packed"])
def packed(request):
    if request.param:
        load_or_skip()
    return request.param


def batch_of(task):
    random, shape = np.random.RandomState(3), (len(LENGTHS), max(LENGTHS))
    mask = (np.arange(shape[1]) < np.array(LENGTHS)[:, None]).astype("float32")
    batch = {"src_ids": random.randint(5, 20, shape), "sent_ids": np.zeros(shape, "int64")}
    batch.update(pos_ids=np.tile(np.arange(shape[1]), (shape[0], 1)), task_ids=np.zeros(shape, "int64"))
    batch["input_mask"] = mask
    column = np.array([[1], [0], [1]])
    more = {
        "classify": {"labels": column},
        "regression": {"labels": column.astype("float32")},
        "mrc": {"start": column, "end": column, "unique_ids": column},
        "sequence_label": {"labels": random.randint(0, 3, shape), "seq_lens": np.array(LENGTHS).reshape([-1, 1])},
    }[task]
    return {**{name: value if name == "input_mask" else value.astype("int64") for name, value in batch.items()}, **more}


def spec_of(name):
    task, tags = task_class(name), {"B-A": 0, "I-A": 1, "O": 2}
    metric = {"is_regression": True, "metric": "pearson_and_spearman"} if name == "regression" else {}
    labels = {"regression": 1, "sequence_label": 3}.get(name, 2)
    return ModelSpec(
        task=name, settings=settings_of(task.flags, {}, metric), num_labels=labels,
        label_map=tags if name == "sequence_label" else None, metric=metric.get("metric", "simple_accuracy"),
    )  # fmt: skip


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def kl(one, other):
    p, q = softmax(one.astype("float64")), softmax(other.astype("float64"))
    return (((p - q) * (np.log(np.maximum(p, 1e-300)) - np.log(np.maximum(q, 1e-300)))).sum(-1)) / 2


def apart(name, one, other):
    """The divergence of two passes by numpy."""
    if name == "regression":
        return ((one["logits"] - other["logits"]) ** 2).mean()
    if name == "mrc":
        return np.mean([kl(one[key], other[key]).mean() for key in ("start_logits", "end_logits")])
    found = kl(one["logits"], other["logits"])
    if name == "classify":
        return found.mean()
    return (found * (np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None])).mean()


@pytest.mark.parametrize("name", ["classify", "regression", "sequence_label", "mrc"])
def test_r_drop(name, packed):
    """The loss of what both passes gave; the masks of the passes differ."""
    paddle.enable_static()
    spec, batch, losses = spec_of(name), batch_of(name), []
    place, scope = paddle.CPUPlace(), paddle.static.Scope()
    executor = paddle.static.Executor(place)
    with program._program() as (main, startup):
        task = task_class(name)(ErnieConfig(CONFIG), spec, RunMode.TRAIN, None)
        task.encoder.packed = packed
        model = RDrop(task, alpha=3.0)
        model.train()
        inputs = [entry for entry in model.inputs if entry.name in batch]
        values = program._declare(inputs)
        label = {entry.name: values[entry.name] for entry in inputs if entry.label}
        predictions = model({name: value for name, value in values.items() if name not in label})
        names = list(predictions)
        for pick in ("", AGAIN):
            part = {key: predictions[key + pick] for key in names if not key.endswith(AGAIN)}
            losses.append(task.loss(part, label))
        fetches = [model.loss(predictions, label), *losses, *predictions.values()]
    executor.run(startup, scope=scope)
    paddle.seed(3)
    loss, first, second, *found = executor.run(main, feed=batch, fetch_list=fetches, scope=scope)
    found = dict(zip(names, found))
    one = {key: found[key] for key in names if not key.endswith(AGAIN)}
    other = {key: found[key + AGAIN] for key in one}
    distance = apart(name, one, other)
    assert distance > 0
    assert float(loss) == pytest.approx((float(first) + float(second)) / 2 + 3.0 * distance, rel=1e-3)
    assert model.loss_weight(batch) == task.loss_weight(batch)


class Words(Model):
    """The sum of an example's word vectors, and a linear layer: small enough to derive by hand."""

    inputs = (
        Input("src_ids", [None, None], "int64"),
        Input("input_mask", [None, None], "float32"),
        Input("labels", [None, 1], "int64", label=True),
    )

    def __init__(self, epsilon):
        super().__init__()
        self.encoder = _Sum()
        random = np.random.RandomState(4)
        weight = paddle.ParamAttr(name="out_w", initializer=paddle.nn.initializer.Assign(random.randn(3, 2)))
        self.out = paddle.nn.Linear(3, 2, weight_attr=weight, bias_attr=False)
        self.optimizer = AdamW(OptimizationConfig(0.1, 9))
        self.adversary = FGM(self.encoder, epsilon)

    def forward(self, features):
        return {"logits": self.out(self.encoder(features))}

    def loss(self, predictions, label):
        return paddle.nn.functional.cross_entropy(predictions["logits"], label["labels"])


class _Sum(paddle.nn.Layer):
    skips_padding = False

    def __init__(self):
        super().__init__()
        random = np.random.RandomState(5)
        attr = paddle.ParamAttr(name="word_embedding", initializer=paddle.nn.initializer.Assign(random.randn(7, 3)))
        self.embeddings = paddle.nn.Layer()
        self.embeddings.tables = paddle.nn.LayerDict({"src_ids": paddle.nn.Embedding(7, 3, weight_attr=attr)})

    def forward(self, features):
        ids = features["src_ids"]
        rows = self.embeddings.tables["src_ids"](ids.flatten())
        return rows.reshape([*paddle.shape(ids), 3]).sum(axis=1)


def fgm_by_hand(table, weight, ids, labels, epsilon):
    """The gradients of both passes, added up."""
    onehot = np.eye(2)[labels.ravel()]

    def gradients(words):
        total = words.sum(1)  # [batch, 3]
        slope = (softmax(total @ weight) - onehot) / len(ids)
        return total.T @ slope, np.repeat((slope @ weight.T)[:, None], ids.shape[1], 1)  # of the weight, of the words

    words = table[ids]
    first, slopes = gradients(words)
    step = epsilon * slopes / np.sqrt((slopes**2).sum((1, 2), keepdims=True))
    second, moved = gradients(words + step)
    of_table = np.zeros_like(table)
    np.add.at(of_table, ids, slopes + moved)
    return {"out_w": first + second, "word_embedding": of_table}


def sums_of(graph, batch, seed=1, arrays=None):
    """name -> the gradients that an accumulating train Program adds up for a batch."""
    place, scope = paddle.CPUPlace(), paddle.static.Scope()
    executor = paddle.static.Executor(place)
    program.write(scope, place, arrays or {})
    program.initialise(executor, scope, graph.gradient.startup, place, seed)
    executor.run(graph.gradient.main, feed={**batch, "examples": np.ones(1, "float32")}, fetch_list=[], scope=scope)
    names = program.parameters(graph.gradient.main)
    found = {name: program.read(scope, name + program.GRADIENT_SUM) for name in names
             if program.has(scope, name + program.GRADIENT_SUM)}  # fmt: skip
    return found, {name: program.read(scope, name) for name in names}


@pytest.mark.parametrize("epsilon", [0.5, 4.0])
def test_fgm(epsilon):
    paddle.enable_static()
    graph = program.build_train(lambda mode: Words(epsilon), accumulate=True)
    ids, labels = np.array([[1, 2, 2], [3, 1, 6], [5, 0, 4]]), np.array([[0], [1], [1]])
    found, weights = sums_of(graph, {"src_ids": ids, "input_mask": np.ones((3, 3), "float32"), "labels": labels})
    expected = fgm_by_hand(weights["word_embedding"].astype("float64"), weights["out_w"], ids, labels, epsilon)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-6, err_msg=name)


def test_fgm_without_padding_is_fgm_with_it():
    """Without dropout the gradients agree, and each is another than without FGM."""
    load_or_skip()
    paddle.enable_static()
    config = ErnieConfig({**CONFIG, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})
    spec, batch, found, arrays = spec_of("classify").replace(dropout=0.0), batch_of("classify"), {}, None
    for packed, epsilon in ((False, 0.0), (False, 0.7), (True, 0.7)):

        def make(mode, packed=packed, epsilon=epsilon):
            model = task_class("classify")(config, spec, mode, AdamW(OptimizationConfig(0.1, 9)))
            model.encoder.packed = packed
            model.adversary = FGM(model.encoder, epsilon) if epsilon else None
            return model

        found[packed, epsilon], arrays = sums_of(program.build_train(make, accumulate=True), batch, arrays=arrays)
    without, padded, packed = found.values()
    assert padded.keys() == packed.keys() == without.keys()
    for name in padded:
        np.testing.assert_allclose(packed[name], padded[name], rtol=1e-3, atol=2e-6, err_msg=name)
    name = "_cls_out_w"
    assert np.abs(padded[name] - 2 * without[name]).max() > 1e-4, "the second pass is another than the first"
