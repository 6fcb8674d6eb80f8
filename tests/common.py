"""What several tests share: where the recorded 2019 cases are, and how to skip without them."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
GOLDEN = SHARED / "golden"
FIXTURES = Path(__file__).resolve().parent / "fixtures"

needs_shared = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the recorded 2019 cases (../shared/golden) are not here")
