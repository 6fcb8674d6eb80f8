"""The processes of one node: started and joined with other nodes by Paddle's launcher, watched here.

from propeller.launch_group import run
status = run(Plan(("run_classifier.py", "--epoch", "1"), processes=2))

Paddle finds ports, lets nodes meet, sets ranks and devices and starts the processes. What it does when one of them
fails is not enough here: it looks every two seconds, returns the status of the first rank instead of that of the one
that failed (-15 where that was stopped), and forgets the processes when it is killed itself.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING, BinaryIO, Callable, cast

from paddle.distributed.launch.context import Context
from paddle.distributed.launch.context.device import DeviceType
from paddle.distributed.launch.controllers.collective import CollectiveController
from paddle.distributed.launch.job.job import Job

from propeller.errors import UserError
from propeller.train.faults import HUNG

if TYPE_CHECKING:
    from propeller.launch import Plan


LAST_LINES = 20
LOOK = 0.2  # seconds between looks at rank 0's log and at signals
LOOK_AT_PEERS = 1.0
SAME_WITHIN = 1.0  # seconds in which rank 0 says the same as another rank that fails
FAILED_GRACE = 3.0  # for the ranks beside one that failed: their collectives cannot end any more
PEERS_GRACE = 5.0  # for the other nodes to learn of a failure from the node where they meet
# A mistake in the flags, Ctrl-C, preempted: the same would happen again, or it was meant.
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
NOT_AGAIN = (2, *(128 + number for number in STOPPING))
GUARD = Path(__file__).with_name("launch_guard.py")


def run(plan: Plan) -> int:
    """Start the processes of a ``propeller.launch.Plan`` and wait for them.

    Returns:
        0, or the exit status of the first process that failed; 128 + its number after a signal.
    """
    before = {number: signal.getsignal(number) for number in (*STOPPING, signal.SIGABRT)}
    try:
        with Guard(plan.stop_grace) as guard:
            return NodeController(plan, guard, ignored=[n for n in STOPPING if before[n] is signal.SIG_IGN]).run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _context(plan):
    """Paddle's launcher takes its settings from a command line; here is one.

    Without a folder for logs, since what it writes there is the whole environment, secrets too, several times.
    """
    words = ["--nproc_per_node", plan.processes, "--nnodes", plan.nodes, "--rank", plan.node, "--log_level", "WARNING"]
    words += ["--log_dir", "", "--enable_gpu_log", "False"] + (["--master", plan.master] if plan.master else [])
    argv, sys.argv = sys.argv, ["launch", *map(str, words), *plan.command]
    try:
        context = Context(enable_plugin=False)
    finally:
        sys.argv = argv
    if plan.address:
        context.node.ip = plan.address
    device = context.node.device
    device.labels = list(plan.gpus)
    if plan.gpus:
        # Paddle counts among the labels; ours are numbers among the visible GPUs already.
        device.get_selected_devices = lambda devices: list(plan.gpus)
    else:
        device._dtype = DeviceType.CPU
    return context


class NodeController(CollectiveController):
    """Paddle's controller of a node, with a watch of our own.

    Args:
        plan: ``propeller.launch.Plan``.
        guard: ``Guard``.
        ignored: signals that this process was started to ignore, as by nohup.
    """

    def __init__(self, plan: Plan, guard: Guard, ignored: Collection[int] = ()) -> None:
        self.plan, self.guard = plan, guard
        self.signals: list[int] = []
        super().__init__(_context(plan))
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN if number in ignored else self.signal_handler)

    def signal_handler(self, number: int, frame: FrameType | None) -> None:
        """Remember a signal for ``watch``; end the wait for other nodes."""
        self.signals.append(number)
        self.ctx.status.done()

    def run(self) -> int:
        """Start and watch, again after a failure where that is asked for; returns the status."""
        for attempt in range(self.plan.max_restarts + 1):
            # A name of its own for each time: the nodes meet anew.
            self.job = Job(nnodes=str(self.plan.nodes), mode="collective", jid=f"ernie-{attempt}")
            if self.plan.nodes > 1:
                _say(f"waiting for {self.plan.nodes} nodes at {self.plan.master}")
            self.pod.reset()
            self.build_pod()
            if self.signals:
                status = 128 + self.signals[0]
                break
            status = self._start_and_watch()
            if status == 0 or status in NOT_AGAIN or attempt == self.plan.max_restarts:
                break
            _say(f"starting all processes again, {attempt + 1} of {self.plan.max_restarts} times")
        self.master.stop()
        return status

    def _start_and_watch(self):
        plan, ranks = self.plan, []
        for container in self.pod.containers:
            rank = int(container.env["PADDLE_TRAINER_ID"])
            container.env.pop("PADDLE_LOG_DIR", None)
            container.update_env(
                OMP_NUM_THREADS=str(plan.threads),
                ERNIE_LAUNCHER_PID=str(os.getpid()),
            )
            ranks.append(Rank(rank, container.entrypoint, container.env, f"{plan.logs}{rank}", self.guard))
        total = ranks[0].environment["PADDLE_TRAINERS_NUM"]
        where = f"GPUs {','.join(plan.gpus)}, nccl" if plan.gpus else f"CPU, gloo, {plan.threads} thread(s) each"
        _say(f"{len(ranks)} of {total} processes start here ({where}); logs: {plan.logs}{ranks[0].number} and on")
        group = NodeRanks(ranks)
        try:
            for rank in ranks:
                rank.start(group.ended)
            return self._watch(group)
        finally:
            group.kill()

    def _watch(self, group):
        """Wait for the end of all, of one that fails, of another node's, or for a signal; returns the status."""
        looked = time.monotonic()
        while True:
            ended = group.wait(LOOK)
            if ended is not None and ended.status:
                return self._failed(group, ended)
            if ended is not None and not group.running:
                return 0
            if self.signals:
                return self._stop(group)
            if self.plan.nodes > 1 and time.monotonic() - looked > LOOK_AT_PEERS:
                looked = time.monotonic()
                failures = self.master.client.get_prefix(f"/{self.job.id}/failed")
                if failures:
                    _say("another node failed; the processes of this one are stopped")
                    group.stop(signal.SIGTERM, FAILED_GRACE)
                    return int(next(iter(failures.values())))

    def _failed(self, group, rank):
        said = f"rank {rank.number} ended with exit status {rank.status}"
        if self.plan.nodes > 1:
            self.master.client.put(f"/{self.job.id}/failed/{rank.number}", str(rank.status))
        if rank.status not in NOT_AGAIN:
            group.ask_for_stacks()
        group.show_new_lines()
        lines = [] if rank.shown else rank.last_lines()
        if lines and not (rank.status == 2 and group.showed(lines[-1])):
            print(f"---- the last lines of {rank.path}:", *lines, "----", sep="\n", file=sys.stderr, flush=True)
        if rank.status == HUNG:
            said += ": no step for too long (--hang_timeout); the logs say what each rank was doing"
        _say(f"{said}; the other ranks are stopped. Its log: {rank.path}" if group.running else f"{said}: {rank.path}")
        group.stop(signal.SIGTERM, FAILED_GRACE)
        if self.plan.nodes > 1 and self.master.server:
            time.sleep(PEERS_GRACE)
        return rank.status

    def _stop(self, group):
        """Pass the signal on, as SIGTERM but for Ctrl-C; kill what is left after the grace or at a second signal."""
        number, count = self.signals[0], len(self.signals)
        grace = self.plan.stop_grace  # for a last checkpoint, after Ctrl-C too
        _say(f"{signal.Signals(number).name}: the processes are told and have {grace:g} s to end")
        group.stop(number if number == signal.SIGINT else signal.SIGTERM, grace, lambda: len(self.signals) > count)
        # A rank that had no room for the last checkpoint, say: that is for the user to mend.
        return 2 if any(rank.status == 2 for rank in group.ranks) else 128 + number


