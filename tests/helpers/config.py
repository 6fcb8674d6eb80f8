"""Shared with tests/ernie/test_config.py: a configuration."""

BASE = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 16,
    "max_position_embeddings": 32,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "sent_type_vocab_size": 4,
    "vocab_size": 99,
}
