"""Reads the data in a pickle without running the pickle: an interpreter of the opcodes that plain data needs.

    from propeller.plain_pickle import read_plain
    with open("words.pickle", "rb") as file:
        words = read_plain(file, calls={("builtins", "set"): frozenset})

Nothing that a pickle names is imported. It may build numbers, text, bytes, lists, tuples and dicts with keys of text or
numbers, call the functions that the caller lists, and give a state to what these made, if that is ``Stateful``; any
other opcode or name is an error. Tuples are never hashed, compared or printed, so that no nest of them takes time or
memory out of proportion to the file.
"""

from __future__ import annotations

import mmap
import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, cast

MOST_STEPS = 1_000_000
_MARK = object()
_VALUES = frozenset(
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "UNICODE"}
    | {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
)
_MEMO = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_EXTENSIONS = frozenset(("EXT1", "EXT2", "EXT4"))
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_SKIPPED = frozenset(("FRAME",))


class PlainPickleError(ValueError):
    """A pickle that is damaged, or that is more than data."""


class Name:
    """A function or class that a pickle names; it stands on the stack until it is called."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Stateful:
    """What a call may make whose content comes after it, as numpy's arrays have it."""

    def set_state(self, state: Any) -> None:
        """Take the state. Raises: PlainPickleError where it is none."""
        raise NotImplementedError


def read_plain(
    file: BinaryIO | mmap.mmap,
    calls: Mapping[tuple[str, str], Callable[..., Any]],
    names: Mapping[tuple[str, str], Any] | None = None,
    persistent: Callable[[Any], Any] | None = None,
    most_steps: int = MOST_STEPS,
) -> Any:
    """The object that the pickle at the place of ``file`` describes; the file is left after it.

    Args:
        file: open for reading in binary; a read of more than is left must not reserve memory (a ``mmap`` or a
            ``BytesIO`` does not).
        calls: (module, name) -> what a call of it gives.
        names: (module, name) -> value, for names that are only mentioned.
        persistent: what a persistent id stands for; without it they are an error.
        most_steps: how many opcodes a file may have; each takes some 100 bytes at most, beside the text in it.

    Raises:
        PlainPickleError: it is damaged, holds another opcode or name, or has more than ``most_steps`` steps.
    """
    machine = _Machine(calls, names or {}, persistent)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(cast(Any, file))):
            if count >= most_steps:
                raise PlainPickleError(f"it has over {most_steps:,} steps")
            if opcode.name == "STOP":
                return machine.pop()
            if opcode.name in _MEMO and cast(int, argument) > count:
                raise PlainPickleError(f"it is damaged: memo number {argument} is out of order")
            machine.step(opcode.name, argument)
    except PlainPickleError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        reason = str(error).split("\n", maxsplit=1)[0][:200]
        raise PlainPickleError(f"it is damaged ({reason})") from error
    raise PlainPickleError("it has no end")


