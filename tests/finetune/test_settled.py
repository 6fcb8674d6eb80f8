"""What flags come to: a folder's earlier run counts only where it is one to continue, and only by its defaults."""

import json

import pytest

from finetune.classification.classifier import Classifier
from finetune.training.args import from_keywords
from finetune.training.settled import settle_run
from tests.helpers.tiny import make_model, write_tsv


def settled(model, folder, **flags):
    """``for_cn`` of a run in the folder."""
    given = {
        "ernie_config_path": model / "ernie_config.json",
        "vocab_path": model / "vocab.txt",
        "init_pretraining_params": model / "params",
        "train_set": write_tsv(folder.parent / "train.tsv", [(0, "film")]),
        "max_seq_len": 24,
        "checkpoints": folder,
        **flags,
    }
    return settle_run(Classifier, from_keywords(given, Classifier.flags)).spec.for_cn


@pytest.fixture
def english(tmp_path):
    """A model that says of itself that blanks are kept."""
    folder = make_model(tmp_path / "english")
    (folder / "ernie_model.json").write_text(json.dumps({"for_cn": False}))
    return folder


@pytest.mark.parametrize(
    ("recorded", "step", "expected"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_a_run_that_began_with_the_default_keeps_it(english, tmp_path, recorded, step, expected):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"fingerprint": {"flag": {"--for_cn": recorded}}, "finished": False}))
    if step:
        (run / "step_4").mkdir()
    assert settled(english, run) is expected
    assert settled(english, run, overwrite=True) is False
    assert settled(english, run, for_cn=True) is True


def test_an_explicit_flag_of_another_run_is_not_taken_over(model, tmp_path):
    run = tmp_path / "run"
    (run / "step_4").mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"fingerprint": {"flag": {"--for_cn": False}}, "finished": False}))
    assert settled(model, run) is True  # so the saver refuses the folder: it holds another run
