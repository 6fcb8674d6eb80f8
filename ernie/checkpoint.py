"""Reads and writes ``params/`` directories, of released ERNIE models and of our own, byte for byte; no Paddle needed.

    from ernie.checkpoint import load_params, write_params
    arrays, report = load_params("ERNIE_Base_en/params", {"word_embedding": (30522, 768), ...})
    write_params("output/params", arrays)

A directory holds one file per variable, named as the variable. A file is Fluid's LoDTensor stream, little-endian:
u32 0 (version) | u64 LoD levels, 0 for weights | u32 0 (tensor version) | i32 length of what follows | TensorDesc |
the data in row-major order. TensorDesc is a protobuf message: field 1 the data type, field 2 each dimension, unpacked.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from propeller.errors import UserError
from propeller.files import atomic_directory, file_digest

log = logging.getLogger("ernie.checkpoint")

# TensorDesc's data type codes (framework.proto, VarType.Type). numpy has no bfloat16: its bits are kept as uint16.
_DTYPES = {
    0: np.dtype("bool"),
    1: np.dtype("<i2"),
    2: np.dtype("<i4"),
    3: np.dtype("<i8"),
    4: np.dtype("<f2"),
    5: np.dtype("<f4"),
    6: np.dtype("<f8"),
    20: np.dtype("uint8"),
    21: np.dtype("int8"),
    22: np.dtype("<u2"),
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
_PREFIX = struct.Struct("<IQIi")
_MAX_DESC = 1024  # bytes; a TensorDesc of a dozen dimensions has under 100

_ENCODER = re.compile(
    r"(word|pos|sent|task)_embedding|pre_encoder_layer_norm_(scale|bias)|pooled_fc\.[wb]_0|encoder_layer_\d+_.+"
)
# What 2019 checkpoints hold beside parameters: Adam's state, fp16 master copies, counters, temporaries of the program.
_LEFTOVER = re.compile(
    r".+_(moment1|moment2|beta1_pow_acc|beta2_pow_acc)_\d+|.+\.master|@LR_DECAY_COUNTER@|loss_scaling_\d+"
    r"|scheduled_learning_rate|learning_rate_\d+|tmp_.+|.+\.tmp_\d+|__model__"
)
_OURS = {"checkpoint.json", "training_state"}  # what our own checkpoints keep beside the parameters


# ---------------------------------------------------------------- one variable


@dataclass(frozen=True)
class Variable:
    """A variable file's header: what is in it, without its data."""

    path: Path
    dtype: np.dtype
    shape: tuple
    offset: int  # bytes before the data

    def read(self):
        """The data, as a new array of ``shape`` and ``dtype``.

        Raises:
            UserError: the file cannot be read or has changed since its header was.
        """
        count = math.prod(self.shape)
        try:
            array = np.fromfile(self.path, dtype=self.dtype, count=count, offset=self.offset)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({error.strerror}): make it readable") from error
        if array.size != count:
            raise UserError(f"{self.path}: became shorter while it was read: copy it again from its source")
        return array.reshape(self.shape)


def read_header(path):
    """Read what a variable file says of itself, and check the file's size against it; no data is read.

    Returns:
        a Variable.

    Raises:
        UserError: no such file, not a LoDTensor stream, of an unknown type, with a LoD, cut short or too long.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            prefix = file.read(_PREFIX.size)
            if len(prefix) < _PREFIX.size:
                raise UserError(f"{path}: {size} bytes, cut short: copy it again from its source")
            version, lod_levels, tensor_version, length = _PREFIX.unpack(prefix)
            if version or tensor_version or not 0 < length <= _MAX_DESC:
                raise UserError(f"{path}: not a Paddle variable file: remove it, or give the params directory itself")
            if lod_levels:
                raise UserError(f"{path}: holds a sequence (LoD) variable, which no weight is: remove it")
            description = file.read(length)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): give a readable params directory") from error
    if len(description) < length:
        raise UserError(f"{path}: {size} bytes, cut short: copy it again from its source")
    dtype, shape = _parse_description(description, path)
    offset = _PREFIX.size + length
    wanted = offset + math.prod(shape) * dtype.itemsize
    if size != wanted:
        fault = "cut short" if size < wanted else "with bytes left over"
        raise UserError(
            f"{path}: {size} bytes, {fault}: {dtype.name} of shape {list(shape)} takes {wanted}; "
            "copy it again from its source"
        )
    return Variable(path, dtype, shape, offset)


def read_variable(path):
    """Read one variable file.

    Returns:
        an array of the file's shape and type; bfloat16 comes as its uint16 bits (``to_float32`` decodes them).

    Raises:
        UserError: as ``read_header``.
    """
    return read_header(path).read()


def write_variable(path, array):
    """Write ``array`` as one variable file and fsync it. uint16 is written as bfloat16, whose bits it stands for.

    Raises:
        UserError: the array's type has no code in Paddle.
    """
    array = np.asarray(array, order="C")
    dtype = array.dtype.newbyteorder("<")
    if dtype not in _CODES:
        raise UserError(f"{path}: no Paddle type for {array.dtype}: convert the array to float32")
    description = b"\x08" + _varint(_CODES[dtype]) + b"".join(b"\x10" + _varint(size) for size in array.shape)
    with open(path, "wb") as file:
        file.write(_PREFIX.pack(0, 0, 0, len(description)))
        file.write(description)
        # Not tofile: on a full disk its error does not say so.
        file.write(array.astype(dtype, copy=False).reshape(-1).view(np.uint8))
        file.flush()
        os.fsync(file.fileno())


def to_float32(array):
    """Weights as float32, whatever float type they were stored in; uint16 is taken as bfloat16 bits."""
    if array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return np.asarray(array, dtype=np.float32)


def _varint(value):
    """A non-negative int in protobuf's base-128 form, low bits first."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _parse_description(description, path):
    """(dtype, shape) of a TensorDesc."""

    def number(position):
        value = shift = 0
        while position < len(description) and shift < 70:
            byte = description[position]
            value |= (byte & 0x7F) << shift
            position += 1
            shift += 7
            if byte < 0x80:
                return value, position
        raise UserError(f"{path}: damaged tensor description: copy it again from its source")

    code, shape, position = None, [], 0
    while position < len(description):
        tag, position = number(position)
        value, position = number(position)
        if tag == 0x08:  # field 1, varint
            code = value
        elif tag == 0x10 and value < 1 << 63:  # field 2, varint, an int64; above that it is negative
            shape.append(value)
        elif tag == 0x10:
            raise UserError(f"{path}: a dimension is {value - (1 << 64)}: copy it again from its source")
        else:
            raise UserError(f"{path}: damaged tensor description: copy it again from its source")
    if code not in _DTYPES:
        raise UserError(f"{path}: data type code {code} is none that a weight has: copy it again from its source")
    return _DTYPES[code], tuple(shape)


