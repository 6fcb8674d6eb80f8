"""Shared with tests/finetune/test_run_classifier.py: weights compared."""

import numpy as np

from ernie.checkpoint import read_params


def weights(folder):
    return read_params(folder / "last")


def assert_same_weights(one, other):
    one, other = weights(one), weights(other)
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
