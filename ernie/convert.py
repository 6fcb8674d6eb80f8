"""Converts encoders between ``params/`` directories and Hugging Face ones, and from PaddleNLP.

    python -m ernie.convert --from hf --to params bert-base-uncased/ converted/
    python -m ernie.convert --from params --to hf ERNIE_Base_en/ converted/
    python -m ernie.convert --from paddlenlp --to params ernie-2.0-base-en/ converted/

A params model is a directory with ``params/``, ``ernie_config.json`` and ``vocab.txt``; a Hugging Face one (BertModel,
ErnieModel and their heads) has ``config.json``, ``model.safetensors`` or its shards, and ``vocab.txt`` or
``tokenizer.json``; a PaddleNLP one ``model_state.pdparams``, ``config.json`` or ``model_config.json``, ``vocab.txt``.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, deserialize, safe_open
from safetensors.numpy import save_file

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
from ernie.foreign import config_from_foreign, config_to_hf, encoder_shapes, name_table
from ernie.pdparams import read_pdparams
from propeller.errors import UserError, exit_on_user_error
from propeller.files import atomic_directory, write_file

log = logging.getLogger("ernie.convert")

# Buffers of BertModel, counted up from 0 or all 0: no weights.
_BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")
_POOLER = ("pooled_fc.w_0", "pooled_fc.b_0")


class SafetensorsWeights:
    """The tensors of a Hugging Face directory: ``shapes`` at once, data when asked for.

    Raises:
        UserError: no safetensors file, one that cannot be read, or a shard that is missing or incomplete.
    """

    def __init__(self, directory):
        self._files, self.shapes, self._bfloat16 = {}, {}, {}
        for path, wanted in _safetensors_files(directory):
            try:
                file = safe_open(path, framework="numpy")
                found = list(file.keys())
                for name in found:
                    self.shapes[name] = tuple(file.get_slice(name).get_shape())
                    self._files[name] = (path, file)
            except (OSError, SafetensorError) as error:
                raise UserError(f"{path}: not a readable safetensors file ({error}): copy it again") from error
            lost = sorted(set(wanted) - set(found))
            if lost:
                raise UserError(f"{path}: {lost[0]}, which the index puts here, is missing: copy the model again")

    def read(self, name):
        """One tensor as float32, [shape as in the file]."""
        path, file = self._files[name]
        if file.get_slice(name).get_dtype() != "BF16":
            return to_float32(file.get_tensor(name))
        if path not in self._bfloat16:  # numpy has no bfloat16 and safe_open refuses it: take the file's bytes
            self._bfloat16 = {path: {key: value["data"] for key, value in deserialize(path.read_bytes())}}
        return to_float32(np.frombuffer(self._bfloat16[path][name], "<u2").reshape(self.shapes[name]))


class PdparamsWeights:
    """The tensors of a PaddleNLP directory, with the face of SafetensorsWeights."""

    def __init__(self, directory):
        files = sorted(Path(directory).glob("*.pdparams"))
        if len(files) != 1:
            raise UserError(f"{directory}: holds {len(files)} .pdparams files, not 1: give a model's own directory")
        self._arrays = read_pdparams(files[0])
        self.shapes = {name: array.shape for name, array in self._arrays.items()}

    def read(self, name):
        """One tensor as float32."""
        return to_float32(self._arrays[name])


def _safetensors_files(directory):
    """(path, names that must be in it) of each weights file."""
    single, index = directory / "model.safetensors", directory / "model.safetensors.index.json"
    if single.is_file():
        return [(single, ())]
    if not index.is_file():
        raise UserError(
            f"{directory}: no model.safetensors: give a model saved with safetensors "
            "(in transformers: save_pretrained(..., safe_serialization=True))"
        )
    shards = {}
    weight_map = _read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError(f"{index}: has no 'weight_map': copy the model again")
    for name, file in weight_map.items():
        if not isinstance(file, str) or Path(file).name != file:
            raise UserError(f"{index}: {file!r} is not the name of a file beside it: copy the model again")
        shards.setdefault(directory / file, []).append(name)
    return sorted(shards.items())


# ---------------------------------------------------------------- to params


def to_params(source_format, source, target, init_pooler=False, ignore_unexpected=False):
    """Convert a Hugging Face ("hf") or PaddleNLP ("paddlenlp") directory to a params model at ``target``.

    Args:
        init_pooler: draw a pooler (truncated normal, seed 0) where the model was saved without one.
        ignore_unexpected: leave out weights that have no place in a params model, instead of refusing.

    Raises:
        UserError: the source is damaged, incomplete or of another kind; ``target`` exists.
    """
    source = Path(source)
    weights = SafetensorsWeights(source) if source_format == "hf" else PdparamsWeights(source)
    config_path = source / "config.json"
    if source_format == "paddlenlp" and not config_path.is_file():
        config_path = source / "model_config.json"
    values = _foreign_values(_read_json(config_path))
    plain = _plain_names(weights.shapes)
    config = config_from_foreign(
        values,
        config_path,
        *(weights.shapes[plain[name]][0] if name in plain else 0 for name in _counted_embeddings()),
    )
    architecture = str(values.get("architectures") or values.get("init_class") or "")
    rows = {getattr(row, source_format): row for row in name_table(config.num_hidden_layers, architecture)}
    chosen, unexpected = {}, []  # params name -> (foreign name, transposed)
    for name, foreign_name in plain.items():
        row = rows.get(name)
        if row is not None and row.params == "mask_lm_out_fc.w_0":
            if not _same(weights, foreign_name, plain.get("embeddings.word_embeddings.weight")):
                chosen[row.params] = (foreign_name, True)
        elif row is not None:
            chosen[row.params] = (foreign_name, row.linear and source_format == "hf")
        elif name == "cls.predictions.decoder.bias" and _same(weights, foreign_name, plain.get("cls.predictions.bias")):
            pass  # transformers keeps the one bias under two names
        elif name not in _BUFFERS:
            unexpected.append(foreign_name)
    _refuse_unexpected(source, unexpected, ignore_unexpected)
    _check_and_write(weights, chosen, config, source, Path(target), init_pooler)


def _check_and_write(weights, chosen, config, source, target, init_pooler):
    found = {}
    for name, (foreign_name, transposed) in chosen.items():
        shape = weights.shapes[foreign_name]
        found[name] = _Shape(shape[::-1] if transposed else shape)
    wanted = encoder_shapes(config)
    drawn = {}
    if _POOLER[0] not in found:
        if not init_pooler:
            raise UserError(f"{source}: the model has no pooler: --init_pooler draws one, to be trained by fine-tuning")
        drawn = _draw_pooler(config)
        log.info("no pooler in %s: drawn anew, train it before use", source)
    match_params({**found, **drawn}, wanted, source=source)
    vocab = _foreign_vocab(source)
    check_vocab(vocab.count(b"\n"), config, found, source)
    with atomic_directory(target) as temporary:
        (temporary / "params").mkdir()
        for name, (foreign_name, transposed) in chosen.items():
            array = weights.read(foreign_name)
            write_variable(temporary / "params" / name, array.T if transposed else array)
        for name, array in drawn.items():
            write_variable(temporary / "params" / name, array)
        config.save(temporary / "ernie_config.json")
        write_file(temporary / "vocab.txt", vocab)
    heads = sorted(set(found) - set(wanted))
    log.info("%s: %d encoder weights, heads: %s", target, len(wanted), ", ".join(heads) or "none")
    _warn_of_case(source)


class _Shape:
    """A float32 tensor's shape before its data is read."""

    dtype = np.dtype("float32")

    def __init__(self, shape):
        self.shape = tuple(shape)


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


