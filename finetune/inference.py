"""A bundle opened for text: its task, tokenizer and labels beside the predictor.

    model = InferenceModel.open("saved_model/step_100_inference_model", precision="bf16")
    reader = model.reader("test.tsv", batch_size=32)
    for batch, _ in reader.batches(None):
        outputs = model.run(batch)                  # name -> array, as the task's forward names them

Batch prediction, embeddings and the server all predict through it.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields

from ernie.config import ErnieConfig
from ernie.export import CONFIG, VOCAB
from finetune import TASKS, task_class
from finetune.args import Args, DataArgs, ModelArgs, RunArgs, TrainArgs
from propeller import runtime
from propeller.bundle import Bundle, read_bundle
from propeller.errors import UserError
from propeller.service.predictor import Predictor
from tokenization import build_tokenizer


@dataclass(frozen=True)
class InferenceModel:
    """What a bundle holds, ready for use.

    Attributes:
        bundle: ``propeller.bundle.Bundle``.
        task: the class in ``finetune.TASKS`` (a variant of it where its metric asks for one).
        config: ``ErnieConfig``.
        tokenizer: as the model was trained with; its fingerprint was checked.
        label_map: label word -> class, or None.
        predictor: ``Predictor``, or None.
    """

    bundle: Bundle
    task: type
    config: ErnieConfig
    tokenizer: object
    label_map: dict | None
    predictor: Predictor | None

    @classmethod
    def open(cls, folder, precision="fp32", threads=None, use_cuda="auto", with_predictor=True):
        """Read and verify a bundle, and load it.

        Args:
            folder: the bundle, or a folder with just one in it.
            precision, threads: see ``Predictor``.
            use_cuda: ``auto``, ``true`` or ``false``.
            with_predictor: false for what needs the text side alone.

        Raises:
            UserError: the bundle is damaged, of another version, or not of a task of this project.
        """
        bundle = read_bundle(folder)
        if bundle.task not in TASKS:
            raise UserError(f"{bundle.folder}: its task {bundle.task!r} is unknown here, known: {', '.join(TASKS)}")
        tokenizer = _tokenizer(bundle)
        predictor = None
        if with_predictor:
            use_gpu = "gpu" in str(runtime.place(use_cuda)).lower()
            predictor = Predictor(bundle, precision, threads, use_gpu)
        config = ErnieConfig(bundle.path(CONFIG))
        return cls(bundle, task_class(bundle.task), config, tokenizer, bundle.meta.get("label_map"), predictor)

    @property
    def meta(self):
        """What ``Finetuner`` says of a fine-tuned model: num_labels, max_seq_len, task_id, metric, flags, …"""
        return self.bundle.meta

    @property
    def max_seq_len(self):
        """Longest example in tokens."""
        return self.meta["max_seq_len"]

    @property
    def num_labels(self):
        """Number of classes."""
        return self.meta["num_labels"]

    @property
    def labels(self):
        """The word of each class, in their order; without a label map its number."""
        words = {number: word for word, number in (self.label_map or {}).items()}
        return [words.get(number, str(number)) for number in range(self.num_labels)]

    def args(self, batch_size=32, num_workers=0):
        """The flags of a fine-tuning script that reads for this model, as the tasks' hooks take them."""
        meta, bundle = self.meta, self.bundle
        label_map = f"{bundle.folder}/bundle.json" if self.label_map else None
        model = ModelArgs(
            ernie_config_path=str(bundle.path(CONFIG)),
            vocab_path=str(bundle.path(VOCAB)),
            tokenizer=meta["tokenizer"],
            do_lower_case=meta["do_lower_case"],
            for_cn=meta["for_cn"],
            max_seq_len=self.max_seq_len,
            task_id=meta["task_id"],
            num_labels=self.num_labels,
            label_map_config=label_map,
            metric=meta["metric"],
            is_regression=bundle.task == "regression",
        )
        data = DataArgs(token_cache_dir="off", num_workers=num_workers, shuffle=False)
        own = _own_flags(self.task.flags, meta["flags"]) if self.task.flags else None
        return Args(model, data, TrainArgs(batch_size=batch_size), RunArgs(do_train=False), own, [])

    def reader(self, path, batch_size=32, num_workers=0):
        """The task's reader of a file without labels, in the file's order."""
        args = self.args(batch_size, num_workers)
        return self.task.open_reader(path, self.tokenizer, args, self.label_map, labelled=False)

    def run(self, batch):
        """name -> array of a batch, see ``Predictor.run``."""
        return self.predictor.run(batch)


def _own_flags(group, stored):
    """A task's own flags as the bundle has them; those added since then have their defaults."""
    return group(**{entry.name: stored.get(entry.name, entry.default) for entry in fields(group)
                    if entry.name in stored or entry.default is not MISSING})  # fmt: skip


def _tokenizer(bundle):
    meta = bundle.meta
    tokenizer = build_tokenizer(
        meta["tokenizer"],
        str(bundle.path(VOCAB)),
        meta["do_lower_case"],
        meta["for_cn"] and task_class(bundle.task).drops_blanks,
        str(bundle.path(meta["sp_model"])) if meta["sp_model"] else None,
    )
    if tokenizer.fingerprint != meta["tokenizer_fingerprint"]:
        raise UserError(
            f"{bundle.path(VOCAB)}: with it the tokenizer is not the one the model was trained with: export it again"
        )
    return tokenizer
