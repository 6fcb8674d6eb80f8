"""The shape of an ERNIE network, read strictly from ``ernie_config.json`` of ERNIE 1.0 and 2.0.

from ernie.config import ErnieConfig
config = ErnieConfig("config/ernie_config_en_base.json")
config.hidden_size, config["hidden_size"]
"""

from __future__ import annotations

import difflib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from propeller import json_file
from propeller.errors import UserError
from propeller.files import write_file
from propeller.log import IN_FILE

log = logging.getLogger("ernie.config")

CHECKPOINT, NETWORK = "checkpoint.json", "ernie_config"  # the record of a checkpoint, and its entry of the network

# Names that paddle.nn.functional offers and that are a plain function of one tensor; "gelu" is the exact (erf) form.
ACTIVATIONS = (
    "celu",
    "elu",
    "gelu",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "log_sigmoid",
    "mish",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softplus",
    "softsign",
    "swish",
    "tanh",
    "tanhshrink",
)


def _is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _count(most):
    return f"a whole number from 1 to {most:,}", lambda value: _is_int(value) and 1 <= value <= most


# Far beyond any model of this kind, so that a slip of the pen is told before memory is taken for it.
_WIDTH, _ROWS = _count(65536), _count(10_000_000)
_LAYERS, _HEADS = _count(1000), _count(4096)
MOST_PARAMETERS = 20_000_000_000  # 80 GB
_RATE = ("a number from 0 up to, not including, 1", lambda value: _is_number(value) and 0 <= value < 1)
_POSITIVE = ("a finite number above 0", lambda value: _is_number(value) and 0 < value < float("inf"))
_FLAG = ("true or false", lambda value: isinstance(value, bool))
_ACTIVATION = (f"one of {', '.join(ACTIVATIONS)}", lambda value: isinstance(value, str) and value in ACTIVATIONS)

# key -> (what it must be, its check). type_vocab_size is ERNIE 1.0's word for sent_type_vocab_size.
_KEYS = {
    "attention_probs_dropout_prob": _RATE,
    "hidden_act": _ACTIVATION,
    "hidden_dropout_prob": _RATE,
    "hidden_size": _WIDTH,
    "initializer_range": _POSITIVE,
    "intermediate_size": _ROWS,
    "layer_norm_eps": _POSITIVE,
    "max_position_embeddings": _ROWS,
    "num_attention_heads": _HEADS,
    "num_hidden_layers": _LAYERS,
    "sent_type_vocab_size": _ROWS,
    "task_type_vocab_size": _ROWS,
    "type_vocab_size": _ROWS,
    "use_task_id": _FLAG,
    "vocab_size": _ROWS,
}
_REQUIRED = (
    "attention_probs_dropout_prob",
    "hidden_act",
    "hidden_dropout_prob",
    "hidden_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "vocab_size",
)


class KeptConfig:
    """What is kept of a network's shape in a JSON file: ``_values``, key -> value."""

    _values: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The file's own keys and values, as a new dict."""
        return dict(self._values)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file's own keys as sorted JSON, atomically, in place of any file at ``path``."""
        write_file(Path(path), (json.dumps(self._values, indent=2, sort_keys=True) + "\n").encode())

    def print_config(self) -> None:
        """Log every key, in order, in the 2019 form: for the log file."""
        for key, value in sorted(self._values.items()):
            log.info("%s: %s", key, value, extra=IN_FILE)
        log.info("------------------------------------------------", extra=IN_FILE)


