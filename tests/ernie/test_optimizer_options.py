"""Schedules, Adam's settings, clipping and layer-wise rates, against numpy; frozen layers.

python -m pytest tests/ernie/test_optimizer_options.py
"""

import numpy as np
import paddle
import pytest

from ernie.config import ErnieConfig
from ernie.depth import depth_of, freeze, rate_factor
from ernie.optimization import AdamW, OptimizationConfig, decays, learning_rate_at
from finetune.classification.classifier import Classifier
from finetune.spec import ModelSpec
from propeller.train import program
from tests.helpers.operators import load_or_skip
from tests.helpers.tiny import CONFIG

NAMES = ("word_embedding", "encoder_layer_0_ffn_fc_0.w_0", "encoder_layer_1_ffn_fc_0.b_0", "_cls_out_w")
FACTORS = (0.5**3, 0.5**2, 0.5, 1.0)  # with a decay of 0.5 over two layers


@pytest.fixture(params=[False, True], ids=["paddle's", "fused"])
def fused(request):
    if request.param:
        load_or_skip()
    return request.param


def shape_of(name, done):
    """The part of the peak that is left, by numpy."""
    end = 0.1
    if name == "cosine":
        return end + (1 - end) * (1 + np.cos(np.pi * done)) / 2
    return np.ones_like(done) if name == "constant" else end + (1 - end) * (1 - done) ** 2


@pytest.mark.parametrize("name", ["cosine", "polynomial", "constant"])
@pytest.mark.parametrize("warmup", [0, 4])
def test_schedules(name, warmup):
    config = OptimizationConfig(2.0, 20, warmup, scheduler=name, end_rate=0.2, power=2.0)
    rates = [learning_rate_at(config, step) for step in range(25)]
    assert all(rate.dtype == np.float32 for rate in rates)
    np.testing.assert_allclose(rates[:warmup], 2.0 * np.arange(warmup) / 4, rtol=1e-6)
    done = np.minimum(np.arange(25 - warmup) / (20 - warmup), 1.0)
    np.testing.assert_allclose(rates[warmup:], 2.0 * shape_of(name, done), rtol=1e-6)


def test_depths_and_factors():
    assert [depth_of(name, 2) for name in NAMES] == [0, 1, 2, 3]
    assert [rate_factor(name, 0.5, 2) for name in NAMES] == list(FACTORS)
    depths = {"pre_encoder_layer_norm_scale": 0, "task_embedding": 0, "pooled_fc.w_0": 13, "encoder_layer_11_x": 12}
    assert {name: depth_of(name, 12) for name in depths} == depths
    assert {rate_factor(name, 1.0, 2) for name in NAMES} == {1.0}


def updated(settings, gradients, steps, fused):
    """name -> weights after so many updates with the same gradients, all weights 0.5 at first."""
    paddle.enable_static()
    place, scope = paddle.CPUPlace(), paddle.static.Scope()
    executor = paddle.static.Executor(place)
    optimizer = AdamW(OptimizationConfig(0.1, 10, scheduler="constant", **settings), fused)
    with program._program() as (main, startup):
        half, terms = paddle.nn.initializer.Constant(0.5), []
        for name, gradient in gradients.items():
            attr = paddle.ParamAttr(name=name, initializer=half)
            weight = paddle.static.create_parameter([len(gradient)], "float32", attr=attr)
            terms.append((weight * paddle.assign(gradient)).sum())
        optimizer.apply(paddle.static.append_backward(sum(terms)))
    executor.run(startup, scope=scope)
    for step in range(steps):
        executor.run(main, feed=optimizer.feed(step), fetch_list=[], scope=scope)
    return {name: program.read(scope, name) for name in gradients}


def by_hand(gradients, steps, beta1, beta2, epsilon, clip_norm, layer_decay, weight_decay):
    norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients.values()))
    scale = min(1.0, clip_norm / norm) if clip_norm else 1.0
    weights = {name: np.full(len(gradient), 0.5) for name, gradient in gradients.items()}
    for name, gradient in gradients.items():
        rate, m, v = 0.1 * dict(zip(NAMES, FACTORS))[name] if layer_decay != 1.0 else 0.1, 0.0, 0.0
        for t in range(1, steps + 1):
            m = beta1 * m + (1 - beta1) * gradient * scale
            v = beta2 * v + (1 - beta2) * (gradient * scale) ** 2
            kept = 1 - rate * (weight_decay if decays(name) else 0.0)
            step = rate * np.sqrt(1 - beta2**t) / (1 - beta1**t) * m / (np.sqrt(v) + epsilon)
            weights[name] = weights[name] * kept - step
    return weights


@pytest.mark.parametrize("clip_norm", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_the_update(clip_norm, layer_decay, fused):
    random = np.random.RandomState(0)
    gradients = {name: random.randn(3).astype("float32") for name in NAMES}
    given = {"beta1": 0.8, "beta2": 0.95, "epsilon": 0.3, "clip_norm": clip_norm, "weight_decay": 0.2}
    found = updated({**given, "layer_decay": layer_decay, "layers": 2}, gradients, 3, fused)
    expected = by_hand(gradients, 3, layer_decay=layer_decay, **given)
    for name in NAMES:
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-5, err_msg=name)


GRADIENTS = ("pd_op.matmul_grad", "pd_op.layer_norm_grad", "pd_op.embedding_grad", "ernie_encoder_layer_grad")


def train_graph(packed, **frozen):
    paddle.enable_static()

    def make(mode):
        model = Classifier(
            ErnieConfig(CONFIG), ModelSpec(num_labels=2), mode, AdamW(OptimizationConfig(0.1, 9), packed)
        )
        model.encoder.packed = packed
        freeze(model.encoder, **frozen)
        return model

    return program.build_train(make, accumulate=True)


def named(graph, suffix):
    return {name.partition(suffix)[0] for name in program.persistables(graph.main) if suffix in name}


def work(graph):
    """How many operators of each kind compute gradients."""
    names = [op.name() for op in graph.main.global_block().ops]
    return [sum(kind in name for name in names) for kind in GRADIENTS]


@pytest.mark.parametrize("frozen", [{"layers": 1}, {"embeddings": True}, {"layers": 2}], ids=["1", "embeddings", "2"])
def test_what_is_frozen_has_no_gradient_work_and_no_moments(fused, frozen):
    whole, graphs = train_graph(fused), train_graph(fused, **frozen)
    every = set(program.parameters(whole.gradient.main))
    assert set(program.parameters(graphs.gradient.main)) == every, "a checkpoint has all of them"
    learnt = {name for name in every if depth_of(name, 2) > frozen.get("layers", 0)}
    assert 0 < len(learnt) < len(every)
    for suffix, part in (("_moment1_0", graphs.update), ("@GRADIENT_SUM", graphs.gradient)):
        assert named(part, suffix) == learnt
    was, now = work(whole.gradient), work(graphs.gradient)
    assert was[2] == 4
    assert now[2] == 0, "no gradient of a table"
    layers = frozen.get("layers", 0)
    if fused:
        assert (was[3], now[3]) == (2, 2 - layers)
    else:  # each layer has six products and two layer norms; one more norm is that of the embeddings
        assert was[0] - now[0] >= 6 * layers
        assert was[1] - now[1] == 2 * layers + 1
