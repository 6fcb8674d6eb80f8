"""Every mistake a user of run_classifier.py can make: one line with the place and the remedy, nothing half written."""

import json
import shutil
import subprocess
import sys

import pytest

from finetune.training.main import main
from propeller.errors import UserError
from tests.helpers.common import ROOT
from tests.helpers.tiny import CONFIG, flags, write_tsv


class Place:
    """The files of one case: a model and data that may be spoilt, and the run's folder."""

    def __init__(self, model, data, folder):
        self.model, self.data, self.run = folder / "model", folder / "data", folder / "run"
        shutil.copytree(model, self.model)
        shutil.copytree(data, self.data)

    def fails(self, *words, **changes):
        """Run and expect one line with all the words."""
        with pytest.raises(UserError) as caught:
            main("run_classifier.py", "classify", flags(self.model, self.data, self.run, **changes))
        message = str(caught.value)
        assert "\n" not in message
        for word in words:
            assert str(word) in message
        if self.run.exists():
            left = [entry.name for entry in self.run.rglob("*") if ".new-" in entry.name or ".old-" in entry.name]
            assert not left
            assert not list(self.run.glob("step_*"))


@pytest.fixture
def place(model, data, tmp_path):
    return Place(model, data, tmp_path)


ROWS = {
    "ragged": (b"label\ttext_a\n1\tgood\n0\n", ["line 3"]),
    "too many fields": (b"label\ttext_a\n1\tgood\tfilm\n", ["line 2"]),
    "blank line": (b"label\ttext_a\n1\tgood\n\n0\tbad\n", ["line 3"]),
    "unknown label": (b"label\ttext_a\n1\tgood\nx\tbad\n", ["line 3", "'x'"]),
    "label outside": (b"label\ttext_a\n1\tgood\n7\tbad\n", ["line 3", "7", "num_labels"]),
    "not utf-8": (b"label\ttext_a\n1\tgood\n0\tb\xff\n", ["line 3", "UTF-8"]),
    "empty file": (b"", ["empty"]),
    "header only": (b"label\ttext_a\n", ["line 1"]),
    "no label column": (b"text_a\ngood\n", ["label"]),
    "no text column": (b"label\n1\n", ["text_a"]),
    "unknown column": (b"label\ttext_a\tcolour\n1\tgood\tred\n", ["colour"]),
}


@pytest.mark.parametrize("case", ROWS)
@pytest.mark.parametrize("which", ["train", "dev"])
def test_bad_rows(place, case, which):
    content, words = ROWS[case]
    path = place.data / f"{which}.tsv"
    path.write_bytes(content)
    place.fails(path, *words, validation_steps=1)


def test_a_bad_row_deep_in_the_file_stops_the_run_where_it_comes(place):
    path = place.data / "train.tsv"
    path.write_text(path.read_text() + "7\tlate\n", encoding="utf8")
    place.fails(f"{path}, line 42", "7", shuffle="false", save_steps=0, validation_steps=0)


def test_a_missing_file(place):
    place.fails(place.data / "none.tsv", "no such file", train_set=place.data / "none.tsv")
    place.fails("none.json", ernie_config_path=place.model / "none.json")
    place.fails("none.txt", vocab_path=place.model / "none.txt")
    place.fails("nowhere", init_pretraining_params=place.model / "nowhere")


def test_lengths(place):
    place.fails("--max_seq_len 41", "40 positions", max_seq_len=41)
    place.fails("batch_size 16", "max_seq_len 24", batch_size=16, in_tokens="true")
    place.fails("max_seq_len", max_seq_len=2)


def test_parameter_files(place):
    path = place.model / "params" / "encoder_layer_1_ffn_fc_0.w_0"
    whole = path.read_bytes()
    path.write_bytes(whole[:-8])
    place.fails(path)
    path.unlink()
    place.fails("encoder_layer_1_ffn_fc_0.w_0", "missing", place.model / "params")
    shutil.copy(place.model / "params" / "encoder_layer_1_ffn_fc_1.w_0", path)
    place.fails("encoder_layer_1_ffn_fc_0.w_0", "[128, 32]", "[32, 128]")


