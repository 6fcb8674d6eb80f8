"""The network against what the 2019 code computed, statically and eagerly."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from ernie.checkpoint import read_params
from ernie.config import ErnieConfig
from ernie.convert import to_params
from ernie.foreign import encoder_shapes
from ernie.modeling import ENCODER_FEATURES, ErnieEncoder, ErnieModel, MaskedLMHead, SentencePairHead
from propeller.train import program
from tests.common import FIXTURES, GOLDEN, needs_shared

CASES = ("v1_relu", "v2_gelu")
BATCHES = ("b0", "b1", "b2_nopad", "b3_len2")
TOLERANCE = 1e-5


@pytest.fixture(params=[True, False], ids=["static", "eager"])
def static(request):
    if request.param:
        paddle.enable_static()
    else:
        paddle.disable_static()
    yield request.param
    paddle.enable_static()


def load(case):
    folder = GOLDEN / "3_model" / case
    return (
        ErnieConfig(str(folder / "ernie_config.json")),
        read_params(str(folder / "params")),
        np.load(folder / "io.npz"),
    )


def batch_of(io, batch):
    names = dict(zip(ENCODER_FEATURES, ("src_ids", "sent_ids", "pos_ids", "task_ids", "input_mask")))
    features = {name: io[f"{batch}/in_{key}"].squeeze(-1) for name, key in names.items() if f"{batch}/in_{key}" in io}
    features.setdefault("task_ids", np.zeros_like(features["src_ids"]))
    return features


def run(static, make, arrays, params):
    """Run ``make(values) -> dict of outputs`` over the arrays, with the given parameters."""
    if not static:
        layers = []
        with paddle.no_grad():
            outputs = make({k: paddle.to_tensor(v) for k, v in arrays.items()}, layers, load_eager(params))
        return {name: value.numpy() for name, value in outputs.items()}
    place, scope = paddle.CPUPlace(), paddle.static.Scope()
    with program._program() as (main, startup):
        values = {k: paddle.static.data(k, v.shape, str(v.dtype)) for k, v in arrays.items()}
        outputs = make(values, [], lambda layer: layer.eval())
    executor = paddle.static.Executor(place)
    program.write(scope, place, params)
    assert program.initialise(executor, scope, startup, place, 1) == [], "a parameter has a name of its own"
    fetched = executor.run(main, feed=arrays, fetch_list=list(outputs.values()), scope=scope)
    return dict(zip(outputs, fetched))


def load_eager(params):
    def load_into(layer):
        for parameter in layer.parameters():
            parameter.set_value(params[parameter.name])
        return layer.eval()

    return load_into


@needs_shared
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("batch", BATCHES)
def test_encoder_equals_2019(case, batch, static):
    config, params, io = load(case)
    arrays = batch_of(io, batch)

    def make(values, layers, ready):
        encoder = ready(ErnieEncoder(config))
        states = encoder(values)
        return {"enc_out": states, "pooled": encoder.pool(states)}

    wanted = {name: params[name] for name in params if not name.startswith(("mask_lm", "next_sent", "_cls", "cls_"))}
    outputs = run(static, make, arrays, wanted)
    real = arrays["input_mask"] > 0
    np.testing.assert_allclose(outputs["enc_out"][real], io[f"{batch}/enc_out"][real], atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(outputs["pooled"], io[f"{batch}/pooled"], atol=TOLERANCE, rtol=0)


@needs_shared
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("sharing", [True, False], ids=["tied", "untied"])
def test_pretraining_heads_equal_2019(case, sharing, static):
    config, params, io = load(case)
    key = f"b0/ernie_ws{int(sharing)}"
    arrays = {**batch_of(io, "b0"), "mask_pos": io["b0/mask_pos"].ravel(), "mask_label": io["b0/mask_label"].ravel()}

    def make(values, layers, ready):
        encoder = ready(ErnieEncoder(config))
        states = encoder(values)
        lm_logits = ready(MaskedLMHead(config, encoder, sharing))(states, values["mask_pos"])
        pair = ready(SentencePairHead(config))(encoder.pool(states))
        return {
            "lm_logits": lm_logits,
            "loss": F.cross_entropy(lm_logits, values["mask_label"]),
            "pair": F.softmax(pair),
        }

    outputs = run(static, make, arrays, params)
    np.testing.assert_allclose(outputs["lm_logits"], io[f"{key}/lm_logits"], atol=TOLERANCE, rtol=1e-5)
    np.testing.assert_allclose(outputs["loss"], io[f"{key}/mask_lm_loss"].squeeze(), atol=TOLERANCE, rtol=0)


@needs_shared
def test_the_2019_class_keeps_its_call():
    config, params, io = load("v2_gelu")
    arrays = batch_of(io, "b0")

    def make(values, layers, ready):
        model = ErnieModel(
            src_ids=values["src_ids"],
            position_ids=values["pos_ids"],
            sentence_ids=values["sent_ids"],
            task_ids=values["task_ids"],
            input_mask=values["input_mask"],
            config=config,
        )
        return {"states": model.get_sequence_output(), "pooled": model.get_pooled_output()}

    paddle.enable_static()
    wanted = {name: params[name] for name in params if not name.startswith(("mask_lm", "next_sent", "_cls", "cls_"))}
    outputs = run(True, make, arrays, wanted)
    assert outputs["states"].shape == (*arrays["src_ids"].shape, config.hidden_size)


@pytest.mark.parametrize("peer", ["bert", "ernie"])
def test_encoder_equals_transformers(peer, static, tmp_path):
    """Outputs that transformers computed for tiny random models, committed with their weights."""
    folder = FIXTURES / "peers" / peer
    to_params("hf", folder, tmp_path / peer)
    config = ErnieConfig(str(tmp_path / peer / "ernie_config.json"))
    params, io = read_params(tmp_path / peer / "params"), np.load(folder / "io.npz")
    ids = io["input_ids"]
    arrays = {
        "src_ids": ids,
        "sent_ids": io["token_type_ids"],
        "pos_ids": np.tile(np.arange(ids.shape[1]), (len(ids), 1)),
        "task_ids": io["task_type_ids"] if "task_type_ids" in io else np.zeros_like(ids),
        "input_mask": io["attention_mask"].astype("float32"),
    }

    def make(values, layers, ready):
        encoder = ready(ErnieEncoder(config))
        states = encoder(values)
        return {"states": states, "pooled": encoder.pool(states)}

    outputs = run(static, make, arrays, {name: params[name] for name in encoder_shapes(config)})
    real = arrays["input_mask"] > 0
    np.testing.assert_allclose(outputs["states"][real], io["last_hidden_state"][real], atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(outputs["pooled"], io["pooler_output"], atol=TOLERANCE, rtol=0)
