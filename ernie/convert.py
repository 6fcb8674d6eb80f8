"""Converts encoders between ``params/`` directories and Hugging Face ones, and from PaddleNLP.

    python -m ernie.convert --from hf --to params bert-base-uncased/ converted/
    python -m ernie.convert --from params --to hf ERNIE_Base_en/ converted/
    python -m ernie.convert --from paddlenlp --to params ernie-2.0-base-en/ converted/

A params model is a directory with ``params/``, ``ernie_config.json``, ``vocab.txt`` and, if it was converted,
``ernie_model.json``, the facts of ernie/facts.py; a fine-tuned checkpoint is one too, with ``--vocab_path``. A Hugging
Face one (BertModel, ErnieModel and their heads) has ``config.json``, ``model.safetensors`` or ``pytorch_model.bin``,
whole or in shards, and ``vocab.txt`` or ``tokenizer.json``; a PaddleNLP one ``model.safetensors`` or
``model_state.pdparams``, ``config.json`` or ``model_config.json``, ``vocab.txt``, and ERNIE tiny's sentencepiece model
and word dictionary. Neither torch nor PaddleNLP is needed, and nothing that is pickled is executed.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ernie.checkpoint import (
    check_vocab,
    compare_params,
    list_params,
    match_params,
    scan_params,
    to_float32,
    write_variable,
)
from ernie.config import ErnieConfig
from ernie.facts import (
    CHECKPOINT,
    FACTS,
    facts_from_foreign,
    find_facts,
    labels_to_hf,
    read_facts,
    tokenizer_to_hf,
    write_facts,
)
from ernie.foreign import check_kind, config_from_foreign, config_to_hf, encoder_shapes, name_table, read_json
from ernie.foreign_names import check_layers, check_library, check_shapes, listed, plain_names
from ernie.foreign_pooling import modules_to_hf
from ernie.foreign_text import subword_files
from ernie.foreign_vocab import read_vocabulary, vocabulary_to_hf
from ernie.foreign_weights import linear_is_transposed, open_weights
from ernie.pooling import trained_pooling
from propeller.errors import UserError, exit_on_user_error
from propeller.files import atomic_directory, write_file
from propeller.tensors import save_arrays
from tokenization import TOKENIZERS, load_vocab

log = logging.getLogger("ernie.convert")

# Buffers of BertModel, counted up from 0 or all 0: no weights.
_BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")
_POOLER = ("pooled_fc.w_0", "pooled_fc.b_0")


# ---------------------------------------------------------------- to params


def to_params(
    source_format: str,
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    init_pooler: bool | None = False,
    ignore_unexpected: bool = False,
    prefix: str | None = None,
) -> None:
    """Convert a Hugging Face ("hf") or PaddleNLP ("paddlenlp") directory to a params model at ``target``.

    Args:
        init_pooler: draw a pooler (truncated normal, seed 0) where the model was saved without one; False: that is an
            error; None: the params model has none either.
        ignore_unexpected: leave out weights that have no place in a params model, instead of refusing.
        prefix: what stands before the names of the encoder to take, where the weights hold several.

    Raises:
        UserError: the source is damaged, incomplete or of another kind; ``target`` exists.
    """
    source = Path(source)
    weights = open_weights(source_format, source)
    config_path = source / "config.json"
    if source_format == "paddlenlp" and not config_path.is_file():
        config_path = source / "model_config.json"
    values = _foreign_values(read_json(config_path))
    check_kind(values, config_path)
    names = plain_names(weights.shapes, source, prefix)
    plain = names.names
    check_library(source_format, plain, source)
    config = config_from_foreign(
        values,
        config_path,
        *(weights.shapes[plain[name]][0] if name in plain else 0 for name in _counted_embeddings()),
    )
    check_layers(plain, config.num_hidden_layers, config_path, ignore_unexpected)
    if not names.is_usual:
        log.info("%s: the names of the encoder's weights begin with %r: taken without that", source, names.prefix)
    architecture = str(values.get("architectures") or values.get("init_class") or "")
    rows = {getattr(row, source_format): row for row in name_table(config.num_hidden_layers, architecture)}
    known = {plain[name]: row for name, row in rows.items() if name in plain}
    hidden, inner = config.hidden_size, config.intermediate_size
    transposed = linear_is_transposed(weights, known, hidden, inner, default=source_format == "hf")
    chosen, unexpected = {}, []  # params name -> (foreign name, transposed)
    for name, foreign_name in plain.items():
        row = rows.get(name)
        if row is not None and row.params == "mask_lm_out_fc.w_0":
            if not _same(weights, foreign_name, plain.get("embeddings.word_embeddings.weight")):
                chosen[row.params] = (foreign_name, True)
        elif row is not None:
            chosen[row.params] = (foreign_name, row.linear and transposed)
        elif name == "cls.predictions.decoder.bias" and _same(weights, foreign_name, plain.get("cls.predictions.bias")):
            pass  # transformers keeps the one bias under two names
        elif name not in _BUFFERS:
            unexpected.append(foreign_name)
    _refuse_unexpected(source, unexpected, ignore_unexpected)
    _check_and_write(weights, chosen, config, values, source, Path(target), init_pooler)


def _check_and_write(weights, chosen, config, values, source, target, init_pooler):
    found = {}
    for name, (foreign_name, transposed) in chosen.items():
        shape = weights.shapes[foreign_name]
        found[name] = shape[::-1] if transposed else shape
    wanted = encoder_shapes(config)
    if init_pooler is None and _POOLER[0] not in found:
        wanted = {name: shape for name, shape in wanted.items() if name not in _POOLER}
    foreign = {name: foreign_name for name, (foreign_name, _) in chosen.items()}
    check_shapes(
        found, {name: shape for name, shape in wanted.items() if name not in _POOLER}, foreign, Path(config.source)
    )
    drawn = {}
    if _POOLER[0] in wanted and _POOLER[0] not in found:
        if not init_pooler:
            raise UserError(f"{source}: the model has no pooler: --init_pooler draws one, to be trained by fine-tuning")
        drawn = _draw_pooler(config)
        log.info("no pooler in %s: drawn anew, train it before use", source)
    check_shapes(
        {**found, **{name: array.shape for name, array in drawn.items()}}, wanted, foreign, Path(config.source)
    )
    vocab, subwords = read_vocabulary(source, config.vocab_size), subword_files(source)
    check_vocab(len(vocab.tokens), config, {})
    heads = sorted(set(found) - set(wanted))
    sizes = {name: found[name][-1] for name in heads}
    facts = facts_from_foreign(source, values, sizes, vocab.tokens, config)
    if subwords:
        facts["tokenizer"] = "WSSPTokenizer"
    with atomic_directory(target) as temporary:
        (temporary / "params").mkdir()
        for name, (foreign_name, transposed) in chosen.items():
            array = weights.read(foreign_name)
            write_variable(temporary / "params" / name, array.T if transposed else array)
        for name, array in drawn.items():
            write_variable(temporary / "params" / name, array)
        config.save(temporary / "ernie_config.json")
        for name, data in {**vocab.files(), **subwords}.items():
            write_file(temporary / name, data)
        write_facts(temporary, facts)
    log.info("%s: %d encoder weights, heads: %s", target, len(wanted), ", ".join(heads) or "none")
    told = ", ".join(f"{name} {json.dumps(value, ensure_ascii=False)}" for name, value in facts.items())
    log.info("%s says: %s", target / FACTS, told or "nothing for certain")


def _counted_embeddings():
    return "embeddings.token_type_embeddings.weight", "embeddings.task_type_embeddings.weight"


def _foreign_values(values):
    """A config's keys; PaddleNLP's older model_config.json nests a base model's in the init_args of one with a head."""
    init_class = values.get("init_class", "")
    while (
        isinstance(values.get("init_args"), list) and values["init_args"] and isinstance(values["init_args"][0], dict)
    ):
        values = {**values["init_args"][0], "init_class": init_class}
    return values


