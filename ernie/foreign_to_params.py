"""From the directories of Hugging Face and PaddleNLP to a params model: ``to_params``.

Weights are chosen by their names before any is read, and read one after another, so a model in shards needs the memory
of its largest weight.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import numpy as np

from ernie.checkpoint import check_vocab
from ernie.facts import FACTS, facts_from_foreign, write_facts
from ernie.foreign import check_kind, config_from_foreign, encoder_shapes, name_table, read_json
from ernie.foreign_names import check_layers, check_library, check_shapes, plain_names, refuse_unexpected
from ernie.foreign_text import subword_files
from ernie.foreign_vocab import read_vocabulary
from ernie.foreign_weights import linear_is_transposed, open_weights
from propeller.errors import UserError
from propeller.files import atomic_directory, write_file
from propeller.variables import write_variable

log = logging.getLogger("ernie.convert")

# Buffers of BertModel, counted up from 0 or all 0: no weights.
_BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")
_POOLER = ("pooled_fc.w_0", "pooled_fc.b_0")


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
    chosen, unexpected = _choose(weights, plain, rows, transposed)
    refuse_unexpected(source, unexpected, ignore_unexpected)
    _check_and_write(weights, chosen, config, values, source, Path(target), init_pooler)


def _choose(weights, plain, rows, transposed):
    """(params name -> (foreign name, whether it is stored transposed), foreign names that have no place).

    Args:
        plain: name in the rows -> name in the file; rows: of the table of names, by the name there.
        transposed: whether the matrices of the linear layers are.
    """
    chosen, unexpected = {}, []
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
    return chosen, unexpected


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
