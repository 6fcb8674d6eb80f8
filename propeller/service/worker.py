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

from propeller.errors import UserError
from propeller.service.padding import InputSpec, sequence_outputs

PREDICTOR = "propeller.service.worker:open_predictor"


def open_predictor(bundle, precision, threads, use_cuda):
    """The ``Predictor`` of a bundle.

    Args:
        bundle: its folder.
        precision, threads: see ``Predictor``.
        use_cuda: ``auto``, ``true`` or ``false``.
    """
    from propeller import runtime
    from propeller.bundle import read_bundle

    runtime.prepare()
    from propeller.service.predictor import Predictor

    use_gpu = "gpu" in str(runtime.place(use_cuda)).lower()
    return Predictor(read_bundle(bundle), precision, threads, use_gpu)


def serve(pipe):
    """Load what the first message names, answer ``ready``, then a batch at a time.

    In: a dict ``factory`` (``module:function``), ``options`` (its arguments), ``inputs`` and ``pad`` (see
    ``InputSpec``), ``max_length``; then pairs (name -> padded array, names of the outputs wanted or None).
    Out: pairs ("ready", names of the outputs that run along the sequence), ("outputs", name -> array),
    ("user" | "bug", message).
    """
    try:
        asked = pipe.recv()
        module, _, function = asked["factory"].partition(":")
        predictor = getattr(importlib.import_module(module), function)(**asked["options"])
        spec = InputSpec(asked["inputs"], asked["pad"], max_length=asked["max_length"])
        pipe.send(("ready", sequence_outputs(predictor.run, spec)))
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
            answer = ("outputs", {name: array for name, array in outputs.items() if wanted is None or name in wanted})
        except Exception:
            answer = ("bug", traceback.format_exc())
        pipe.send(answer)


def main(descriptor):
    """Serve the socket of that file descriptor until its other end is closed."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer of ours
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError), Connection(descriptor) as pipe:
        serve(pipe)


if __name__ == "__main__":
    main(int(sys.argv[1]))