class Guard:
    """The process that ends the ranks where this one is killed before it can: see ``propeller.launch_guard``."""

    def __init__(self, grace: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD), str(grace)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C, and the end of a terminal, are not for it
        )
        self._pipe = cast("IO[bytes]", self._process.stdin)

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._pipe.close()
        self._process.wait()

    def begins(self, pid: int) -> None:
        """A rank was started; it leads a process group of its own."""
        self._tell(b"+%d\n" % pid)

    def ended(self, pid: int) -> None:
        """Nothing is left of it."""
        self._tell(b"-%d\n" % pid)

    def _tell(self, line):
        with contextlib.suppress(OSError, ValueError):  # it was killed: nobody else suffers
            self._pipe.write(line)
            self._pipe.flush()


class Rank:
    """One process: its number, its command and environment, its log.

    Started here and not by Paddle, which would write the environment to a file for each.
    """

    def __init__(self, number: int, command: list[str], environment: dict[str, str], path: str, guard: Guard) -> None:
        self.number, self.command, self.environment, self.path = number, command, environment, path
        self.shown = number == 0
        self.status: int | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self._guard = guard
        self._log: BinaryIO | None = None

    def start(self, ended: queue.Queue[Rank]) -> None:
        """Start; when it ends, it is put into the queue ``ended``."""
        try:
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "ab") as file:
                self._begin = file.tell()
                if self.shown:
                    self._log = open(self.path, "rb")  # noqa: SIM115 read while the process runs
                    self._log.seek(self._begin)
                process = subprocess.Popen(
                    self.command, env=self.environment, stdout=file, stderr=file, start_new_session=True
                )
        except OSError as error:
            if hasattr(self, "_begin"):
                raise UserError(f"{self.command[0]}: cannot be started ({error.strerror})") from None
            raise UserError(
                f"{self.path}: the log cannot be written ({error.strerror}): give --split_log_path"
            ) from None
        self.process = process
        self._guard.begins(process.pid)
        threading.Thread(target=self._wait, args=(ended,), daemon=True).start()

    def _wait(self, ended):
        code = self.process.wait()
        self.status = 128 - code if code < 0 else code
        ended.put(self)

    def send(self, number: int) -> None:
        """A signal to the process, not to those it started: they serve it to its end."""
        if self.status is None:
            self._signal(os.kill, number)

    def ask_for_stacks(self) -> None:
        """Have a process that knows how (``propeller.train.faults``) print what its threads are doing to its log."""
        if self.process is None:
            return
        with contextlib.suppress(OSError, IndexError):
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            caught = int(status.split("SigCgt:")[1].split()[0], 16)
            if caught >> (signal.SIGUSR1 - 1) & 1:  # others it would kill
                self.send(signal.SIGUSR1)

    def kill(self) -> None:
        """SIGKILL to the process and all it started: each rank has a process group of its own."""
        self._signal(os.killpg, signal.SIGKILL)
        if self.process is not None:
            self._guard.ended(self.process.pid)

    def _signal(self, send, number):
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                send(self.process.pid, number)

    def show_new_lines(self) -> None:
        """Copy what came to the log since the last time to standard error."""
        if self._log is not None:
            while block := self._log.read(1 << 16):
                sys.stderr.write(block.decode(errors="replace"))
            sys.stderr.flush()

    def last_lines(self) -> list[str]:
        """The end of what this run wrote."""
        with open(self.path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._begin, size - (1 << 14)))
            return file.read().decode(errors="replace").splitlines()[-LAST_LINES:]


