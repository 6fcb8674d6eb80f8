"""What a trained model stores about itself: the record in ``checkpoint.json`` and in ``bundle.json``.

    spec = ModelSpec.of(stored_facts("output/sst2/best"), Classifier)
    spec.labels, spec.max_seq_len, spec.settings

Flags make one, checkpoints and bundles hold one, flags are checked against it, the tokenizer is built from it, and the
methods of a task receive it.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ernie.config import ErnieConfig
from ernie.facts import read_facts
from finetune.losses import PLAIN, LossOptions
from propeller.bundle import MANIFEST, find_bundle
from propeller.errors import UserError
from reader.reading import Reading
from reader.row_encoder import MODEL, load_label_map
from tokenization import build_tokenizer

if TYPE_CHECKING:
    from finetune.task import FinetuneTask
    from tokenization_base import BaseTokenizer


__all__ = ["ModelSpec", "Reading", "check_same", "read_record", "settings_of", "settle", "text_settings"]

RECORD, CONFIG, VOCAB = "checkpoint.json", "ernie_config.json", "vocab.txt"
SAME = ("num_labels", "tokenizer", "do_lower_case", "for_cn", "task_id")  # must be as they were in training
DEFAULTS = {"tokenizer": "FullTokenizer", "do_lower_case": True, "for_cn": True, "task_id": 0, "max_seq_len": 128}
PAIRS = "pairs"  # whether the training file had second texts
NOT_STORED = {
    "settings",
    "network",
    "facts",
    "dropout",
    "loss",
    "label_map_source",
    "label_origin",
}  # under their own name
ELSEWHERE = {
    "flags",
    "ernie_config",
    "format",
    "step",
    "files",
    "copied",
}  # settings, network, and facts of a checkpoint
TRAINING_ONLY_CONFIG = ("hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range")


@dataclass(frozen=True)
class ModelSpec:
    """A model of a task.

    Attributes:
        task: name in ``finetune.TASKS``.
        label_map: label word -> class, or None where labels are numbers.
        num_labels: number of classes; 1 in regression, 0 without a head.
        max_seq_len: longest example in tokens.
        tokenizer: name in ``tokenization.TOKENIZERS``.
        tokenizer_fingerprint: of the tokenizer the model was trained with; None: not known.
        do_lower_case, for_cn: how text becomes tokens, see ``tokenization.build_tokenizer``.
        task_id: id of the task embedding.
        metric: name in ``finetune.metrics.METRICS``, or None.
        settings: the task's own flags (an instance of ``FinetuneTask.flags``), or None.
        network: content of ``ernie_config.json``, or None.
        facts: what else the record holds, such as the layer and pooling of embeddings.
        dropout: dropout rate before the head's output layer while training; not stored.
        loss: how the loss of a class is changed while training; not stored.
        label_map_source: the file of the label map, for messages; not stored.
        label_origin: where the labels come from, see ``reader.row_encoder.LabelRule``; not stored.
    """

    task: str | None = None
    label_map: Mapping[str, int] | None = None
    num_labels: int = 2
    max_seq_len: int = 128
    tokenizer: str = "FullTokenizer"
    tokenizer_fingerprint: str | None = None
    do_lower_case: bool = True
    for_cn: bool = True
    task_id: int = 0
    metric: str | None = "simple_accuracy"
    settings: Any = None
    network: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    dropout: float = 0.1
    loss: LossOptions = PLAIN
    label_map_source: str = "label map"
    label_origin: str = MODEL

    @classmethod
    def of(cls, record: Mapping[str, Any], task: type[FinetuneTask]) -> ModelSpec:
        """The spec of a record; settings that a task gained since have their defaults.

        Args:
            record: content of ``checkpoint.json``, or ``meta`` of a bundle.
            task: the ``FinetuneTask`` class.
        """
        known = {entry.name for entry in fields(cls)} - NOT_STORED
        values = {name: record[name] for name in known if name in record}
        others = {key: value for key, value in record.items() if key not in known | ELSEWHERE}
        settings = settings_of(task.flags, record.get("flags", {}))
        return cls(**values, settings=settings, network=record.get("ernie_config"), facts=others)

    def record(self) -> dict[str, Any]:
        """The spec as JSON-able dict, with the keys of ``checkpoint.json``."""
        names = ("task", "label_map", "num_labels", "max_seq_len", "tokenizer", "tokenizer_fingerprint",
                 "do_lower_case", "for_cn", "task_id", "metric")  # fmt: skip
        values = {name: getattr(self, name) for name in names}
        values["label_map"] = dict(self.label_map) if self.label_map else self.label_map
        network = {} if self.network is None else {"ernie_config": dict(self.network)}
        return {**values, "flags": stored_settings(self.settings), **network, **self.facts}

    @property
    def labels(self) -> list[str]:
        """The word of each class, in their order; its number where there is no label map."""
        words = {number: word for word, number in (self.label_map or {}).items()}
        return [words.get(number, str(number)) for number in range(self.num_labels)]

    def replace(self, **changes: Any) -> ModelSpec:
        """A copy with other values."""
        return dataclasses.replace(self, **changes)

    def build_tokenizer(self, task: type[FinetuneTask], vocab_path: str, sp_model: str | None = None) -> BaseTokenizer:
        """The tokenizer of the model. Raises UserError, see ``tokenization.build_tokenizer``."""
        for_cn = self.for_cn and task.drops_blanks
        return build_tokenizer(self.tokenizer, str(vocab_path), self.do_lower_case, for_cn, sp_model)

    def check_limits(self, config: ErnieConfig) -> None:
        """Raise UserError where ``max_seq_len`` or ``task_id`` is more than the network has."""
        config.check_positions(self.max_seq_len)
        config.check_task_id(self.task_id)


def settings_of(group: type | None, stored: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> Any:
    """A task's own flags: what is given, else what is stored, else their defaults; None without flags."""
    if group is None:
        return None
    known = {entry.name: stored[entry.name] for entry in fields(group) if entry.name in stored}
    return group(**{**known, **(given or {})})


