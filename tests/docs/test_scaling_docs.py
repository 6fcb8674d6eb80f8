"""docs/scaling.md: its commands run as printed."""

import shlex
import subprocess
import sys

from tests.helpers.common import ROOT
from tests.helpers.pages import commands


def test_its_commands_run():
    for command in commands("docs/scaling.md"):
        words = shlex.split(command)
        assert words[0] == "python"
        done = subprocess.run([sys.executable, *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("|---|") >= 3
