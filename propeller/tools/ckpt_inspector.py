"""Look into weights: a variable file, a folder of them (a checkpoint, 2019's params), .pdparams, .safetensors.

python -m propeller.tools.ckpt_inspector show output/pairs/best
python -m propeller.tools.ckpt_inspector show ERNIE_Base_en/params --name '*layer_0_ffn*' -v
python -m propeller.tools.ckpt_inspector dump output/pairs/best --to arrays         # arrays/NAME.npy
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from propeller.errors import UserError, exit_on_user_error
from propeller.files import atomic_directory
from propeller.flags import FlagParser, read_flags
from propeller.variables import read_header, to_float32


class Entry(NamedTuple):
    """A variable: its name, relative to the folder looked into; type as stored, shape, and a function that reads it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


def build_parser() -> FlagParser:
    """The flags; `show`, `dump`, -t and -v are those of 2019."""
    parser = FlagParser(
        prog="python -m propeller.tools.ckpt_inspector",
        description="Show what is in weights, or write them as .npy files.",
        allow_abbrev=False,
    )
    parser.add_argument("mode", choices=("show", "dump"), help="a line per variable, or a .npy file per variable")
    parser.add_argument(
        "file_or_dir", help="a variable file, a folder (read with all below it), a .pdparams or a .safetensors file"
    )
    parser.add_argument("-t", "--to", metavar="DIR", help="dump: the folder to make; it must not exist")
    parser.add_argument("-n", "--name", default="*", metavar="PATTERN", help="only names like this one, with * and ?")
    parser.add_argument("-v", "--verbose", action="store_true", help="show: the numbers too, long arrays abridged")
    return parser


def main(argv: Sequence[str]) -> int:
    """The command; returns its exit status."""
    args = argparse.Namespace(**read_flags(build_parser(), argv))
    if (args.mode == "dump") != bool(args.to):
        raise UserError("dump needs --to DIR" if args.mode == "dump" else "--to goes with dump: leave it out")
    source = Path(args.file_or_dir)
    skipped: list[str] = []
    entries = [entry for entry in find_variables(source, skipped) if fnmatch.fnmatchcase(entry.name, args.name)]
    if not entries:
        wanted = "" if args.name == "*" else f" with a name like {args.name!r}"
        raise UserError(f"{source}: holds no variable{wanted}: give a checkpoint, a params folder or a variable file")
    if args.mode == "dump":
        dump(entries, args.to)
        print(f"{len(entries)} arrays in {args.to}")
    else:
        show(entries, args.verbose)
    if skipped:
        print(f"{len(skipped)} files that hold no variable: {', '.join(skipped[:10])}{', …' * (len(skipped) > 10)}")
    return 0


# ---------------------------------------------------------------- what is there


def find_variables(source: str | os.PathLike[str], skipped: list[str] | None = None) -> Iterator[Entry]:
    """The variables of a file, or of all files in a folder and below it, sorted by path; no data is read.

    Args:
        source: the file or folder.
        skipped: receives the paths of files in a folder that hold no variable.

    Raises:
        UserError: nothing is there, a file cannot be read, or one is a damaged variable file.
    """
    source = Path(source)
    if not source.is_dir():
        if source.suffix not in _READERS and not _is_stream(source):
            raise UserError(f"{source}: holds no variable: give a checkpoint, a params folder or a variable file")
        yield from _of_file(source, source.name)
        return
    for folder, folders, files in os.walk(source):
        folders.sort()
        for name in sorted(files):
            path = Path(folder) / name
            relative = path.relative_to(source).as_posix()
            if path.suffix in _READERS or _is_stream(path):
                yield from _of_file(path, relative)
            elif skipped is not None:
                skipped.append(relative)


def _of_file(path: Path, name: str) -> Iterator[Entry]:
    reader = _READERS.get(path.suffix)
    if reader:
        prefix = name[: -len(PurePosixPath(name).name)]
        yield from (entry._replace(name=prefix + entry.name) for entry in reader(path))
        return
    header = read_header(path)
    dtype = "bfloat16" if header.dtype == np.uint16 else header.dtype.name
    yield Entry(name, dtype, header.shape, header.read)


