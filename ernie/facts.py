"""What a model says of itself beside its weights: case, blanks, labels, the kind of head.

    from ernie.facts import read_facts
    read_facts("converted/params")              # {"do_lower_case": False, "for_cn": False, "task": "classify", ...}

A conversion writes the facts to ``ernie_model.json`` beside ``params/``; a fine-tuned checkpoint has them in its own
``checkpoint.json``. Both use the same keys, and a key whose value is not certain is left out.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ernie.config import ErnieConfig
from ernie.foreign import read_json
from ernie.pooling import NORMALIZE, POOLING, POOLINGS
from propeller.errors import UserError
from propeller.files import write_file

log = logging.getLogger("ernie.convert")

FACTS = "ernie_model.json"
CHECKPOINT = "checkpoint.json"

CLASSIFY, REGRESSION, MULTI_LABEL = "classify", "regression", "multi_label_classification"
SEQUENCE_LABEL, MRC = "sequence_label", "mrc"


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_label_map(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in value.values()
    )


# key -> (what it must be, its check)
_FLAG = ("true or false", lambda value: isinstance(value, bool))
_COUNT = ("a whole number of at least 1", _is_count)
_WORD = ("a word", lambda value: isinstance(value, str) and bool(value))
_KEYS = {
    "do_lower_case": _FLAG,
    "for_cn": _FLAG,
    "tokenizer": _WORD,
    "max_seq_len": _COUNT,
    "task": _WORD,
    "num_labels": _COUNT,
    "label_map": ("an object of label words and class numbers from 0 on", _is_label_map),
    POOLING: (f"one of {', '.join(POOLINGS)}", lambda value: value in POOLINGS),
    NORMALIZE: _FLAG,
}


# ---------------------------------------------------------------- our files


def read_facts(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What the model in ``folder`` says of itself.

    Args:
        folder: a checkpoint, a ``params/`` directory, or the model's directory that holds one. The first of these
            files counts: ``checkpoint.json`` in it, ``checkpoint.json`` in its ``params/``, ``ernie_model.json`` in it,
            ``ernie_model.json`` beside it. So the record nearest to the weights wins.

    Returns:
        All keys of a ``checkpoint.json``; of an ``ernie_model.json`` some of ``do_lower_case`` and ``for_cn`` (bool),
        ``tokenizer`` (a name in ``tokenization.TOKENIZERS``), ``max_seq_len`` (tokens), ``task``, ``num_labels``,
        ``label_map`` (word -> class number), ``pooling`` and ``normalize`` (``ernie.pooling``). {} where there is no
        such file, as with the models of 2019.

    Raises:
        UserError: the file cannot be read, is not a JSON object, or has an unknown key or a value of a wrong type.
    """
    path = find_facts(folder)
    if path is None:
        return {}
    values = read_json(path)
    _check(values, path, strict=path.name == FACTS)
    return values


def find_facts(folder: str | os.PathLike[str]) -> Path | None:
    """The file that ``read_facts`` reads, or None."""
    folder = Path(folder).resolve()
    places = (folder / CHECKPOINT, folder / "params" / CHECKPOINT, folder / FACTS, folder.parent / FACTS)
    return next((path for path in places if path.is_file()), None)


def write_facts(folder: str | os.PathLike[str], facts: Mapping[str, Any]) -> None:
    """Write ``ernie_model.json`` into ``folder``, atomically; the keys are those ``read_facts`` returns.

    Raises:
        UserError: a key is unknown or its value of a wrong type.
    """
    path = Path(folder) / FACTS
    _check(facts, path, strict=True)
    write_file(path, (json.dumps(dict(facts), indent=2, ensure_ascii=False) + "\n").encode())


def _check(values: Mapping[str, Any], path: Path, strict: bool) -> None:
    for key, value in values.items():
        if key not in _KEYS:
            if strict:
                raise UserError(f"{path}: unknown key {key!r}: remove it; the known keys are {', '.join(_KEYS)}")
            continue
        wanted, is_valid = _KEYS[key]
        if not is_valid(value) and not (value is None and not strict):  # a checkpoint writes null for no label map
            raise UserError(f"{path}: {key!r} is {value!r}: make it {wanted}, or remove the key")
    label_map, count = values.get("label_map"), values.get("num_labels")
    if label_map and count and max(label_map.values()) >= count:
        word = max(label_map, key=label_map.__getitem__)
        raise UserError(
            f"{path}: 'label_map' has class {label_map[word]} ({word!r}), 'num_labels' is {count}: correct one of them"
        )


