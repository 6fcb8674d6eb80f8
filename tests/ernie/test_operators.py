"""The operators in C++ against Paddle's own: values, gradients, masks, the update, and where they cannot be had.

python -m pytest tests/ernie/test_operators.py
"""

import logging
import os
import shutil
import subprocess
import sys

import numpy as np
import paddle
import pytest

from ernie import operators, packed
from ernie.checkpoint import read_params
from ernie.config import ErnieConfig
from ernie.modeling import EncoderLayer, ErnieEncoder, attention_bias
from ernie.operators import build
from propeller.errors import UserError
from tests.helpers.common import GOLDEN, ROOT
from tests.helpers.modeling import CASES, batch_of
from tests.helpers.tiny import CONFIG


def unavailable():
    try:
        operators.load()
    except operators.Unavailable as error:
        return str(error)
    return ""


pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "they are here")

ROWS = {"of many lengths": [5, 17, 1, 33, 140, 2], "of one": [7], "alike": [8, 8, 8, 8]}


def network(**changes):
    return ErnieConfig({**CONFIG, "initializer_range": 0.1, **changes})


def layer_of(config):
    paddle.seed(1)
    with paddle.utils.unique_name.guard():  # parameters have fixed names, and tests make several layers
        layer = EncoderLayer(config, "encoder_layer_0")
    for parameter in layer.parameters():
        if "norm" in parameter.name or "b_0" in parameter.name:
            parameter.set_value(parameter + 0.1 * paddle.randn(parameter.shape))
    return layer


def rows_of(lengths, hidden, seed=0):
    """Random vectors of the tokens, and their places in a padded batch."""
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype("float32")
    return np.random.RandomState(seed).randn(sum(lengths), hidden).astype("float32"), mask


def starts_of(lengths):
    return paddle.to_tensor(np.concatenate([[0], np.cumsum(lengths)]))


def fused(layer, config, lengths, x, slope=None, seed=5, number=0):
    """The layer over x [tokens, hidden]: (values, gradient of x, gradients of the weights)."""
    weights = packed.weights_of(layer)
    for weight in weights:
        weight.clear_grad()
    given = paddle.to_tensor(x, stop_gradient=False)
    y = operators.encoder_layer(
        given, starts_of(lengths), paddle.to_tensor(np.array([seed])), weights, number, config.num_attention_heads,
        config.hidden_act, config.attention_probs_dropout_prob, config.hidden_dropout_prob, config.layer_norm_eps,
    )  # fmt: skip
    if slope is None:
        return y.numpy()
    y.backward(paddle.to_tensor(slope))
    return y.numpy(), given.grad.numpy(), [weight.grad.numpy() for weight in weights]


def plain(layer, config, lengths, x, slope):
    mask = rows_of(lengths, 1)[1]
    places = np.flatnonzero(mask)
    weights = packed.weights_of(layer)
    for weight in weights:
        weight.clear_grad()

    def padded(array):
        whole = np.zeros((mask.size, config.hidden_size), "float32")
        whole[places] = array
        return paddle.to_tensor(whole)

    given = padded(x)
    given.stop_gradient = False
    y = layer(given, mask.shape, attention_bias(paddle.to_tensor(mask)))
    y.backward(padded(slope))
    return y.numpy()[places], given.grad.numpy()[places], [weight.grad.numpy() for weight in weights]


@pytest.mark.parametrize("activation", operators.ACTIVATIONS)
@pytest.mark.parametrize("lengths", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("shape", [(32, 4), (48, 1), (20, 5)], ids=["32x4", "48x1", "20x5"])
def test_a_layer_equals_the_plain_one_in_values_and_gradients(shape, lengths, activation):
    config = network(hidden_size=shape[0], num_attention_heads=shape[1], hidden_act=activation,
                     hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)  # fmt: skip
    layer = layer_of(config)
    x, _ = rows_of(lengths, config.hidden_size)
    slope, _ = rows_of(lengths, config.hidden_size, seed=1)
    mine, theirs = fused(layer, config, lengths, x, slope), plain(layer, config, lengths, x, slope)
    np.testing.assert_allclose(mine[0], theirs[0], atol=2e-5)
    np.testing.assert_allclose(mine[1], theirs[1], atol=5e-5)
    names = [parameter.name for parameter in packed.weights_of(layer)]
    for name, one, other in zip(names, mine[2], theirs[2]):
        np.testing.assert_allclose(one, other, atol=2e-5 * max(1.0, np.abs(other).max()), err_msg=name)


DROPPING = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.2}


