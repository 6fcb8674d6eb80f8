"""Shared by tests that train: the weights of two runs compared."""

import numpy as np

from ernie.checkpoint import read_params


def weights(folder):
    return read_params(folder / "last")


def assert_same_weights(one, other):
    one, other = weights(one), weights(other)
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def assert_close_weights(one, other, atol):
    """The last checkpoints of two runs.

    A bias of the keys changes no loss: its gradient is rounding noise, of which Adam makes steps.
    """
    one, other = weights(one), weights(other)
    assert one.keys() == other.keys()
    for name in one:
        if not name.endswith("key_fc.b_0"):
            np.testing.assert_allclose(other[name], one[name], atol=atol, err_msg=name)
