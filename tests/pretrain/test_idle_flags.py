"""train.py: flags that choose or time validations need shards to validate on."""

import json
from contextlib import nullcontext

import pytest

from pretrain.training.args import parse
from pretrain.training.runner import Pretrainer
from propeller.errors import UserError
from tests.helpers.pretraining import make_shards
from tests.helpers.tiny import make_model

GIVEN = ["--ernie_config_path", "c.json", "--vocab_path", "vocab.txt", "--train_filelist", "train.txt"]


@pytest.mark.parametrize(("name", "value"), [("eval_strategy", "epoch"), ("best_metric", "acc")])
def test_flags_of_a_validation_that_is_not_made(name, value):
    words = [*GIVEN, f"--{name}", value]
    with pytest.raises(UserError, match=f"--{name} {value} needs --valid_filelist: give that too, or leave it out"):
        parse("train.py", "", words)
    args = parse("train.py", "", [*words, "--valid_filelist", "valid.txt"])
    assert getattr(args.run, name) == value


def test_a_run_that_began_with_them_goes_on(tmp_path):
    """They were taken before, and neither leaving them out nor shards to validate on would make it the same run."""
    words = [*GIVEN, "--eval_strategy", "epoch", "--checkpoints", str(tmp_path)]
    (tmp_path / "step_3").mkdir()
    for recorded, goes_on in (("steps", False), ("epoch", True)):
        (tmp_path / "run.json").write_text(json.dumps({"fingerprint": {"flag": {"--eval_strategy": recorded}}}))
        with nullcontext() if goes_on else pytest.raises(UserError, match="needs --valid_filelist"):
            assert parse("train.py", "", words).run.eval_strategy == "epoch"
    with pytest.raises(UserError, match="needs --valid_filelist"):
        parse("train.py", "", [*words, "--overwrite"])


def test_a_list_of_tasks_none_of_which_is_validated(tmp_path):
    model = make_model(tmp_path / "model", num_hidden_layers=1)
    task = {"name": "knowledge_masking", "task_id": 0, "filelist": "train_filelist", "steps": [2]}
    make_shards(tmp_path)
    (tmp_path / "tasks.json").write_text(json.dumps({"tasks": [task]}))
    words = ["--model", str(model), "--task_list", str(tmp_path / "tasks.json"), "--task_data", str(tmp_path)]
    words += ["--best_metric", "acc", "--checkpoints", str(tmp_path / "run"), "--use_cuda", "false"]
    with pytest.raises(
        UserError, match=r"^--best_metric acc needs a valid_filelist in .*tasks.json: give that too, or"
    ):
        Pretrainer(parse("train.py", "", [*words, "--max_seq_len", "24"])).train()
    assert not (tmp_path / "run").exists()
