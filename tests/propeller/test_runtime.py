"""What the machine can do: asked of the processor and of the library that computes."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import paddle
import pytest

from propeller import runtime
from tests.helpers.common import ROOT


@pytest.mark.parametrize("name", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
@pytest.mark.parametrize(
    ("limit", "wide"),
    [(None, True), ("", True), ("DEFAULT", True), ("avx512_core_bf16", True), ("AVX10_1_512", True), ("AVX2", False),
     ("avx2_vnni", False), ("SSE41", False)],
)  # fmt: skip
@pytest.mark.parametrize("able", [True, False])
def test_bf16_needs_the_processor_and_the_library(monkeypatch, name, limit, wide, able):
    for variable in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(variable, raising=False)
    if limit is not None:
        monkeypatch.setenv(name, limit)
    monkeypatch.setattr(paddle.base.core, "supports_bfloat16", lambda: able)
    assert runtime.cpu_has_bf16() == (wide and able)


def test_the_old_kind_of_programs_is_refused_in_one_line():
    """Paddle 3.3.1 reads FLAGS_enable_pir_api when it is imported; with 0, a Program of ours ends in its traceback."""
    code = (
        "from propeller import runtime; from propeller.errors import exit_on_user_error\n"
        "runtime.prepare(); exit_on_user_error(runtime.place, 'auto')"
    )
    environment = {**os.environ, "FLAGS_enable_pir_api": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "error: FLAGS_enable_pir_api=0 in the environment turns off Paddle's programs of today: unset it"
    )


def heaps(environment):
    """How many a process has whose threads take memory after ``one_heap``."""
    code = (
        "import ctypes, threading; from propeller import runtime; runtime.one_heap()\n"
        "libc = ctypes.CDLL(None); libc.fopen.restype = libc.malloc.restype = ctypes.c_void_p\n"
        "together = threading.Barrier(4)\n"
        "def take():\n"
        "    together.wait(); libc.malloc(ctypes.c_size_t(1000)); together.wait()\n"
        "threads = [threading.Thread(target=take) for _ in range(4)]\n"
        "[thread.start() for thread in threads]; [thread.join() for thread in threads]\n"
        "out = ctypes.c_void_p(libc.fopen(b'/dev/stdout', b'w')); libc.malloc_info(0, out); libc.fclose(out)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **environment}, check=True,
                          capture_output=True, text=True)  # fmt: skip
    return done.stdout.count("<heap ")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_threads_share_one_heap_unless_the_user_says_otherwise():
    assert heaps({}) == 1
    assert heaps({"MALLOC_ARENA_MAX": "3"}) > 1


@pytest.mark.parametrize(
    ("text", "number"), [(None, None), ("", None), ("1", 1), ("3", 3), (" 2,4", 2), ("0", None), ("many", None)]
)
def test_threads_are_those_of_the_environment_else_the_cores(monkeypatch, text, number):
    monkeypatch.setattr(runtime, "_before_paddle", text)
    monkeypatch.setattr(runtime, "_was_set", lambda name: True)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if text is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert runtime.given_threads() == number
    assert runtime.threads() == (number or runtime.cores())


def test_the_one_thread_that_paddle_sets_is_nobodys_wish(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setitem(sys.modules, "paddle", sys)
    monkeypatch.setattr(runtime, "_before_paddle", None)
    monkeypatch.setattr(runtime, "_was_set", lambda name: False)
    assert runtime.threads() == runtime.cores()
    monkeypatch.setattr(runtime, "_before_paddle", "1")
    assert runtime.threads() == 1
    monkeypatch.setattr(runtime, "_before_paddle", None)
    monkeypatch.setattr(runtime, "_was_set", lambda name: True)
    assert runtime.threads() == 1


@pytest.mark.parametrize(
    ("code", "number"),
    [
        ("from propeller import runtime; import paddle", None),  # as sorted imports have it
        ("import paddle; from propeller import runtime", None),
        ("import os; from propeller import runtime; os.environ['OMP_NUM_THREADS'] = '1'; runtime.prepare()", 1),
        ("import os; os.environ['OMP_NUM_THREADS'] = '1'; from propeller import runtime; import paddle", 1),
        ("from propeller import runtime; runtime.cores = lambda: 3; runtime.prepare()", 3),
    ],
    ids=["before_paddle", "after_paddle", "set_and_prepared", "set_before", "prepared"],
)
def test_whoever_imports_paddle_first(code, number, tmp_path):
    """A stand-in does to the environment what Paddle does."""
    (tmp_path / "paddle.py").write_text("import os; os.environ.setdefault('OMP_NUM_THREADS', '1')")
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(ROOT)])
    code += "; print(runtime.given_threads())"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(number)]


def test_what_a_process_was_started_with():
    code = (
        "import os; os.environ['B_'] = '1'\n"
        "from propeller import runtime; print(runtime._was_set('A_'), runtime._was_set('B_'))"
    )
    environment = {**os.environ, "A_": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False" if Path("/proc/self/environ").exists() else "True"]
