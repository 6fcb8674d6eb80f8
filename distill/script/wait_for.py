"""Wait until a server answers.

python distill/script/wait_for.py http://127.0.0.1:8113 PID       # status 2 where the process ended before
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository

from propeller.errors import UserError, exit_on_user_error
from propeller.service.client import ServerError, ServiceClient

LONGEST_S = 300.0  # a large model on a slow disk


def _runs(process):
    try:
        os.kill(process, 0)
    except OSError:
        return False
    try:  # one that ended, and that its parent has not asked for yet, can still be sent signals
        return Path(f"/proc/{process}/stat").read_text(encoding="utf8").rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return True


def main(argv: Sequence[str]) -> int:
    """The command; returns its exit status."""
    if len(argv) != 2 or not argv[1].isdigit():
        raise UserError("give the address of a server and the number of its process")
    client, end = ServiceClient(argv[0], timeout=5), time.monotonic() + LONGEST_S
    while time.monotonic() < end:
        try:
            client.get("/healthz")
            return 0
        except ServerError:
            time.sleep(0.2)
        if not _runs(int(argv[1])):
            raise UserError(f"{argv[0]}: the server ended before it was ready: see its lines above")
    raise UserError(f"{argv[0]}: the server did not answer in {LONGEST_S:g} s: see its lines above")


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
