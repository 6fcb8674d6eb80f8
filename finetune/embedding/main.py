"""ernie_encoder.py: flags first, then Paddle and the encoder.

main("ernie_encoder.py", sys.argv[1:])
"""

from __future__ import annotations

from collections.abc import Sequence

from finetune.embedding.args import parse
from propeller import runtime


def main(prog: str, argv: Sequence[str]) -> int:
    """Run the script; --help and a wrong flag end it before Paddle is loaded. Returns its exit status."""
    args = parse(prog, "Write sentence and token embeddings of a file of rows.", argv)
    runtime.prepare()
    from finetune.embedding.run import start

    return start(args)
