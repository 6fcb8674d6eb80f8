"""Shared with tests/ernie/test_modeling.py: recorded networks and their batches."""

import numpy as np

from ernie.modeling import ENCODER_FEATURES

CASES = ("v1_relu", "v2_gelu")


def batch_of(io, batch):
    names = dict(zip(ENCODER_FEATURES, ("src_ids", "sent_ids", "pos_ids", "task_ids", "input_mask")))
    features = {name: io[f"{batch}/in_{key}"].squeeze(-1) for name, key in names.items() if f"{batch}/in_{key}" in io}
    features.setdefault("task_ids", np.zeros_like(features["src_ids"]))
    return features