# ---------------------------------------------------------------- from Hugging Face and PaddleNLP

# tokenizer_class values that cut text as FullTokenizer does; a directory that names none has one of them.
_WORD_PIECE_CLASSES = ("BertTokenizer", "BertTokenizerFast", "ErnieTokenizer", "ErnieTokenizerFast")
_CJK = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
# Share of vocabulary entries with a CJK character below which a model is not Chinese: about 2% in BERT's English
# vocabularies, 10% in its multilingual ones, 70% in its Chinese one.
_CHINESE_SHARE = 0.2


def facts_from_foreign(
    source: Path, values: Mapping[str, Any], head_sizes: Mapping[str, int], vocab: Sequence[str], config: ErnieConfig
) -> dict[str, Any]:
    """The facts that a Hugging Face or PaddleNLP directory tells; whatever is not certain is left out.

    Args:
        source: the directory; its ``tokenizer_config.json`` and ``tokenizer.json`` are read if they are there.
        values: the keys of its ``config.json``.
        head_sizes: name of each converted head's weight (``_cls_out_w``, ``cls_seq_label_out_w``, ``cls_mrc_out_w``)
            -> its outputs.
        vocab: the vocabulary's entries.
        config: the converted configuration.

    Raises:
        UserError: one of the files is not a JSON object.
    """
    path = source / "tokenizer_config.json"
    tokenizer = read_json(path) if path.is_file() else {}
    facts: dict[str, Any] = {}
    lower = _lower_case(source, tokenizer)
    if lower is not None:
        facts["do_lower_case"] = lower
    if vocab and sum(bool(_CJK.search(token)) for token in vocab) < _CHINESE_SHARE * len(vocab):
        facts["for_cn"] = False
    if tokenizer.get("tokenizer_class", _WORD_PIECE_CLASSES[0]) in _WORD_PIECE_CLASSES:
        facts["tokenizer"] = "FullTokenizer"
    else:
        log.warning("%s: %s may cut text otherwise than FullTokenizer does", path, tokenizer["tokenizer_class"])
    for key, kept in (("tokenize_chinese_chars", (True, None)), ("strip_accents", (None, lower))):
        if tokenizer.get(key) not in kept:
            log.warning("%s: %s is %s, which FullTokenizer cannot be told", path, key, json.dumps(tokenizer[key]))
    longest: Any = tokenizer.get("model_max_length")
    if _is_count(longest) and longest <= config.max_position_embeddings:  # transformers writes 1e30 for "not known"
        facts["max_seq_len"] = longest
    facts.update(_head_facts(source / "config.json", values, head_sizes))
    return facts


def _lower_case(source: Path, tokenizer: Mapping[str, Any]) -> bool | None:
    """Whether the tokenizer lower-cases: by tokenizer_config.json, else by tokenizer.json's normalizer."""
    told = tokenizer.get("do_lower_case")
    if isinstance(told, bool):
        return told
    path = source / "tokenizer.json"
    normalizer = read_json(path).get("normalizer") if path.is_file() else None
    if not isinstance(normalizer, dict):
        return None
    parts = normalizer.get("normalizers") if normalizer.get("type") == "Sequence" else [normalizer]
    found = [part.get("lowercase", part.get("type") == "Lowercase") for part in parts or [] if isinstance(part, dict)]
    return any(value is True for value in found)