def _is_stream(path):
    """Whether a file begins as a variable file does: version 0 in 4 bytes; text and JSON do not."""
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"\0\0\0\0"
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): give a readable file or folder") from error


def _of_pdparams(path):
    from propeller.pdparams import read_pdparams

    for name, array in read_pdparams(path).items():
        dtype = "bfloat16" if array.dtype == np.uint16 else array.dtype.name
        yield Entry(name, dtype, array.shape, lambda array=array: array)


def _of_safetensors(path):
    from safetensors import SafetensorError, deserialize, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            found = [(name, file.get_slice(name)) for name in sorted(file.keys())]
            facts = [(name, part.get_dtype(), tuple(part.get_shape())) for name, part in found]
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error}): copy it again") from error

    def read(name, kind, shape):
        if kind != "BF16":
            with safe_open(path, framework="numpy") as file:
                return file.get_tensor(name)
        data = dict(deserialize(path.read_bytes()))[name]["data"]  # numpy has no bfloat16: its bits
        return np.frombuffer(data, "<u2").reshape(shape)

    for name, kind, shape in facts:
        dtype = {"BF16": "bfloat16", "BOOL": "bool", "U8": "uint8"}.get(kind)
        dtype = dtype or kind.replace("F", "float").replace("I", "int").replace("U", "uint")
        yield Entry(name, dtype, shape, lambda name=name, kind=kind, shape=shape: read(name, kind, shape))


_READERS = {".pdparams": _of_pdparams, ".safetensors": _of_safetensors}


# ---------------------------------------------------------------- what is done with it


def show(entries: Sequence[Entry], verbose: bool = False) -> None:
    """Print a line per variable: name, type, shape, mean, standard deviation, least and greatest number."""
    width, numbers = max(len(entry.name) for entry in entries), 0
    for entry in entries:
        array = _values(entry)
        numbers += array.size
        print(f"{entry.name:<{width}}  {entry.dtype:<8}  {list(entry.shape)!s:<14}  {_facts(array)}")
        if verbose:
            print(np.array2string(array, threshold=60, edgeitems=3))
    print(f"{len(entries)} variables, {numbers:,} numbers")


def _values(entry):
    """The numbers of an entry; bfloat16 as float32."""
    array = entry.read()
    return to_float32(array) if entry.dtype == "bfloat16" else array


def _facts(array):
    if not array.size:
        return "empty"
    array = array.astype(np.uint8) if array.dtype == np.bool_ else array
    finite = np.isfinite(array)
    bad = array.size - int(np.count_nonzero(finite))
    real = array[finite] if bad else array
    text = f"{bad} not finite" if bad else ""
    if not real.size:
        return text
    mean, deviation = real.mean(dtype=np.float64), real.std(dtype=np.float64)
    facts = f"mean {mean:.6g}  std {deviation:.6g}  min {real.min():.6g}  max {real.max():.6g}"
    return f"{facts}  {text}".rstrip()


def dump(entries: Sequence[Entry], target: str | os.PathLike[str]) -> None:
    """Write each variable as ``target``/NAME.npy; bfloat16 as float32. The folder appears whole or not at all.

    Raises:
        UserError: ``target`` exists, or a name would lead out of it.
    """
    for entry in entries:
        parts = PurePosixPath(entry.name).parts
        if not parts or ".." in parts or entry.name.startswith("/") or "\0" in entry.name:
            raise UserError(f"{entry.name[:100]!r} cannot be a file's name: leave it out with --name")
    names = [entry.name for entry in entries]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice:
        raise UserError(f"{twice}: two files hold this variable: give one of them, not the folder")
    with atomic_directory(Path(target)) as temporary:
        for entry in entries:
            path = temporary / f"{entry.name}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, _values(entry), allow_pickle=False)


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
