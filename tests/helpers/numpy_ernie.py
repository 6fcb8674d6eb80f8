"""ERNIE's forward pass in plain float64 numpy, for tests to compare with.

encoded, pooled, lm = encode(read_params("params"), ErnieConfig("ernie_config.json"), batch)
"""

import numpy as np
from scipy.special import erf


def normalise(x, scale, bias, eps):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * scale + bias


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def encode(p, config, batch):
    """ERNIE's encoder in float64 numpy: [batch, seq, hidden] and [batch, hidden]; p is name -> array."""
    p = {name: array.astype(np.float64) for name, array in p.items()}
    eps, heads = config.layer_norm_eps, config.num_attention_heads
    act = {"gelu": lambda x: x * 0.5 * (1 + erf(x / np.sqrt(2))), "relu": lambda x: np.maximum(x, 0)}[config.hidden_act]

    def fc(x, name):
        return x @ p[f"{name}.w_0"] + p[f"{name}.b_0"]

    def norm(x, name):
        return normalise(x, p[f"{name}_scale"], p[f"{name}_bias"], eps)

    def split(x):  # [batch, heads, seq, width]
        return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)

    ids = batch["input_ids"]
    x = p["word_embedding"][ids] + p["pos_embedding"][: ids.shape[1]] + p["sent_embedding"][batch["token_type_ids"]]
    if config.use_task_id:
        x = x + p["task_embedding"][batch["task_type_ids"]]
    x = norm(x, "pre_encoder_layer_norm")
    bias = (batch["attention_mask"][:, None, None] - 1) * 1e9  # [batch, 1, 1, key]
    for n in range(config.num_hidden_layers):
        layer = f"encoder_layer_{n}_"
        q, k, v = (split(fc(x, f"{layer}multi_head_att_{part}_fc")) for part in ("query", "key", "value"))
        weights = softmax(q @ k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1]) + bias)
        attended = (weights @ v).transpose(0, 2, 1, 3).reshape(x.shape)
        x = norm(x + fc(attended, layer + "multi_head_att_output_fc"), layer + "post_att_layer_norm")
        x = norm(x + fc(act(fc(x, layer + "ffn_fc_0")), layer + "ffn_fc_1"), layer + "post_ffn_layer_norm")
    pooled = np.tanh(fc(x[:, 0], "pooled_fc"))
    lm = norm(act(fc(x, "mask_lm_trans_fc")), "mask_lm_trans_layer_norm") if "mask_lm_trans_fc.w_0" in p else None
    return x, pooled, lm
