"""The models that PaddleNLP publishes: random weights with their names, shapes and settings, only narrower.

Names and settings are those of PaddleNLP's paddlenlp/transformers/ernie; width and number of layers are small.
"""

import json
import pickle

import numpy as np
import pytest
from safetensors.numpy import save_file

from ernie.checkpoint import read_params
from ernie.config import ErnieConfig
from ernie.convert import to_params
from ernie.facts import read_facts
from ernie.foreign_text import read_pickled_words
from propeller.errors import UserError
from tests.helpers.numpy_ernie import encode

HIDDEN, INNER, LAYERS = 12, 24, 2
# name -> vocabulary, positions, sentence types, task types, activation
MODELS = {
    "ernie-1.0-base-zh": (18000, 513, 2, 0, "relu"),
    "ernie-2.0-base-zh": (18000, 513, 4, 0, "relu"),
    "ernie-2.0-large-zh": (12800, 512, 4, 0, "relu"),
    "ernie-3.0-base-zh": (40000, 2048, 4, 3, "gelu"),
    "ernie-3.0-medium-zh": (40000, 2048, 4, 16, "gelu"),
    "ernie-tiny": (50006, 600, 2, 0, "relu"),
}
LAYER = {  # PaddleNLP's name -> ours, shape
    "self_attn.q_proj.weight": ("multi_head_att_query_fc.w_0", (HIDDEN, HIDDEN)),
    "self_attn.q_proj.bias": ("multi_head_att_query_fc.b_0", (HIDDEN,)),
    "self_attn.k_proj.weight": ("multi_head_att_key_fc.w_0", (HIDDEN, HIDDEN)),
    "self_attn.k_proj.bias": ("multi_head_att_key_fc.b_0", (HIDDEN,)),
    "self_attn.v_proj.weight": ("multi_head_att_value_fc.w_0", (HIDDEN, HIDDEN)),
    "self_attn.v_proj.bias": ("multi_head_att_value_fc.b_0", (HIDDEN,)),
    "self_attn.out_proj.weight": ("multi_head_att_output_fc.w_0", (HIDDEN, HIDDEN)),
    "self_attn.out_proj.bias": ("multi_head_att_output_fc.b_0", (HIDDEN,)),
    "linear1.weight": ("ffn_fc_0.w_0", (HIDDEN, INNER)),
    "linear1.bias": ("ffn_fc_0.b_0", (INNER,)),
    "linear2.weight": ("ffn_fc_1.w_0", (INNER, HIDDEN)),
    "linear2.bias": ("ffn_fc_1.b_0", (HIDDEN,)),
    "norm1.weight": ("post_att_layer_norm_scale", (HIDDEN,)),
    "norm1.bias": ("post_att_layer_norm_bias", (HIDDEN,)),
    "norm2.weight": ("post_ffn_layer_norm_scale", (HIDDEN,)),
    "norm2.bias": ("post_ffn_layer_norm_bias", (HIDDEN,)),
}


def names_of(model):
    """PaddleNLP's name -> (ours, shape)."""
    vocab, positions, types, tasks, _ = MODELS[model]
    names = {
        "embeddings.word_embeddings.weight": ("word_embedding", (vocab, HIDDEN)),
        "embeddings.position_embeddings.weight": ("pos_embedding", (positions, HIDDEN)),
        "embeddings.token_type_embeddings.weight": ("sent_embedding", (types, HIDDEN)),
        "embeddings.layer_norm.weight": ("pre_encoder_layer_norm_scale", (HIDDEN,)),
        "embeddings.layer_norm.bias": ("pre_encoder_layer_norm_bias", (HIDDEN,)),
        "pooler.dense.weight": ("pooled_fc.w_0", (HIDDEN, HIDDEN)),
        "pooler.dense.bias": ("pooled_fc.b_0", (HIDDEN,)),
    }
    if tasks:
        names["embeddings.task_type_embeddings.weight"] = ("task_embedding", (tasks, HIDDEN))
    for n in range(LAYERS):
        for theirs, (ours, shape) in LAYER.items():
            names[f"encoder.layers.{n}.{theirs}"] = (f"encoder_layer_{n}_{ours}", shape)
    return {f"ernie.{name}": value for name, value in names.items()}


