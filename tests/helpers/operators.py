"""Shared by tests of the operators over rows without padding, which need a compiler."""

import pytest

from ernie import operators


def load_or_skip():
    """Load them; a test that needs them is skipped where they cannot be made."""
    try:
        operators.load()
    except operators.Unavailable as error:
        pytest.skip(str(error))
