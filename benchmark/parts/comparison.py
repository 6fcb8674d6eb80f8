"""What the comparisons with transformers + torch share: tasks, the encoder with a drawn head, its copy, the peer.

    python benchmark/peer_trajectory.py
    python benchmark/sst2_accuracy.py
    python benchmark/quality.py
    python benchmark/reading.py

Both sides of a comparison start from one folder that `prepare` makes: model/ as the entry scripts read it, hf/ as
transformers reads it (made from model/ by ernie.convert), and the text to train and evaluate on. Nothing here imports
Paddle or torch.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmark.parts.common import RESULTS  # noqa: E402
from ernie.checkpoint import is_encoder_name, read_params, scan_params, write_params  # noqa: E402
from ernie.config import ErnieConfig  # noqa: E402
from ernie.convert import to_hf  # noqa: E402
from propeller.errors import UserError  # noqa: E402
from propeller.runtime import cores  # noqa: E402
from reader.row_encoder import load_label_map  # noqa: E402
from reader.task_reader import TaskReader  # noqa: E402
from tokenization import build_tokenizer  # noqa: E402

SST2 = ROOT.parent / "shared/data/glue/SST-2"
QUICKSTART = ROOT / "output/quickstart"
MAX_SEQ_LEN = 128
HEADS = {"sequence_label": "cls_seq_label_out", "mrc": "cls_mrc_out"}  # by the name in finetune.TASKS
TSV = ("train.tsv", "dev.tsv")


@dataclass(frozen=True)
class Task:
    """What a comparison trains on.

    finetune: the name in `finetune.TASKS`; labels: outputs of the head; metric: of run_classifier.py, None for tags;
    scores: the names of its figures, which are compared; chinese: --for_cn.
    """

    name: str
    finetune: str = "classify"
    labels: int = 2
    metric: str | None = "simple_accuracy"
    scores: tuple = ("acc",)
    chinese: bool = False

    @property
    def tags(self) -> bool:
        """Whether it is sequence labelling: a label_map.json lies beside its data."""
        return self.finetune == "sequence_label"

    @property
    def head(self) -> str:
        """What the names of the head's two parameters begin with."""
        return HEADS.get(self.finetune, "_cls_out")


