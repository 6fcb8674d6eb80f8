"""The machine a program runs on: threads and matrix kernels, set before Paddle is imported, and the device after.

    from propeller import runtime
    runtime.prepare()          # first, in an entry script
    place = runtime.place("auto")

Importing this module changes nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import io
import os
import sys
import warnings
from typing import Any

from propeller.errors import UserError
from propeller.flags import boolean_or
from propeller.signals import kept_handlers

_M_ARENA_MAX = -8  # of malloc.h
# Paddle sets OMP_NUM_THREADS to 1 where it is imported by others than ``prepare``, unless it was set.
_before_paddle = None if "paddle" in sys.modules else os.environ.get("OMP_NUM_THREADS")
PADDLE_AT_LEAST = (3, 0)
INSTALL_GPU = "pip install -r requirements-gpu.txt"


def cores() -> int:
    """The number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def given_threads() -> int | None:
    """The number in ``OMP_NUM_THREADS``, of a list the first one, or None. After ``prepare`` it is always set.

    The 1 that Paddle sets where others than ``prepare`` import it counts as none.
    """
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if first == "1" and "paddle" in sys.modules and _before_paddle is None and not _was_set("OMP_NUM_THREADS"):
        return None
    return int(first) if first.isdecimal() and int(first) else None


def _was_set(name):
    """Whether this process was started with a variable; True where it cannot be told."""
    try:
        with open("/proc/self/environ", "rb") as file:
            return any(entry.startswith(f"{name}=".encode()) for entry in file.read().split(b"\0"))
    except OSError:
        return True


def threads() -> int:
    """The CPU threads of a process, if no argument gives them: ``OMP_NUM_THREADS``, else ``cores()``."""
    return given_threads() or cores()


def prepare() -> None:
    """Set what Paddle reads once, when it is imported, and import it; what the user has set stays.

    ``OMP_NUM_THREADS``: Paddle takes 1 unless it is set; here, the cores this process may use.
    ``MKL_DEBUG_CPU_TYPE=5`` on AMD processors: the math library in Paddle's wheel picks its slowest kernels there; with
    this it takes the AVX2 ones, at about twice the speed.
    ``KMP_BLOCKTIME=1``: threads that wait for work give their core away after a millisecond, not after 200: Paddle's
    executor has threads of its own, which need it.
    ``GLOG_minloglevel=2``: Paddle's C++ side keeps its notes and warnings to itself; errors are shown.
    """
    global _before_paddle
    number = os.environ.setdefault("OMP_NUM_THREADS", str(cores()))
    if "paddle" not in sys.modules:
        _before_paddle = number
    if _vendor_is_amd():
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")
    os.environ.setdefault("KMP_BLOCKTIME", "1")
    os.environ.setdefault("GLOG_minloglevel", "2")
    warnings.filterwarnings("ignore", message="No ccache found")
    warnings.filterwarnings("ignore", message="Tensor do not have 'place' interface")
    said = io.StringIO()
    with contextlib.redirect_stderr(said), kept_handlers():
        import paddle  # noqa: F401
    # Paddle warns of more than one thread; on purpose here.
    sys.stderr.writelines(line for line in said.getvalue().splitlines(True) if "OMP_NUM_THREADS" not in line)


def one_heap() -> None:
    """Let all threads of this process take memory from one heap, unless ``MALLOC_ARENA_MAX`` says otherwise.

    glibc gives each thread one of its own. The batches of a training have many shapes, and what one thread has given
    back is then kept from the others: fine-tuning 6 layers of 384 on two cores took 1,730 MB with two heaps and 1,290
    with one, and no longer (benchmark/real_rows.py). To be called before there are threads.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        with contextlib.suppress(AttributeError, OSError):  # another C library
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def _vendor_is_amd():
    try:
        with open("/proc/cpuinfo", encoding="utf8") as file:
            return "AuthenticAMD" in file.read(4096)
    except OSError:
        return False


def cpu_has_bf16() -> bool:
    """Whether Paddle computes in bfloat16 on this processor: it needs AVX-512, in the processor and in oneDNN.

    oneDNN, which has the kernels, can be told to use fewer instructions than there are (``ONEDNN_MAX_CPU_ISA``, also
    spelt ``DNNL_MAX_CPU_ISA``); Paddle looks at the processor alone.
    """
    import paddle

    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "DEFAULT"
    wide = limit.upper().startswith(("AVX512_CORE", "AVX10", "DEFAULT", "ALL"))
    return wide and paddle.base.core.supports_bfloat16()


def cpu_has_vnni() -> bool:
    """Whether the processor has instructions for products of 8-bit numbers; True where it cannot be told.

    On x86 they are VNNI (AVX-512 or AVX), on Arm the dot product.
    """
    try:
        with open("/proc/cpuinfo", encoding="utf8") as file:
            lines = [line for line in file if line.startswith(("flags", "Features"))]
    except OSError:
        return True
    return not lines or bool({"avx512_vnni", "avx_vnni", "asimddp"} & set(lines[0].split()))


def device_asked(use_cuda: str | bool) -> str:
    """``true``, ``false`` or ``auto`` for any spelling of ``--use_cuda``. Raises UserError for another value."""
    try:
        return boolean_or("auto")(use_cuda)
    except argparse.ArgumentTypeError as error:
        raise UserError(f"use_cuda: {error}") from None


def on_gpu(use_cuda: str | bool) -> bool:
    """Whether Paddle computes on a GPU with ``--use_cuda``: a boolean, or ``auto`` (if Paddle and machine have one).

    Raises:
        UserError: Paddle is too old or told to build programs of its old kind, a GPU is asked for and there is none, or
            the value is another one.
    """
    use_cuda = device_asked(use_cuda)
    import paddle

    version = tuple(int(part) for part in paddle.__version__.split(".")[:2])
    if version < PADDLE_AT_LEAST and version != (0, 0):  # 0.0.0: a development build
        raise UserError(f"Paddle {paddle.__version__} is too old: install 3.3.1 (for a GPU: {INSTALL_GPU})")
    if not paddle.get_flags("FLAGS_enable_pir_api")["FLAGS_enable_pir_api"]:
        raise UserError("FLAGS_enable_pir_api=0 in the environment turns off Paddle's programs of today: unset it")
    has_gpu = paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    if use_cuda == "true" and not has_gpu:
        why = "this machine shows none" if paddle.is_compiled_with_cuda() else "this Paddle is built for CPUs"
        raise UserError(f"--use_cuda true needs a GPU, but {why}: give --use_cuda auto, or run {INSTALL_GPU}")
    return has_gpu and use_cuda in ("true", "auto") and os.environ.get("PADDLE_DISTRI_BACKEND") != "gloo"


def place(use_cuda: str | bool) -> Any:
    """The Paddle place for ``--use_cuda``, see ``on_gpu``; Paddle's own device is set to it."""
    gpu = on_gpu(use_cuda)
    import paddle

    selected = os.environ.get("FLAGS_selected_gpus", "0")  # noqa: SIM112 Paddle's launcher gives each process one
    number = int(selected.split(",")[0] or 0)
    paddle.set_device(f"gpu:{number}" if gpu else "cpu")
    return paddle.CUDAPlace(number) if gpu else paddle.CPUPlace()


def on_terminal() -> bool:
    """Whether a person watches: standard error is a terminal."""
    return sys.stderr.isatty()
