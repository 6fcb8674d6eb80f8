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

STATE, GROUP, STARTED = 0, 2, 19  # places of fields in /proc/PID/stat, after the name of the program
LOOK = 0.2  # seconds between looks whether they have ended


def stat_field(pid: int | str, place: int) -> str | None:
    """A field of ``/proc/PID/stat``; None where there is no such process, or no /proc.

    Args:
        pid: of the process.
        place: the field's place after the name of the program, ``STATE``, ``GROUP`` or ``STARTED``.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[place]
    except (OSError, IndexError):
        return None


def born(pid: int) -> str | None:
    """When a process was started, in ticks since the boot; None where there is no such process, or no /proc."""
    return stat_field(pid, STARTED)


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
    return stat_field(group, STATE) == "Z" and alone(group)


def alone(group: int) -> bool:
    """Whether a process is the only one of its group."""
    others = (name for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - imports no more than it needs
    return all(int(name) == group or stat_field(name, GROUP) != str(group) for name in others)


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
