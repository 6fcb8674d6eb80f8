"""Semantic search.

python -m finetune.search build --help
python -m finetune.search query --help
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from propeller.errors import UserError, exit_on_user_error

COMMANDS = ("build", "query")


def main(argv: Sequence[str]) -> int:
    """Run one of the commands; returns its exit status."""
    if argv and argv[0] in ("-h", "--help"):
        print(f"usage: python -m finetune.search ({'|'.join(COMMANDS)}) [flags]\n\neach has a --help of its own")
        return 0
    if not argv or argv[0] not in COMMANDS:
        given = f"{argv[0]!r}" if argv else "nothing"
        raise UserError(
            f"give {' or '.join(COMMANDS)} and its flags, not {given}; see python -m finetune.search --help"
        )
    if argv[0] == "build":
        from finetune.search.build import start
    else:
        from finetune.search.query import start
    return start(argv[1:])


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
