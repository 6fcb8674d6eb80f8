"""What outlives a launcher that is killed: it ends the processes that the launcher can end no more.

    python propeller/launch_guard.py GRACE      # started by propeller.launch_group; "+PID" and "-PID" lines come in

A process that hangs, or is held by SIGSTOP, takes no signal but SIGKILL, and a launcher that was killed sends none.
This one imports nothing of the project, waits for the end of its standard input, which is the launcher's, and then
sends SIGTERM to the process groups that are left, and SIGKILL after GRACE seconds.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

LOOK = 0.2  # seconds between looks whether they have ended


def born(pid: int) -> str | None:
    """When a process was started, in ticks since the boot; None where there is no such process, or no /proc."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def lives(group: int, since: str | None) -> bool:
    """Whether a process group has members; a number that was given to another process meanwhile does not count."""
    if born(group) not in (None, since):
        return False
    try:
        os.killpg(group, 0)
    except OSError:
        return False
    return not is_ended(group)


def is_ended(group: int) -> bool:
    """Whether all that is left of a group is its ended leader, whom nobody has waited for."""
    try:
        with open(f"/proc/{group}/stat", encoding="utf8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z" and alone(group)
    except (OSError, IndexError):
        return False


def alone(group: int) -> bool:
    """Whether a process is the only one of its group."""
    for name in os.listdir("/proc"):  # noqa: PTH208 - nothing is imported that need not be
        if name.isdigit() and int(name) != group:
            with contextlib.suppress(OSError, IndexError):
                with open(f"/proc/{name}/stat", encoding="utf8", errors="replace") as file:
                    if int(file.read().rpartition(")")[2].split()[2]) == group:
                        return False
    return True


def end(groups: dict[int, str | None], grace: float) -> None:
    """SIGTERM to the groups, SIGKILL to those that are left after ``grace`` seconds."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for group, since in groups.items():
            if lives(group, since):
                with contextlib.suppress(OSError):
                    os.killpg(group, number)
        until = time.monotonic() + grace
        while number == signal.SIGTERM and time.monotonic() < until:
            if not any(lives(group, since) for group, since in groups.items()):
                return
            time.sleep(LOOK)


def main(grace: float) -> None:
    """Keep the list until the launcher's end."""
    groups = {}
    for line in sys.stdin:
        pid = int(line[1:])
        if line[0] == "+":
            groups[pid] = born(pid)
        else:
            groups.pop(pid, None)
    end(groups, grace)


if __name__ == "__main__":
    main(float(sys.argv[1]))