def test_the_gradient_belongs_to_the_masks_that_were_drawn():
    """Along a direction, the slope is that of the values with the same seed; float32 allows some per mille."""
    config, lengths = network(**DROPPING), [9, 4, 13]
    layer = layer_of(config)
    x, _ = rows_of(lengths, config.hidden_size)
    slope, _ = rows_of(lengths, config.hidden_size, seed=1)
    way, _ = rows_of(lengths, config.hidden_size, seed=2)
    _, gradient, weights = fused(layer, config, lengths, x, slope)

    def value(x):
        return float((fused(layer, config, lengths, x).astype("float64") * slope).sum())

    step = 1e-3
    measured = (value(x + step * way) - value(x - step * way)) / (2 * step)
    assert measured == pytest.approx(float((gradient * way).sum()), rel=5e-3)
    for weight, found in zip(packed.weights_of(layer), weights):
        before = weight.numpy()
        way = np.random.RandomState(3).randn(*before.shape).astype("float32")
        ends = []
        for sign in (1, -1):
            weight.set_value(before + sign * step * way)
            ends.append(value(x))
        weight.set_value(before)
        size = max(abs(float((found * way).sum())), 0.1 * float(np.abs(found * way).sum()))
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float((found * way).sum()), abs=2e-2 * size + 0.05), (
            weight.name
        )


