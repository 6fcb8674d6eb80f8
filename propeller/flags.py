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
import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import MISSING, field, fields
from typing import Any, Callable, NoReturn, TypeVar, cast

from propeller.errors import UserError
from propeller.flag_names import meant
from propeller.log import IN_FILE

Group = TypeVar("Group")
WIDTH = 100  # of the example in a help text
TRUE, FALSE = ("true", "t", "yes", "1"), ("false", "f", "no", "0")


def flag(default: Any, text: str, **options: Any) -> Any:
    """A dataclass field that is a flag: its default, its one line of help, options for argparse.

    Args:
        default: the value where the flag is not given.
        text: its help.
        options: for argparse; ``bare=True`` where the flag alone means true, ``aliases`` other names for it without
            their dashes, and ``facts``, which the owner notes for itself; it is not looked at here.
    """
    return field(default=default, metadata={"help": text, **options})


class Derived(str):
    """A flag's value that follows from another flag; ``changed`` leaves it out."""

    __slots__ = ()


class FlagParser(argparse.ArgumentParser):
    """argparse whose errors are UserErrors.

    Args:
        prog: the program's name.
        example: what works behind the program's name; ``--help`` begins with it, and its usage names no optional flags.
        options: for argparse.
    """

    def __init__(self, prog: str | None = None, *, example: str = "", **options: Any) -> None:
        super().__init__(prog, **options)
        self.example = example

    def format_help(self) -> str:
        """The text of ``--help``."""
        kept = self.usage
        if self.example:
            python = "python " if self.prog.endswith(".py") else ""
            example = shell_lines(f"{python}{self.prog} {self.example}")
            self.usage = f"{kept or self._short_usage()}\n\nexample:\n{example}".replace("%", "%%")
        try:
            return super().format_help()
        finally:
            self.usage = kept

    def _short_usage(self):
        words = [self.prog]
        for action in self._actions:
            name = action.metavar or action.dest.upper()
            if not action.option_strings:
                words.append({"+": f"{name} [{name} ...]", "*": f"[{name} ...]"}.get(str(action.nargs), str(name)))
            elif action.required:
                words.append(f"{action.option_strings[0]} {name}")
        return " ".join([*words, "[flags]"])

    def error(self, message: str) -> NoReturn:
        alone = re.fullmatch(r"argument (--\w+).*: expected one argument", message)
        if alone:
            action = self._option_string_actions[alone.group(1)]
            shown = action.metavar or "|".join(map(str, action.choices or ["VALUE"]))
            message = f"{alone.group(1)} stands without a value: give one, as {alone.group(1)} {shown}"
        raise UserError(f"{message}; see {self.prog} --help")

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        return _known_alone(self, args, namespace)


def _known_alone(parser, args=None, namespace=None):
    """The namespace of a command line. Raises UserError: an argument is unknown."""
    namespace, unknown = parser.parse_known_args(args, namespace)
    if unknown:
        near = meant(unknown[0], [option for action in parser._actions for option in action.option_strings])
        hint = f"did you mean {near}? " if near else ""
        raise UserError(f"unknown argument {unknown[0]}: {hint}see {parser.prog} --help")
    return namespace


def shell_lines(command: str) -> str:
    """A command as indented lines for a shell; none of them begins with the value of a flag."""
    lines: list[str] = []
    for part in re.split(r" (?=-)", command):
        if lines and len(lines[-1]) + len(part) < WIDTH:
            lines[-1] += f" {part}"
        else:
            lines.append(f"      {part}" if lines else f"  {part}")
    return " \\\n".join(lines)


def boolean(text: str) -> bool:
    """true/false, t/f, yes/no, 1/0 in any case.

    2019 read true, t and 1 as true and everything else, yes and typing errors too, as false.

    Raises:
        argparse.ArgumentTypeError: the text is none of them.
    """
    if text.lower() in TRUE:
        return True
    if text.lower() in FALSE:
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def boolean_or(word: str) -> Callable[[Any], str]:
    """What reads a flag that is a boolean or ``word``, in any case: it returns ``word``, ``true`` or ``false``."""

    def read(value: Any) -> str:
        text = str(value)
        if text.lower() == word:
            return word
        if text.lower() in (*TRUE, *FALSE):
            return str(boolean(text)).lower()
        raise argparse.ArgumentTypeError(f"{text!r} is neither true, false nor {word}: give one of them")

    return read


# Options of a flag that chooses the device.
DEVICE: Mapping[str, Any] = {"type": boolean_or("auto"), "choices": ("auto", "true", "false")}