def _plain_names(names):
    """Names without the base model's prefix, and with today's words for TensorFlow's, -> names in the file."""
    plain = {}
    for name in names:
        short = name
        for prefix in ("bert.", "ernie."):
            if short.startswith(prefix):
                short = short[len(prefix) :]
        for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
            if short.endswith(old):
                short = short[: -len(old)] + new
        if short in plain:
            raise UserError(f"weights {name!r} and {plain[short]!r} are the same one: save the model again")
        plain[short] = name
    return plain


def _same(weights, one, other):
    if other is None or weights.shapes[one] != weights.shapes[other]:
        return False
    return np.array_equal(weights.read(one), weights.read(other))


def _draw_pooler(config):
    random = np.random.RandomState(0)
    weight = random.standard_normal((config.hidden_size, config.hidden_size))
    while (np.abs(weight) > 2).any():  # cut at two standard deviations, as Paddle's truncated normal
        weight = np.where(np.abs(weight) > 2, random.standard_normal(weight.shape), weight)
    weight = (weight * config.initializer_range).astype(np.float32)
    return dict(zip(_POOLER, (weight, np.zeros(config.hidden_size, np.float32))))


def _foreign_vocab(source):
    """vocab.txt's bytes, each line ended by a line feed; made from tokenizer.json's WordPiece model if need be."""
    path = source / "vocab.txt"
    if path.is_file():
        return path.read_bytes().rstrip(b"\r\n") + b"\n"
    path = source / "tokenizer.json"
    if not path.is_file():
        raise UserError(f"{source}: neither vocab.txt nor tokenizer.json: add the model's vocabulary")
    model = _read_json(path).get("model", {})
    if model.get("type", "WordPiece") != "WordPiece" or not isinstance(model.get("vocab"), dict):
        raise UserError(f"{path}: not a WordPiece vocabulary: convert another model, or add its vocab.txt")
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    if [model["vocab"][token] for token in tokens] != list(range(len(tokens))) or any("\n" in t for t in tokens):
        raise UserError(f"{path}: ids do not run from 0 without a gap: add the model's vocab.txt")
    return "".join(token + "\n" for token in tokens).encode()


def _warn_of_case(source):
    path = source / "tokenizer_config.json"
    if path.is_file() and _read_json(path).get("do_lower_case") is False:
        log.info("%s: the model is cased: pass --do_lower_case false when using it", path)