# ---------------------------------------------------------------- a directory of them


def is_encoder_name(name):
    """Whether ``name`` is a weight of the encoder (embeddings, layers, pooler) and not of a task's head."""
    return _ENCODER.fullmatch(name) is not None and not is_training_leftover(name)


def is_training_leftover(name):
    """Whether ``name`` is what 2019 training left beside the parameters: optimiser state, counters, temporaries."""
    return _LEFTOVER.fullmatch(name) is not None


def list_params(directory):
    """The variables in a params directory, by name.

    Returns:
        (parameter names, training leftovers' names), each sorted. ``checkpoint.json`` and ``training_state/`` of our
        own checkpoints are in neither.

    Raises:
        UserError: no such directory, it cannot be read, it holds no parameter, or it holds another directory.
    """
    directory = Path(directory)
    try:
        entries = sorted((entry.name, entry.is_dir()) for entry in os.scandir(directory))
    except OSError as error:
        raise UserError(f"{directory}: cannot be read ({error.strerror}): give a params directory") from error
    names, leftovers = [], []
    for name, is_folder in entries:
        if name in _OURS:
            continue
        if is_folder:
            inner = directory / name
            raise UserError(f"{directory}: holds a directory {name!r}, so is no params directory: give {inner}?")
        (leftovers if is_training_leftover(name) else names).append(name)
    if not names:
        raise UserError(f"{directory}: holds no parameter: give the params directory of a model or checkpoint")
    return names, leftovers


def scan_params(directory, names=None):
    """Headers of a directory's parameters (or of ``names``), every file checked for size: dict of name -> Variable."""
    directory = Path(directory)
    return {name: read_header(directory / name) for name in (list_params(directory)[0] if names is None else names)}


def iter_params(directory, names=None):
    """Yield (name, array) one by one, all headers checked before the first: no more than one array is held here."""
    for name, variable in scan_params(directory, names).items():
        yield name, variable.read()


def read_params(directory, names=None):
    """Read a directory's parameters, or those in ``names``: dict of name -> array. Raises UserError as its parts do."""
    return dict(iter_params(directory, names))


def params_digest(directory):
    """sha256 over the names and bytes of a directory's parameters, as hex."""
    total = hashlib.sha256()
    for name, variable in sorted(scan_params(directory).items()):
        total.update(f"{name} {file_digest(variable.path)}\n".encode())
    return total.hexdigest()


def write_params(directory, arrays, overwrite=False):
    """Write ``arrays``, a dict of name -> array, as a params directory that appears whole or not at all.

    Raises:
        UserError: the directory exists and ``overwrite`` is false; a name cannot be a file's name.
    """
    for name in arrays:
        if not name or name in _OURS or name.startswith(".") or "/" in name or "\0" in name:
            raise UserError(f"{directory}: {name!r} cannot be a variable's file name: rename the variable")
    with atomic_directory(directory, overwrite) as temporary:
        for name, array in arrays.items():
            write_variable(temporary / name, array)


# ---------------------------------------------------------------- found against wanted


