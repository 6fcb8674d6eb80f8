"""Sentence and token embeddings of a file: flags -> one bundle -> batches of like length -> `.npy` files.

from finetune.embedder import main
main("ernie_encoder.py", sys.argv[1:])

Whatever the weights come from, they become a bundle that `paddle.inference` runs; see finetune/encoder.py for what is
in it and finetune/embedding.py for what is written.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from tqdm import tqdm

from ernie.checkpoint import check_vocab, load_params
from ernie.config import ErnieConfig
from ernie.export import export_bundle
from finetune import TASKS, embed_args, predict_args, task_class
from finetune.embedding import EmbeddingFolder, vectors_of
from finetune.encoder import Embed, EmbedHead, number_of_layer
from finetune.inference import InferenceModel
from finetune.prediction_source import check_same
from propeller import log as log_setup
from propeller import runtime
from propeller.errors import UserError
from propeller.flags import log_values
from propeller.train.model import RunMode
from propeller.train.saver import read_json
from propeller.train.trainer import Learner, RunConfig
from reader.ordered import in_file_order, ordered_batches
from reader.pyreader import PyReader
from reader.task_reader import TaskReader
from tokenization import build_tokenizer

log = logging.getLogger("ernie.finetune")

MAX_SEQ_LEN = 512  # where neither flag nor model says; as in 2019
SAY_EVERY = 30.0  # seconds between lines of the log on the way


def main(prog, argv):
    """Run ernie_encoder.py; returns its exit status."""
    args = embed_args.parse(prog, "Write sentence and token embeddings of a file of rows.", argv)
    bar = runtime.on_terminal()
    log_setup.setup(args.data.log_file, bar=bar)
    log_values(log, args.values())
    if args.ignored:
        why = "; ".join(f"--{name} ({embed_args.IGNORED[name]})" for name in args.ignored)
        log.info("without effect: %s", why)
    source = _Bundle(args) if args.model.inference_model else _Weights(args)
    if not args.data.data_set:
        source.save()
        return 0
    data, facts = args.data, source.facts
    reader = TaskReader(
        data.data_set,
        source.tokenizer,
        label_kind=None,
        max_seq_len=facts["max_seq_len"],
        batch_size=data.batch_size,
        in_tokens=data.in_tokens,
        task_id=facts["task_id"],
        num_workers=data.num_workers,
    )
    log.info("Device count: 1 (%s)", source.place)
    log.info("Total num examples: %d", reader.num_examples)
    keeps_states = not args.vectors.no_top_layer
    with EmbeddingFolder(data.output_dir, reader.num_examples, source.config.hidden_size, keeps_states) as folder:
        model = source.open(folder.scratch)
        seconds = _embed(model, reader, folder, facts, data.queue_size, bar)
        folder.finish({**_described(source), "precision": data.precision, "data_set": reader.fingerprint()})
    _say_result(reader, facts, seconds, data.output_dir)
    return 0


def _embed(model, reader, folder, facts, queue_size, bar):
    """Compute and write every row; returns the seconds it took."""
    begin = time.monotonic()
    words, total = model.tokenizer.inv_vocab, reader.num_examples

    def results(queue, progress):
        for item in queue:
            outputs = model.run(item.batch)
            vectors = vectors_of(outputs, facts["pooling"], facts["normalize"])
            folder.write(item, vectors, outputs["states"] if folder.keeps_states else None)
            progress.add(len(item.rows))
            rows = zip(item.batch["src_ids"].tolist(), item.lengths.tolist())
            yield item.rows, ["\t".join(map(words.__getitem__, ids[:length])) for ids, length in rows]

    with PyReader(lambda: ordered_batches(reader), queue_size) as queue, _Progress(total, bar) as progress:
        for line in in_file_order(results(queue, progress), total):
            folder.tokens.write(line + "\n")
    return time.monotonic() - begin


class _Progress:
    """Rows done: a bar on a terminal, else now and then a line of the log."""

    def __init__(self, total, bar):
        self.total, self.done, self.begin = total, 0, time.monotonic()
        self.said, self.shows = self.begin, bar
        self.bar = tqdm(total=total, unit="rows", smoothing=0.1, disable=not bar)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.bar.close()

    def add(self, rows):
        self.done += rows
        self.bar.update(rows)
        now = time.monotonic()
        if not self.shows and now - self.said >= SAY_EVERY:
            self.said = now
            log.info("progress: %d/%d, speed: %f rows/s", self.done, self.total, self.done / (now - self.begin))


def _say_result(reader, facts, seconds, output_dir):
    stats, rows = reader.stats, reader.num_examples
    if stats["truncated"]:
        log.info("%d of %d rows were longer than --max_seq_len %d tokens and were cut",
                 stats["truncated"], rows, facts["max_seq_len"])  # fmt: skip
    log.info("wrote %d rows, %d tokens to %s: layer %d of %d, pooling %s%s",
             rows, stats["tokens"], output_dir, facts["layer"], facts["num_hidden_layers"], facts["pooling"],
             ", length 1" if facts["normalize"] else "")  # fmt: skip
    log.info("rows: %d, seconds: %.2f, speed: %f rows/s", rows, seconds, rows / max(seconds, 1e-9))


def _described(source):
    """What ``embeddings.json`` says of the model."""
    names = ("layer", "num_hidden_layers", "pooling", "normalize", "max_seq_len", "task_id", "tokenizer_fingerprint")
    return {"model": str(source.folder), **{name: source.facts[name] for name in names}}


def _checked(config, facts):
    """The facts, where the configuration allows them.

    Raises:
        UserError: rows longer than the positions, or no such task embedding.
    """
    if facts["max_seq_len"] > config.max_position_embeddings:
        raise UserError(
            f"--max_seq_len {facts['max_seq_len']} is above the {config.max_position_embeddings} positions of "
            f"{config.source} (max_position_embeddings): give that or less"
        )
    if config.use_task_id and not 0 <= facts["task_id"] < config.task_type_vocab_size:
        raise UserError(
            f"--task_id {facts['task_id']} is outside the {config.task_type_vocab_size} task embeddings of "
            f"{config.source} (task_type_vocab_size)"
        )
    return facts


class _Weights:
    """An encoder from weights: a pre-trained model's or a fine-tuned checkpoint's.

    Args: args: ``EmbedArgs``.

    Attributes:
        folder: where they are; config, tokenizer; place: the device; facts: dict that becomes the bundle's meta.
    """

    def __init__(self, args):
        self.args, model, vectors = args, args.model, args.vectors
        self.folder = Path(model.init_checkpoint or model.init_pretraining_params)
        self.place = runtime.place(args.data.use_cuda)
        path = self.folder / "checkpoint.json"
        stored = read_json(path) if path.is_file() else {}
        alike = {name: getattr(model, name) for name in ("ernie_config_path", "tokenizer", "do_lower_case", "for_cn",
                                                         "task_id")}  # fmt: skip
        check_same(predict_args.ModelArgs(**alike), stored, path)
        if not model.ernie_config_path and "ernie_config" not in stored:
            raise UserError(f"{self.folder} does not say what network it is of: give --ernie_config_path")
        self.config = config = ErnieConfig(model.ernie_config_path or stored["ernie_config"])
        config.print_config()
        made = {
            name: stored.get(name, default) if getattr(model, name) is None else getattr(model, name)
            for name, default in (
                ("tokenizer", "FullTokenizer"),
                ("do_lower_case", True),
                ("for_cn", True),
                ("max_seq_len", min(MAX_SEQ_LEN, config.max_position_embeddings)),
                ("task_id", 0),
            )
        }
        if stored.get("task") in TASKS:  # where a label has its place in the text, blanks were kept whatever the flag
            made["for_cn"] = made["for_cn"] and task_class(stored["task"]).drops_blanks
        self.tokenizer = build_tokenizer(
            made["tokenizer"], model.vocab_path, made["do_lower_case"], made["for_cn"], model.sp_model
        )
        check_vocab(max(self.tokenizer.vocab.values()) + 1, config, {})
        self._check_tokenizer(stored)
        self.facts = _checked(config, {
            "task": Embed.name, "label_map": None, "num_labels": 0, "metric": None, "flags": {}, **made,
            "tokenizer_fingerprint": self.tokenizer.fingerprint,
            "layer": number_of_layer(-1 if vectors.layer is None else vectors.layer, config.num_hidden_layers),
            "num_hidden_layers": config.num_hidden_layers,
            "pooling": vectors.pooling or "cls",
            "normalize": bool(vectors.normalize),
        })  # fmt: skip

    def _check_tokenizer(self, stored):
        theirs = stored.get("tokenizer_fingerprint", self.tokenizer.fingerprint)
        if theirs != self.tokenizer.fingerprint:
            raise UserError(
                f"{self.args.model.vocab_path}: not the vocabulary, or not the --tokenizer, --do_lower_case and "
                f"--for_cn, that {self.folder} was trained with: give those"
            )

    def save(self, folder=None):
        """Write the bundle to ``folder``, or where --save_inference_model_path says; returns its directory."""
        export = self.args.export
        if folder is None:
            folder = Path(export.save_inference_model_path) / f"{self.folder.name or 'model'}_inference_model"
        head = EmbedHead(layer=self.facts["layer"], states=not self.args.vectors.no_top_layer)
        learner = Learner(lambda mode: Embed(self.config, head, mode), RunConfig(place=self.place))
        arrays, report = load_params(self.folder, learner.parameter_shapes(RunMode.PREDICT), heads_optional=False)
        log.info("%s: %s", self.folder, report.summary())
        learner.write(arrays)
        sp_model = getattr(self.tokenizer, "sp_model", None)
        vocab_path = self.args.model.vocab_path
        return export_bundle(
            learner, folder, self.facts, self.config, vocab_path, sp_model, export.onnx, export.overwrite
        )

    def open(self, scratch):
        """The ``InferenceModel``, from the bundle that is asked for or from one in the folder ``scratch``."""
        saved = self.args.export.save_inference_model_path
        folder = self.save() if saved else self.save(Path(scratch) / "bundle")
        data = self.args.data
        return InferenceModel.open(folder, data.precision, use_cuda=data.use_cuda)


class _Bundle:
    """An encoder from a bundle; flags may choose another pooling of what it gives. Attributes as of ``_Weights``."""

    def __init__(self, args):
        data, flags = args.data, args.vectors
        self.place = runtime.place(data.use_cuda)
        self.model = model = InferenceModel.open(args.model.inference_model, data.precision, use_cuda=data.use_cuda)
        self.config, self.tokenizer = model.config, model.tokenizer
        self.folder = folder = model.bundle.folder
        if model.bundle.task != Embed.name:
            raise UserError(
                f"{folder}: an inference model of the task {model.bundle.task!r}, which gives no embeddings: give "
                "--init_checkpoint, the checkpoint it was made from"
            )
        if not flags.no_top_layer and "states" not in model.bundle.outputs:
            raise UserError(f"{folder}: saved with --no_top_layer, it gives no states of tokens: give --no_top_layer")
        facts, layers = model.meta, model.meta["num_hidden_layers"]
        if flags.layer is not None and number_of_layer(flags.layer, layers) != facts["layer"]:
            raise UserError(
                f"--layer {flags.layer}: {folder} was saved with layer {facts['layer']} of {layers}: leave --layer "
                "out, or save another from the weights"
            )
        given = {"max_seq_len": args.model.max_seq_len, "task_id": args.model.task_id, "pooling": flags.pooling,
                 "normalize": flags.normalize}  # fmt: skip
        given = {name: value for name, value in given.items() if value is not None}
        self.facts = _checked(self.config, {**facts, **given})

    def open(self, scratch):
        """The ``InferenceModel``."""
        return self.model