def _head_facts(path: Path, values: Mapping[str, Any], head_sizes: Mapping[str, int]) -> dict[str, Any]:
    """``task``, ``num_labels`` and ``label_map`` of the head that the model's class has."""
    architecture = str(values.get("architectures") or values.get("init_class") or "")
    if "QuestionAnswering" in architecture and "cls_mrc_out_w" in head_sizes:
        return {"task": MRC, "num_labels": head_sizes["cls_mrc_out_w"]}
    if "TokenClassification" in architecture and "cls_seq_label_out_w" in head_sizes:
        return _labelled(path, values, SEQUENCE_LABEL, head_sizes["cls_seq_label_out_w"])
    if "SequenceClassification" not in architecture or "_cls_out_w" not in head_sizes:
        return {}  # no head, one that is pre-trained, or a class (multiple choice) that no task here has
    count, problem = head_sizes["_cls_out_w"], values.get("problem_type")
    if problem == "multi_label_classification":
        return _labelled(path, values, MULTI_LABEL, count)
    if problem == "regression" or (problem is None and count == 1):
        return {"task": REGRESSION, "num_labels": 1} if count == 1 else {"num_labels": count}
    return _labelled(path, values, CLASSIFY, count)


def _labelled(path: Path, values: Mapping[str, Any], task: str, count: int) -> dict[str, Any]:
    facts: dict[str, Any] = {"task": task, "num_labels": count}
    words = _words(values)
    if not words and (values.get("id2label") or values.get("label2id")):
        log.warning("%s: 'id2label' is no object and no list of words: labels left out", path)
    if not words or all(re.fullmatch(r"LABEL_\d+", word) for word in words.values()):
        return facts  # transformers' own names: they say no more than the number of classes
    label_map = {word: number for number, word in sorted(words.items())}
    if sorted(words) != list(range(count)) or len(label_map) != count:
        log.warning("%s: 'id2label' does not name the head's %d classes once each: labels left out", path, count)
        return facts
    return {**facts, "label_map": label_map}


def _words(values: Mapping[str, Any]) -> dict[int, str]:
    """Class number -> word of ``id2label``, which may be a list, else of ``label2id``; {}: neither can be read."""
    named = values.get("id2label")
    try:
        if named:
            pairs = enumerate(named) if isinstance(named, list) else named.items()
            return {int(number): str(word) for number, word in pairs}
        return {int(number): str(word) for word, number in (values.get("label2id") or {}).items()}
    except (AttributeError, TypeError, ValueError):
        return {}


# ---------------------------------------------------------------- to Hugging Face

_PROBLEMS = {CLASSIFY: "single_label_classification", REGRESSION: "regression", MULTI_LABEL: MULTI_LABEL}


def labels_to_hf(facts: Mapping[str, Any], architecture: str, count: int) -> dict[str, Any]:
    """``id2label``, ``label2id`` and ``problem_type`` of a head with ``count`` outputs.

    A class without a word is called ``LABEL_n``: without names a loader takes any head for one with two outputs.
    """
    words: dict[int, str] = {}
    for word, number in (facts.get("label_map") or {}).items():
        words.setdefault(number, word)
    labels = [words.get(number, f"LABEL_{number}") for number in range(count)]
    named: dict[str, Any] = {
        "id2label": {str(number): word for number, word in enumerate(labels)},
        "label2id": {**{word: number for number, word in enumerate(labels)}, **(facts.get("label_map") or {})},
    }
    if architecture.endswith("ForSequenceClassification") and facts.get("task") in _PROBLEMS:
        named["problem_type"] = _PROBLEMS[facts["task"]]
    return named


def tokenizer_to_hf(facts: Mapping[str, Any], config: ErnieConfig, where: Path) -> dict[str, Any]:
    """The content of a ``tokenizer_config.json``; ``where`` is the facts' place, for messages.

    Raises:
        UserError: the model reads text with a tokenizer that Hugging Face's BertTokenizer is not.
    """
    if facts.get("tokenizer", "FullTokenizer") != "FullTokenizer":
        raise UserError(
            f"{where}: the model's tokenizer is {facts['tokenizer']}, Hugging Face has only FullTokenizer's kind "
            "(BertTokenizer) for it: convert a model that was trained with --tokenizer FullTokenizer"
        )
    if facts.get("for_cn"):
        log.info("%s: for_cn is true: a Hugging Face tokenizer does not drop blanks, drop them from its input", where)
    written = {"tokenizer_class": "BertTokenizer"}
    if facts.get("do_lower_case") is not None:
        written["do_lower_case"] = facts["do_lower_case"]
    return {**written, "model_max_length": facts.get("max_seq_len") or config.max_position_embeddings}
