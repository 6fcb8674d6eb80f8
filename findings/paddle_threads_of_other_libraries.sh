#!/bin/sh
# paddlepaddle 3.3.1: `import paddle` sets OMP_NUM_THREADS=1 in the environment of the process where it is not set. What is
# imported after it, and every child process, reads that: a library with OpenMP then runs on one core, without a word,
# and only if Paddle came first. Python programs that use Paddle beside another library have to set the variable before.
# Output seen (Python 3.11):
#   before: None
#   after: 1
#   a child process: 1
. "$(dirname "$0")/common.sh"
in_venv paddlepaddle==3.3.1 setuptools
unset OMP_NUM_THREADS
cat >threads.py <<'PYTHON'
import os
import subprocess
import sys

lines = [f"before: {os.environ.get('OMP_NUM_THREADS')}"]
import paddle  # noqa: E402, F401

lines.append(f"after: {os.environ.get('OMP_NUM_THREADS')}")
code = "import os; print(os.environ.get('OMP_NUM_THREADS'))"
lines.append("a child process: " + subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip())
with open("seen", "w") as file:
    file.write("\n".join(lines) + "\n")
PYTHON
python threads.py >log 2>&1 || { cat log; exit 1; }
expect seen