class _Machine:
    """The stack and memo of a pickle."""

    def __init__(self, calls, names, persistent) -> None:
        self.calls, self.names, self.persistent = calls, names, persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop(self):
        if not self.stack or self.stack[-1] is _MARK:
            raise PlainPickleError("it takes what is not there")
        return self.stack.pop()

    def _top(self, kind):
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise PlainPickleError("it fills what is no list or dict")
        return self.stack[-1]

    def _marked(self):
        """What was laid on the stack since the last mark."""
        items: list[Any] = []
        while self.stack:
            item = self.stack.pop()
            if item is _MARK:
                return items[::-1]
            items.append(item)
        raise PlainPickleError("it takes what is not there")

    def step(self, name: str, argument: Any) -> None:
        """One opcode."""
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name not in _SKIPPED:
            if name in _EXTENSIONS:
                raise PlainPickleError(f"it holds the step {name}, which names an extension")
            method = getattr(self, "_" + name.lower(), None)
            if method is None:
                raise PlainPickleError(f"it holds the step {name}, which plain data does not need")
            method(argument)

    def _proto(self, number):
        if number > pickle.HIGHEST_PROTOCOL:
            raise PlainPickleError(f"pickle protocol {number} is unknown")

    def _binstring(self, text):
        data = text.encode("latin1")  # Python 2's bytes, which were text more often than not
        try:
            self.stack.append(data.decode())
        except UnicodeDecodeError:
            self.stack.append(data)

    _short_binstring = _binstring

    # ------------------------------------------------------------ marks and memo

    def _mark(self, _):
        self.stack.append(_MARK)

    def _pop(self, _):
        self.stack.pop()

    def _put(self, number):
        if not self.stack or self.stack[-1] is _MARK:
            raise PlainPickleError("it takes what is not there")
        self.memo[number] = self.stack[-1]

    _binput = _long_binput = _put

    def _memoize(self, _):
        self._put(len(self.memo))

    def _get(self, number):
        self.stack.append(self.memo[number])

    _binget = _long_binget = _get

    # ------------------------------------------------------------ containers

    def _empty_tuple(self, _):
        self.stack.append(())

    def _empty_list(self, _):
        self.stack.append([])

    def _empty_dict(self, _):
        self.stack.append({})

    def _empty_set(self, _):
        self.stack.append([])  # a list of its items: whoever asked for the file makes what it needs of it

    def _tuple(self, _):
        self.stack.append(tuple(self._marked()))

    def _list(self, _):
        self.stack.append(self._marked())

    def _dict(self, _):
        items, made = self._marked(), {}
        _fill(made, items)
        self.stack.append(made)

    def _frozenset(self, _):
        self.stack.append(self._marked())

    def _tuple1(self, _):
        self.stack.append((self.pop(),))

    def _tuple2(self, _):
        second, first = self.pop(), self.pop()
        self.stack.append((first, second))

    def _tuple3(self, _):
        third, second, first = self.pop(), self.pop(), self.pop()
        self.stack.append((first, second, third))

    def _append(self, _):
        item = self.pop()
        self._top(list).append(item)

    def _appends(self, _):
        items = self._marked()
        self._top(list).extend(items)

    _additems = _appends

    def _setitem(self, _):
        value, key = self.pop(), self.pop()
        _fill(self._top(dict), [key, value])

    def _setitems(self, _):
        items = self._marked()
        _fill(self._top(dict), items)

    # ------------------------------------------------------------ names and calls

    def _global(self, argument):
        module, _, name = argument.partition(" ")
        self._name(module, name)

    def _stack_global(self, _):
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise PlainPickleError("a name is no text")
        self._name(module, name)

    def _name(self, module, name):
        if (module, name) in self.names:
            self.stack.append(self.names[module, name])
        elif (module, name) in self.calls:
            self.stack.append(Name(module, name))
        else:
            raise PlainPickleError(f"it names {module[:100]}.{name[:100]}")

    def _reduce(self, _):
        arguments, what = self.pop(), self.pop()
        if not isinstance(what, Name) or not isinstance(arguments, tuple):
            raise PlainPickleError("it calls what is no function")
        self.stack.append(self.calls[what.module, what.name](*arguments))

    def _inst(self, argument):
        raise PlainPickleError(f"it holds the step INST, a call of {argument.replace(' ', '.')[:100]}")

    def _obj(self, _):
        raise PlainPickleError("it holds the step OBJ, a call, which plain data does not need")

    def _build(self, _):
        state = self.pop()
        if self.stack and isinstance(self.stack[-1], Stateful):
            self.stack[-1].set_state(state)
        elif self.stack and isinstance(self.stack[-1], Name):
            raise PlainPickleError("it changes what builds the arrays")
        else:
            self._top(dict)  # attributes, as a state_dict has of its modules' versions: no part of the data

    def _binpersid(self, _):
        self._persid(self.pop())

    def _persid(self, identity):
        if self.persistent is None:
            raise PlainPickleError("it refers to what lies outside of it, by a persistent id")
        self.stack.append(self.persistent(identity))


def _fill(target, items):
    if len(items) % 2:
        raise PlainPickleError("a key has no value")
    for key, value in zip(items[::2], items[1::2]):
        if not isinstance(key, (str, int, float, bytes)):
            raise PlainPickleError("a key is neither text nor a number")
        target[key] = value
