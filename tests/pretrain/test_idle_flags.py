"""train.py: flags that choose or time validations need shards to validate on."""

import pytest

from pretrain.training.args import parse
from propeller.errors import UserError

GIVEN = ["--ernie_config_path", "c.json", "--vocab_path", "vocab.txt", "--train_filelist", "train.txt"]


@pytest.mark.parametrize(("name", "value"), [("eval_strategy", "epoch"), ("best_metric", "acc")])
def test_flags_of_a_validation_that_is_not_made(name, value):
    words = [*GIVEN, f"--{name}", value]
    with pytest.raises(UserError, match=f"--{name} {value} needs --valid_filelist: give that too, or leave it out"):
        parse("train.py", "", words)
    args = parse("train.py", "", [*words, "--valid_filelist", "valid.txt"])
    assert getattr(args.run, name) == value
