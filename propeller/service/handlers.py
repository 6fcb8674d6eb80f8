"""What the text side of a server is asked for: the handler of a bundle, and what it makes of a request.

    handler = open_handler("finetune.serving", "saved/step_100_inference_model")
    job = handler.parse({"texts": ["good film"]}, limits)       # job.instances: list of name -> 1-D array
    answer = handler.answer(job, outputs)                       # JSON-able; outputs: a dict a row

A handler module has ``open_handler(bundle folder, **options)``. What it returns has ``parse``, ``answer``, and may have

- ``describe()``: facts for GET /info;
- ``pad``: input name -> what is put after shorter rows (0);
- ``bounds``: input name -> (least, greatest) value the model can take, which /arrays is checked with;
- ``max_length``: the longest row, in tokens;
- ``outputs``: names of the outputs that ``answer`` needs (all);
- ``main``: names of the outputs that ``InferenceClient`` gives by position, in that order (all);
- ``quick``: true if what is small (2 KiB of JSON, as many numbers) takes it well under a millisecond: then it is done
  on the event loop, without a thread (false);
- ``page``: folder of static files, ``index.html`` at GET /.

``parse`` and ``answer`` run in threads, several at a time; ``parse`` raises ``BadRequest`` or ``TooLarge``.

A handler module may have ``write_bundle(folder, target, use_cuda, onnx)`` too, which makes a bundle of weights.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from propeller.bundle import holds_bundle
from propeller.errors import UserError
from propeller.files import temporary_directory
from propeller.service.engines import runs_onnx
from propeller.service.errors import BadRequest, NotFound
from propeller.shown import show_as, temporary_model

if TYPE_CHECKING:
    from propeller.service.limits import Limits

log = logging.getLogger("propeller.service")


class ArraysOnly:
    """The handler of a server that takes arrays and nothing else."""

    def parse(self, payload: dict[str, Any], limits: Limits) -> NoReturn:
        raise NotFound("this server takes arrays only: POST /arrays")

    def answer(self, job: Any, outputs: list[dict[str, np.ndarray]]) -> NoReturn:
        raise BadRequest("nothing was parsed")


def open_handler(name: str, folder: str | Path, options: Mapping[str, Any] | None = None) -> Any:
    """The handler of a bundle by the name of its module; ``none``: arrays only.

    Args:
        name: the module.
        folder: the bundle.
        options: further arguments of the module's ``open_handler``, by name.

    Raises:
        UserError: there is no such module, or it has no ``open_handler``, or that one cannot take the bundle or the
            options.
    """
    options = options or {}
    if name == "none":
        if options:
            raise UserError(f"--{next(iter(options))} with --handlers none, which takes no text: leave one of them out")
        return ArraysOnly()
    module = _module(name)
    if not hasattr(module, "open_handler"):
        raise UserError(f"--handlers {name}: it has no open_handler(folder), so it is no handler module")
    unknown = [key for key in options if key not in inspect.signature(module.open_handler).parameters]
    if unknown:
        raise UserError(f"--{unknown[0]}: the handlers {name} know nothing of it: leave it out")
    return module.open_handler(folder, **options)


@contextlib.contextmanager
def as_bundle(name: str, folder: str | Path, use_cuda: str, engine: str, precision: str) -> Iterator[Path]:
    """A folder as a bundle: itself, or one that the handler module makes of weights in it, removed at the end.

    Args:
        name: the module, see ``open_handler``; ``none`` makes nothing.
        folder: of a bundle or of weights. Anything else is given back as it is, for ``read_bundle`` to refuse.
        use_cuda: the device, true, false or auto.
        engine, precision: what is to run it, see ``propeller.service.engines.choose_engine``.

    Raises:
        UserError: there is no such module; it can make nothing of the folder, or not with that precision.
    """
    folder = Path(folder)
    if name == "none" or not folder.is_dir() or holds_bundle(folder) or not hasattr(_module(name), "write_bundle"):
        yield folder
        return
    if precision == "int8":
        raise UserError(f"--precision int8: {folder} holds weights: give an inference model that was saved with it")
    with temporary_directory("ernie-served-") as scratch:
        show_as({scratch / "model": temporary_model(folder)})
        _module(name).write_bundle(folder, scratch / "model", use_cuda, runs_onnx(engine))
        log.info("%s holds weights: a temporary inference model was made of them for this server", folder)
        yield scratch / "model"


def _module(name):
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise UserError(f"--handlers {name}: there is no such module; none serves arrays only") from error
        raise
