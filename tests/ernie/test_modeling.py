"""The network against what the 2019 code computed, statically and eagerly."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from ernie.checkpoint import read_params
from ernie.config import ErnieConfig
from ernie.convert import to_params
from ernie.foreign import encoder_shapes
from ernie.layers import Linear
from ernie.modeling import ErnieEncoder, ErnieModel, MaskedLMHead, SentencePairHead
from propeller.errors import UserError
from propeller.train import program
from tests.helpers.common import FIXTURES, GOLDEN
from tests.helpers.modeling import CASES, batch_of
from tests.helpers.tiny import CONFIG

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


@pytest.mark.parametrize("deviation", [0.02, 3.0])
def test_weights_are_drawn_within_two_deviations(deviation):
    paddle.enable_static()
    config = ErnieConfig({**CONFIG, "initializer_range": deviation})
    place, scope = paddle.CPUPlace(), paddle.static.Scope()
    with program._program() as (_, startup):
        Linear(config, 400, 500, "drawn")
    program.initialise(paddle.static.Executor(place), scope, startup, place, 1)
    drawn = np.array(scope.find_var("drawn.w_0").get_tensor()) / deviation
    assert 1.9 < np.abs(drawn).max() < 2.00001
    assert abs(drawn.std() - 0.8796) < 0.01, "of a standard normal distribution cut at 2"


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


def built_as_2019(config, values, **options):
    """``ErnieModel`` over inputs by name, arrays [batch, seq] or [batch, seq, 1]."""
    names = {"position_ids": "pos_ids", "sentence_ids": "sent_ids"}
    named = {name: values[names.get(name, name)] for name in ("src_ids", *names, "task_ids", "input_mask")}
    return ErnieModel(**named, config=config, **options)


@pytest.mark.parametrize("sharing", [True, False], ids=["tied", "untied"])
def test_the_losses_of_the_2019_class(sharing):
    """Masked words, a task of one's own name, and ERNIE 1.0's two together; inputs [batch, seq, 1] as in 2019."""
    config, params, io = load("v1_relu")
    arrays = {name: array[..., None] for name, array in batch_of(io, "b0").items()}
    arrays |= {name: io[f"b0/{name}"].reshape(-1, 1) for name in ("mask_pos", "mask_label")}
    arrays["labels"] = io["b0/next_sent_label"]

    def make(values, layers, ready):
        model = built_as_2019(config, values, weight_sharing=sharing, use_fp16=False)
        model.encoder.eval()
        masked = values["mask_label"], values["mask_pos"]
        loss, accuracy = model.get_task_output({"task_name": "next_sent", "num_labels": 2}, values["labels"])
        return {"mask_lm_loss": model.get_lm_output(*masked), "task_loss": loss, "task_acc": accuracy}

    def make_v1(values, layers, ready):
        model = built_as_2019(config, values, weight_sharing=sharing)
        accuracy, lm_loss, total = model.get_pretraining_output(
            values["mask_label"], values["mask_pos"], values["labels"]
        )
        return {"next_sent_acc": accuracy, "mask_lm_loss": lm_loss, "total_loss": total}

    paddle.enable_static()
    config = ErnieConfig({**config.to_dict(), "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})
    for made, key in ((make, "ernie"), (make_v1, "ernie_v1")):
        outputs = run(True, made, arrays, params)
        for name, found in outputs.items():
            np.testing.assert_allclose(found, io[f"b0/{key}_ws{int(sharing)}/{name}"].squeeze(), atol=TOLERANCE)


def test_a_task_of_the_2019_class():
    """Loss and accuracy are those of the task's own layer over the pooled vector; a last axis of 1 is left out."""
    paddle.disable_static()
    paddle.seed(3)
    config = ErnieConfig({**CONFIG, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})
    ids = np.array([[1, 5, 9, 2], [1, 7, 2, 0], [1, 8, 12, 2]])
    arrays = {"src_ids": ids, "pos_ids": np.tile(np.arange(4), (3, 1)), "sent_ids": 0 * ids, "task_ids": 0 * ids + 1,
              "input_mask": (ids > 0).astype("float32")}  # fmt: skip
    labels = paddle.to_tensor([[2], [0], [2]])
    with paddle.utils.unique_name.guard():
        model = built_as_2019(config, {name: paddle.to_tensor(array[..., None]) for name, array in arrays.items()})
    states = model.encoder({name: paddle.to_tensor(array) for name, array in arrays.items()})
    np.testing.assert_allclose(model.get_sequence_output().numpy(), states.numpy(), atol=1e-6)
    paddle.seed(11)
    loss, accuracy = model.get_task_output({"task_name": "topic", "num_labels": 3}, labels)
    paddle.seed(11)
    with paddle.utils.unique_name.guard():  # the name is taken already
        head = SentencePairHead(config, "topic", 3)
    assert {parameter.name for parameter in head.parameters()} == {"topic_fc.w_0", "topic_fc.b_0"}
    logits = head(model.get_pooled_output()).numpy()
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert float(loss) == pytest.approx(-np.log(chances[range(3), [2, 0, 2]]).mean(), abs=1e-5)
    assert float(accuracy) == pytest.approx((logits.argmax(axis=1) == [2, 0, 2]).mean())


def test_fp16_of_the_2019_class_is_refused_on_a_cpu():
    paddle.disable_static()
    paddle.set_device("cpu")
    ids = paddle.to_tensor([[1, 2]])
    with pytest.raises(UserError, match="use_fp16=True needs a GPU"):
        ErnieModel(ids, ids, ids, ids, paddle.ones([1, 2]), ErnieConfig(CONFIG), use_fp16=True)


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