def _refuse_unexpected(source, names, ignore):
    if not names:
        return
    listed = ", ".join(sorted(names))
    if not ignore:
        raise UserError(f"{source}: no place for {len(names)} weights: {listed}: --ignore_unexpected leaves them out")
    log.info("%s: left out %d weights: %s", source, len(names), listed)


# ---------------------------------------------------------------- to Hugging Face


def to_hf(source, target, model_type="auto", ignore_unexpected=False):
    """Convert a params model to a Hugging Face directory at ``target``.

    Args:
        model_type: "bert" or "ernie"; auto: ernie if the model has task embeddings in use.
        ignore_unexpected: leave out weights that Hugging Face has no name for, instead of refusing.

    Raises:
        UserError: the model is damaged or incomplete, bert is asked for one with task embeddings; ``target`` exists.
    """
    source, target = Path(source), Path(target)
    config = ErnieConfig(source / "ernie_config.json")
    if model_type == "auto":
        model_type = "ernie" if config.use_task_id else "bert"
    if model_type == "bert" and config.use_task_id:
        raise UserError(f"{config.source}: BERT has no task embeddings: convert with --model_type ernie")
    names, leftovers = list_params(source / "params")
    found = scan_params(source / "params", names)
    architecture = ("Bert" if model_type == "bert" else "Ernie") + _head(found)
    rows = {row.params: row for row in name_table(config.num_hidden_layers, architecture)}
    if not config.use_task_id:
        rows.pop("task_embedding", None)
    wanted = encoder_shapes(config)
    match_params(found, wanted, source=source / "params")
    report = compare_params(found, rows_shapes(rows, found), leftovers)
    _refuse_unexpected(source / "params", report.unexpected, ignore_unexpected)
    prefix = "" if architecture.endswith("Model") else model_type + "."
    tensors = {}
    for name in report.loaded:
        array = to_float32(found[name].read())
        row = rows[name]
        tensors[(prefix if row.base else "") + row.hf] = np.ascontiguousarray(array.T) if row.linear else array
    values = config_to_hf(config, model_type, architecture)
    if "mask_lm_out_fc.w_0" in found:
        values["tie_word_embeddings"] = False
    values.update(_labels(found))
    vocab = _plain_vocab(source / "vocab.txt")
    check_vocab(vocab.count(b"\n"), config, found, source)
    with atomic_directory(target) as temporary:
        save_file(tensors, temporary / "model.safetensors", metadata={"format": "pt"})
        write_file(temporary / "config.json", (json.dumps(values, indent=2) + "\n").encode())
        write_file(temporary / "vocab.txt", vocab)
    log.info("%s: %s, %d weights", target, architecture, len(tensors))


def rows_shapes(rows, found):
    """name -> shape as found, for the names in ``rows``: heads have no other shape to be held to."""
    return {name: found[name].shape for name in rows if name in found}


def _labels(found):
    """The labels of a head, by number: without them a loader takes any head for one with two outputs."""
    head = found.get("_cls_out_w", found.get("cls_seq_label_out_w"))
    labels = [f"LABEL_{i}" for i in range(head.shape[1])] if head else []
    return {"id2label": dict(enumerate(labels)), "label2id": {v: i for i, v in enumerate(labels)}} if labels else {}


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


def _plain_vocab(path):
    """vocab.txt as Hugging Face reads it: one token a line, its id the line's number from 0."""
    try:
        lines = path.read_text(encoding="utf-8").rstrip("\r\n").split("\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): add the model's vocabulary") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text at byte {error.start}: copy it again from its source") from error
    tokens = []
    for number, line in enumerate(lines):
        token, tab, given = line.rstrip("\r").partition("\t")
        if tab and given.strip() != str(number):
            raise UserError(f"{path}: line {number + 1}: id {given.strip()!r}, not {number}: sort the file by id")
        tokens.append(token + "\n")
    return "".join(tokens).encode()


# ---------------------------------------------------------------- command


def _read_json(path):
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): give a model's complete directory") from error
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}): copy it again from its source") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: holds no JSON object: copy it again from its source")
    return values


def main(arguments=None):
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m ernie.convert", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--from", dest="source_format", required=True, choices=("hf", "params", "paddlenlp"))
    parser.add_argument("--to", dest="target_format", required=True, choices=("params", "hf"))
    parser.add_argument("source", help="the model's directory")
    parser.add_argument("target", help="the directory to make; it must not exist")
    parser.add_argument("--init_pooler", action="store_true", help="draw the pooler of a model saved without one")
    parser.add_argument("--ignore_unexpected", action="store_true", help="leave out weights that have no place")
    parser.add_argument("--model_type", default="auto", choices=("auto", "bert", "ernie"), help="to hf: its kind")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    if (args.source_format == "params") != (args.target_format == "hf"):
        parser.error("one side is params: --from hf or paddlenlp --to params, or --from params --to hf")
    if args.target_format == "hf":
        to_hf(args.source, args.target, args.model_type, args.ignore_unexpected)
    else:
        to_params(args.source_format, args.source, args.target, args.init_pooler, args.ignore_unexpected)
    return 0


if __name__ == "__main__":
    exit_on_user_error(main)