def split(value: str | None) -> list[str]:
    """A comma-separated flag as a list; empty parts are left out, and there is nothing in None."""
    return [part for part in (value or "").split(",") if part]


def _type(annotation):
    return {"bool": boolean, "int": int, "float": float}.get(annotation.replace(" | None", ""), str)


def add_flags(
    parser: argparse.ArgumentParser, group: type, optional: bool = False, without: Collection[str] = ()
) -> None:
    """Add a section of flags to a parser, from a dataclass of them; with ``optional`` those not given are None."""
    section = parser.add_argument_group(*[part.strip() for part in (group.__doc__ or "").split(":", 1)])
    for entry in fields(group):
        if entry.name in without:
            continue
        options = dict(entry.metadata)
        text, bare = options.pop("help"), options.pop("bare", False)
        names = [f"--{name}" for name in (entry.name, *options.pop("aliases", ()))]
        options.pop("facts", None)
        if entry.default not in (None, MISSING, ""):
            shown = str(entry.default).lower() if isinstance(entry.default, bool) else entry.default
            text = f"{text} [{'the model says, else ' if optional else ''}{shown}]"
        kind = options.pop("type", None) or _type(entry.type)
        if kind is boolean and not bare:
            options["metavar"] = "true|false"
        elif kind in (int, float):
            options["metavar"] = "N" if kind is int else "X"
        elif "choices" not in options:
            options.setdefault("metavar", "PATH")
        if bare:
            options.update(nargs="?", const=True, metavar="true|false")
        default = None if optional else entry.default
        section.add_argument(*names, type=kind, default=default, help=text, **options)


def add_ignored(parser: argparse.ArgumentParser, ignored: Mapping[str, str]) -> None:
    """Add flags that are taken, with a value or bare, and have no effect: name -> why."""
    section = parser.add_argument_group("ignored", "taken because scripts of 2019 give them; without effect here")
    for name, why in ignored.items():
        section.add_argument(f"--{name}", nargs="?", default=MISSING, help=why, metavar="ANY")


def read_flags(parser: argparse.ArgumentParser, argv: Sequence[str]) -> dict[str, Any]:
    """name -> value of a command line; of an ignored flag that was not given MISSING.

    Raises:
        UserError: an unknown flag (the one that seems to be meant is named), a value of the wrong kind, a missing flag.
    """
    return vars(_known_alone(parser, argv))


def from_values(group: type[Group], values: Mapping[str, Any]) -> Group:
    """The dataclass ``group`` with its flags' values."""
    return group(**{entry.name: values[entry.name] for entry in fields(cast(Any, group))})


def check_least(flags: object, **least: float) -> None:
    """Check that flags are not too low.

    Args:
        flags: an object with the flags as attributes; one that is None passes.
        least: name -> the lowest value that the flag may have.

    Raises:
        UserError: one is lower; it is named.
    """
    for name, lowest in least.items():
        value = getattr(flags, name)
        if value is not None and value < lowest:
            raise UserError(f"--{name} must be at least {lowest}, not {value}")


def changed(given: Mapping[str, Any], groups: Iterable[type | None]) -> dict[str, Any]:
    """Of flags, name -> value, those that were given another value than their default, in the order of declaration."""
    entries = [entry for group in groups if group for entry in fields(cast(Any, group))]
    defaults = {entry.name: entry.default for entry in entries if entry.name in given}
    return {
        name: given[name]
        for name, default in defaults.items()
        if given[name] != default and not isinstance(given[name], Derived)
    }


def log_values(
    log: logging.Logger,
    values: Mapping[str, Any],
    ignored: Mapping[str, str] | None = None,
    shown: Mapping[str, Any] | None = None,
) -> None:
    """Log flags, sorted, a line each, as in 2019: for the log file (``propeller.log.IN_FILE``).

    Args:
        log: where to.
        values: name -> value of every flag.
        ignored: name -> why, of those given that have no effect.
        shown: those that everybody is shown, in one line.
    """
    log.info("-----------  Configuration Arguments -----------", extra=IN_FILE)
    for name, value in sorted(values.items()):
        log.info("%s: %s", name, value, extra=IN_FILE)
    log.info("------------------------------------------------", extra=IN_FILE)
    if shown:
        words = (
            f"--{name} {str(value).lower() if isinstance(value, bool) else value}" for name, value in shown.items()
        )
        log.info("flags: %s", " ".join(words))
    if ignored:
        log.info("without effect: %s", "; ".join(f"--{name} ({why})" for name, why in ignored.items()))