def stored_settings(settings: Any) -> dict[str, Any]:
    """The settings that belong to a model, as stored; flags of a run alone are left out."""
    if settings is None:
        return {}
    return {
        entry.name: getattr(settings, entry.name)
        for entry in fields(settings)
        if entry.metadata.get("facts", {}).get("stored", True)
    }


def read_record(folder: str | Path) -> dict[str, Any]:
    """What weights say of themselves, see ``ernie.facts.read_facts``; {} for a checkpoint of the 2019 code.

    Raises:
        UserError: the file is damaged.
    """
    return read_facts(folder)


def check_is_of_one(folder: str | Path, record: Mapping[str, Any]) -> None:
    """Raise UserError where a checkpoint, by its record, is of several tasks (``python -m finetune multitask``)."""
    members = record.get("members")
    if members:
        example = Path(folder).resolve().parent / next(iter(members)) / "best"
        raise UserError(
            f"{folder}: holds several tasks ({', '.join(members)}): give the checkpoint of one, as {example}"
        )


def stored_task(folder: str | Path) -> str | None:
    """The task of a checkpoint, a converted model or an inference model; None where it does not say, as one of 2019.

    Raises:
        UserError: there is no such folder, or its record is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such directory; give a fine-tuned checkpoint or an inference model")
    if (folder / RECORD).is_file():
        record = read_record(folder)
        check_is_of_one(folder, record)
        return record.get("task")
    if not any(folder.glob(f"*/{MANIFEST}")) and not (folder / MANIFEST).is_file():
        return read_record(folder).get("task")
    path = find_bundle(folder) / MANIFEST
    try:
        return json.loads(path.read_text(encoding="utf8")).get("task")
    except (ValueError, AttributeError):
        raise UserError(f"{path}: damaged, not the JSON that was written: copy it again, or export it") from None


def files_of(
    vocab_path: str | None, sp_model: str | None, folder: str | Path, flag_name: str
) -> tuple[str, str | None]:
    """The vocabulary and, where there is one, the sentencepiece model of weights.

    The flags win; otherwise the files in the folder, or beside it where it is called ``params``.

    Raises:
        UserError: no vocabulary is given, and none is there.
    """
    if vocab_path:
        return vocab_path, sp_model
    folder = Path(folder)
    for place in (folder, folder.parent) if folder.name == "params" else (folder,):
        if (place / VOCAB).is_file():
            models = sorted(place.glob("*.model"))
            return str(place / VOCAB), sp_model or (str(models[0]) if models else None)
    raise UserError(f"{flag_name} needs --vocab_path: {folder} has no {VOCAB}; give that of the model it came from")


def settle(given: Any, stored: Mapping[str, Any], defaults: Mapping[str, Any] = DEFAULTS) -> dict[str, Any]:
    """Each of ``defaults``: as the flag says, else as the model says, else the default.

    Args:
        given: an object with the flags as attributes; None where one was not given.
        stored: the model's record.
        defaults: name -> what holds where neither has a value.
    """
    return {name: _first(getattr(given, name, None), stored.get(name), default) for name, default in defaults.items()}


def settled_labels(
    given: Any, stored: Mapping[str, Any], task: type[FinetuneTask], label_map: Mapping[str, int] | None
) -> int:
    """The number of classes: as the flag or the model says, else that of the label map or, if more, the task's."""
    return _first(given.num_labels, stored.get("num_labels"), max(len(label_map or ()), task.num_labels))