def make(folder, model, file="model.safetensors", form="np", transposed=False, **settings):
    """A PaddleNLP directory with random weights; returns name -> array as params has them."""
    vocab, positions, types, tasks, activation = MODELS[model]
    random, tensors, wanted = np.random.RandomState(0), {}, {}
    for theirs, (ours, shape) in names_of(model).items():
        wanted[ours] = (random.standard_normal(shape) * 0.1).astype(np.float32)
        turn = transposed and len(shape) == 2 and not ours.endswith("embedding")
        tensors[theirs] = np.ascontiguousarray(wanted[ours].T if turn else wanted[ours])
    folder.mkdir()
    if file.endswith(".pdparams"):
        pickled = {name: (name.replace(".", "_"), array) for name, array in tensors.items()}
        (folder / file).write_bytes(pickle.dumps(pickled, 4))
    else:
        save_file(tensors, folder / file, metadata={"format": form} if form else None)
    config = {
        "architectures": ["ErnieModel"], "attention_probs_dropout_prob": 0.1, "enable_recompute": False, "fuse": False,
        "hidden_act": activation, "hidden_dropout_prob": 0.1, "hidden_size": HIDDEN, "initializer_range": 0.02,
        "intermediate_size": INNER, "layer_norm_eps": 1e-12, "max_position_embeddings": positions,
        "model_type": "ernie", "num_attention_heads": 2, "num_hidden_layers": LAYERS, "pad_token_id": 0,
        "paddlenlp_version": None, "pool_act": "tanh", "task_id": 0, "task_type_vocab_size": tasks or 3,
        "type_vocab_size": types, "use_task_id": bool(tasks), "vocab_size": vocab, **settings,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("".join(f"字{number}\n" for number in range(vocab)), encoding="utf8")
    return wanted


def assert_params(folder, wanted):
    found = read_params(folder / "params")
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("file", ["model.safetensors", "model_state.pdparams"])
@pytest.mark.parametrize("model", MODELS)
def test_a_published_model_is_converted(tmp_path, model, file):
    wanted = make(tmp_path / model, model, file)
    to_params("paddlenlp", tmp_path / model, tmp_path / "out")
    assert_params(tmp_path / "out", wanted)
    config = ErnieConfig(tmp_path / "out" / "ernie_config.json")
    vocab, positions, types, tasks, activation = MODELS[model]
    assert (config.vocab_size, config.max_position_embeddings, config.hidden_act) == (vocab, positions, activation)
    assert (config.sent_type_vocab_size, config.use_task_id) == (types, tasks > 0)
    assert not tasks or config.task_type_vocab_size == tasks
    assert config.layer_norm_eps == 1e-12  # PaddleNLP sets that on every layer norm


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("form", ["np", "pd", "paddle", "pt", None])
def test_the_feed_forward_layer_tells_how_linear_weights_lie(tmp_path, form, transposed):
    wanted = make(tmp_path / "m", "ernie-2.0-base-zh", form=form, transposed=transposed)
    to_params("paddlenlp", tmp_path / "m", tmp_path / "out")
    assert_params(tmp_path / "out", wanted)


@pytest.mark.parametrize(("form", "transposed"), [("np", False), ("pd", False), (None, False), ("pt", True)])
def test_where_it_cannot_tell_the_format_of_the_file_does(tmp_path, monkeypatch, form, transposed):
    monkeypatch.setitem(globals(), "INNER", HIDDEN)
    square = {name: (ours, tuple(min(size, HIDDEN) for size in shape)) for name, (ours, shape) in LAYER.items()}
    monkeypatch.setitem(globals(), "LAYER", square)
    wanted = make(tmp_path / "m", "ernie-2.0-base-zh", form=form, transposed=transposed)
    to_params("paddlenlp", tmp_path / "m", tmp_path / "out")
    assert_params(tmp_path / "out", wanted)


def test_weights_that_lie_both_ways_are_refused(tmp_path, monkeypatch):
    make(tmp_path / "m", "ernie-2.0-base-zh")
    from safetensors.numpy import load_file

    tensors = load_file(tmp_path / "m" / "model.safetensors")
    name = "ernie.encoder.layers.1.linear1.weight"
    tensors[name] = np.ascontiguousarray(tensors[name].T)
    (tmp_path / "m" / "model.safetensors").unlink()
    save_file(tensors, tmp_path / "m" / "model.safetensors")
    with pytest.raises(UserError, match=r"\[in, out\] and as \[out, in\] in one model"):
        to_params("paddlenlp", tmp_path / "m", tmp_path / "out")


def test_the_other_librarys_directory_is_named(tmp_path):
    make(tmp_path / "m", "ernie-2.0-base-zh")
    with pytest.raises(UserError, match="give --from paddlenlp"):
        to_params("hf", tmp_path / "m", tmp_path / "out")


def test_ernie_3_runs_beyond_512_positions_with_task_ids(tmp_path):
    """The network over 700 tokens of task 2 gives what plain numpy gives."""
    paddle = pytest.importorskip("paddle")
    from ernie.modeling import ErnieEncoder

    wanted = make(tmp_path / "m", "ernie-3.0-base-zh")
    to_params("paddlenlp", tmp_path / "m", tmp_path / "out")
    config = ErnieConfig(tmp_path / "out" / "ernie_config.json")
    ids = np.random.RandomState(1).randint(1, 40000, (1, 700))
    batch = {"input_ids": ids, "token_type_ids": np.zeros_like(ids), "task_type_ids": np.full_like(ids, 2),
             "attention_mask": np.ones_like(ids)}  # fmt: skip
    states, pooled, _ = encode(wanted, config, batch)
    encoder = ErnieEncoder(config)
    for parameter in encoder.parameters():
        parameter.set_value(read_params(tmp_path / "out" / "params", [parameter.name])[parameter.name])
    encoder.eval()
    features = {"src_ids": ids, "sent_ids": batch["token_type_ids"], "pos_ids": np.arange(700)[None],
                "task_ids": batch["task_type_ids"], "input_mask": np.ones(ids.shape, "float32")}  # fmt: skip
    found = encoder({name: paddle.to_tensor(array) for name, array in features.items()})
    np.testing.assert_allclose(found.numpy(), states, atol=1e-5)
    np.testing.assert_allclose(encoder.pool(found).numpy(), pooled, atol=1e-5)


# ---------------------------------------------------------------- ERNIE tiny's word dictionary


WORDS = ("你好", "世界", "今天天气", "a", " ")


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", [set, frozenset, list, tuple, lambda words: dict.fromkeys(words, 3)])
def test_a_pickled_dictionary_is_read(tmp_path, kind, protocol):
    path = tmp_path / "dict.wordseg.pickle"
    path.write_bytes(pickle.dumps(kind(WORDS), protocol))
    assert read_pickled_words(path) == set(WORDS)


def test_a_dictionary_that_python_2_pickled(tmp_path):
    path = tmp_path / "dict.wordseg.pickle"
    words = b"".join(b"U%c%s" % (len(word.encode()), word.encode()) for word in WORDS)
    path.write_bytes(b"\x80\x02c__builtin__\nset\nq\x00](" + words + b"e\x85R.")  # str of Python 2, in UTF-8
    assert read_pickled_words(path) == set(WORDS)


class Call:
    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize(
    "content",
    [Call(), {"a": Call()}, {1: 2}, [b"bytes"], "text", ["a", ["b"]], 7],
)
def test_what_is_no_dictionary_of_words_is_refused(tmp_path, content, capsys):
    path = tmp_path / "dict.wordseg.pickle"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match="dict.wordseg.pickle: "):
        read_pickled_words(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match="dict.wordseg.pickle: "):
        read_pickled_words(path)
    assert capsys.readouterr().out == ""


def test_ernie_tiny_keeps_its_tokenizer(tmp_path):
    wanted = make(tmp_path / "m", "ernie-tiny")
    (tmp_path / "m" / "spm_cased_simp_sampled.model").write_bytes(b"model")
    (tmp_path / "m" / "dict.wordseg.pickle").write_bytes(pickle.dumps(set(WORDS), 2))
    to_params("paddlenlp", tmp_path / "m", tmp_path / "out")
    assert_params(tmp_path / "out", wanted)
    assert (tmp_path / "out" / "sentencepiece.model").read_bytes() == b"model"
    assert (tmp_path / "out" / "word_dict.txt").read_text(encoding="utf8").splitlines() == sorted(WORDS)
    assert read_facts(tmp_path / "out")["tokenizer"] == "WSSPTokenizer"
    (tmp_path / "m" / "spm_cased_simp_sampled.model").unlink()
    with pytest.raises(UserError, match="a word dictionary and 0 sentencepiece models"):
        to_params("paddlenlp", tmp_path / "m", tmp_path / "again")
