"""Log lines in the 2019 form, to standard error and, if asked, to a file.

setup("checkpoints/train.log", bar=True)
logging.getLogger("ernie").info("epoch: 0, ...")
# [INFO] 2026-11-22 14:23:37,543 [   runner.py:   87]:	epoch: 0, ...
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from propeller.errors import UserError
from propeller.shown import shown

FORMAT = "[%(levelname)s] %(asctime)s [%(filename)12s:%(lineno)5d]:\t%(message)s"
LOGGERS = ("ernie", "propeller")
# For ``extra`` of a line that belongs into the log file, and would hide others on a terminal.
IN_FILE: Mapping[str, Any] = {"in_file": True}


class _Form(logging.Formatter):
    """The form of a line, with names for temporary paths."""

    def format(self, record):
        return shown(super().format(record))


class _AboveBar(logging.Handler):
    """Writes lines above a tqdm bar, so that neither tears the other."""

    def emit(self, record):
        from tqdm import tqdm  # a program that ends with --help needs none

        tqdm.write(self.format(record), file=sys.stderr)


class _File(logging.FileHandler):
    """Appends to a file, made with the first line; a full disk is said once, not with a traceback for every line.

    While ``held`` is a list, lines wait in it.
    """

    failing = False
    held: list[logging.LogRecord] | None = None

    def _open(self):
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        return super()._open()

    def emit(self, record):
        if self.held is not None:
            self.held.append(record)
            return
        try:
            super().emit(record)  # the file is opened here, outside of what logging guards
        except OSError:
            self.handleError(record)

    def handleError(self, record):  # noqa: N802 logging's name
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self.failing:
            self.failing = True
            print(f"{self.baseFilename}: not written ({error.strerror}): make room", file=sys.stderr, flush=True)


def _check_writable(path):
    """The file is made with its first line; that it cannot be is said before."""
    if path.is_dir():
        raise UserError(f"{path}: a directory where the log is to be: name a file")
    place = next(each for each in (path, *path.absolute().parents) if each.exists())
    if not os.access(place, os.W_OK):
        raise UserError(f"{path}: cannot be written: get the right to write there, or choose another place")


def setup(
    log_file: str | Path | None = None,
    bar: bool = False,
    verbose: bool = False,
    everything: bool = False,
    hold: bool = False,
) -> None:
    """Send the project's loggers to standard error and to a file.

    Args:
        log_file: a file that lines are appended to as well, or None.
        bar: whether lines are to stand above a progress bar.
        verbose: whether messages of the level DEBUG are shown too.
        everything: whether standard error has the lines that are for the file (``IN_FILE``) too.
        hold: whether nothing is written to the file before ``write_held``: a run that cannot begin leaves no directory.

    Raises:
        UserError: the file cannot be written.
    """
    handlers: list[logging.Handler] = [_AboveBar() if bar else logging.StreamHandler(sys.stderr)]
    if not everything:
        handlers[0].addFilter(lambda record: not getattr(record, "in_file", False))
    if log_file:
        _check_writable(Path(log_file))
        file = _File(log_file, encoding="utf8", delay=True)
        file.held = [] if hold else None
        handlers.append(file)
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # Paddle turns on everybody's notes
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.setLevel(logging.DEBUG if verbose else logging.INFO)
        logger.propagate = False
        for handler in handlers:
            handler.setFormatter(_Form(FORMAT))
            logger.addHandler(handler)


def write_held() -> None:
    """Write to the log file what ``setup(hold=True)`` held, and from now on each line at once."""
    for handler in logging.getLogger(LOGGERS[0]).handlers:
        if isinstance(handler, _File) and handler.held is not None:
            held, handler.held = handler.held, None
            for record in held:
                handler.handle(record)