def _first(*values):
    return next((value for value in values if value is not None), None)


def check_same(
    given: Any, stored: Mapping[str, Any], source: str | Path, read_config: Callable[..., Any] = ErnieConfig
) -> None:
    """Raise UserError where a flag contradicts what the model says of itself.

    Args:
        given: an object with the flags as attributes; those it lacks or has None for are not checked.
        stored: the model's record; what it lacks is not checked.
        source: the file it is from.
        read_config: what reads a network's shape, see ``FinetuneTask.read_config``.
    """
    for name in SAME:
        value = getattr(given, name, None)
        if value is not None and stored.get(name) is not None and value != stored[name]:
            raise UserError(f"--{name} {shown(value)}: but {source} says {shown(stored[name])}; leave the flag out")
    path = getattr(given, "label_map_config", None)
    if path and "label_map" in stored and load_label_map(path) != stored["label_map"]:
        ours, theirs = _shown_map(load_label_map(path)), _shown_map(stored["label_map"])
        raise UserError(f"--label_map_config {path}: has {ours}, but {source} has {theirs}; leave the flag out")
    if given.ernie_config_path and "ernie_config" in stored:
        _check_config(given.ernie_config_path, stored["ernie_config"], source, read_config)


def shown(value: Any) -> Any:
    """A value as flags write it."""
    return str(value).lower() if isinstance(value, bool) else value


def _shown_map(mapping, limit=100):
    text = json.dumps(mapping, ensure_ascii=False) if mapping else "no label map"
    return text if len(text) <= limit else text[:limit] + "..."


def _check_config(path, stored, source, read_config):
    ours, theirs = read_config(path), read_config(stored)
    for name in sorted({*ours.to_dict(), *theirs.to_dict()} - set(TRAINING_ONLY_CONFIG)):
        if ours[name] != theirs[name]:
            raise UserError(
                f"{path}: {name} is {ours[name]}, but {source} says {theirs[name]}; leave --ernie_config_path out"
            )


def text_settings(given: Any, stored: Mapping[str, Any], spec: ModelSpec, task: type[FinetuneTask]) -> dict[str, bool]:
    """``do_lower_case`` and ``for_cn``: where neither flag nor record has them, those that give the training's tokens.

    Args:
        given: the flags, ``vocab_path``, ``sp_model`` and ``init_checkpoint`` among them.
        stored: the model's record.
        spec: with the other settings of the text side.
        task: the class of the task, which chooses how text is read.

    Raises:
        UserError: the vocabulary is not that of the training with any of them.
    """
    wanted = stored.get("tokenizer_fingerprint")
    flags = {"do_lower_case": spec.do_lower_case, "for_cn": spec.for_cn}
    if wanted is None:
        return flags
    open_flags = [name for name in flags if getattr(given, name) is None and stored.get(name) is None]
    for choice in itertools.product((False, True), repeat=len(open_flags)):
        tried = {**flags, **{name: flags[name] != turned for name, turned in zip(open_flags, choice)}}
        if spec.replace(**tried).build_tokenizer(task, given.vocab_path, given.sp_model).fingerprint == wanted:
            return tried
    also = _with(given)
    raise UserError(
        f"{given.vocab_path}: is not the vocabulary that {given.init_checkpoint} was trained with, by its "
        f"checkpoint.json{also}: give that --vocab_path{' and leave these flags out' if also else ''}"
    )


def _with(given):
    names = [f"--{name} {shown(getattr(given, name))}" for name in ("do_lower_case", "for_cn")
             if getattr(given, name) is not None]  # fmt: skip
    return f" (with {' and '.join(names)})" if names else ""
