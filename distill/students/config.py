"""The shape of a student network, read strictly from its ``ernie_config.json``.

    config = student_config("config/student/bow.json", vocab_path="student/vocab.txt")
    config.network, config.hidden_size                    # "bow", 128

A file without the key ``network`` describes a Transformer student: it is an ``ErnieConfig``.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from typing import Any

from ernie.config import ErnieConfig, KeptConfig, read_json
from propeller.errors import UserError
from tokenization import load_vocab

NETWORKS = ("bow", "cnn", "bilstm")
LARGEST = 10_000_000  # rows or columns; far beyond any student, so a slip of the pen is told before memory is taken
LONGEST_WINDOW = 20  # tokens; Kim 2014 uses 3 to 5, n-grams beyond this are never met twice

# key -> (networks that have it, default). None: it has to be given, or follows from the vocabulary.
_KEYS: dict[str, tuple[tuple[str, ...], Any]] = {
    "network": (NETWORKS, None),
    "vocab_size": (NETWORKS, None),
    "embedding_size": (NETWORKS, 128),  # 2019's, for its bag of words
    "pairs": (NETWORKS, False),
    "hidden_dropout_prob": (NETWORKS, 0.0),
    "initializer_range": (NETWORKS, 0.02),  # 2019's
    "max_position_embeddings": (NETWORKS, 512),
    "hidden_size": (("bow",), 128),  # 2019's middle_fc
    "windows": (("cnn",), [3, 4, 5]),  # Kim 2014, section 3.1
    "filters": (("cnn",), 100),  # Kim 2014, section 3.1
    "lstm_size": (("bilstm",), 128),
}


class StudentConfig(KeptConfig):
    """The shape of a bag of words, a CNN or a BiLSTM, with the face of ``ErnieConfig``.

    Attributes:
        network: ``bow``, ``cnn`` or ``bilstm``.
        vocab_size: rows of word_embedding.
        embedding_size: its columns.
        pairs: whether two texts are pooled apart and compared, see ``distill.students.networks``.
        states_size: width of the vector of each token, 0 for a bag of words.
        hidden_size: width of the vector of an example.
        max_position_embeddings: the longest example in tokens that may be asked for; there is no table of them.

    Args:
        path_or_dict: a JSON file's path, or its content as a dict.
        source: where a dict comes from, for messages.
        vocab_path: the vocabulary; it says ``vocab_size`` where the file does not.

    Raises:
        UserError: the file cannot be read; a key is unknown, missing, of another network, or out of range.
    """

    use_task_id = False
    sent_type_vocab_size = 2
    task_type_vocab_size = None
    num_hidden_layers = 1

    def __init__(
        self,
        path_or_dict: str | os.PathLike[str] | Mapping[str, Any],
        source: str = "config",
        vocab_path: str | None = None,
    ) -> None:
        if isinstance(path_or_dict, (str, os.PathLike)):
            self.source, given = os.fspath(path_or_dict), read_json(path_or_dict)
        else:
            self.source, given = source, dict(path_or_dict)
        self.network = given.get("network")
        if self.network not in NETWORKS:
            raise UserError(f"{self.source}: 'network' is {self.network!r}: make it one of {', '.join(NETWORKS)}")
        self._check_keys(given)
        own = {key: default for key, (networks, default) in _KEYS.items() if self.network in networks}
        values = {**own, **given}
        if values["vocab_size"] is None and vocab_path:
            values["vocab_size"] = max(load_vocab(vocab_path, strict=True).values()) + 1
        self._check_values(values)
        self._values = values
        self.vocab_size: int = values["vocab_size"]
        self.embedding_size: int = values["embedding_size"]
        self.pairs: bool = values["pairs"]
        self.hidden_dropout_prob: float = values["hidden_dropout_prob"]
        self.initializer_range: float = values["initializer_range"]
        self.max_position_embeddings: int = values["max_position_embeddings"]
        self.windows: tuple[int, ...] = tuple(values.get("windows", ()))
        self.filters: int = values.get("filters", 0)
        self.lstm_size: int = values.get("lstm_size", 0)
        self.states_size = {"bow": 0, "cnn": self.filters * len(self.windows), "bilstm": 2 * self.lstm_size}[
            self.network
        ]
        parts = 4 if self.pairs else 1  # two vectors, their difference and product
        self.hidden_size: int = values["hidden_size"] if self.network == "bow" else parts * self.states_size

    def _check_keys(self, given):
        for key in given:
            if key not in _KEYS:
                near = difflib.get_close_matches(str(key), _KEYS, n=1)
                remedy = f"write {near[0]!r}" if near else f"remove it; the known keys are {', '.join(_KEYS)}"
                raise UserError(f"{self.source}: unknown key {key!r}: {remedy}")
            networks, _ = _KEYS[key]
            if self.network not in networks:
                raise UserError(
                    f"{self.source}: {key!r} belongs to {' and '.join(networks)}, not {self.network}: remove it"
                )

    def _check_values(self, values):
        if values["vocab_size"] is None:
            raise UserError(f"{self.source}: 'vocab_size' is missing: add the number of rows of word_embedding")
        for key, value in values.items():
            if key in ("network", "hidden_dropout_prob", "initializer_range"):
                continue
            if key == "pairs":
                good, wanted = isinstance(value, bool), "true or false"
            elif key == "windows":
                good = isinstance(value, (list, tuple)) and 0 < len(value) == len(set(value))
                good = good and all(type(width) is int and 1 <= width <= LONGEST_WINDOW for width in value)
                wanted = f"a list of different whole numbers from 1 to {LONGEST_WINDOW}"
            else:
                good, wanted = type(value) is int and 1 <= value <= LARGEST, f"a whole number from 1 to {LARGEST:,}"
            if not good:
                raise UserError(f"{self.source}: {key!r} is {value!r}: make it {wanted}")
        rate, deviation = values["hidden_dropout_prob"], values["initializer_range"]
        if not _is_number(rate) or not 0 <= rate < 1:
            raise UserError(f"{self.source}: 'hidden_dropout_prob' is {rate!r}: make it a number from 0 to below 1")
        if not _is_number(deviation) or not 0 < deviation < float("inf"):
            raise UserError(f"{self.source}: 'initializer_range' is {deviation!r}: make it a finite number above 0")

    def __getitem__(self, key: str) -> Any:
        return self._values.get(key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StudentConfig) and self._values == other._values

    __hash__ = None  # type: ignore[assignment]  # how Python marks an unhashable class

    def check_positions(self, max_seq_len: int) -> None:
        """Raise UserError where sequences of ``max_seq_len`` tokens are longer than the network is to see."""
        if max_seq_len > self.max_position_embeddings:
            raise UserError(
                f"--max_seq_len {max_seq_len} is above the {self.max_position_embeddings} of {self.source} "
                f"(max_position_embeddings): give at most {self.max_position_embeddings}, or raise it there"
            )

    def check_task_id(self, task_id: int) -> None:
        """Students have no task embedding: any id will do."""


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def student_config(
    path_or_dict: str | os.PathLike[str] | Mapping[str, Any], source: str = "config", vocab_path: str | None = None
) -> StudentConfig | ErnieConfig:
    """A ``StudentConfig``, or an ``ErnieConfig`` where there is no key ``network``. Args and errors: see there."""
    values = read_json(path_or_dict) if isinstance(path_or_dict, (str, os.PathLike)) else path_or_dict
    if "network" in values:
        return StudentConfig(path_or_dict, source, vocab_path)
    return ErnieConfig(path_or_dict, source)
