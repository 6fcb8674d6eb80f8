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


@pytest.mark.parametrize("chinese", [False, True], ids=["english", "chinese"])
def test_a_pre_trained_model_keeps_the_blanks_that_its_language_has(tmp_path, chinese):
    """Its record says that pre-training cut none away, whatever the language."""
    folder = make_model(tmp_path / "pre-trained")
    record = {"task": "multi_task", "tasks": {"whole_word_masking": {}}, "for_cn": False, "tokenizer": "FullTokenizer"}
    (folder / "params" / "checkpoint.json").write_text(json.dumps(record))
    assert settled(folder, tmp_path / "run", **({"vocab_path": chinese_vocab(folder)} if chinese else {})) is chinese
    assert settled(folder, tmp_path / "run", for_cn=not chinese) is not chinese


def chinese_vocab(folder):
    """As many entries as the model's, half of them characters."""
    lines = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    half = [chr(0x4E00 + number) for number in range(len(lines) // 2)]
    path = folder / "chinese.txt"
    path.write_text("\n".join([*lines[: len(lines) - len(half)], *half]) + "\n", encoding="utf-8")
    return path
