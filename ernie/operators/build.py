"""Builds the operators with the machine's own compiler, once for each source, compiler, Paddle and processor.

path = library()        # the shared library, from the cache or built now

The cache is ``$XDG_CACHE_HOME/ernie-operators`` (``~/.cache/ernie-operators``). Processes that build at once wait for
one of them. Only Paddle's own headers and libraries are used, and no Python ones.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import paddle

log = logging.getLogger("ernie.operators")

SOURCES = ("encoder_layer.cc", "scores.cc", "adamw.cc")
HEADERS = ("attention.h", "matrix.h", "normalise.h", "numbers.h", "threads.h")
# -O3 and the processor's own instructions, but no flag that changes what NaN, infinity or the order of a sum mean,
# other than where a loop asks for it (omp simd reduction).
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fPIC", "-fopenmp", "-fno-math-errno", "-fno-trapping-math",
         "-DPADDLE_WITH_CUSTOM_KERNEL", "-DNDEBUG", "-w")  # fmt: skip
# Paddle's OpenMP and matrix library, which are in the process already.
LIBRARIES = ("libpaddle.so", "libphi_core.so", "libcommon.so", "libdnnl.so.3", "libiomp5.so")
PATIENCE = 300  # seconds that a compiler may take: some 15 on a laptop's core


class Unavailable(Exception):
    """The operators cannot be built or loaded here; the message says why."""


def library() -> Path:
    """The path of the shared library with the operators; built if this machine has not done so before.

    Raises:
        Unavailable: another system or processor than Linux on x86-64, no compiler, or it fails.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise Unavailable(f"they are for Linux on x86-64, this is {platform.system()} on {platform.machine()}")
    compiler = shutil.which(os.environ.get("CXX") or "g++")
    if not compiler:
        raise Unavailable("there is no C++ compiler: install g++, or set CXX to one")
    root = Path(paddle.__file__).parent
    missing = [name for name in LIBRARIES if not _find(root, name)]
    if missing:
        raise Unavailable(f"this Paddle lacks {', '.join(missing)}")
    folder = cache_folder() / _key(compiler)
    path = folder / "operators.so"
    if path.is_file():
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder / "lock"):
            if not path.is_file():
                log.info("building the operators for this processor with %s, once, in %s", compiler, folder)
                _build(compiler, root, path)
    except OSError as error:
        raise Unavailable(f"{folder}: {error.strerror or error}") from None
    return path


def cache_folder() -> Path:
    """Where built operators are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ernie-operators"


def _find(root: Path, name: str) -> Path | None:
    return next((path for path in (root / "libs" / name, root / "base" / name) if path.is_file()), None)


def _key(compiler: str) -> str:
    """A name for what a built library depends on."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for name in (*SOURCES, *HEADERS):
        digest.update((here / name).read_bytes())
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    for word in (*FLAGS, *LIBRARIES, version, paddle.__version__, paddle.__file__, _processor()):
        digest.update(word.encode() + b"\0")
    return digest.hexdigest()[:24]


def _processor() -> str:
    """The processor's model and instructions."""
    with open("/proc/cpuinfo", encoding="utf8") as file:
        lines = dict(line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines() if ":" in line)
    facts = {name.strip(): value.strip() for name, value in lines.items()}
    return "|".join(facts.get(name, "") for name in ("vendor_id", "cpu family", "model", "flags"))


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    import fcntl

    with open(path, "w", encoding="utf8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed, by the end of the process too
        yield


def _build(compiler: str, root: Path, path: Path) -> None:
    """Compile all sources at once and link them; the library appears under its name when it is whole."""
    include = ["-I", str(root / "include"), "-I", str(root / "include" / "third_party")]
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        objects = [str(Path(folder) / f"{name}.o") for name in SOURCES]
        commands = [
            [compiler, *FLAGS, *include, "-c", str(Path(__file__).parent / name), "-o", to]
            for name, to in zip(SOURCES, objects)
        ]
        _run_all(commands, folder)
        made = str(Path(folder) / path.name)
        where = [f"-Wl,-rpath,{root / name}" for name in ("libs", "base")]
        libraries = [str(_find(root, name)) for name in LIBRARIES]
        _run_all([[compiler, "-shared", *objects, "-o", made, *libraries, *where]], folder)
        Path(made).replace(path)


def _run_all(commands: list[list[str]], folder: str) -> None:
    environment = {**os.environ, "TMPDIR": folder}
    running = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
        for command in commands
    ]
    try:
        for process in running:
            _, said = process.communicate(timeout=PATIENCE)
            if process.returncode:
                lines = [line for line in said.splitlines() if "error" in line] or said.splitlines()
                raise Unavailable(f"the compiler failed: {lines[0].strip() if lines else process.returncode}")
    except subprocess.TimeoutExpired:
        raise Unavailable(f"the compiler took longer than {PATIENCE} s") from None
    finally:
        for process in running:
            process.kill()
            process.wait()
