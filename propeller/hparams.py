"""Hyper-parameters and how a run goes, from command lines, files and the environment; no Paddle needed.

    parser = ArgumentParser("ranker")
    parser.add_argument("--data_dir")
    args = parser.parse_args()      # --run_config '{"model_dir": "out"}' --hparam model.json '{"lr": 1e-3}'
    run_config, params = parse_runconfig(args), parse_hparam(args)

A value is the path of a file, or the text itself: a dict as Python or JSON writes it. It is read as a literal and never
run as code. Where a flag is not given, the environment may hold its value: ``PROPELLER_RUNCONFIG``,
``PROPELLER_HPARAMS``.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from propeller.encoding import read_text
from propeller.errors import UserError
from propeller.flags import FlagParser

RUN_CONFIG_VARIABLE, HPARAMS_VARIABLE = "PROPELLER_RUNCONFIG", "PROPELLER_HPARAMS"
_JSON_WORDS = {"true": True, "false": False, "null": None}


class _Unknown(UserError, AttributeError):
    """A hyper-parameter that is not there."""


class HParams:
    """Named values, reached as attributes or as items.

    Args:
        **values: the hyper-parameters.
    """

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def __getattr__(self, name: str) -> Any:  # only where there is no such attribute
        if name.startswith("__"):
            raise AttributeError(name)
        self._missing(name)

    def _missing(self, name):
        raise _Unknown(f"hyper-parameter {name!r} is unknown: give one of {', '.join(self.__dict__) or 'none'}")

    def __getitem__(self, name: str) -> Any:
        """The value of a name.

        Raises:
            UserError: a ValueError; there is none.
        """
        if name not in self.__dict__:
            self._missing(name)
        return self.__dict__[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.__dict__[name] = value

    def __contains__(self, name: str) -> bool:
        return name in self.__dict__

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __len__(self) -> int:
        return len(self.__dict__)

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if isinstance(other, HParams) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"HParams({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a name, or ``default``."""
        return self.__dict__.get(name, default)

    def keys(self) -> Any:
        """The names."""
        return self.__dict__.keys()

    def join(self, other: HParams | Mapping) -> HParams:
        """Take in the values of another; where both have a name, the other's value wins. Returns this one."""
        self.__dict__.update(other.to_dict() if isinstance(other, HParams) else other)
        return self

    def to_dict(self) -> dict:
        """name -> value; a copy."""
        return dict(self.__dict__)

    def to_json(self) -> str:
        """The values as JSON."""
        return json.dumps(self.__dict__, ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_dict(cls, values: Mapping) -> HParams:
        """Of name -> value.

        Raises:
            UserError: a name is no text.
        """
        for name in values:
            if not isinstance(name, str):
                raise UserError(f"hyper-parameter {name!r}: a name must be a text")
        return cls(**values)

    @classmethod
    def from_json(cls, text: str) -> HParams:
        """Of a JSON object.

        Raises:
            UserError: it is none.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise UserError(f"hyper-parameters {_short(text)}: no JSON ({error}): give an object") from error
        if not isinstance(values, dict):
            raise UserError(f"hyper-parameters {_short(text)}: no JSON object: give {{...}}")
        return cls.from_dict(values)


class RunConfig(NamedTuple):
    """How a run goes. None: not at all, or as the field says.

    Attributes:
        model_dir: the folder of checkpoints and logs; a ``Learner`` needs it.
        run_steps: steps of one call of ``train``.
        max_steps: steps in all, those before a restart included.
        save_steps: a checkpoint every so many steps; None: only at the end.
        eval_steps: ``train_and_eval`` evaluates every so many steps; None: only at the end.
        eval_max_steps: batches of one evaluation.
        skip_steps: in the first so many steps of a call nothing is logged, saved or evaluated; None: 0.
        log_steps: a line of the log every so many steps; None: 10.
        max_ckpt: how many checkpoints are kept, the best one besides; None: 10.
        seed: of initial weights and dropout; None: 0.
        best_by: the metric of the first evaluation set that makes a checkpoint the ``best``, the higher the better, but
            for losses, perplexities and errors; None: the lowest loss.
    """

    model_dir: str | None = None
    run_steps: int | None = None
    max_steps: int | None = None
    save_steps: int | None = None
    eval_steps: int | None = None
    eval_max_steps: int | None = None
    skip_steps: int | None = None
    log_steps: int | None = None
    max_ckpt: int | None = None
    seed: int | None = None
    best_by: str | None = None


_NUMBERS = set(RunConfig._fields) - {"model_dir", "best_by"}
_MAY_BE_ZERO = {"skip_steps", "seed"}


class ArgumentParser(FlagParser):
    """argparse with ``--run_config TEXT`` and ``--hparam TEXT...``; the latter may be given again.

    Args:
        name: of the program, for its help.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        self.add_argument("--run_config", metavar="TEXT", help="how the run goes: a file, or a dict as text")
        self.add_argument(
            "--hparam",
            metavar="TEXT",
            nargs="*",
            action="append",
            help="hyper-parameters: files or dicts; later ones win",
        )


def parse_file(path: str | Path) -> dict:
    """The dict in a file.

    Raises:
        UserError: it cannot be read, or holds none.
    """
    try:
        text = read_text(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): give a file with a dict") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text: give a file with a dict") from error
    return _literal(text, str(path))


