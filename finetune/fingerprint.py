"""The record of what a run is made from, by which a folder knows its run.

known = fingerprint(args, reader, config, tokenizer, label_map)
"""

from __future__ import annotations

from pathlib import Path

from ernie.checkpoint import params_digest
from finetune.args import split
from finetune.lines import all_flags
from propeller.files import file_digest

# Flags that change where a run writes or what it prints, never the weights it ends with.
NOT_IN_FINGERPRINT = {
    "checkpoints", "overwrite", "keep_checkpoints", "save_steps", "skip_steps", "verbose", "log_file", "use_cuda",
    "num_workers", "queue_size", "token_cache_dir", "ernie_config_path", "vocab_path", "init_pretraining_params",
    "init_checkpoint", "label_map_config", "train_set", "dev_set", "test_set", "test_save", "diagnostic",
    "diagnostic_save", "fuse_grad_size_mb", "do_train", "do_val", "do_test", "predict_batch_size", "sp_model",
    "hang_timeout",
}  # fmt: skip


def fingerprint(args, reader, config, tokenizer, label_map):
    """What makes this run this run: flags, data, initial weights; nested dict of plain values.

    Args:
        args: ``finetune.args.Args``.
        reader: of the training file.
        config: ``ErnieConfig``.
        label_map: label word -> class, or None.
    """
    flags = {f"--{k}": value for k, value in all_flags(args).items() if k not in NOT_IN_FINGERPRINT}
    # What a step is made of, whoever computes it: the same run may go on in another number of processes.
    flags["--gradient_accumulation_steps"] *= args.ranks.size
    model = args.model
    source = model.init_checkpoint or model.init_pretraining_params
    files = [args.data.train_set, *(split(args.data.dev_set) if args.run.do_val else [])]
    digests = [reader.fingerprint()["sha256"], *(file_digest(path) for path in files[1:])]
    return {
        "flag": flags,
        "data": {f"{i} {Path(path).name}": digest for i, (path, digest) in enumerate(zip(files, digests))},
        "initial_weights": {"kind": "init_checkpoint" if model.init_checkpoint else "init_pretraining_params",
                            "sha256": params_digest(source) if source else None},
        "ernie_config": config.to_dict(),
        "label_map": label_map or {},
        "tokenizer": tokenizer.fingerprint,
    }  # fmt: skip
