"""A flag that is not there: the one that is meant is named, and nothing where nothing is near.

pytest -q -x tests/propeller/test_flag_names.py
"""

import re

import pytest

from finetune import flags_of
from finetune.embedding import args as embed_args
from finetune.prediction import args as predict_args
from finetune.training import args as train_args
from pretrain.training import args as pretrain_args
from propeller.errors import UserError
from propeller.flag_names import ELSEWHERE, meant
from propeller.launch import build_parser

CLASSIFY = flags_of("classify")
PARSE = {
    "run_classifier.py": lambda words: train_args.parse("x", "", words, CLASSIFY.task),
    "infer_classifyer.py": lambda words: predict_args.parse("x", "", words, CLASSIFY.prediction, CLASSIFY.task),
    "ernie_encoder.py": lambda words: embed_args.parse("x", "", words),
    "train.py": lambda words: pretrain_args.parse("x", "", words),
    "finetune_launch.py": lambda words: build_parser("x").parse_args([*words, "x.py"]),
}


@pytest.mark.parametrize(
    ("program", "given", "said"),
    [
        ("run_classifier.py", "--use_gpu", "--use_cuda"),
        ("run_classifier.py", "--lr", "--learning_rate"),
        ("run_classifier.py", "--max_seq_length", "--max_seq_len"),
        ("run_classifier.py", "--num-labels=3", "--num_labels"),
        ("run_classifier.py", "--num_train_epochs", "--epoch"),
        ("run_classifier.py", "--output_dir", "--checkpoints"),
        ("run_classifier.py", "--nosuch", None),
        ("run_classifier.py", "rows.tsv", None),
        ("infer_classifyer.py", "--init_pretraining_params", "--init_checkpoint"),
        ("infer_classifyer.py", "--test_set", "--predict_set"),
        ("ernie_encoder.py", "--predict_set", "--data_set"),
        ("train.py", "--train_set", "--train_filelist"),
        ("train.py", "--max_steps", "--num_train_steps"),
        ("finetune_launch.py", "--selected_gpu", "--selected_gpus"),
        ("finetune_launch.py", "--nproc", "--nproc_per_node"),
    ],
)
def test_the_flag_that_is_meant(program, given, said):
    with pytest.raises(UserError) as refused:
        PARSE[program]([given, "1"])
    hint = f"did you mean {said}? " if said else ""
    assert str(refused.value) == f"unknown argument {given}: {hint}see x --help"


def test_the_table_leads_to_flags_that_are_there(capsys):
    for parse in PARSE.values():
        with pytest.raises(SystemExit):
            parse(["--help"])
    there = set(re.findall(r"^  --(\w+)", capsys.readouterr().out, re.MULTILINE))
    assert {here for places in ELSEWHERE.values() for here in places} - there == set()
    assert meant("colour", there) is None


def test_a_flag_without_its_value_says_which_it_takes():
    for words, shown in ((["--in_tokens", "--epoch", "3"], "true|false"), (["--use_cuda"], "auto|true|false")):
        with pytest.raises(UserError) as refused:
            PARSE["run_classifier.py"](words)
        flag = words[0]
        assert str(refused.value) == f"{flag} stands without a value: give one, as {flag} {shown}; see x --help"


def test_from_python_too():
    with pytest.raises(UserError, match="unknown argument lr: did you mean learning_rate?"):
        train_args.from_keywords({"lr": 1e-5})