class ErnieConfig(KeptConfig):
    """The configuration of an ERNIE encoder.

    Args:
        path_or_dict: a JSON file's path, or its content as a dict.
        source: where a dict comes from, for messages.

    ``config[key]`` gives the file's own value, and None for a known key the file leaves out, as the 2019 class did;
    the properties give the value in force, defaults included.

    Raises:
        UserError: the file cannot be read or is not a JSON object; a key is unknown, given twice, missing, or of a
            wrong type or range; hidden_size is not divisible by num_attention_heads; use_task_id without
            task_type_vocab_size.
    """

    def __init__(self, path_or_dict: str | os.PathLike[str] | Mapping[str, Any], source: str = "config") -> None:
        if isinstance(path_or_dict, (str, os.PathLike)):
            self.source = os.fspath(path_or_dict)
            self._values = read_json(path_or_dict)
        else:
            self.source = source
            self._values = dict(path_or_dict)
        self._check()

    def _check(self):
        values = self._values
        for key, value in values.items():
            if key not in _KEYS:
                near = difflib.get_close_matches(str(key), _KEYS, n=1)
                remedy = f"write {near[0]!r}" if near else f"remove it; the known keys are {', '.join(_KEYS)}"
                raise UserError(f"{self.source}: unknown key {key!r}: {remedy}")
            wanted, is_valid = _KEYS[key]
            if not is_valid(value):
                raise UserError(f"{self.source}: {key!r} is {value!r}: make it {wanted}")
        missing = [key for key in _REQUIRED if key not in values]
        if "sent_type_vocab_size" not in values and "type_vocab_size" not in values:
            missing.append("sent_type_vocab_size")
        if missing:
            raise UserError(
                f"{self.source}: {', '.join(map(repr, missing))} missing: add what the model was trained with"
            )
        if self.hidden_size % self.num_attention_heads:
            raise UserError(
                f"{self.source}: 'hidden_size' {self.hidden_size} is not divisible by 'num_attention_heads' "
                f"{self.num_attention_heads}: correct one of them"
            )
        if self.num_parameters > MOST_PARAMETERS:
            raise UserError(
                f"{self.source}: the network would have {self.num_parameters:,} parameters, more than "
                f"{MOST_PARAMETERS:,}: correct the sizes"
            )
        if self.use_task_id and not self.task_type_vocab_size:
            raise UserError(
                f"{self.source}: 'use_task_id' is true but 'task_type_vocab_size' is missing: "
                "add the number of rows of task_embedding, or set 'use_task_id' to false"
            )

    def __getitem__(self, key: str) -> Any:
        if key not in _KEYS:
            raise KeyError(f"{key!r} is no key of an ERNIE config; the keys are {', '.join(_KEYS)}")
        return self._values.get(key)

    def get(self, key: str, default: Any = None) -> Any:
        """The file's value of ``key``, or ``default`` if the file leaves it out."""
        value = self[key]
        return default if value is None else value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ErnieConfig) and self._values == other._values

    __hash__ = None  # type: ignore[assignment]  # how Python marks an unhashable class

    def __repr__(self) -> str:
        return f"ErnieConfig({self._values!r})"

    @property
    def vocab_size(self) -> int:
        """Rows of word_embedding."""
        return self._values["vocab_size"]

    @property
    def hidden_size(self) -> int:
        """Width of the encoder's vectors."""
        return self._values["hidden_size"]

    @property
    def num_hidden_layers(self) -> int:
        """Transformer layers."""
        return self._values["num_hidden_layers"]

    @property
    def num_attention_heads(self) -> int:
        """Heads of an attention block; each is hidden_size / num_attention_heads wide."""
        return self._values["num_attention_heads"]

    @property
    def intermediate_size(self) -> int:
        """Width of the feed-forward layer; 4 * hidden_size unless given (2019 had no such key)."""
        return self._values.get("intermediate_size", 4 * self.hidden_size)

    @property
    def hidden_act(self) -> str:
        """The feed-forward layer's activation, a name in ACTIVATIONS."""
        return self._values["hidden_act"]

    @property
    def hidden_dropout_prob(self) -> float:
        """Dropout of embeddings and of each block's output."""
        return self._values["hidden_dropout_prob"]

    @property
    def attention_probs_dropout_prob(self) -> float:
        """Dropout of attention probabilities."""
        return self._values["attention_probs_dropout_prob"]

    @property
    def max_position_embeddings(self) -> int:
        """Rows of pos_embedding: the longest sequence in tokens."""
        return self._values["max_position_embeddings"]

    @property
    def sent_type_vocab_size(self) -> int:
        """Rows of sent_embedding; ERNIE 1.0 files call it type_vocab_size, and where both stand this one wins."""
        return self._values.get("sent_type_vocab_size") or self._values["type_vocab_size"]

    @property
    def task_type_vocab_size(self) -> int | None:
        """Rows of task_embedding; None where the file has none. Without use_task_id nothing uses it."""
        return self._values.get("task_type_vocab_size")

    @property
    def use_task_id(self) -> bool:
        """Whether task embeddings are added to the input (ERNIE 2.0, section 4.2); false unless given."""
        return self._values.get("use_task_id", False)

    @property
    def num_parameters(self) -> int:
        """Parameters of the encoder, heads left out, to within a thousandth."""
        width = self.hidden_size
        rows = self.vocab_size + self.max_position_embeddings + self.sent_type_vocab_size
        rows += self.task_type_vocab_size or 0
        return width * (rows + width + self.num_hidden_layers * (4 * width + 2 * self.intermediate_size))

    @property
    def initializer_range(self) -> float:
        """Standard deviation of the truncated normal that weights are drawn from; 0.02 unless given."""
        return self._values.get("initializer_range", 0.02)

    @property
    def layer_norm_eps(self) -> float:
        """Added to the variance in layer normalisation; 1e-5, Fluid's default, unless given."""
        return self._values.get("layer_norm_eps", 1e-5)

    def check_positions(self, max_seq_len: int) -> None:
        """Raise UserError where sequences of ``max_seq_len`` tokens are longer than the model's positions."""
        if max_seq_len > self.max_position_embeddings:
            raise UserError(
                f"--max_seq_len {max_seq_len} is above the {self.max_position_embeddings} positions of {self.source} "
                f"(max_position_embeddings): give at most {self.max_position_embeddings}, or leave it out"
            )

    def check_task_id(self, task_id: int) -> None:
        """Raise UserError where the model has task embeddings, but none for ``task_id``."""
        if self.use_task_id and not 0 <= task_id < (self.task_type_vocab_size or 0):
            raise UserError(
                f"--task_id {task_id} is outside the {self.task_type_vocab_size} task embeddings of {self.source} "
                "(task_type_vocab_size)"
            )


def sequence_length(given: int | None, default: int, config: Any) -> int:
    """``--max_seq_len``: as given; its default otherwise, or the model's positions if they are fewer.

    Args:
        given: None where the flag was not given. A longer one than the model has positions is for
            ``check_positions`` to refuse.
        default: what the flag means where it was not given.
        config: of the model: an ``ErnieConfig``, or a student's.
    """
    return min(default, config.max_position_embeddings) if given is None else given


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON object in ``path``, of a ``checkpoint.json`` that of its network; a key given twice is an error."""
    remedy = "give the model's ernie_config.json"
    values = json_file.read_json(path, absent=remedy, remedy=remedy, is_object=True, once=True)
    if Path(path).name != CHECKPOINT:
        return values
    if not isinstance(values.get(NETWORK), dict):
        raise UserError(f"{path}: does not say what network it is of: {remedy}")
    return values[NETWORK]