def test_masks_depend_on_seed_and_layer_and_on_nothing_else():
    config, lengths = network(**DROPPING), [9, 4, 13]
    layer = layer_of(config)
    x, _ = rows_of(lengths, config.hidden_size)
    one = fused(layer, config, lengths, x)
    np.testing.assert_array_equal(one, fused(layer, config, lengths, x))
    assert np.abs(one - fused(layer, config, lengths, x, seed=6)).max() > 0.1
    assert np.abs(one - fused(layer, config, lengths, x, number=1)).max() > 0.1


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_so_many_elements_are_dropped_and_the_others_grow(rate):
    """With a query that sees every key alike and values of 1, what attention gives is the sum of the masks."""
    config = network(hidden_dropout_prob=0.0, attention_probs_dropout_prob=rate)
    layer, length = layer_of(config), 400
    values = {"query": 0, "value": 0}
    for name in values:
        getattr(layer.attention, name).weight.set_value(paddle.zeros_like(getattr(layer.attention, name).weight))
        getattr(layer.attention, name).bias.set_value(
            paddle.full_like(getattr(layer.attention, name).bias, name == "value")
        )
    given = paddle.to_tensor(np.zeros((length, config.hidden_size), "float32"))
    outputs = paddle._C_ops._run_custom_op(
        "ernie_encoder_layer", given, starts_of([length]), paddle.to_tensor(np.array([3])), *packed.weights_of(layer),
        0, config.num_attention_heads, 0, rate, 0.0, config.layer_norm_eps,
    )  # fmt: skip
    context = outputs[2].numpy()[:, :: config.hidden_size // config.num_attention_heads]  # [tokens, heads]
    kept = context * length * (1 - rate)  # how many weights of each query were kept
    assert np.abs(kept - np.round(kept)).max() < 0.01
    share = kept.sum() / (length * length * config.num_attention_heads)
    assert share == pytest.approx(1 - rate, abs=4 * (rate * (1 - rate) / kept.size / length) ** 0.5)
    assert len({tuple(column) for column in np.round(kept).astype(int).T}) == config.num_attention_heads


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("batch", ["b0", "b1", "b2_nopad", "b3_len2"])
def test_an_encoder_without_padding_equals_2019(case, batch):
    folder = GOLDEN / "3_model" / case
    stored, weights = np.load(folder / "io.npz"), read_params(str(folder / "params"))
    config = ErnieConfig(str(folder / "ernie_config.json"))
    config._values.update(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    arrays = batch_of(stored, batch)
    with paddle.utils.unique_name.guard():
        encoder = ErnieEncoder(config)
    for parameter in encoder.parameters():
        parameter.set_value(weights[parameter.name])
    encoder.train()
    encoder.packed = True
    states = encoder({name: paddle.to_tensor(array) for name, array in arrays.items()})
    real = arrays["input_mask"] > 0
    np.testing.assert_allclose(states.numpy()[real], stored[f"{batch}/enc_out"][real], atol=1e-5, rtol=0)
    assert (states.numpy()[~real] == 0).all()
    encoder.eval()
    assert (encoder({name: paddle.to_tensor(array) for name, array in arrays.items()}).numpy()[~real] != 0).all()


def test_threads_share_the_work_and_change_masks_by_nothing(tmp_path):
    """With one to three the same masks and, to rounding, sums over tokens; with one number of them the same bits."""
    found = {}
    for name, threads in (("one", 1), ("two", 2), ("again", 2), ("three", 3), ("limited", 2)):
        path = tmp_path / f"{name}.npz"
        code = (
            "import numpy as np; from tests.ernie import test_operators as t\n"
            "config, lengths = t.network(**t.DROPPING), [9, 4, 13, 40, 2, 2, 30]\n"
            "layer = t.layer_of(config)\n"
            "x, slope = (t.rows_of(lengths, config.hidden_size, seed)[0] for seed in (0, 1))\n"
            "y, gradient, weights = t.fused(layer, config, lengths, x, slope)\n"
            f"np.savez({str(path)!r}, y, gradient, *weights)\n"
        )
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        if name == "limited":
            environment["OMP_THREAD_LIMIT"] = "1"  # two are asked for, and one is given
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, capture_output=True)
        found[name] = dict(np.load(path))
    for name, array in found["two"].items():
        np.testing.assert_array_equal(array, found["again"][name])
        for other in ("one", "three", "limited"):
            np.testing.assert_allclose(array, found[other][name], atol=1e-5 * max(1, np.abs(array).max()))


@pytest.mark.parametrize("lengths", [[0], [0, 3], [3, 0, 2], [0, 0]], ids=str)
def test_rows_without_a_token_have_states_of_0_and_no_gradient(lengths):
    """As the batch of a process that has none in this step."""
    with paddle.utils.unique_name.guard():
        encoder = ErnieEncoder(network())
    encoder.train()
    encoder.packed = True
    shape = [len(lengths), max(*lengths, 1)]
    mask = (np.arange(shape[1]) < np.array(lengths)[:, None]).astype("float32")
    ids = {name: paddle.zeros(shape, "int64") for name in encoder.embeddings.tables}
    states = encoder({**ids, "src_ids": paddle.zeros(shape, "int64"), "input_mask": paddle.to_tensor(mask)})
    assert (states.numpy()[mask == 0] == 0).all()
    states.sum().backward()
    for parameter in (parameter for layer in encoder.layers for parameter in packed.weights_of(layer)):
        gradient = parameter.grad.numpy()
        assert np.isfinite(gradient).all()
        assert (gradient == 0).all() or mask.any()


@pytest.mark.parametrize("by_rows", [True, False], ids=["by rows", "by columns"])
@pytest.mark.parametrize("tokens", [0, 1, 37])
def test_scores_over_a_vocabulary_have_the_values_and_gradients_of_the_product(tokens, by_rows):
    draw = np.random.default_rng(1)
    hidden, words = 24, 101
    x, matrix = draw.standard_normal((tokens, hidden)), draw.standard_normal((words, hidden))
    bias, slope = draw.standard_normal(words), draw.standard_normal((tokens, words))
    given = [array.astype("float32") for array in (x, matrix if by_rows else matrix.T, bias)]
    tensors = [paddle.to_tensor(array, stop_gradient=False) for array in given]
    found = operators.scores(*tensors, by_rows=by_rows)
    (found * paddle.to_tensor(slope.astype("float32"))).sum().backward()
    d_matrix = slope.T @ x
    expected = [x @ matrix.T + bias, slope @ matrix, d_matrix if by_rows else d_matrix.T, slope.sum(0)]
    for array, wanted in zip([found, *(tensor.grad for tensor in tensors)], expected):
        assert array.shape == list(wanted.shape)
        np.testing.assert_allclose(array.numpy(), wanted, atol=1e-4, rtol=0)


NETWORK = network()
OBSTACLES = {
    "a GPU": ({"on_gpu": True}, "they are for CPUs"),
    "bf16": ({"half": True}, "float32"),
    "recomputation": ({"recompute": True}, "leave out --use_recompute"),
    "another activation": ({"config": network(hidden_act="tanh")}, "hidden_act 'tanh'"),
}
USUAL = {"config": NETWORK, "on_gpu": False, "half": False, "recompute": False}


@pytest.mark.parametrize(("changes", "reason"), OBSTACLES.values(), ids=OBSTACLES)
def test_where_they_cannot_be_had_auto_trains_with_paddles_and_true_is_an_error(changes, reason, caplog):
    caplog.set_level(logging.INFO)
    given = {**USUAL, **changes}
    assert not packed.wanted("auto", **given)
    assert ("training with Paddle's operators" in caplog.text and reason in caplog.text) or given["on_gpu"]
    with pytest.raises(UserError, match=reason):
        packed.wanted("true", **given)
    assert not packed.wanted("false", **given)


def test_where_they_can_be_had_auto_takes_them():
    assert packed.wanted("auto", **USUAL)
    assert packed.wanted("true", **USUAL)
    assert not packed.wanted("false", **USUAL)


def test_without_a_compiler_the_reason_is_told(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(operators.Unavailable, match="no C\\+\\+ compiler: install g\\+\\+, or set CXX"):
        build.library()


def test_a_compiler_that_fails_and_a_folder_that_cannot_be_written_are_told(monkeypatch, tmp_path):
    compiler = tmp_path / "compiler"
    compiler.write_text("#!/bin/sh\necho 'numbers.h:1: fatal error: out of ideas' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(operators.Unavailable, match="the compiler failed: numbers.h:1: fatal error: out of ideas"):
        build.library()
    assert not list((tmp_path / "cache").rglob("*.so"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(operators.Unavailable, match="Not a directory"):
        build.library()


@pytest.mark.slow
def test_processes_that_need_them_at_once_build_them_once(tmp_path):
    """By a compiler that counts; what is built works."""
    counted = tmp_path / "compiler"
    counted.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/calls\nexec {shutil.which("g++")} "$@"\n')
    counted.chmod(0o755)
    environment = {**os.environ, "CXX": str(counted), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    code = "from ernie import operators; operators.load(); print(operators._loaded)"
    command = [sys.executable, "-c", code]
    started = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    for process in started:
        assert "ernie_encoder_layer" in process.communicate(timeout=600)[0]
        assert process.returncode == 0
    calls = [line for line in (tmp_path / "calls").read_text().splitlines() if "--version" not in line]
    assert len(calls) == len(build.SOURCES) + 1
    (folder,) = (tmp_path / "cache" / "ernie-operators").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["lock", "operators.so"]


@pytest.mark.slow
def test_no_access_outside_and_no_undefined_behaviour(tmp_path):
    """What the operators are made of, run by itself under the compiler's sanitizers."""
    program = tmp_path / "check"
    command = ["g++", "-std=c++17", "-O1", "-g", "-fopenmp-simd", "-fsanitize=address,undefined",
               "-fno-sanitize-recover=all", "-I", str(ROOT / "ernie" / "operators"),
               str(ROOT / "tests" / "helpers" / "operators_check.cc"), "-o", str(program)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "cannot find -lasan" in done.stderr:
        pytest.skip("this compiler has no sanitizers")
    assert done.returncode == 0, done.stderr
    ran = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("good ")
