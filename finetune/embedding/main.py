"""ernie_encoder.py: flags first, then Paddle and the encoder.

main("ernie_encoder.py", sys.argv[1:])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from finetune.columns import check_columns
from finetune.embedding.args import parse
from propeller import runtime
from reader.tables.form import SKIP


def main(prog: str, argv: Sequence[str]) -> int:
    """Run the script; --help and a wrong flag end it before Paddle is loaded. Returns its exit status."""
    args = parse(prog, "Write sentence and token embeddings of a file of rows.", argv)
    if args.data.data_set and Path(args.data.data_set).is_file():
        check_columns(args.data.data_set, replace(args.tables.form(), others=SKIP), None)
    runtime.prepare()
    from finetune.embedding.run import start

    return start(args)
