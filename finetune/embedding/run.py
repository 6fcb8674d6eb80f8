"""Sentence and token embeddings of a file: flags -> one bundle -> batches of like length -> `.npy` files.

Weights from any source become a bundle that `paddle.inference` runs. ``finetune/embedding/task.py`` holds the network,
``finetune/embedding/files.py`` the output files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from pathlib import Path

from ernie.checkpoint import check_vocab, has_pooler
from ernie.config import ErnieConfig, sequence_length
from ernie.foreign_folder import ready
from ernie.pooling import CLS, trained_pooling
from finetune import TASKS, task_class
from finetune.checks import check_file
from finetune.embedding import args as embed_args
from finetune.embedding.files import EmbeddingFolder, vectors_of
from finetune.embedding.pooled import CHOICES, TRAINED_TASK, WHITENED, vector_size
from finetune.embedding.pooling import settled
from finetune.embedding.task import Embed, number_of_layer
from finetune.embedding.whitening import Whitening
from finetune.pairs import warn_of_pairs
from finetune.prediction.args import int8_of
from finetune.prediction.export import Checkpoint, export_checkpoint
from finetune.prediction.model import InferenceModel
from finetune.prediction.run import Progress
from finetune.spec import DEFAULTS, PAIRS, RECORD, ModelSpec, Reading, check_same, files_of, read_record, settle
from propeller import log as log_setup
from propeller import runtime
from propeller.errors import UserError
from propeller.flags import log_values
from propeller.service.engines import runs_onnx
from propeller.shown import show_as, shown, temporary_model
from reader.ordered import in_file_order, ordered_batches
from reader.pyreader import PyReader
from reader.tables.form import SKIP

log = logging.getLogger("ernie.finetune")

MAX_SEQ_LEN = 512  # where neither flag nor model says; as in 2019


def start(args: embed_args.EmbedArgs) -> int:
    """Run ernie_encoder.py with its flags; returns its exit status."""
    bar = runtime.on_terminal()
    log_setup.setup(args.data.log_file, bar=bar)
    log_values(log, args.values(), shown=args.changed())
    if args.ignored:
        why = "; ".join(f"--{name} ({embed_args.IGNORED[name]})" for name in args.ignored)
        log.info("without effect: %s", why)
    with ready(args.model.model, pooler=False):
        _run(args, bar)
    return 0


def _run(args, bar):
    if not args.data.data_set:
        _Weights(args).save()
        return
    source = _Bundle(args) if args.model.inference_model else _Weights(args)
    data = args.data
    form = dataclasses.replace(args.tables.form(), others=SKIP)
    reading = Reading(batch_size=data.batch_size, in_tokens=data.in_tokens, num_workers=data.num_workers, form=form)
    reader = Embed.open_reader(data.data_set, source.tokenizer, source.spec, reading)
    check_file(reader, args.checks)
    if source.pairs:
        warn_of_pairs(True, reader, data.data_set)
    log.info("Device count: 1 (%s)", source.place)
    log.info("Total num examples: %d", reader.num_examples)
    keeps_states = not args.vectors.no_top_layer
    hidden = source.config.hidden_size
    size = vector_size(source.spec.facts, hidden)
    with EmbeddingFolder(data.output_dir, reader.num_examples, hidden, keeps_states, size) as folder:
        model = source.open(folder.scratch)
        seconds = _embed(model, reader, folder, source.spec, data.queue_size, bar)
        left_out = {"left_out": list(reader.table.dropped)} if reader.table.dropped else {}
        facts = {
            "precision": data.precision,
            "engine": model.predictor.choice.name,
            "data_set": reader.fingerprint(),
            **left_out,
        }
        folder.finish({**_described(source), **facts})
    _log_result(reader, source.spec, seconds, data.output_dir)


def _embed(model, reader, folder, spec, queue_size, bar):
    """Compute and write every row; returns the seconds it took."""
    begin = time.monotonic()
    words, total = model.tokenizer.inv_vocab, reader.num_examples

    def results(queue, progress):
        for item in queue:
            outputs = progress.run(item.batch)
            vectors = vectors_of(outputs, spec.facts["pooling"], spec.facts["normalize"])
            folder.write(item, vectors, outputs["states"] if folder.keeps_states else None)
            progress.add(len(item.rows))
            rows = zip(item.batch["src_ids"].tolist(), item.lengths.tolist())
            yield item.rows, ["\t".join(map(words.__getitem__, ids[:length])) for ids, length in rows]

    progress = Progress(model, total, "rows", bar)
    with PyReader(lambda: ordered_batches(reader), queue_size) as queue, contextlib.closing(progress):
        for line in in_file_order(results(queue, progress), total):
            folder.tokens.write(line + "\n")
    return time.monotonic() - begin


def _log_result(reader, spec, seconds, output_dir):
    stats, rows, facts = reader.stats, reader.num_examples, spec.facts
    if stats["truncated"]:
        log.info("%d of %d rows were longer than --max_seq_len %d tokens and were cut",
                 stats["truncated"], rows, spec.max_seq_len)  # fmt: skip
    log.info("wrote %d rows, %d tokens to %s: layer %d of %d, pooling %s%s",
             rows, stats["tokens"], output_dir, facts["layer"], facts["num_hidden_layers"], facts["pooling"],
             ", length 1" if facts["normalize"] else "")  # fmt: skip
    log.info("rows: %d, seconds: %.2f, speed: %f rows/s", rows, seconds, rows / max(seconds, 1e-9))


def _described(source):
    """The facts about the model in ``embeddings.json``."""
    spec = source.spec
    names = ("layer", "num_hidden_layers", "pooling", "normalize", "whitening", "objective")
    facts = {name: spec.facts[name] for name in names if name in spec.facts}
    text_side = {name: getattr(spec, name) for name in ("max_seq_len", "task_id", "tokenizer_fingerprint")}
    return {"model": shown(str(source.folder)), **facts, **text_side}


class _Weights:
    """An encoder from weights: a pre-trained model's or a fine-tuned checkpoint's.

    Args:
        args: ``EmbedArgs``.

    Attributes:
        folder: where they are; config, tokenizer; place: the device; spec: ``ModelSpec``, the record of the bundle;
        pairs: whether the weights were trained on pairs of texts, None: not known.
    """

    def __init__(self, args) -> None:
        self.args, model = args, args.model
        self.folder = Path(model.init_checkpoint or model.init_pretraining_params)
        self.place = runtime.place(args.data.use_cuda)
        source = self.folder / RECORD
        stored = read_record(self.folder)
        # Vectors that were trained as such are of single texts, whatever the rows of the training held.
        self.pairs = stored.get(PAIRS) if stored.get("task") != TRAINED_TASK else None
        check_same(model, stored, source)
        if not model.ernie_config_path and "ernie_config" not in stored:
            raise UserError(f"{self.folder} does not say what network it is of: give --ernie_config_path")
        self.config = ErnieConfig(model.ernie_config_path or stored["ernie_config"], source=str(source))
        self.config.print_config()
        given = "--init_checkpoint" if model.init_checkpoint else "--init_pretraining_params"
        vocab_path, sp_model = files_of(model.vocab_path, model.sp_model, self.folder, given)
        spec = self._spec(stored)
        tokenizer = spec.build_tokenizer(Embed, vocab_path, sp_model)
        check_vocab(max(tokenizer.vocab.values()) + 1, self.config, {})
        theirs = stored.get("tokenizer_fingerprint", tokenizer.fingerprint)
        if theirs != tokenizer.fingerprint:
            raise UserError(
                f"{vocab_path}: not the vocabulary, or not the --tokenizer, --do_lower_case and "
                f"--for_cn, that {self.folder} was trained with: give those"
            )
        self.tokenizer, self.spec = tokenizer, spec.replace(tokenizer_fingerprint=tokenizer.fingerprint)
        self.spec.check_limits(self.config)
        if not self.spec.facts.get("pooler", True) and self.spec.facts["pooling"] == CLS:
            raise UserError(
                f"{self.folder}: has no pooled_fc.w_0, so no pooled [CLS] (the task it was trained for has none): give "
                "--pooling mean or max, or a --layer below the top"
            )
        task = Embed
        if args.vectors.whitening:
            whitening = Whitening.load(args.vectors.whitening)
            self.spec = with_whitening(self.spec, whitening, args.vectors.whitening, self.config.hidden_size)
            task = Embed.whitened_with(whitening)
        self.checkpoint = Checkpoint(self.folder, task, self.spec, self.config, vocab_path, tokenizer)

    def _spec(self, stored):
        """The record of the bundle: flags, else what the weights say, else the defaults of 2019."""
        vectors, layers = self.args.vectors, self.config.num_hidden_layers
        # 2019's reader of embeddings kept blanks; a model of this project that does not say was trained without them.
        defaults = {**DEFAULTS, "for_cn": "task" in stored, "max_seq_len": MAX_SEQ_LEN}
        given = self.args.model
        values = settle(given, stored, defaults)
        values["max_seq_len"] = sequence_length(given.max_seq_len, values["max_seq_len"], self.config)
        if stored.get("task") in TASKS:  # where a label has its place in the text, blanks were kept whatever the flag
            values["for_cn"] = values["for_cn"] and task_class(stored["task"]).drops_blanks
        layer = number_of_layer(-1 if vectors.layer is None else vectors.layer, layers)
        pooler = layer < layers or has_pooler(self.folder)
        trained = trained_pooling(stored)
        facts = {
            "layer": layer,
            "num_hidden_layers": layers,
            "pooling": vectors.pooling or settled(stored, pooler, CLS, self.folder).name,
            "normalize": trained is not None and trained.normalize if vectors.normalize is None else vectors.normalize,
            "states": not vectors.no_top_layer,
        }
        if not pooler:
            facts["pooler"] = False
        if stored.get("task") == TRAINED_TASK:
            facts["objective"] = stored.get("flags", {}).get("objective")
        return ModelSpec(task=Embed.name, num_labels=0, metric=None, facts=facts, **values)

    def save(self, folder=None):
        """Write the bundle to ``folder``, or where --save_inference_model_path says; returns its directory."""
        export = self.args.export
        named = folder is None
        if named:
            folder = Path(export.save_inference_model_path) / f"{self.folder.name or 'model'}_inference_model"
        data = self.args.data
        onnx = export.onnx or (runs_onnx(data.engine) and data.precision != "int8")
        int8 = int8_of(data.precision, export)
        made = export_checkpoint(folder, self.checkpoint, self.place, onnx, export.overwrite, int8)
        if named:
            log.info("save inference model to %s", made)
        return made

    def open(self, scratch):
        """The ``InferenceModel``, from the bundle that is asked for or from one in the folder ``scratch``."""
        saved = self.args.export.save_inference_model_path
        folder = None if saved else Path(scratch) / "bundle"
        if folder is not None:
            show_as({folder: temporary_model(self.folder)})
        folder = self.save(folder)
        data = self.args.data
        return InferenceModel.open(folder, data.precision, use_cuda=data.use_cuda, engine=data.engine)


class _Bundle:
    """An encoder from a bundle; flags may choose another pooling of what it gives. Attributes as of ``_Weights``."""

    def __init__(self, args) -> None:
        data, flags = args.data, args.vectors
        self.place, self.pairs = runtime.place(data.use_cuda), None
        settings = {"precision": data.precision, "use_cuda": data.use_cuda, "engine": data.engine}
        self.model = model = InferenceModel.open(args.model.inference_model, **settings)
        self.config, self.tokenizer = model.config, model.tokenizer
        self.folder = folder = model.bundle.folder
        if model.bundle.task != Embed.name:
            raise UserError(
                f"{folder}: an inference model of the task {model.bundle.task!r}, which gives no embeddings: give "
                "--init_checkpoint, the checkpoint it was made from"
            )
        if not flags.no_top_layer and "states" not in model.bundle.outputs:
            raise UserError(f"{folder}: saved with --no_top_layer, it gives no states of tokens: give --no_top_layer")
        facts = model.spec.facts
        if (flags.pooling or facts["pooling"]) not in model.bundle.outputs:
            there = ", ".join(name for name in (*CHOICES, WHITENED) if name in model.bundle.outputs)
            raise UserError(
                f"--pooling {flags.pooling or facts['pooling']}: {folder} has {there}: give one of these, or save "
                "another inference model with that pooling"
            )
        layers = facts["num_hidden_layers"]
        if flags.layer is not None and number_of_layer(flags.layer, layers) != facts["layer"]:
            raise UserError(
                f"--layer {flags.layer}: {folder} was saved with layer {facts['layer']} of {layers}: leave --layer "
                "out, or save another from the weights"
            )
        chosen = {"pooling": flags.pooling, "normalize": flags.normalize}
        given = {"max_seq_len": args.model.max_seq_len, "task_id": args.model.task_id}
        self.spec = model.spec.replace(facts={**facts, **_not_none(chosen)}, **_not_none(given))
        self.spec.check_limits(self.config)

    def open(self, scratch):
        """The ``InferenceModel``."""
        return self.model


def with_whitening(spec: ModelSpec, whitening: Whitening, path: str, hidden: int) -> ModelSpec:
    """The record of a model of embeddings whose vectors are whitened.

    Args:
        spec: the record without.
        path: where the whitening is from, for messages.
        hidden: the encoder's hidden size.

    Raises:
        UserError: the whitening is of other vectors.
    """
    pooling = spec.facts["pooling"]
    whitening.check(path, hidden, pooling, spec.facts["layer"])
    facts = {"pooling": pooling, "dimensions": whitening.dimensions, "rows": whitening.facts.get("rows")}
    return spec.replace(facts={**spec.facts, "pooling": WHITENED, "whitening": facts})


def _not_none(values):
    return {name: value for name, value in values.items() if value is not None}
