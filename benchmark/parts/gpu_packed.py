"""The part ``packed`` of benchmark/gpu.py: an encoder over rows of unlike length, with padding and without.

Without padding the tokens lie end to end, and attention is Paddle's ``flash_attn_unpadded``, which is for GPUs and half
precision. On a CPU, where the code is tried, each row's attention is computed by itself.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import paddle
import paddle.nn.functional as F

from ernie import packed
from ernie.config import ErnieConfig
from ernie.modeling import ErnieEncoder


def attend(query, key, value, starts, longest, scale):
    """query, key, value: [tokens, heads, size]; starts: int64 [rows + 1]; longest: tokens of a row, at most."""
    if query.place.is_gpu_place():
        from paddle.nn.functional.flash_attention import flash_attn_unpadded

        bounds = starts.astype("int32")
        return flash_attn_unpadded(query, key, value, bounds, bounds, longest, longest, scale)[0]
    rows = []
    for first, last in zip(starts.tolist()[:-1], starts.tolist()[1:]):
        q, k, v = (x[first:last].transpose([1, 0, 2]) for x in (query, key, value))
        weights = F.softmax(paddle.matmul(q, k, transpose_y=True).astype("float32") * scale)
        rows.append(paddle.matmul(weights.astype(v.dtype), v).transpose([1, 0, 2]))
    return paddle.concat(rows)


def without_padding(encoder, batch, longest, dtype):
    """The top states [tokens, hidden] and the ``Packing``. dtype: that of attention."""
    config, packing = encoder.config, packed.packing_of(batch["input_mask"])
    ids = {name: packed.pick(batch[name], packing) for name in encoder.embeddings.tables}
    x, heads = encoder.embeddings(ids), config.num_attention_heads
    for layer in encoder.layers:
        one = layer.attention
        q, k, v = (
            dense(x).reshape([-1, heads, one.head_size]).astype(dtype) for dense in (one.query, one.key, one.value)
        )
        context = attend(q, k, v, packing.starts, longest, one.head_size**-0.5).reshape([-1, config.hidden_size])
        x = layer.attention_norm(x + one.output(context.astype(x.dtype)))
        x = layer.ffn_norm(x + layer.ffn_out(layer.ffn_in(x)))
    return x, packing


def batch_of(random, rows, length, vocabulary):
    """Rows of an eighth of ``length`` to all of it, as tensors."""
    lengths = random.randint(max(length // 8, 2), length + 1, rows)
    lengths[0] = length
    mask = np.arange(length) < lengths[:, None]
    zeros = np.zeros((rows, length), "int64")
    arrays = {
        "src_ids": random.randint(1, vocabulary, (rows, length)) * mask,
        "sent_ids": zeros,
        "pos_ids": np.tile(np.arange(length), (rows, 1)) * mask,
        "task_ids": zeros,
        "input_mask": mask.astype("float32"),
    }
    return {name: paddle.to_tensor(array) for name, array in arrays.items()}, int(lengths.sum())


def measure(args, dtype, warm_up):
    """Tokens that are no padding a second of an encoder, forward and backward, and how far the states differ.

    Args:
        args: config, batch_size, max_seq_len, steps, device.
        dtype: of products and attention.
        warm_up: steps that are not timed.
    """
    paddle.disable_static()
    paddle.set_device(args.device)
    facts = ErnieConfig(args.config).to_dict()
    config = ErnieConfig({**facts, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})
    paddle.seed(1)
    encoder = ErnieEncoder(config)
    batch, tokens = batch_of(np.random.RandomState(0), args.batch_size, args.max_seq_len, config.vocab_size)

    def run(way):
        with paddle.amp.auto_cast(enable=dtype != "float32", dtype=dtype if dtype != "float32" else "float16"):
            if way == "padded":
                states = encoder(batch).reshape([-1, config.hidden_size])
                return paddle.gather(states, packed.packing_of(batch["input_mask"]).places)
            return without_padding(encoder, batch, args.max_seq_len, dtype)[0]

    found, states = {}, {}
    for way in ("padded", "packed"):
        times = []
        for _ in range(args.steps):
            began = time.perf_counter()
            states[way] = run(way).astype("float32")
            states[way].square().mean().backward()
            float(encoder.word_embedding.grad.sum())  # waits for the device
            times.append(time.perf_counter() - began)
            encoder.clear_gradients()
        found[f"{way}_tokens_per_second"] = tokens / statistics.median(times[warm_up:])
    found["largest_difference"] = float((states["padded"] - states["packed"]).abs().max())
    return found
