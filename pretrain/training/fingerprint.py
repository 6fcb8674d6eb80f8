"""The record of what a pre-training run is made from, by which a folder knows its run.

known = fingerprint(args, config, tokenizer, reader, validation)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ernie.checkpoint import params_digest
from ernie.config import ErnieConfig
from pretrain.training.args import Args
from pretrain.training.tasks_of_run import RunTask
from reader.pretraining.reader import PretrainingReader

if TYPE_CHECKING:
    from tokenization_base import BaseTokenizer

# Flags that change where a run writes or what it prints, never the weights it ends with; and on_bad, which may be
# changed to go on after a bad line.
NOT_IN_FINGERPRINT = {
    "verify_checkpoints", "save_strategy", "model",
    "checkpoints", "overwrite", "keep_checkpoints", "save_steps", "skip_steps", "verbose", "log_file", "use_cuda",
    "queue_size", "ernie_config_path", "vocab_path", "init_pretraining_params", "init_checkpoint", "train_filelist",
    "valid_filelist", "test_filelist", "fuse_grad_size_mb", "do_test", "predict_mask", "top", "tokenizer", "sp_model",
    "do_lower_case", "hang_timeout", "on_bad", "task_list", "task_data", "scale_steps",
}  # fmt: skip
# What the record of a run of version 0.1 lacks, with what its runs did.
FORMER = {"flag": {"--eval_strategy": "steps", "--best_metric": "loss", "--fused_encoder": "false", "--dropout": None}}


def fingerprint(
    args: Args,
    config: ErnieConfig,
    tokenizer: BaseTokenizer,
    tasks: Mapping[str, RunTask],
    readers: Mapping[str, PretrainingReader],
    validation: Mapping[str, PretrainingReader],
) -> dict[str, Any]:
    """What makes this run this run: flags, shards, initial weights; nested dict of plain values.

    Args:
        args: ``pretrain.training.args.Args``.
        config: ``ErnieConfig``.
        tasks: name -> ``run_tasks.RunTask``.
        readers, validation: of the training and of the validation shards, by task; the latter may lack some.
    """
    flags = {f"--{name}": value for name, value in args.values().items() if name not in NOT_IN_FINGERPRINT}
    # What a step is made of, whoever computes it: the same run may go on in another number of processes.
    flags["--gradient_accumulation_steps"] *= args.ranks.size
    model = args.model
    source = model.init_checkpoint or model.init_pretraining_params
    return {
        "flag": flags,
        "task": {name: task.settings() for name, task in tasks.items()} if args.tasks.task_list else {},
        "train_shards": _shards(readers, args),
        "valid_shards": _shards(validation, args),
        "initial_weights": {
            "kind": "init_checkpoint" if model.init_checkpoint else "init_pretraining_params",
            "sha256": params_digest(source) if source else None,
        },
        "ernie_config": config.to_dict(),
        "tokenizer": tokenizer.fingerprint,
    }


def _shards(readers, args):
    """Of each shard its file's name, not its path: data that was moved is the same."""
    found = {}
    for name, reader in readers.items():
        task = f"{name} " if args.tasks.task_list else ""
        for number, fact in enumerate(reader.fingerprint()["files"]):
            found[f"{task}{number} {Path(fact['path']).name}"] = {**fact, "path": None}
    return found
