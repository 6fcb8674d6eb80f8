"""The flag that a user means who wrote one that is not there.

meant("--lr", ["--learning_rate", "--lr_end"])                   # "--learning_rate": its name in other programs
meant("--epohc", ["--epoch", "--batch_size"])                    # "--epoch": the nearest in spelling
meant("--colour", ["--epoch", "--batch_size"])                   # None: nothing is near

The table concerns a program only where it has the flag.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LIKENESS = 0.7  # of two spellings, by difflib; under it a guess misleads
# Name -> what it is called here, the first of which that the program has. A flag of other programs, or one of another
# program of this project.
ELSEWHERE = {
    "amp": ("use_fp16",),
    "bert_config_file": ("ernie_config_path",),
    "bf16": ("use_bf16", "precision"),
    "config": ("ernie_config_path",),
    "config_path": ("ernie_config_path",),
    "cuda": ("use_cuda",),
    "data_dir": ("train_set", "train_filelist", "predict_set", "data_set"),
    "data_set": ("train_set", "predict_set"),
    "dev_file": ("dev_set", "valid_filelist"),
    "dev_set": ("valid_filelist",),
    "device": ("use_cuda",),
    "eval_file": ("dev_set", "valid_filelist"),
    "eval_steps": ("validation_steps",),
    "fp16": ("use_fp16",),
    "gpu": ("use_cuda",),
    "gpus": ("selected_gpus", "use_cuda"),
    "init_pretraining_params": ("init_checkpoint",),
    "input_file": ("predict_set", "data_set", "train_set"),
    "log_steps": ("skip_steps",),
    "logging_steps": ("skip_steps",),
    "lr": ("learning_rate",),
    "max_len": ("max_seq_len",),
    "max_length": ("max_seq_len",),
    "max_steps": ("num_train_steps",),
    "model_dir": ("model",),
    "model_name_or_path": ("model",),
    "model_path": ("model",),
    "num_epochs": ("epoch",),
    "num_train_epochs": ("epoch",),
    "nproc": ("nproc_per_node",),
    "num_classes": ("num_labels",),
    "output": ("output_dir", "checkpoints"),
    "output_dir": ("checkpoints", "output"),
    "output_file": ("output", "output_dir", "test_save"),
    "params": ("init_pretraining_params", "init_checkpoint"),
    "predict_set": ("data_set", "test_set"),
    "save_dir": ("checkpoints",),
    "seed": ("random_seed",),
    "test_file": ("test_set", "predict_set", "test_filelist"),
    "test_save": ("output",),
    "test_set": ("predict_set", "test_filelist"),
    "train_file": ("train_set", "train_filelist"),
    "train_set": ("train_filelist",),
    "use_gpu": ("use_cuda",),
    "valid_set": ("dev_set",),
    "validation_file": ("dev_set", "valid_filelist"),
    "vocab": ("vocab_path",),
    "vocab_file": ("vocab_path",),
    "warmup_ratio": ("warmup_proportion",),
}


def meant(name: str, known: Iterable[str]) -> str | None:
    """Of known flags the one that is meant by another name, or None.

    Args:
        name: as it was given, with its dashes or, from Python, without.
        known: the program's flags, in the same way.
    """
    bare = {flag.lstrip("-").replace("-", "_"): flag for flag in known}
    word = name.split("=")[0].lstrip("-").replace("-", "_").lower()
    for here in (word, *ELSEWHERE.get(word, ())):
        if here in bare:
            return bare[here]
    near = difflib.get_close_matches(word, bare, 1, LIKENESS)
    return bare[near[0]] if near else None
