"""--max_seq_len beside the positions of the model: a flag above them is refused, a default above them is lowered."""

import dataclasses
import json

import pytest

from finetune import TASKS, task_class
from finetune.classification.classifier import Classifier
from finetune.prediction.args import ModelArgs
from finetune.prediction.source import open_checkpoint
from finetune.training.args import from_keywords
from finetune.training.fingerprint import fingerprint
from finetune.training.reading import reading_of
from finetune.training.settled import settle_run, with_settled_flags
from pretrain.training.args import parse
from pretrain.training.runner import Pretrainer
from propeller.errors import UserError
from tests.helpers.pretraining import make_shards, pretrain_flags
from tests.helpers.tiny import make_model

REMEDY = r"--max_seq_len 41 is above the 40 positions of .* give at most 40, or leave it out"


def settled(model, data, folder, **flags):
    """(model, flags) of a run of classification, settled."""
    paths = {
        "ernie_config_path": model / "ernie_config.json",
        "vocab_path": model / "vocab.txt",
        "init_pretraining_params": model / "params",
        "train_set": data / "train.tsv",
        "dev_set": data / "dev.tsv",
        "checkpoints": folder,
        "for_cn": False,
    }
    args = from_keywords({**paths, **flags}, Classifier.flags)
    found = settle_run(Classifier, args)
    return found, with_settled_flags(args, found)


@pytest.mark.parametrize(("positions", "length"), [(40, 40), (600, 512)])
def test_without_the_flag_training_takes_512_tokens_or_the_models_positions(positions, length, data, tmp_path):
    model = make_model(tmp_path / "model", max_position_embeddings=positions)
    found, args = settled(model, data, tmp_path / "run")
    reader = Classifier.open_reader(
        str(data / "train.tsv"), found.tokenizer, found.spec, reading_of(args, training=True)
    )
    assert (found.spec.max_seq_len, args.model.max_seq_len, reader.max_seq_len) == (length, length, length)
    assert fingerprint(args, found.spec, reader, found.config)["flag"]["--max_seq_len"] == length


def test_the_record_is_that_of_a_run_with_the_number_given(model, data, tmp_path):
    records = []
    for flags in ({}, {"max_seq_len": 40}):
        found, args = settled(model, data, tmp_path / "run", **flags)
        reading = reading_of(args, training=True)
        reader = Classifier.open_reader(str(data / "train.tsv"), found.tokenizer, found.spec, reading)
        records.append(json.dumps(fingerprint(args, found.spec, reader, found.config), sort_keys=True))
    assert records[0] == records[1]


def test_a_flag_above_the_positions_is_refused_in_training(model, data, tmp_path):
    with pytest.raises(UserError, match=REMEDY):
        settled(model, data, tmp_path / "run", max_seq_len=41)


@pytest.mark.parametrize("task", sorted(name for name in TASKS if not name.startswith("student")))
def test_it_is_refused_in_prediction_for_every_task_and_a_stored_number_is_lowered(model, task):
    given = ModelArgs(
        init_checkpoint=str(model / "params"),
        ernie_config_path=str(model / "ernie_config.json"),
        vocab_path=str(model / "vocab.txt"),
    )
    stored = {"max_seq_len": 512, "num_labels": 2}
    with pytest.raises(UserError, match=REMEDY):
        open_checkpoint(dataclasses.replace(given, max_seq_len=41), stored, task_class(task))
    if task in ("classify", "mrc", "embed"):  # others need more settings
        assert open_checkpoint(given, stored, task_class(task)).spec.max_seq_len == 40


@pytest.mark.parametrize(("positions", "length"), [(40, 40), (600, 512)])
def test_without_the_flag_pre_training_takes_512_tokens_or_the_models_positions(positions, length, tmp_path):
    model = make_model(tmp_path / "model", max_position_embeddings=positions)
    shards = make_shards(tmp_path / "shards")
    given = pretrain_flags(model, shards, tmp_path / "run", max_seq_len=None)
    found = Pretrainer(parse("train.py", "", given))
    (task,) = found.tasks.values()
    assert (found.args.model.max_seq_len, found._meta()["max_seq_len"]) == (length, length)
    assert task.reader(str(shards / "train_filelist"), training=True).reading.max_seq_len == length
    with pytest.raises(UserError, match=r"--max_seq_len 601 is above .* positions"):
        Pretrainer(parse("train.py", "", pretrain_flags(model, shards, tmp_path / "run", max_seq_len=601)))
