"""The fine-tuning scripts: flags first, then Paddle and the run.

main("run_classifier.py", "classify", sys.argv[1:])
"""

from __future__ import annotations

from collections.abc import Sequence

from finetune import flags_of
from finetune.training.args import parse
from propeller import runtime


def main(prog: str, task_name: str, argv: Sequence[str]) -> int:
    """Run a fine-tuning script; --help and a wrong flag end it before Paddle is loaded. Returns its exit status."""
    flags = flags_of(task_name)
    args = parse(prog, f"Fine-tune, evaluate, predict: {flags.about}.", argv, flags.task, flags.example)
    runtime.one_heap()
    runtime.prepare()
    from finetune.training.runner import start

    return start(task_name, args)
