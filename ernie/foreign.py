"""What other libraries call an ERNIE or BERT encoder's weights and settings.

from ernie.foreign import name_table
{row.hf: row.params for row in name_table(num_hidden_layers=12)}
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from ernie.config import ErnieConfig
from propeller import json_file
from propeller.encoding import in_place
from propeller.errors import UserError

WHOLE = "give a model's complete directory"
COPY = "copy it again from its source"
BY_PATH = "no model is downloaded by its name"


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON object in a model's file.

    Raises:
        UserError: the file cannot be read or holds no JSON object.
    """
    return json_file.read_json(path, absent=WHOLE, remedy=COPY, is_object=True, encoded=in_place)


def read_json_list(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The list of JSON objects in a model's file.

    Raises:
        UserError: the file cannot be read or holds no such list.
    """
    values = json_file.read_json(path, absent=WHOLE, remedy=COPY, encoded=in_place)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise UserError(f"{path}: holds no list of JSON objects: {COPY}")
    return values


class Row(NamedTuple):
    """One weight under its three names."""

    params: str
    hf: str
    paddlenlp: str
    linear: bool = False  # a Linear's weight: [in, out] in params and PaddleNLP, [out, in] in Hugging Face (torch)
    base: bool = True  # of the encoder, so named under "bert." or "ernie." in a model with a head


_NORM = (("scale", "weight"), ("bias", "bias"))
# (params, Hugging Face, PaddleNLP), N the layer
_EMBEDDINGS = (
    ("word_embedding", "embeddings.word_embeddings.weight"),
    ("pos_embedding", "embeddings.position_embeddings.weight"),
    ("sent_embedding", "embeddings.token_type_embeddings.weight"),
    ("task_embedding", "embeddings.task_type_embeddings.weight"),
)
_LAYER_LINEARS = (
    ("multi_head_att_query_fc", "attention.self.query", "self_attn.q_proj"),
    ("multi_head_att_key_fc", "attention.self.key", "self_attn.k_proj"),
    ("multi_head_att_value_fc", "attention.self.value", "self_attn.v_proj"),
    ("multi_head_att_output_fc", "attention.output.dense", "self_attn.out_proj"),
    ("ffn_fc_0", "intermediate.dense", "linear1"),
    ("ffn_fc_1", "output.dense", "linear2"),
)
_LAYER_NORMS = (
    ("post_att_layer_norm", "attention.output.LayerNorm", "norm1"),
    ("post_ffn_layer_norm", "output.LayerNorm", "norm2"),
)


def _linear(params, hf, paddlenlp, base=True, sep=".", end="_0"):
    return [
        Row(f"{params}{sep}w{end}", f"{hf}.weight", f"{paddlenlp}.weight", True, base),
        Row(f"{params}{sep}b{end}", f"{hf}.bias", f"{paddlenlp}.bias", False, base),
    ]


def _norm(params, hf, paddlenlp, base=True):
    return [Row(f"{params}_{ours}", f"{hf}.{theirs}", f"{paddlenlp}.{theirs}", False, base) for ours, theirs in _NORM]


def name_table(num_hidden_layers: int, architecture: str = "") -> list[Row]:
    """The Rows of an encoder and of the heads that all three know.

    ``architecture`` is the foreign model's class name: it tells whose ``classifier`` a classifier is. Token types are
    our sentence types. A Next-sentence head keeps its columns as they are.
    """
    rows = [Row(ours, theirs, theirs) for ours, theirs in _EMBEDDINGS]
    rows += _norm("pre_encoder_layer_norm", "embeddings.LayerNorm", "embeddings.layer_norm")
    for n in range(num_hidden_layers):
        ours, hf, paddlenlp = f"encoder_layer_{n}_", f"encoder.layer.{n}.", f"encoder.layers.{n}."
        for names in _LAYER_LINEARS:
            rows += _linear(ours + names[0], hf + names[1], paddlenlp + names[2])
        for names in _LAYER_NORMS:
            rows += _norm(ours + names[0], hf + names[1], paddlenlp + names[2])
    rows += _linear("pooled_fc", "pooler.dense", "pooler.dense")
    mlm = "cls.predictions."
    rows += _linear("mask_lm_trans_fc", mlm + "transform.dense", mlm + "transform", base=False)
    rows += _norm("mask_lm_trans_layer_norm", mlm + "transform.LayerNorm", mlm + "layer_norm", base=False)
    rows.append(Row("mask_lm_out_fc.b_0", mlm + "bias", mlm + "decoder_bias", False, False))
    # an output matrix of its own, where it is not tied to the word embedding; [vocab, hidden] in both others
    rows.append(Row("mask_lm_out_fc.w_0", mlm + "decoder.weight", mlm + "decoder_weight", True, False))
    rows += _linear("next_sent_fc", "cls.seq_relationship", "cls.seq_relationship", base=False)
    classifier = "cls_seq_label_out" if "TokenClassification" in architecture else "_cls_out"
    rows += _linear(classifier, "classifier", "classifier", base=False, sep="_", end="")
    rows += _linear("cls_mrc_out", "qa_outputs", "classifier_qa", base=False, sep="_", end="")
    if "QuestionAnswering" in architecture:  # PaddleNLP calls this one "classifier" too
        rows = [row for row in rows if not row.params.startswith("_cls_out")]
        rows = [row._replace(paddlenlp=row.paddlenlp.replace("classifier_qa", "classifier")) for row in rows]
    return rows


def encoder_shapes(config: ErnieConfig) -> dict[str, tuple[int, ...]]:
    """name -> shape of every encoder weight that ``config`` (an ErnieConfig) implies."""
    hidden, inner = config.hidden_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        "word_embedding": (config.vocab_size, hidden),
        "pos_embedding": (config.max_position_embeddings, hidden),
        "sent_embedding": (config.sent_type_vocab_size, hidden),
    }
    if config.use_task_id and config.task_type_vocab_size:
        shapes["task_embedding"] = (config.task_type_vocab_size, hidden)
    sizes: dict[str, tuple[int, ...]]
    sizes = {"ffn_fc_0.w_0": (hidden, inner), "ffn_fc_0.b_0": (inner,), "ffn_fc_1.w_0": (inner, hidden)}
    for row in name_table(config.num_hidden_layers):
        if row.base and row.params not in shapes and row.params != "task_embedding":
            layer_name = row.params.split("_", 3)[-1]  # encoder_layer_0_ffn_fc_0.w_0 -> ffn_fc_0.w_0
            shapes[row.params] = sizes.get(layer_name, (hidden, hidden) if row.linear else (hidden,))
    return shapes


# ---------------------------------------------------------------- settings

# Hugging Face's names of activations -> ours. Its approximations of gelu are other functions, so they are no entry.
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "leaky_relu": "leaky_relu",
    "mish": "mish",
    "relu": "relu",
    "relu6": "relu6",
    "sigmoid": "sigmoid",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}
# What both libraries take where a config leaves a key out.
_DEFAULTS = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
}
_REQUIRED = ("hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size")


def check_kind(values: Mapping[str, Any], source: str | os.PathLike[str]) -> None:
    """Raise UserError where a config's keys are those of another kind of model; ``source`` is its file."""
    if values.get("model_type", "bert") not in ("bert", "ernie"):
        raise UserError(f"{source}: 'model_type' is {values['model_type']!r}: only bert and ernie can be converted")


def config_from_foreign(
    values: Mapping[str, Any], source: str | os.PathLike[str], sent_types: int, task_types: int
) -> ErnieConfig:
    """An ErnieConfig from a Hugging Face or PaddleNLP config's keys.

    Args:
        values: the keys and values.
        source: the file, for messages.
        sent_types: rows of the token-type embedding, if there is one, else 0; the config must agree where it tells.
        task_types: rows of the task-type embedding; 0 means the model has none.

    Raises:
        UserError: another kind of model, an activation or a position scheme that ERNIE has not, or a missing key.
    """
    check_kind(values, source)
    for key, wanted in (("position_embedding_type", "absolute"), ("is_decoder", False), ("pool_act", "tanh")):
        if values.get(key, wanted) != wanted:
            raise UserError(f"{source}: {key!r} is {values[key]!r}, ERNIE has only {wanted!r}: convert another model")
    missing = [key for key in _REQUIRED if key not in values]
    if missing:
        raise UserError(f"{source}: {missing[0]!r} missing: give the model's complete config")
    activation = values.get("hidden_act", _DEFAULTS["hidden_act"])
    if activation not in _ACTIVATIONS:
        known = ", ".join(sorted(_ACTIVATIONS))
        raise UserError(f"{source}: 'hidden_act' {activation!r} is not one of {known}: convert another model")
    config = {key: values.get(key, default) for key, default in _DEFAULTS.items()}
    config.update({key: values[key] for key in _REQUIRED}, hidden_act=_ACTIVATIONS[activation])
    config["sent_type_vocab_size"] = values.get("type_vocab_size", sent_types or 2)
    if task_types:
        config.update(use_task_id=True, task_type_vocab_size=values.get("task_type_vocab_size", task_types))
    result = ErnieConfig(config)
    result.source = str(source)
    return result


def config_to_hf(config: ErnieConfig, model_type: str, architecture: str) -> dict[str, Any]:
    """The content of a Hugging Face config.json for an ErnieConfig: ``model_type`` "bert" or "ernie"."""
    names = {ours: theirs for theirs, ours in _ACTIVATIONS.items() if theirs not in ("gelu_python", "swish")}
    activation = {"swish": "silu"}.get(config.hidden_act, config.hidden_act)
    if activation not in names:
        raise UserError(f"{config.source}: 'hidden_act' {config.hidden_act!r} has no Hugging Face name: cannot convert")
    values = {
        "architectures": [architecture],
        "attention_probs_dropout_prob": config.attention_probs_dropout_prob,
        "hidden_act": names[activation],
        "hidden_dropout_prob": config.hidden_dropout_prob,
        "hidden_size": config.hidden_size,
        "initializer_range": config.initializer_range,
        "intermediate_size": config.intermediate_size,
        "layer_norm_eps": config.layer_norm_eps,
        "max_position_embeddings": config.max_position_embeddings,
        "model_type": model_type,
        "num_attention_heads": config.num_attention_heads,
        "num_hidden_layers": config.num_hidden_layers,
        "pad_token_id": 0,
        "torch_dtype": "float32",
        "type_vocab_size": config.sent_type_vocab_size,
        "vocab_size": config.vocab_size,
    }
    if model_type == "ernie":
        values.update(use_task_id=config.use_task_id, task_type_vocab_size=config.task_type_vocab_size or 3)
    return values
