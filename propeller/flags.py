"""Command lines made from frozen dataclasses, one a concern: a flag is declared, documented and typed in one place.

    @dataclass(frozen=True)
    class TrainArgs:
        '''training: hyper-parameters'''

        epoch: int = flag(3, "passes over the training rows")

    add_flags(parser, TrainArgs)
    values = read_flags(parser, sys.argv[1:])                   # name -> value

What a user gets wrong is a UserError; a misspelt flag is one that names the nearest known.
"""

from __future__ import annotations

import argparse
import difflib
import logging
from dataclasses import MISSING, field, fields

from propeller.errors import UserError


def flag(default, text, **options):
    """A dataclass field that is a flag: its default, its one line of help, options for argparse."""
    return field(default=default, metadata={"help": text, **options})


class FlagParser(argparse.ArgumentParser):
    """argparse whose errors are UserErrors."""

    def error(self, message):
        raise UserError(f"{message}; see {self.prog} --help")


def boolean(text):
    """true/false, t/f, yes/no, 1/0 in any case, as in 2019."""
    if text.lower() in ("true", "t", "yes", "1"):
        return True
    if text.lower() in ("false", "f", "no", "0"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def _type(annotation):
    return {"bool": boolean, "int": int, "float": float}.get(annotation, str)


def add_flags(parser, group, optional=False, without=()):
    """Add a section of flags to a parser, from a dataclass of them; with ``optional`` those not given are None."""
    section = parser.add_argument_group(*[part.strip() for part in group.__doc__.split(":", 1)])
    for entry in fields(group):
        if entry.name in without:
            continue
        options = dict(entry.metadata)
        text, bare = options.pop("help"), options.pop("bare", False)
        if entry.default not in (None, MISSING, ""):
            shown = str(entry.default).lower() if isinstance(entry.default, bool) else entry.default
            text = f"{text} [{'the model says, else ' if optional else ''}{shown}]"
        kind = _type(entry.type)
        if kind is boolean and not bare:
            options["metavar"] = "true|false"
        elif kind in (int, float):
            options["metavar"] = "N" if kind is int else "X"
        elif "choices" not in options:
            options.setdefault("metavar", "PATH")
        if bare:
            options.update(nargs="?", const=True, metavar="true|false")
        default = None if optional else entry.default
        section.add_argument(f"--{entry.name}", type=kind, default=default, help=text, **options)


def add_ignored(parser, ignored):
    """Add flags that are taken and have no effect: name -> why."""
    section = parser.add_argument_group("ignored", "taken because scripts of 2019 give them; without effect here")
    for name, why in ignored.items():
        section.add_argument(f"--{name}", default=MISSING, help=why, metavar="ANY")


def read_flags(parser, argv):
    """name -> value of a command line; of an ignored flag that was not given MISSING.

    Raises:
        UserError: an unknown flag (the nearest known one is named), a value of the wrong kind, a missing flag.
    """
    found, unknown = parser.parse_known_args(argv)
    if unknown:
        known = [option for action in parser._actions for option in action.option_strings]
        near = difflib.get_close_matches(unknown[0].split("=")[0], known, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"unknown argument {unknown[0]}: {hint}see {parser.prog} --help")
    return vars(found)


def made(group, values):
    """The dataclass ``group`` with its flags' values."""
    return group(**{entry.name: values[entry.name] for entry in fields(group)})


def log_values(log: logging.Logger, values, ignored=None):
    """Log flags, name -> value, sorted, a line each, as in 2019; then those given that have no effect, name -> why."""
    log.info("-----------  Configuration Arguments -----------")
    for name, value in sorted(values.items()):
        log.info("%s: %s", name, value)
    log.info("------------------------------------------------")
    if ignored:
        log.info("without effect: %s", "; ".join(f"--{name} ({why})" for name, why in ignored.items()))
