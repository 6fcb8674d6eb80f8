"""What several tests share: the recorded 2019 cases, and what may lie beside the repository."""

from pathlib import Path

from tests.helpers import recorded

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"  # published data sets, where somebody has laid them
FIXTURES = ROOT / "tests" / "fixtures"


def __getattr__(name):
    """``GOLDEN``: the folder of the recorded 2019 cases, unpacked when it is first asked for."""
    if name == "GOLDEN":
        return recorded.folder()
    raise AttributeError(name)
