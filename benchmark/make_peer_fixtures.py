"""Makes tests/fixtures/peers: tiny random BERT and ERNIE models with what transformers computes from them.

    python -m pip install -r requirements-peers.txt
    python benchmark/make_peer_fixtures.py

Each folder is a Hugging Face model as ``save_pretrained`` writes it (config.json, model.safetensors), vocab.txt, and
io.npz: ``input_ids``, ``token_type_ids``, ``attention_mask`` and (ERNIE) ``task_type_ids`` int64 [batch, seq]; outputs
of the model in double precision, stored as float32: ``last_hidden_state`` [batch, seq, hidden], ``pooler_output``
[batch, hidden], and (BERT, saved with its pre-training heads) ``mlm_logits`` [batch, seq, vocab], ``nsp_logits``
[batch, 2]. Every weight is drawn at random, so that each one matters.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertForPreTraining, ErnieConfig, ErnieModel

TARGET = Path(__file__).resolve().parents[1] / "tests" / "fixtures" / "peers"
COMMON = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 99,
}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def draw_weights(model):
    """Every parameter from a normal of deviation 0.1, layer norms' scales around 1."""
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, mean=1.0 if name.endswith("LayerNorm.weight") else 0.0, std=0.1)


def batch(sent_types):
    """Three rows of 12 tokens, two of them padded."""
    random = np.random.RandomState(0)
    lengths = np.array([12, 7, 3])
    mask = (np.arange(12) < lengths[:, None]).astype(np.int64)
    return {
        "input_ids": random.randint(5, COMMON["vocab_size"], (3, 12)) * mask,
        "token_type_ids": random.randint(0, sent_types, (3, 12)) * mask,
        "attention_mask": mask,
    }


def save(name, model, inputs, outputs):
    """One folder: the model, its vocabulary, its inputs and outputs."""
    folder = TARGET / name
    model.float().save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    tokens = SPECIAL + [f"word{number}" for number in range(COMMON["vocab_size"] - len(SPECIAL))]
    (folder / "vocab.txt").write_text("".join(token + "\n" for token in tokens))
    arrays = {key: value.detach().numpy().astype(np.float32) for key, value in outputs.items()}
    np.savez_compressed(folder / "io.npz", **inputs, **arrays)


def main():
    """Write both folders."""
    torch.manual_seed(0)
    bert = BertForPreTraining(BertConfig(**COMMON, hidden_act="gelu", attn_implementation="eager")).eval()
    draw_weights(bert)
    inputs = batch(sent_types=2)
    feed = {key: torch.from_numpy(value) for key, value in inputs.items()}
    with torch.no_grad():
        encoded, heads = bert.double().bert(**feed), bert(**feed)
    outputs = {"last_hidden_state": encoded.last_hidden_state, "pooler_output": encoded.pooler_output}
    outputs.update(mlm_logits=heads.prediction_logits, nsp_logits=heads.seq_relationship_logits)
    save("bert", bert, inputs, outputs)

    settings = {"hidden_act": "relu", "layer_norm_eps": 1e-5, "type_vocab_size": 4}
    settings.update(task_type_vocab_size=3, use_task_id=True, attn_implementation="eager")
    ernie = ErnieModel(ErnieConfig(**COMMON, **settings)).eval()
    draw_weights(ernie)
    inputs = batch(sent_types=4)
    inputs["task_type_ids"] = np.repeat([[1], [0], [2]], 12, axis=1)
    with torch.no_grad():
        encoded = ernie.double()(**{key: torch.from_numpy(value) for key, value in inputs.items()})
    outputs = {"last_hidden_state": encoded.last_hidden_state, "pooler_output": encoded.pooler_output}
    save("ernie", ernie, inputs, outputs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
