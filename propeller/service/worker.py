"""The process that holds a predictor: batches in, outputs out, over a socket that it was given.

    python -m propeller.service.worker FD       started by propeller.service.workers; not by hand

It ends when the other end of the socket is closed, and on no signal but SIGKILL: whoever stops the server's whole
process group wants the requests that were taken to be answered first.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from propeller.errors import UserError
from propeller.service.padding import InputSpec, output_sizes

if TYPE_CHECKING:
    from propeller.service.predictor import Predictor


PREDICTOR = "propeller.service.worker:open_predictor"


def open_predictor(
    bundle: str | Path, precision: str, threads: int, use_cuda: str, digest: str | None = None, engine: str = "paddle"
) -> Predictor:
    """The ``Predictor`` of a bundle.

    Args:
        bundle: its folder.
        precision, threads: see ``Predictor``.
        use_cuda: ``auto``, ``true`` or ``false``.
        digest: what ``Bundle.digest`` must be, before and after loading; None: any.
        engine: what runs it; the process loads Paddle for ``paddle`` alone.

    Raises:
        UserError: the bundle is damaged, or another one.
    """
    from propeller import runtime
    from propeller.bundle import read_bundle
    from propeller.service.engines import uses_gpu
    from propeller.service.predictor import Predictor

    if engine == "paddle":
        runtime.prepare()
    use_gpu = uses_gpu(engine, use_cuda)
    found = read_bundle(bundle, digest)
    try:
        predictor = Predictor(found, precision, threads, use_gpu, engine)
    except UserError:
        raise
    except Exception as error:  # whatever an engine finds wrong with a network that is not one of our own
        said = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise UserError(f"{found.folder}: cannot be loaded ({said[-1].strip()}): export the bundle again") from error
    found.check_unchanged()  # nor was it replaced while it was loaded
    return predictor


def serve(pipe: Connection) -> None:
    """Load what the first message names, answer ``ready``, then a batch at a time.

    In: a dict ``factory`` (``module:function``), ``options`` (its arguments), ``inputs`` and ``pad`` (see
    ``InputSpec``), ``max_length``; then pairs (name -> padded array, names of the outputs wanted or None).
    Out: pairs ("ready", output name -> ``OutputSize``), ("outputs", name -> array),
    ("user" | "bug", message).
    """
    try:
        task = pipe.recv()
        module, _, function = task["factory"].partition(":")
        predictor = getattr(importlib.import_module(module), function)(**task["options"])
        spec = InputSpec(task["inputs"], task["pad"], max_length=task["max_length"])
        pipe.send(("ready", output_sizes(predictor.run, spec)))
    except UserError as error:
        return pipe.send(("user", str(error)))
    except EOFError:
        raise
    except Exception:
        return pipe.send(("bug", traceback.format_exc()))
    while True:
        batch, wanted = pipe.recv()
        try:
            outputs = predictor.run(batch)
            answer: tuple[str, Any] = (
                "outputs",
                {name: array for name, array in outputs.items() if wanted is None or name in wanted},
            )
        except Exception:
            answer = ("bug", traceback.format_exc())
        pipe.send(answer)


def main(descriptor: int) -> None:
    """Serve the socket of that file descriptor until its other end is closed."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer of ours
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError), Connection(descriptor) as pipe:
        serve(pipe)


if __name__ == "__main__":
    main(int(sys.argv[1]))