SST2_TASK = Task("SST-2")


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters both sides train with; `dropout` None: as the model's configuration says."""

    rows: int
    batch: int = 32
    epochs: int = 1
    learning_rate: float = 1e-4
    warmup_proportion: float = 0.1
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    dropout: float | None = None

    @property
    def steps(self) -> int:
        """Steps the schedule is made for, as run_classifier.py counts them: whole batches."""
        return max(self.epochs * self.rows // self.batch, 1)

    @property
    def updates(self) -> int:
        """Updates there will be: the last, short batch of an epoch makes one, too."""
        return self.epochs * -(-self.rows // self.batch)

    @property
    def warmup(self) -> int:
        return int(self.steps * self.warmup_proportion)


def add_flags(parser, data=True):
    """--model and --results, which all comparisons have, and SST-2's --data."""
    parser.add_argument("--results", default=str(RESULTS), help="folder of the stored figures [benchmark/results]")
    parser.add_argument(
        "--model",
        default=str(QUICKSTART / "model"),
        help="folder with params/, ernie_config.json and vocab.txt [all-MiniLM-L6-v2, fetched when missing]",
    )
    if data:
        parser.add_argument(
            "--data",
            help="folder with train.tsv and dev.tsv, columns sentence or text_a, and label "
            "[SST-2 in ../shared; without it the quickstart's sentences, fetched when missing]",
        )


def find(args):
    """(model folder, data folder) of the flags; the defaults are fetched when they are missing.

    Raises:
        UserError: a given folder lacks a file.
    """
    model = find_model(args)
    data = Path(args.data) if args.data else SST2
    if not args.data and not SST2.is_dir():
        data = QUICKSTART / "data" / "SST-2"
        if not data.is_dir():
            _fetch("sentiment", data.parent)
    _check(data / "train.tsv", data / "dev.tsv")
    return model, data


def find_model(args):
    """The model's folder of the flags; the default one is fetched when it is missing.

    Raises:
        UserError: a given folder lacks a file.
    """
    model = Path(args.model)
    if model == QUICKSTART / "model" and not (model / "params").is_dir():
        _fetch("encoder", model)
    _check(model / "ernie_config.json", model / "vocab.txt")
    return model


def _check(*paths):
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path}: not there: give --model a model's folder and --data one with train.tsv, dev.tsv")


def _fetch(what, out):
    command = [sys.executable, str(ROOT / "script/demo/demo_data.py"), what, "--out", str(out)]
    if subprocess.run(command).returncode:
        raise UserError(f"{out}: could not be fetched, see above: make it, or give --model and --data")


def settings(model, data, recipe, names=TSV, **more):
    """What the figures of a comparison were taken with: recipe, weights, text (files `names`), versions; JSON-able."""
    digest = hashlib.sha256()
    for name, variable in sorted(scan_params(model / "params").items()):
        digest.update(name.encode() + Path(variable.path).read_bytes())
    texts = {name: hashlib.sha256((data / name).read_bytes()).hexdigest() for name in names}
    return {**asdict(recipe), "model": digest.hexdigest(), "text": texts, "versions": versions(), **more}


def versions():
    """Versions of what computes; None for what is not installed."""
    found = {}
    for name in ("paddlepaddle", "paddlepaddle-gpu", "torch", "transformers"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def prepare(folder, model, data, recipe, seed, task=SST2_TASK):
    """Make model/ (its head drawn by `seed`), hf/, train.tsv (the first `recipe.rows` rows) and dev.tsv in `folder`."""
    folder = Path(folder)
    prepare_model(folder, model, recipe, seed, task)
    convert_tsv(data / "train.tsv", folder / "train.tsv", recipe.rows)
    convert_tsv(data / "dev.tsv", folder / "dev.tsv")
    if task.tags:
        shutil.copy(data / "label_map.json", folder / "label_map.json")


def prepare_model(folder, model, recipe, seed, task):
    """Make model/, its head drawn by `seed`, and hf/ in `folder`."""
    config = ErnieConfig(model / "ernie_config.json").to_dict()
    if recipe.dropout is not None:
        config.update(hidden_dropout_prob=recipe.dropout, attention_probs_dropout_prob=recipe.dropout)
    arrays = {name: array for name, array in read_params(model / "params").items() if is_encoder_name(name)}
    random = np.random.RandomState(seed)
    head = random.normal(0.0, config.get("initializer_range", 0.02), (config["hidden_size"], task.labels))
    arrays[f"{task.head}_w"] = head.astype("float32")
    arrays[f"{task.head}_b"] = np.zeros(task.labels, "float32")
    (folder / "model").mkdir()
    (folder / "model/ernie_config.json").write_text(json.dumps(config), encoding="utf-8")
    shutil.copy(model / "vocab.txt", folder / "model/vocab.txt")
    write_params(folder / "model/params", arrays)
    to_hf(folder / "model", folder / "hf")


def convert_tsv(source, target, rows=None):
    """GLUE's header to this project's (`sentence` becomes `text_a`), and the first `rows` rows.

    Raises:
        UserError: there are fewer rows than asked for.
    """
    header, *lines = source.read_text(encoding="utf-8").rstrip("\n").split("\n")
    if rows is not None and len(lines) < rows:
        raise UserError(f"{source}: {len(lines)} rows, {rows} are needed: give a --data with more")
    names = ["text_a" if name == "sentence" else name for name in header.split("\t")]
    target.write_text("\n".join(["\t".join(names), *lines[:rows]]) + "\n", encoding="utf-8")


def max_seq_len(folder):
    """MAX_SEQ_LEN, or as many positions as the model of a prepared folder has."""
    return min(MAX_SEQ_LEN, ErnieConfig(folder / "model/ernie_config.json").max_position_embeddings)


def tag_set(folder):
    """The tags of a prepared folder."""
    from reader.tagging.tags import TagSet

    return TagSet(load_label_map(folder / "label_map.json"))


def make_reader(folder, name, recipe, seed=None, task=SST2_TASK):
    """The reader of train.tsv (shuffled by `seed`) or dev.tsv in a prepared folder, as the entry script has it."""
    training = seed is not None
    shared = {
        "max_seq_len": max_seq_len(folder),
        "batch_size": recipe.batch,
        "shuffle": training,
        "seed": seed or 0,
        "epochs": recipe.epochs if training else 1,
    }
    for_cn = task.chinese and not task.tags
    tokenizer = build_tokenizer("FullTokenizer", folder / "model/vocab.txt", do_lower_case=True, for_cn=for_cn)
    if task.tags:
        from reader.tagging.reader import TaggingReader

        return TaggingReader(folder / name, tokenizer, tags=tag_set(folder), windows=not training, **shared)
    kind = "float" if task.finetune == "regression" else "class"
    return TaskReader(folder / name, tokenizer, num_labels=task.labels, label_kind=kind, **shared)


def run_peer(folder, recipe, rates, train, dev=None, seed=0, task=SST2_TASK, head_dropout=0.0):
    """Train with transformers and torch in a process of its own (two OpenMP libraries in one do not get on).

    Args:
        rates: the learning rate of every step; training ends with them.
        train, dev: readers; dev None: no evaluation.
        seed: of torch's dropout.
        head_dropout: before the head of reading comprehension, where transformers has none; the others have their own.

    Returns:
        dict with ``losses``, a float a step, and with dev ``loss`` (not for tags) and the task's scores. Reading
        comprehension has neither: its logits are in logits.npz, ``<unique id>`` -> [2, tokens of the batch].
    """
    for name in ("torch", "transformers"):
        if versions()[name] is None:
            raise UserError(f"{name} is not installed: python -m pip install -r requirements-peers.txt")
    for name, reader, count in (("train", train, len(rates)), ("dev", dev, None)):
        if reader is not None:
            batches = enumerate(batch for batch, _ in itertools.islice(reader.batches(), count))
            arrays = {f"{i}/{key}": array for i, batch in batches for key, array in batch.items()}
            np.savez(folder / f"{name}.npz", **arrays)
    job = {"rates": rates, "weight_decay": recipe.weight_decay, "clip_norm": recipe.clip_norm}
    job.update(dropout_seed=seed, threads=cores(), evaluate=dev is not None)
    job.update(head_dropout=head_dropout, task=task.finetune, num_labels=task.labels, metric=task.metric)
    job["tags"] = tag_set(folder).names if task.tags else None
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    command = [sys.executable, str(ROOT / "benchmark/parts/torch_peer.py"), str(folder)]
    # Where other processes hold the cores, torch's threads spinning for each other take several times as long.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    return json.loads(done.stdout)