@dataclass(frozen=True)
class LoadReport:
    """What a network wanted against what a directory held; names sorted.

    ``mismatched`` holds (name, shape found, shape wanted); ``training_leftovers`` were skipped by name.
    """

    loaded: list = field(default_factory=list)
    missing: list = field(default_factory=list)
    unexpected: list = field(default_factory=list)
    mismatched: list = field(default_factory=list)
    training_leftovers: list = field(default_factory=list)

    def summary(self):
        """One line for a log: counts, and the names of what is missing (to be initialised) and unexpected (unused)."""
        parts = [f"{len(self.loaded)} parameters loaded"]
        if self.missing:
            parts.append(f"{len(self.missing)} not there, initialised: {', '.join(self.missing)}")
        if self.unexpected:
            parts.append(f"{len(self.unexpected)} not used: {', '.join(self.unexpected)}")
        if self.mismatched:
            parts.append(
                f"{len(self.mismatched)} of another shape: {', '.join(name for name, _, _ in self.mismatched)}"
            )
        if self.training_leftovers:
            parts.append(f"{len(self.training_leftovers)} files of old training state skipped")
        return "; ".join(parts)


def compare_params(found, wanted, leftovers=()):
    """A LoadReport of ``found`` (name -> anything with .shape) against ``wanted`` (name -> shape); raises nothing."""
    leftovers = set(leftovers) | {name for name in found if name not in wanted and is_training_leftover(name)}
    common = sorted(set(found) & set(wanted))
    shapes = [(name, tuple(found[name].shape), tuple(wanted[name])) for name in common]
    return LoadReport(
        loaded=[name for name, has, wants in shapes if has == wants],
        missing=sorted(set(wanted) - set(found)),
        unexpected=sorted(set(found) - set(wanted) - leftovers),
        mismatched=[(name, has, wants) for name, has, wants in shapes if has != wants],
        training_leftovers=sorted(leftovers),
    )


def match_params(found, wanted, heads_optional=True, source="params", leftovers=()):
    """Pick from ``found`` what a network wants, strictly.

    Args:
        found: name -> array or Variable.
        wanted: name -> shape.
        heads_optional: a missing weight that is not the encoder's is reported, for the caller to initialise; false
            makes it an error too.
        source: the directory, for messages.
        leftovers: names of training leftovers skipped already, for the report.

    Returns:
        (dict of the wanted entries found, arrays as float32, others as they are; LoadReport).

    Raises:
        UserError: a shape differs, an encoder weight is missing, or a weight is not of a float type.
    """
    report = compare_params(found, wanted, leftovers)
    for name, has, wants in report.mismatched[:1]:
        more = f" ({len(report.mismatched) - 1} more differ)" if len(report.mismatched) > 1 else ""
        what = "ernie_config.json" if is_encoder_name(name) else "number of labels or the head"
        raise UserError(
            f"{source}: {name} has shape {list(has)}, the network wants {list(wants)}{more}: "
            f"give the {what} these weights were made with"
        )
    lost = [name for name in report.missing if not heads_optional or is_encoder_name(name)]
    if lost:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise UserError(
            f"{source}: {lost[0]} (shape {list(wanted[lost[0]])}){more} missing: "
            "give a complete params directory and the ernie_config.json that belongs to it"
        )
    chosen = {}
    for name in report.loaded:
        value = found[name]
        if value.dtype.kind != "f" and value.dtype != np.uint16:
            raise UserError(f"{source}: {name} is {value.dtype.name}, not a float type: copy it again from its source")
        chosen[name] = to_float32(value) if isinstance(value, np.ndarray) else value
    return chosen, report


def load_params(directory, wanted, heads_optional=True):
    """Read from ``directory`` just what ``wanted`` (name -> shape) names; all is checked before any data is read.

    Returns:
        (dict of name -> float32 array, LoadReport).

    Raises:
        UserError: as ``scan_params`` and ``match_params``.
    """
    names, leftovers = list_params(directory)
    found, report = match_params(scan_params(directory, names), wanted, heads_optional, directory, leftovers)
    return {name: to_float32(variable.read()) for name, variable in found.items()}, report


def check_vocab(vocab_size_of_file, config, arrays, source="params"):
    """Check that a vocabulary, a config and a word embedding belong together.

    Args:
        vocab_size_of_file: the vocabulary's largest id + 1. It may be below the embedding's rows (released Chinese
            models: 17,964 of 18,000), never above.
        config: an ErnieConfig.
        arrays: name -> array, Variable or anything with .shape; word_embedding is looked at if there.

    Raises:
        UserError: they do not.
    """
    if vocab_size_of_file > config.vocab_size:
        raise UserError(
            f"the vocabulary has ids up to {vocab_size_of_file - 1}, the word embedding only {config.vocab_size} rows "
            f"(vocab_size in {config.source}): give the vocab.txt that belongs to the model"
        )
    rows = arrays["word_embedding"].shape[0] if "word_embedding" in arrays else config.vocab_size
    if rows != config.vocab_size:
        raise UserError(
            f"{source}: word_embedding has {rows} rows, vocab_size in {config.source} is {config.vocab_size}: "
            "give the ernie_config.json and vocab.txt that belong to the model"
        )
    if vocab_size_of_file < config.vocab_size:
        log.info("the vocabulary uses %d of the %d rows of word_embedding", vocab_size_of_file, config.vocab_size)
