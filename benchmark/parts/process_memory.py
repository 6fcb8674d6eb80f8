"""Memory of processes, as Linux counts it: ``VmRSS`` now, ``VmHWM`` the most it ever was.

resident()                          # bytes of this process
memory(server.pid, "VmHWM")         # MB of a process and of those that it started, together
"""

from __future__ import annotations

import contextlib
from pathlib import Path


def resident(pid="self", field="VmRSS"):
    """Bytes of a process's memory; 0 for one that has ended and was not waited for."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return 0


def children(pid):
    """This process and all below it."""
    found = [pid]
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in path.read_text().split():
                found += children(int(child))
    return found


def memory(pid, field):
    """MB of a process and all below it; those that end meanwhile do not count."""
    total = 0
    for one in children(pid):
        with contextlib.suppress(OSError):
            total += resident(one, field)
    return total / 2**20
