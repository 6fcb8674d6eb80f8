"""A fine-tuning script without dropout in its head, to compare runs in one process and in several.

python tests/no_dropout.py classify --batch_size 16 ...
"""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from propeller import runtime
from propeller.errors import exit_on_user_error

if __name__ == "__main__":
    runtime.prepare()
    from finetune import runner, task_class

    name = sys.argv[1]
    task = task_class(name)
    made = task.head_config
    task.head_config = classmethod(lambda cls, *args: dataclasses.replace(made(*args), dropout=0.0))
    exit_on_user_error(runner.main, "no_dropout.py", name, sys.argv[2:])
