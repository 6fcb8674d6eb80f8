"""The machine a program runs on: threads and matrix kernels, set before Paddle is imported, and the device after.

    from propeller import runtime
    runtime.prepare()          # first, in an entry script
    place = runtime.place("auto")

Importing this module changes nothing.
"""

import contextlib
import io
import os
import sys
import warnings

from propeller.errors import UserError

PADDLE_AT_LEAST = (3, 0)
INSTALL_GPU = "pip install -r requirements-gpu.txt"


def cores():
    """The number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prepare():
    """Set what Paddle reads once, when it is imported, and import it; what the user has set stays.

    ``OMP_NUM_THREADS``: Paddle takes 1 unless it is set; here, the cores this process may use.
    ``MKL_DEBUG_CPU_TYPE=5`` on AMD processors: the math library in Paddle's wheel picks its slowest kernels there; with
    this it takes the AVX2 ones, at about twice the speed.
    ``GLOG_minloglevel=2``: Paddle's C++ side keeps its notes and warnings to itself; errors are shown.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(cores()))
    if _vendor_is_amd():
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")
    os.environ.setdefault("GLOG_minloglevel", "2")
    warnings.filterwarnings("ignore", message="No ccache found")
    warnings.filterwarnings("ignore", message="Tensor do not have 'place' interface")
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        import paddle  # noqa: F401
    # Paddle warns of more than one thread; on purpose here.
    sys.stderr.writelines(line for line in said.getvalue().splitlines(True) if "OMP_NUM_THREADS" not in line)


def _vendor_is_amd():
    try:
        with open("/proc/cpuinfo", encoding="utf8") as file:
            return "AuthenticAMD" in file.read(4096)
    except OSError:
        return False


def place(use_cuda):
    """The Paddle place for ``--use_cuda``: ``true``, ``false`` or ``auto`` (a GPU if this Paddle and machine have one).

    Raises:
        UserError: Paddle is too old, or a GPU is asked for and there is none.
    """
    import paddle

    version = tuple(int(part) for part in paddle.__version__.split(".")[:2])
    if version < PADDLE_AT_LEAST and version != (0, 0):  # 0.0.0: a development build
        raise UserError(f"Paddle {paddle.__version__} is too old: install 3.3.1 (for a GPU: {INSTALL_GPU})")
    has_gpu = paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    if use_cuda == "true" and not has_gpu:
        why = "this machine shows none" if paddle.is_compiled_with_cuda() else "this Paddle is built for CPUs"
        raise UserError(f"--use_cuda true needs a GPU, but {why}: give --use_cuda auto, or run {INSTALL_GPU}")
    on_gpu = has_gpu and use_cuda in ("true", "auto") and os.environ.get("PADDLE_DISTRI_BACKEND") != "gloo"
    given = os.environ.get("FLAGS_selected_gpus", "0")  # noqa: SIM112 Paddle's launcher gives each process one
    number = int(given.split(",")[0] or 0)
    paddle.set_device(f"gpu:{number}" if on_gpu else "cpu")
    return paddle.CUDAPlace(number) if on_gpu else paddle.CPUPlace()


def on_terminal():
    """Whether a person watches: standard error is a terminal."""
    return sys.stderr.isatty()
