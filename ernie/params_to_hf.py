"""From a params model to a directory that Hugging Face's transformers loads: ``to_hf``."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ernie.checkpoint import check_vocab, compare_params, list_params, match_params, scan_params
from ernie.config import ErnieConfig
from ernie.facts import CHECKPOINT, find_facts, labels_to_hf, read_facts, tokenizer_to_hf
from ernie.foreign import config_to_hf, encoder_shapes, name_table
from ernie.foreign_names import refuse_unexpected
from ernie.foreign_pooling import modules_to_hf
from ernie.foreign_vocab import vocabulary_to_hf
from ernie.pooling import trained_pooling
from propeller.errors import UserError
from propeller.files import atomic_directory, write_file
from propeller.tensors import save_arrays
from propeller.variables import to_float32
from tokenization import TOKENIZERS, load_vocab

log = logging.getLogger("ernie.convert")


def to_hf(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    model_type: str = "auto",
    ignore_unexpected: bool = False,
    vocab_path: str | os.PathLike[str] | None = None,
    half: bool = False,
) -> None:
    """Convert a params model to a Hugging Face directory at ``target``.

    Args:
        source: a model's directory, or a fine-tuned checkpoint's, which holds no vocabulary: give ``vocab_path``.
        target: the directory to make.
        model_type: "bert" or "ernie"; auto: ernie if the model has task embeddings in use.
        ignore_unexpected: leave out weights that Hugging Face has no name for, instead of refusing.
        vocab_path: the vocabulary, in place of the source's ``vocab.txt``.
        half: store weights in float16, which takes half the room.

    Raises:
        UserError: the model is damaged or incomplete, bert is asked for one with task embeddings, its tokenizer has no
            counterpart; ``target`` exists.
    """
    source, target = Path(source), Path(target)
    facts = read_facts(source)
    config = _config(source, facts)
    if model_type == "auto":
        model_type = "ernie" if config.use_task_id else "bert"
    if model_type == "bert" and config.use_task_id:
        raise UserError(f"{config.source}: BERT has no task embeddings: convert with --model_type ernie")
    params = source if (source / CHECKPOINT).is_file() and not (source / "params").is_dir() else source / "params"
    weights = _scan(params, config, model_type, ignore_unexpected)
    vocab_file = _vocab_of(source, vocab_path)
    vocab, added = vocabulary_to_hf(vocab_file)
    check_vocab(len(load_vocab(vocab_file)), config, weights.found, source)
    plain = weights.architecture.endswith("Model")
    content = {
        "config.json": _hf_config(weights, facts, config, model_type),
        "tokenizer_config.json": {**tokenizer_to_hf(facts, config, find_facts(source) or source), **added},
        **(modules_to_hf(trained_pooling(facts), config.hidden_size) if plain else {}),
    }
    tensors = _hf_tensors(weights, "" if plain else model_type + ".")
    if half:
        tensors = _halved(tensors, params)
        content["config.json"]["torch_dtype"] = "float16"
    with atomic_directory(target) as temporary:
        save_arrays(temporary / "model.safetensors", tensors, {"format": "pt"})
        for name, values in content.items():
            (temporary / name).parent.mkdir(exist_ok=True)
            write_file(temporary / name, (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode())
        for name, data in vocab.items():
            write_file(temporary / name, data)
    log.info("%s: %s, %d weights", target, weights.architecture, len(tensors))


class _Weights(NamedTuple):
    """Those of a params directory, not yet read.

    Attributes:
        found: name -> where it lies.
        rows: name -> its row of the table of names.
        loaded: the names that Hugging Face knows.
        architecture: the class there.
    """

    found: Mapping[str, Any]
    rows: Mapping[str, Any]
    loaded: Sequence[str]
    architecture: str


def _scan(params, config, model_type, ignore_unexpected):
    names, leftovers = list_params(params)
    found = scan_params(params, names)
    architecture = ("Bert" if model_type == "bert" else "Ernie") + _head(found)
    rows = {row.params: row for row in name_table(config.num_hidden_layers, architecture)}
    if not config.use_task_id:
        rows.pop("task_embedding", None)
    match_params(found, encoder_shapes(config), source=params)
    report = compare_params(found, _rows_shapes(rows, found), leftovers)
    refuse_unexpected(params, report.unexpected, ignore_unexpected)
    return _Weights(found, rows, report.loaded, architecture)


def _hf_config(weights, facts, config, model_type):
    """The content of config.json."""
    values = config_to_hf(config, model_type, weights.architecture)
    if "mask_lm_out_fc.w_0" in weights.found:
        values["tie_word_embeddings"] = False
    head = weights.found.get("_cls_out_w", weights.found.get("cls_seq_label_out_w"))
    if head:
        values.update(labels_to_hf(facts, weights.architecture, head.shape[1]))
    return values


def _config(source, facts):
    """The ErnieConfig of a model's directory; a checkpoint has it in its checkpoint.json."""
    path = source / "ernie_config.json"
    if path.is_file() or "ernie_config" not in facts:
        return ErnieConfig(path)
    config = ErnieConfig(facts["ernie_config"])
    config.source = str(find_facts(source))
    return config


def _hf_tensors(weights, prefix):
    tensors = {}
    for name in weights.loaded:
        array, row = to_float32(weights.found[name].read()), weights.rows[name]
        tensors[(prefix if row.base else "") + row.hf] = np.ascontiguousarray(array.T) if row.linear else array
    return tensors


def _halved(tensors, source):
    """The arrays in float16. Raises UserError: one has values beyond it."""
    with np.errstate(over="ignore"):
        halved = {name: array.astype(np.float16) for name, array in tensors.items()}
    for name, array in halved.items():
        if not np.isfinite(array).all():
            raise UserError(f"{source}: {name} has values that float16 does not hold: convert without --half")
    return halved


def _rows_shapes(rows, found):
    """name -> shape as found, for the names in ``rows``: heads have no other shape to be held to."""
    return {name: found[name].shape for name in rows if name in found}


def _head(found):
    """The Hugging Face class, less its first word, that holds the heads in ``found``."""
    if "_cls_out_w" in found:
        return "ForSequenceClassification"
    if "cls_seq_label_out_w" in found:
        return "ForTokenClassification"
    if "cls_mrc_out_w" in found:
        return "ForQuestionAnswering"
    if "mask_lm_out_fc.b_0" in found:
        return "ForPreTraining" if "next_sent_fc.w_0" in found else "ForMaskedLM"
    return "Model"


def _vocab_of(source, vocab_path):
    """The vocabulary's path: ``vocab_path``, or that of the source.

    Raises:
        UserError: there is none, or it is not the one that the model was trained with.
    """
    path = Path(vocab_path or source / "vocab.txt")
    if not vocab_path and not path.is_file():
        raise UserError(f"{path}: no such file: give the model's vocabulary with --vocab_path")
    facts = read_facts(source)
    wanted = facts.get("tokenizer_fingerprint")
    name = facts.get("tokenizer", "FullTokenizer")
    if wanted and name in ("FullTokenizer", "CharTokenizer"):
        lower = facts.get("do_lower_case", True)
        if all(TOKENIZERS[name](path, lower, for_cn=for_cn).fingerprint != wanted for for_cn in (True, False)):
            raise UserError(
                f"{path}: not the vocabulary that {source} was trained with, by its checkpoint.json: give that with "
                "--vocab_path"
            )
    return path
