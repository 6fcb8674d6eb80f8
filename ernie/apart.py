"""A step that may end its process, run in one of its own: converters and quantisers of other makers.

reason = run_apart("ernie.onnx_export", folder)        # None: it went well
sys.exit(told(lambda: convert(folder)))                # the other side, in that module's ``__main__``
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Callable


def run_apart(module: str, *words: object) -> str | None:
    """Run ``python -m module words``, which finds what this process finds; None, or why it did not go well."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part or str(Path.cwd()) for part in sys.path)}
    command = [sys.executable, "-m", module, *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    if done.returncode == 0:
        return None
    said = done.stderr.decode("utf8", "replace").strip().rsplit("\n", 1)[-1]
    return said if done.returncode == 1 and said else f"its process ended with status {done.returncode}"


def told(work: Callable[[], None]) -> int:
    """Do the work; returns the exit status. What went wrong is the last line of standard error, status 1."""
    try:
        work()
    except Exception as error:  # whatever the other maker's code raises is a reason to tell, not a fault of ours
        print(str(error).strip().rsplit("\n", 1)[-1], file=sys.stderr)
        return 1
    return 0
