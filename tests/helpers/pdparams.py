"""Shared with tests/ernie/test_pdparams.py: weights as PaddleNLP stores them."""

import numpy as np
from safetensors.numpy import load_file

from ernie.foreign import name_table
from tests.helpers.common import FIXTURES

PEERS = FIXTURES / "peers"


def paddlenlp_state(name="ernie"):
    """The peer's weights as a PaddleNLP model holds them."""
    tensors = load_file(PEERS / name / "model.safetensors")
    rows = {row.hf: row for row in name_table(2)}
    state = {}
    for full, array in tensors.items():
        row = rows[full.replace("bert.", "", 1) if full.startswith("bert.") else full]
        state[(f"{name}." if row.base else "") + row.paddlenlp] = np.ascontiguousarray(array.T) if row.linear else array
    return state
