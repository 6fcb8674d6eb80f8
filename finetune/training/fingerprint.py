"""The record of what a run is made from. A folder recognises its run by it.

known = fingerprint(args, spec, reader, config)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ernie.checkpoint import params_digest
from ernie.config import ErnieConfig
from finetune import legacy_flags, task_class
from finetune.spec import ModelSpec
from finetune.training import options
from finetune.training.args import Args
from finetune.training.log_lines import all_flags
from propeller.files import file_digest
from propeller.flags import split

if TYPE_CHECKING:
    from finetune.task import FinetuneTask
    from propeller.train.differences import Difference
    from reader.batch_reader import BatchReader


# Flags that change where a run writes or what it prints, never the weights it ends with.
NOT_IN_FINGERPRINT = {
    "verify_checkpoints", "save_strategy", "model",
    "checkpoints", "overwrite", "keep_checkpoints", "save_steps", "skip_steps", "verbose", "log_file", "use_cuda",
    "num_workers", "queue_size", "token_cache_dir", "ernie_config_path", "vocab_path", "init_pretraining_params",
    "init_checkpoint", "label_map_config", "train_set", "dev_set", "test_set", "test_save", "diagnostic",
    "diagnostic_save", "fuse_grad_size_mb", "do_train", "do_val", "do_test", "predict_batch_size", "sp_model",
    "hang_timeout", "allow_unk", "allow_refused", "allow_no_entities", "allow_lost_answers",
}  # fmt: skip
# Flags that a model may settle: the record has what they came to.
SETTLED = ("tokenizer", "do_lower_case", "for_cn", "num_labels", "max_seq_len")
# Flags that came after version 0.1, with what its runs did: a record without them means that.
FORMER = {"eval_strategy": "steps", "head_dropout": 0.1, "f1_average": None, "on_bad": "error", "allow_blank": False,
          "fused_encoder": "false", "format": "auto", "text_column": None, "text_pair_column": None,
          "label_column": None, "max_train_rows": None, "multi_label": False, "label_separator": ",", "threshold": None,
          "tune_threshold": "none", "crf": False, **options.DEFAULTS}  # fmt: skip


def places_of(settings: Any) -> set[str]:
    """Names of a task's own flags that say where something is; what is in it counts, by the reader's fingerprint."""
    if settings is None:
        return set()
    return {entry.name for entry in fields(settings) if entry.metadata.get("facts", {}).get("place")}


def former_flags(task: type[FinetuneTask], spec: ModelSpec) -> dict[str, Any]:
    """name -> value of the flags that records of version 0.1 lack, as its runs of the task had it."""
    return {**FORMER, "best_metric": task.best_by(spec), **task.former_flags}


def former_record(known: Mapping[str, Any], task: type[FinetuneTask], spec: ModelSpec) -> dict[str, Any]:
    """What the record of a run of version 0.1 lacks beside that of this one, ``known``, with what it means."""
    flags = {f"--{name}": value for name, value in former_flags(task, spec).items()}
    return {"flag": {name: value for name, value in flags.items() if name in known["flag"]}}


def is_of_dev_set(difference: Difference) -> bool:
    """Whether two records differ in a file that is evaluated on: the first file of their ``data`` is trained on."""
    key, _, name = difference.name.partition(".")
    return key == "data" and not name.startswith("0 ")


def explain_data(difference: Difference) -> str | None:
    """In words where two records differ in a file; None where in something else.

    Args:
        difference: between what ``run.json`` holds and what this run is given.
    """
    key, _, place = difference.name.partition(".")
    name = place.partition(" ")[2]
    if key != "data":
        return None
    if is_of_dev_set(difference):
        return f"the dev set {name} is another one than before; nothing is trained on it, so the run goes on"
    if difference.now is None:
        return f"it was trained on {name}, not on this file"
    if difference.was is None:
        return f"it was not trained on {name}"
    return f"its training file {name} has changed"


def fingerprint(args: Args, spec: ModelSpec, reader: BatchReader, config: ErnieConfig) -> dict[str, Any]:
    """What makes this run this run: flags, data, initial weights; nested dict of plain values.

    Args:
        args: the flags.
        spec: the model that they ask for.
        reader: of the training file.
        config: the network.
    """
    # Runs from when every task had these flags hold their defaults.
    former = {entry.name: entry.default for _, entry in legacy_flags() if entry.metadata["facts"].get("in_every_run")}
    values = {**former, **all_flags(args), **{name: getattr(spec, name) for name in SETTLED}}
    left_out = NOT_IN_FINGERPRINT | places_of(args.task)
    flags = {f"--{name}": value for name, value in values.items() if name not in left_out}
    # What a step is made of, whoever computes it: the same run may go on in another number of processes.
    flags["--gradient_accumulation_steps"] *= args.ranks.size
    model = args.model
    source = model.init_checkpoint or model.init_pretraining_params
    files = [args.data.train_set, *(split(args.data.dev_set) if args.run.do_val else [])]
    digests = [reader.fingerprint()["sha256"], *(file_digest(path) for path in files[1:])]
    more = task_class(spec.task).known_by(spec) if spec.task else {}
    return {
        **({"task": more} if more else {}),
        "flag": flags,
        "data": {f"{i} {Path(path).name}": digest for i, (path, digest) in enumerate(zip(files, digests))},
        "initial_weights": {"kind": "init_checkpoint" if model.init_checkpoint else "init_pretraining_params",
                            "sha256": params_digest(source) if source else None},
        "ernie_config": config.to_dict(),
        "label_map": dict(spec.label_map or {}),
        "tokenizer": spec.tokenizer_fingerprint,
    }  # fmt: skip
