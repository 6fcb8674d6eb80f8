"""What the tests of shell scripts share: a clean environment, a command's outcome, stand-ins for programs."""

from __future__ import annotations

import os
import subprocess

from tests.helpers.common import ROOT

SCRIPT = ROOT / "script"
# Everything the scripts look at, so that the machine's own settings do not leak into a test.
KNOBS = {
    "MODEL_PATH",
    "TASK_DATA_PATH",
    "OUTPUT",
    "SEEDS",
    "STEPS",
    "DEVICES",
    "KEEP_BATCH",
    "USE_FP16",
    "DRY_RUN",
    "PYTHON",
    "VENV",
    "PADDLE",
    "OMP_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
}


def clean_environment(**settings):
    """The machine's variables without those the scripts look at, and with ``settings``."""
    kept = {key: value for key, value in os.environ.items() if key not in KNOBS}
    return {**kept, **{key: str(value) for key, value in settings.items()}}


def shell(command, **options):
    """Runs a command to its end; its status, stdout and stderr as text."""
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **options)


def executable(path, text):
    """Writes a shell script that stands in for a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path
