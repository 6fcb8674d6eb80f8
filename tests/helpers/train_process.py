"""Shared with tests/pretrain/test_train.py: train.py as a process."""

import subprocess
import sys

from tests.helpers.common import ROOT


def start(arguments, **options):
    command = [sys.executable, str(ROOT / "train.py"), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