def parse_runconfig(args: argparse.Namespace) -> RunConfig:
    """The ``RunConfig`` of ``--run_config``, else of ``PROPELLER_RUNCONFIG``, else an empty one.

    Raises:
        UserError: an unknown field, a value that is no number where one is needed, no dict.
    """
    text = args.run_config or os.environ.get(RUN_CONFIG_VARIABLE)
    return run_config_of(_values(text, "--run_config") if text else {})


def run_config_of(values: Mapping) -> RunConfig:
    """A ``RunConfig`` of field -> value, checked.

    Raises:
        UserError: an unknown field, or a value that the field cannot have.
    """
    for name, value in values.items():
        if name not in RunConfig._fields:
            raise UserError(f"run config: {name!r} is unknown: give one of {', '.join(RunConfig._fields)}")
        if name not in _NUMBERS or value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < (0 if name in _MAY_BE_ZERO else 1):
            least = "0 or more" if name in _MAY_BE_ZERO else "1 or more, or None"
            raise UserError(f"run config: {name} is {value!r}: give an integer, {least}")
    return RunConfig(**values)


def parse_hparam(args: argparse.Namespace) -> HParams:
    """The ``HParams`` of all ``--hparam`` values, joined from left to right, else of ``PROPELLER_HPARAMS``.

    Raises:
        UserError: a value is no dict.
    """
    texts = [text for group in args.hparam or () for text in group]
    if not texts and os.environ.get(HPARAMS_VARIABLE):
        texts = [os.environ[HPARAMS_VARIABLE]]
    joined = HParams()
    for text in texts:
        joined.join(HParams.from_dict(_values(text, "--hparam")))
    return joined


def _values(text, what):
    try:
        is_file = Path(text).is_file()
    except (OSError, ValueError):  # too long for a path, or with a null character
        is_file = False
    return parse_file(text) if is_file else _literal(text, what)


def _literal(text, what):
    """The dict that a text writes down; nothing in it is run."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
        value = ast.literal_eval(_JsonWords().visit(tree))
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise UserError(f"{what}: {_short(text)} is neither a file nor a dict: give one of them") from error
    if not isinstance(value, dict):
        raise UserError(f"{what}: {_short(text)} is no dict: give {{'name': value}}")
    return value


class _JsonWords(ast.NodeTransformer):
    def visit_Name(self, node):  # noqa: N802 ast's name
        return ast.copy_location(ast.Constant(_JSON_WORDS[node.id]), node) if node.id in _JSON_WORDS else node


def _short(text):
    text = " ".join(str(text).split())
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
