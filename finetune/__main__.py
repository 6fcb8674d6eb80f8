"""Fine-tune, evaluate and predict with any task of ``finetune.TASKS``.

python -m finetune classify --train_set train.tsv --dev_set dev.tsv ...
python -m finetune classify --help
python -m finetune multitask --tasks tasks.json ...         # several tasks over one encoder
"""

import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a file, as the launcher does
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from finetune import SEVERAL, TASKS, flags_of, what_it_learns
from finetune.multitask.main import main as run_several
from finetune.training.main import main as run
from propeller.errors import UserError, exit_on_user_error
from propeller.flags import shell_lines


def usage() -> str:
    """What --help says before the list of tasks."""
    return f"""usage: python -m finetune TASK [flags]

example:
{shell_lines("python -m finetune classify " + flags_of("classify").example)}

python -m finetune TASK --help lists the flags of a task. TASK is one of"""


def main(argv: Sequence[str]) -> int:
    """Run the task that the first word names; returns the exit status."""
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        width = max(map(len, TASKS))
        for name in TASKS:
            print(f"  {name:{width}}  {what_it_learns(name)}")
        print(f"  {SEVERAL:{width}}  Several of these over one encoder")
        return 0 if argv else 2
    if argv[0] == SEVERAL:
        return run_several(f"python -m finetune {SEVERAL}", argv[1:])
    if argv[0] not in TASKS:
        raise UserError(f"task {argv[0]!r} is unknown: give one of {', '.join(TASKS)}, or {SEVERAL}")
    return run(f"python -m finetune {argv[0]}", argv[0], argv[1:])


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