class NodeRanks:
    """The ranks of this node."""

    def __init__(self, ranks: list[Rank]) -> None:
        self.ranks, self.running = ranks, len(ranks)
        self.ended: queue.Queue[Rank] = queue.Queue()

    def wait(self, seconds: float) -> Rank | None:
        """The next rank to end, or None; new lines of rank 0 are shown meanwhile."""
        try:
            rank = self.ended.get(timeout=seconds)
            self.running -= 1
        except queue.Empty:
            rank = None
        self.show_new_lines()
        return rank

    def ask_for_stacks(self) -> None:
        """The stacks of the ranks that still run go to their logs: one of them may be why another failed."""
        for rank in self.ranks:
            rank.ask_for_stacks()

    def show_new_lines(self) -> None:
        for rank in self.ranks:
            rank.show_new_lines()

    def showed(self, line: str) -> bool:
        """Whether the rank that is shown says the same within a second, as all do about a mistake of the user."""
        end = time.monotonic() + SAME_WITHIN
        for rank in self.ranks:
            while rank.shown and rank.status is None and time.monotonic() < end:
                self.wait(LOOK)
            if rank.shown and line in rank.last_lines():
                self.show_new_lines()
                return True
        return False

    def stop(self, number: int, grace: float, hurry: Callable[[], bool] = lambda: False) -> None:
        """Send a signal to all and wait for them; kill them after ``grace`` seconds or when ``hurry`` says so."""
        for rank in self.ranks:
            rank.send(number)
        end = time.monotonic() + grace
        while self.running and time.monotonic() < end and not hurry():
            self.wait(LOOK)
        self.kill()

    def kill(self) -> None:
        """End whatever is left, worker processes too."""
        for rank in self.ranks:
            rank.kill()
        while self.running and any(rank.process for rank in self.ranks):
            if self.wait(5) is None:
                break


def _say(text):
    print(f"launcher: {text}", file=sys.stderr, flush=True)
