"""``python -m finetune multitask``: flags and the list of tasks first, then Paddle and the run.

main("python -m finetune multitask", sys.argv[1:])
"""

from __future__ import annotations

from collections.abc import Sequence

from finetune.multitask.args import parse
from propeller import runtime


def main(prog: str, argv: Sequence[str]) -> int:
    """Run the command; --help and a wrong flag end it before Paddle is loaded. Returns its exit status."""
    args = parse(prog, argv)
    runtime.one_heap()
    runtime.prepare()
    from finetune.multitask.runner import start

    return start(args)
