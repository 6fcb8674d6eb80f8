"""What batch prediction of a file costs: seconds of one core from the first row read to the last line written.

    python benchmark/parts/text_to_label.py BUNDLE ROWS.tsv OUT.tsv [int8]

It prints ``{"rows": 2000, "cpu_s": 0.4, "wall_s": 0.41}``.

The time of the process, all its threads together, is what a core of its own would take: other processes on the machine
do not count, and starting up does not either.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from propeller import runtime
from propeller.errors import exit_on_user_error


def timed(bundle, rows, output, precision="fp32"):
    """Predict a file; prints the figures. Returns the exit status."""
    runtime.prepare()
    from finetune.prediction import run
    from finetune.prediction.main import main

    found = {}

    class Timed(run.Progress):
        """Lives from just before the first row is read until the last line is written."""

        def __init__(self, *args) -> None:
            super().__init__(*args)
            self.cpu, self.wall = time.process_time(), time.perf_counter()

        def close(self) -> None:
            cpu, wall = time.process_time() - self.cpu, time.perf_counter() - self.wall
            found.update(rows=self.done, cpu_s=cpu, wall_s=wall)
            super().close()

    run.Progress = Timed
    words = ["--inference_model", bundle, "--predict_set", rows, "--output", output, "--use_cuda", "false"]
    words += ["--precision", precision]
    status = main("python -m finetune.prediction", (), words)
    print(json.dumps(found))
    return status


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
    exit_on_user_error(timed, *sys.argv[1:5])