def _same(weights, one, other):
    if other is None or weights.shapes[one] != weights.shapes[other]:
        return False
    return np.array_equal(weights.read(one), weights.read(other))


def _draw_pooler(config):
    random = np.random.RandomState(0)
    weight = random.standard_normal((config.hidden_size, config.hidden_size))
    while (np.abs(weight) > 2).any():  # cut at two standard deviations, as ernie.layers.truncated_normal
        weight = np.where(np.abs(weight) > 2, random.standard_normal(weight.shape), weight)
    weight = (weight * config.initializer_range).astype(np.float32)
    return dict(zip(_POOLER, (weight, np.zeros(config.hidden_size, np.float32))))


def _refuse_unexpected(source, names, ignore):
    if not names:
        return
    told = listed(names)
    if not ignore:
        raise UserError(f"{source}: no place for {len(names)} weights: {told}: --ignore_unexpected leaves them out")
    log.info("%s: left out %d weights: %s", source, len(names), told)


# ---------------------------------------------------------------- to Hugging Face


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
    """Those of a params directory, not yet read. found: name -> where it lies; rows: name -> its row of the table of
    names; loaded: the names that Hugging Face knows; architecture: the class there."""

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
    report = compare_params(found, rows_shapes(rows, found), leftovers)
    _refuse_unexpected(params, report.unexpected, ignore_unexpected)
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


def rows_shapes(rows: Iterable[str], found: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
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


# ---------------------------------------------------------------- command


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m ernie.convert", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--from", dest="source_format", required=True, choices=("hf", "params", "paddlenlp"))
    parser.add_argument("--to", dest="target_format", required=True, choices=("params", "hf"))
    parser.add_argument("source", help="the model's directory")
    parser.add_argument("target", help="the directory to make; it must not exist")
    parser.add_argument("--init_pooler", action="store_true", help="draw the pooler of a model saved without one")
    parser.add_argument("--ignore_unexpected", action="store_true", help="leave out weights that have no place")
    parser.add_argument("--prefix", help="of several encoders in the weights, the one whose names begin with this")
    parser.add_argument("--model_type", default="auto", choices=("auto", "bert", "ernie"), help="to hf: its kind")
    parser.add_argument("--vocab_path", help="to hf: the vocabulary of a source without vocab.txt, as a checkpoint is")
    parser.add_argument("--half", action="store_true", help="to hf: weights in float16, which takes half the room")
    args = parser.parse_args(arguments)
    if args.half and args.target_format != "hf":
        parser.error("--half is about --to hf: params are float32")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    if (args.source_format == "params") != (args.target_format == "hf"):
        parser.error("one side is params: --from hf or paddlenlp --to params, or --from params --to hf")
    if args.target_format == "hf":
        to_hf(args.source, args.target, args.model_type, args.ignore_unexpected, args.vocab_path, args.half)
    else:
        to_params(args.source_format, args.source, args.target, args.init_pooler, args.ignore_unexpected,
                  args.prefix)  # fmt: skip
    return 0


if __name__ == "__main__":
    exit_on_user_error(main)
