"""Shared by tests of conversion: the directories that other software made."""

from ernie.checkpoint import read_params
from ernie.convert import to_params
from tests.helpers.common import FIXTURES

PEERS = FIXTURES / "peers"


def converted(folder, out, **options):
    to_params("hf", folder, out, **options)
    return read_params(out / "params")
