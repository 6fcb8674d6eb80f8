"""Training in several processes, a device each: who this process is, and what the processes tell each other.

    ranks = distribution.start()                  # what the launcher's environment says; one alone without it
    ranks.rank, ranks.size, ranks.first
    ranks.all_gather({"loss": 0.3, "probs": probs})     # a list of every rank's value, in the order of the ranks

Processes are started by ``finetune_launch.py`` over ``paddle.distributed.launch``. Gradients go through Paddle's
collectives inside the train Program (NCCL on GPUs, gloo on CPUs); what is said beside it is JSON and arrays.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from propeller import disconfig
from propeller.disconfig import run_on_master, status  # noqa: F401 in 2019 they were here
from propeller.train import loopback

log = logging.getLogger("propeller.train")

FIRST_MESSAGE = 4096  # bytes: what most messages fit in, so that one exchange is enough
LENGTH = 8
# Megabytes of gradients that are sent at once. gloo is quickest with messages that stay in the cache.
BUCKET_MB = {"nccl": 32.0, "gloo": 1.0}


class Ranks:
    """The processes that train together; this one is alone.

    Attributes:
        rank, size: which of how many; ``first``: whether this one writes.
        backend: ``nccl``, ``gloo`` or None.
    """

    rank: int = 0
    size: int = 1
    backend: str | None = None

    @property
    def first(self) -> bool:
        """Whether this process writes files and journal for all."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait until all ranks are here, however long it takes: to be called after what one rank does alone."""

    def all_gather(self, value: Any) -> list[Any]:
        """A list of every rank's value: None, numbers, texts, arrays, and lists and dicts (keys are texts) of them."""
        return [value]

    def broadcast(self, value: Any = None) -> Any:
        """The first rank's value, on every rank."""
        return self.all_gather(value if self.first else None)[0]

    def broadcast_arrays(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The first rank's arrays (name -> array, of the same names, shapes and dtypes everywhere), on every rank."""
        return arrays

    def in_order(self, groups: Iterable[list[Any]]) -> Iterator[Any]:
        """All ranks' items in the order of the file, on every rank.

        Args:
            groups: of this rank: lists of items; the n-th list of all ranks stands before the n+1-th.
        """
        groups = iter(groups)
        while True:
            group = self.all_gather(next(groups, None))
            if all(part is None for part in group):
                return
            for part in group:
                yield from part or ()


class ParallelRanks(Ranks):
    """Several processes, joined by Paddle's process group. Use ``start``."""

    def __init__(self, backend: str) -> None:
        import paddle
        from paddle.distributed import get_rank, get_world_size

        self.paddle, self.backend = paddle, backend
        self._join(paddle.base.core.create_or_get_global_tcp_store(), get_rank(), get_world_size())

    @classmethod
    def of_store(cls, store: Any, rank: int, size: int) -> ParallelRanks:
        """Ranks that have a ``barrier`` over a store of Paddle, and nothing else."""
        ranks = cls.__new__(cls)
        ranks._join(store, rank, size)
        return ranks

    def _join(self, store, rank, size):
        self._store, self.rank, self.size, self._barriers = store, rank, size, 0

    def barrier(self) -> None:
        # Not a barrier of the process group: gloo gives up after 30 seconds, whatever it is told.
        self._barriers += 1
        self._count("come", 1)
        self._wait_for("come", self._barriers * self.size)
        # The first rank keeps the store: it goes on, and may end, when all others need no answer any more.
        if self.first:
            self._wait_for("gone", self._barriers * (self.size - 1))
        else:
            with contextlib.suppress(ValueError, RuntimeError, OSError):  # it went before it answered
                self._count("gone", 1)

    def _wait_for(self, name, count):
        while self._count(name, 0) < count:
            time.sleep(0.01)

    def _count(self, name, more):
        with undisturbed():
            return self._store.add(name, more)

    def all_gather(self, value: Any) -> list[Any]:
        sent = pack(value)
        head = np.zeros(FIRST_MESSAGE, np.uint8)
        head[:LENGTH] = np.frombuffer(np.int64(len(sent)).tobytes(), np.uint8)
        begin = sent[: FIRST_MESSAGE - LENGTH]
        head[LENGTH : LENGTH + len(begin)] = np.frombuffer(begin, np.uint8)
        heads = self._gather_bytes(head)
        lengths = [int(received[:LENGTH].view(np.int64)[0]) for received in heads]
        parts = [received[LENGTH : LENGTH + length].tobytes() for received, length in zip(heads, lengths)]
        rest = max(lengths) - (FIRST_MESSAGE - LENGTH)
        if rest > 0:
            tail = np.zeros(rest, np.uint8)
            end = sent[FIRST_MESSAGE - LENGTH :]
            tail[: len(end)] = np.frombuffer(end, np.uint8)
            parts = [part + received.tobytes() for part, received in zip(parts, self._gather_bytes(tail))]
        return [unpack(part[:length]) for part, length in zip(parts, lengths)]

    def _gather_bytes(self, array):
        with self._eager():
            tensors = []
            self.paddle.distributed.all_gather(tensors, self.paddle.to_tensor(array))
            return [tensor.numpy() for tensor in tensors]

    def broadcast_arrays(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with self._eager():
            copied = {}
            for name in sorted(arrays):
                tensor = self.paddle.to_tensor(np.ascontiguousarray(arrays[name]))
                flat = tensor.reshape([-1])
                self.paddle.distributed.broadcast(flat, src=0)
                copied[name] = flat.numpy().reshape(np.shape(arrays[name]))
            return copied

    @contextlib.contextmanager
    def _eager(self):
        """Paddle's eager mode, in which the process group can be spoken to; and back."""
        static = not self.paddle.in_dynamic_mode()
        if static:
            self.paddle.disable_static()
        try:
            yield
        finally:
            if static:
                self.paddle.enable_static()


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Hold signals back from this thread: Paddle's store takes a system call that one interrupts for an error."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def processes() -> int:
    """The number of processes of the launcher's environment; 1 without a launcher."""
    return int(os.environ.get("PADDLE_TRAINERS_NUM") or 1)


def start() -> Ranks:
    """The ``Ranks`` of the launcher's environment; this process joins it. To be called before static mode is on.

    Joined processes end with their launcher: it may be killed, they do not go on by themselves.
    """
    disconfig.apply()
    if processes() == 1:
        return Ranks()
    if not os.environ.get(disconfig.VARIABLE):  # else whoever started it may leave
        _end_with_parent()
    import paddle

    backend = "gloo" if os.environ.get("PADDLE_DISTRI_BACKEND") == "gloo" else "nccl"
    output = io.StringIO()
    here = loopback.only(_meeting_place())
    with here, contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):  # a table of Paddle's flags
        paddle.distributed.init_parallel_env()
    ranks = ParallelRanks(backend)
    log.info("process %d of %d, %s", ranks.rank, ranks.size, backend)
    return ranks


def _meeting_place():
    """host:port of the store where the processes meet; empty where that is not on this machine alone."""
    hosts = {address.rpartition(":")[0] for address in os.environ.get("PADDLE_TRAINER_ENDPOINTS", "").split(",")}
    return os.environ.get("PADDLE_MASTER", "") if hosts == {"127.0.0.1"} else ""


def _end_with_parent():
    """Have the kernel send SIGTERM when the launcher dies without a word (prctl's PR_SET_PDEATHSIG, on Linux)."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGTERM, 0, 0, 0)
    launcher = os.environ.get("ERNIE_LAUNCHER_PID")
    if launcher and os.getppid() != int(launcher):  # it died before that
        os.kill(os.getpid(), signal.SIGTERM)


def add_numbers(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """name -> sum of dicts of numbers, added in their order: the same bits wherever it is done."""
    total: dict[str, float] = {}
    for numbers in parts:
        for name, value in numbers.items():
            total[name] = total.get(name, 0) + value
    return total


def pack(value: Any) -> bytes:
    """Bytes of a value of ``Ranks.all_gather``; no pickle."""
    arrays = []

    def plain(item):
        if isinstance(item, np.generic):
            return item.item()
        if isinstance(item, np.ndarray):
            array = np.ascontiguousarray(item)
            if array.dtype.hasobject:
                raise TypeError("an array of Python objects cannot be sent to other processes")
            arrays.append(array.tobytes())
            return {"@": [array.dtype.str, list(np.shape(item))]}
        if isinstance(item, dict):
            return {"{": [[key, plain(entry)] for key, entry in item.items()]}
        if isinstance(item, (list, tuple)):
            return [plain(entry) for entry in item]
        return item

    head = json.dumps(plain(value)).encode()
    return b"".join([np.int64(len(head)).tobytes(), head, *arrays])


def unpack(data: bytes) -> Any:
    """The value of ``pack``; tuples come back as lists."""
    length = int(np.frombuffer(data, np.int64, 1)[0])
    head, offset = json.loads(data[LENGTH : LENGTH + length]), LENGTH + length

    def restored(item):
        nonlocal offset
        if isinstance(item, list):
            return [restored(entry) for entry in item]
        if not isinstance(item, dict):
            return item
        if "{" in item:
            return {key: restored(entry) for key, entry in item["{"]}
        dtype, shape = np.dtype(item["@"][0]), item["@"][1]
        count = int(np.prod(shape, dtype=np.int64))
        array = np.frombuffer(data, dtype, count, offset).reshape(shape).copy()
        offset += count * dtype.itemsize
        return array

    return restored(head)


class GradientReducer:
    """Sums gradients over the ranks inside a Program, in buckets.

    Args:
        bucket_mb: gradients are joined until they have so many megabytes; a larger one goes by itself.
    """

    def __init__(self, bucket_mb: float) -> None:
        self.bytes = bucket_mb * 2**20

    def share(self, loss: Any, weight: Any) -> Any:
        """The loss times this rank's part of the weight of all ranks: gradients of it add up to those of the mean.

        Args:
            weight: float32 [1], what the loss is the mean over on this rank: rows, or places, or masked tokens.
        """
        import paddle

        total = weight * 1.0
        paddle.distributed.all_reduce(total)
        return loss * (weight / total).reshape([])

    def __call__(self, params_grads: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        """Pairs of parameter and gradient -> the same pairs with gradients summed over the ranks."""
        import paddle

        reduced = []
        for bucket in self.buckets(params_grads):
            grads = [grad for _, grad in bucket]
            if len(bucket) == 1:
                paddle.distributed.all_reduce(grads[0])  # in place
                reduced += bucket
                continue
            joined = paddle.concat([grad.reshape([-1]) for grad in grads])
            paddle.distributed.all_reduce(joined)
            parts = paddle.split(joined, [int(np.prod(grad.shape)) for grad in grads])
            reduced += [(p, part.reshape(grad.shape)) for (p, grad), part in zip(bucket, parts)]
        return reduced

    def buckets(self, params_grads: list[tuple[Any, Any]]) -> list[list[tuple[Any, Any]]]:
        """Lists of pairs: of one dtype, in the order of the backward pass, full or one large gradient each."""
        lists: list[list[tuple[Any, Any]]] = []
        sizes: list[int] = []
        for parameter, grad in reversed(list(params_grads)):
            size = int(np.prod(grad.shape)) * (2 if "16" in str(grad.dtype) else 4)
            last = lists[-1][-1][1] if lists else None
            if last is not None and last.dtype == grad.dtype and sizes[-1] + size <= self.bytes:
                lists[-1].append((parameter, grad))
                sizes[-1] += size
            else:
                lists.append([(parameter, grad)])
                sizes.append(size)
        return lists
