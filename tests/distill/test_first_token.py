"""The top layer for [CLS] alone: the same vectors as of all tokens, less work in the Program."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

import finetune
from distill.students.first_token import pooled_first
from ernie.checkpoint import read_params
from ernie.config import ErnieConfig
from ernie.modeling import ErnieEncoder
from tests.helpers.students import train_student
from tests.helpers.tiny import CONFIG
from tokenization import load_vocab


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("longest", [3, 9])
def test_the_vectors_are_those_of_all_tokens(layers, longest):
    """Rows of several lengths, with padding."""
    paddle.disable_static()
    with paddle.utils.unique_name.guard():
        paddle.seed(2)
        encoder = ErnieEncoder(ErnieConfig({**CONFIG, "num_hidden_layers": layers, "initializer_range": 0.3}))
    encoder.eval()
    random = np.random.RandomState(longest)
    ids = random.randint(5, CONFIG["vocab_size"], (5, longest))
    for number in range(5):
        ids[number, max(longest - number, 2) :] = 0
    mask = (ids > 0).astype("float32")
    places = {"src_ids": ids, "sent_ids": ids * 0, "pos_ids": np.tile(np.arange(longest), (5, 1)), "task_ids": ids % 3}
    features = {name: paddle.to_tensor(array.astype("int64")) for name, array in places.items()}
    features["input_mask"] = paddle.to_tensor(mask)
    whole = encoder.pool(encoder(features)).numpy()
    np.testing.assert_allclose(pooled_first(encoder, features).numpy(), whole, atol=2e-6)
    assert whole.std() > 0.01


def test_a_student_predicts_what_all_tokens_would(model, data, tmp_path):
    """Logits of a trained student, beside its weights in an eager encoder."""
    last = train_student(model / "ernie_config.json", model, data, tmp_path / "run", epoch=1, do_test="false",
                         tokenizer=None, learning_rate=1e-3, init_pretraining_params=model / "params")  # fmt: skip
    pieces = [["[CLS]", "the", "film", "was", "good", "[SEP]"], ["[CLS]", "dull", "[SEP]"]]
    found = finetune.load(last).logits(["the film was good", "dull"])
    arrays, vocab = read_params(last), load_vocab(model / "vocab.txt")
    paddle.disable_static()
    with paddle.utils.unique_name.guard():
        encoder = ErnieEncoder(ErnieConfig(CONFIG))
    encoder.eval()
    for parameter in encoder.parameters():
        parameter.set_value(paddle.to_tensor(arrays[parameter.name]))
    for row, logits in zip(pieces, found):
        ids = np.array([[vocab[piece] for piece in row]])
        places = {"src_ids": ids, "sent_ids": ids * 0, "pos_ids": np.arange(len(row))[None], "task_ids": ids * 0}
        features = {name: paddle.to_tensor(array.astype("int64")) for name, array in places.items()}
        features["input_mask"] = paddle.ones([1, len(row)])
        pooled = encoder.pool(encoder(features)).numpy()[0]
        np.testing.assert_allclose(logits, pooled @ arrays["_cls_out_w"] + arrays["_cls_out_b"], atol=1e-5)