def test_a_vocabulary_that_does_not_fit(place):
    path = place.model / "vocab.txt"
    path.write_text(path.read_text() + "extra\n", encoding="utf8")
    place.fails("vocab_size", CONFIG["vocab_size"])
    path.write_text("good\nbad\n", encoding="utf8")
    place.fails(path, "[PAD]")


def test_configuration(place):
    path = place.model / "ernie_config.json"
    path.write_text(json.dumps({**CONFIG, "hiden_size": 3}))
    place.fails(path, "hiden_size")
    path.write_text("{")
    place.fails(path)


def test_label_maps(place, tmp_path):
    path = tmp_path / "map.json"
    for content, words in (
        ("{", [path, "JSON"]),
        ("[1]", [path, "label map"]),
        ('{"good": "1"}', [path, "label map"]),
        ('{"good": 5}', ["'good'", "5", "num_labels"]),
        ('{"good": 1, "bad": 0}', ["line", "'1'"]),
    ):
        path.write_text(content)
        place.fails(*words, label_map_config=path)


def test_checkpoint_of_another_task(place):
    place.fails("_cls_out", init_checkpoint=place.model / "params", init_pretraining_params=None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learning_rat": 1}, ["--learning_rat", "--learning_rate"]),
        ({"learning_rate": "fast"}, ["--learning_rate", "fast"]),
        ({"learning_rate": 0}, ["learning_rate"]),
        ({"do_train": "perhaps"}, ["--do_train", "perhaps"]),
        ({"tokenizer": "Other"}, ["--tokenizer", "FullTokenizer"]),
        ({"lr_scheduler": "sine"}, ["--lr_scheduler", "noam_decay"]),
        ({"metric": "bleu"}, ["--metric", "acc_and_f1"]),
        ({"vocab_path": None}, ["--vocab_path"]),
        ({"train_set": None}, ["--train_set"]),
        ({"do_train": "false"}, ["--init_checkpoint"]),
        ({"do_train": "false", "do_val": "false", "do_test": "false"}, ["nothing to do"]),
        ({"test_save": "a,b"}, ["--test_save", "--test_set"]),
        ({"diagnostic": "ax.tsv"}, ["--diagnostic_save"]),
        ({"epoch": 0}, ["--epoch"]),
        ({"batch_size": 0}, ["--batch_size"]),
        ({"skip_steps": 0}, ["--skip_steps"]),
        ({"save_steps": -1}, ["--save_steps"]),
        ({"warmup_proportion": 1.5}, ["--warmup_proportion"]),
        ({"weight_decay": -1}, ["--weight_decay"]),
        ({"random_seed": -1}, ["--random_seed must be from 0 to below 2**32, not -1"]),
        ({"queue_size": 0}, ["--queue_size"]),
        ({"num_labels": 1}, ["--num_labels"]),
        ({"task_id": 3}, ["--task_id", "3 task embeddings"]),
        ({"use_fp16": "true"}, ["--use_fp16"]),
        ({"is_regression": "true", "metric": "acc_and_f1"}, ["--metric acc_and_f1", "pearson_and_spearman"]),
        ({"is_classify": "false"}, ["--is_classify false", "--is_regression true"]),
        ({"use_cuda": "true"}, ["--use_cuda", "auto"]),
    ],
    ids=str,
)
def test_flags(place, changes, words):
    if "use_cuda" in changes:
        import paddle

        if paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count():
            pytest.skip("this machine has a GPU")
    place.fails(*words, **changes)


def test_the_exit_status_is_2_and_the_line_is_the_last(place):
    path = write_tsv(place.data / "train.tsv", [("9", "good")])
    command = [sys.executable, str(ROOT / "run_classifier.py"), *flags(place.model, place.data, place.run)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"error: {path}, line 2")
    assert "Traceback" not in done.stderr
