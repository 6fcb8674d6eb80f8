"""What a user of infer_classifyer.py can get wrong: one line with the place and the remedy, nothing half written."""

import json
import shutil

import pytest

from tests.helpers.predicting import fails, infer, train
from tests.helpers.tiny import CONFIG, write_tsv

SCRIPT, RUN = "infer_classifyer.py", ("run_classifier.py", "classify")


@pytest.fixture(scope="module")
def checkpoint(model, data, tmp_path_factory):
    return train(*RUN, model, data, tmp_path_factory.mktemp("run") / "run")


@pytest.fixture(scope="module")
def bundle(model, checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    given = {"init_checkpoint": checkpoint, "vocab_path": model / "vocab.txt", "do_prediction": "false"}
    infer(SCRIPT, **given, save_inference_model_path=folder)
    return folder / "last_inference_model"


class Place:
    """The files of one case, which may be spoilt."""

    def __init__(self, folder, model, data, checkpoint, bundle):
        self.folder, self.model, self.checkpoint = folder, folder / "model", folder / "checkpoint"
        self.bundle, self.rows = folder / "bundle", folder / "rows.tsv"
        shutil.copytree(model, self.model)
        shutil.copytree(checkpoint, self.checkpoint)
        shutil.copytree(bundle, self.bundle)
        shutil.copy(data / "test.tsv", self.rows)

    def from_checkpoint(self, *expected, **changes):
        given = {"init_checkpoint": self.checkpoint, "vocab_path": self.model / "vocab.txt"}
        self._fails(*expected, **{**given, **changes})

    def from_bundle(self, *expected, **changes):
        self._fails(*expected, **{"inference_model": self.bundle, **changes})

    def _fails(self, *expected, **changes):
        given = {"predict_set": self.rows, "output": self.folder / "out" / "out.tsv", **changes}
        fails(SCRIPT, *expected, **given)
        left = list((self.folder / "out").iterdir()) if (self.folder / "out").exists() else []
        assert not left


@pytest.fixture
def place(tmp_path, model, data, checkpoint, bundle):
    return Place(tmp_path, model, data, checkpoint, bundle)


ROWS = {
    "no column text_a": (b"label\n1\n", ["line 1", "'text_a' is missing"]),
    "row without text_a": (b"text_b\ttext_a\ngood\tfilm\ngood\n", ["line 3", "1 fields"]),
    "empty text_a": (b"text_a\ttext_b\ngood\tfilm\n \tfilm\n", ["line 3", "text_a is empty"]),
    "blank line": (b"text_a\ngood\n\nbad\n", ["line 3", "blank"]),
    "too many fields": (b"text_a\ngood\tfilm\n", ["line 2", "2 fields"]),
    "not utf-8": (b"text_a\ngood\nb\xff\n", ["line 3", "UTF-8"]),
    "empty file": (b"", ["line 1", "empty"]),
    "header only": (b"text_a\n", ["line 1", "no row"]),
    "a column twice": (b"text_a\ttext_a\ngood\tred\n", ["line 1", "'text_a'", "more than once"]),
    "bad qid": (b"text_a\tqid\ngood\tx\n", ["line 2", "qid"]),
}


@pytest.mark.parametrize("case", ROWS)
def test_bad_rows(place, case):
    content, expected = ROWS[case]
    place.rows.write_bytes(content)
    place.from_bundle(place.rows, *expected)


def test_missing_files(place):
    place.from_bundle("none.tsv", "no such file", predict_set="none.tsv")
    place.from_checkpoint("none.tsv", "no such file", predict_set="none.tsv")
    place.from_bundle("nowhere", "no such directory", inference_model="nowhere")
    place.from_bundle(place.model, "bundle.json", inference_model=place.model)
    place.from_checkpoint("nowhere: no such directory", init_checkpoint=place.folder / "nowhere")
    place.from_checkpoint("none.txt", vocab_path=place.model / "none.txt")
    place.from_checkpoint("none.json", label_map_config="none.json")


def test_an_output_that_cannot_be(place):
    place.from_bundle(f"--output {place.model}", "is a directory", output=place.model)
    place.from_bundle("is the file to predict", output=place.rows)
    place.from_bundle("cannot be written", output=place.rows / "out.tsv")


def test_what_the_checkpoint_says_otherwise(place):
    says = place.checkpoint / "checkpoint.json"
    (place.folder / "map.json").write_text('{"0": 1, "1": 0}')
    place.from_checkpoint("--num_labels 3", f"{says} says 2", num_labels=3)
    place.from_checkpoint("--tokenizer CharTokenizer", f"{says} says FullTokenizer", tokenizer="CharTokenizer")
    place.from_checkpoint("--for_cn true", f"{says} says false", for_cn="true")
    place.from_checkpoint("--do_lower_case false", f"{says} says true", do_lower_case="false")
    place.from_checkpoint("--task_id 1", f"{says} says 0", task_id=1)
    place.from_checkpoint("map.json", '{"0": 1, "1": 0}', f"{says} has no label map",
                          label_map_config=place.folder / "map.json")  # fmt: skip
    place.from_checkpoint("--is_regression true", "'classify'", is_regression="true")
    path = place.model / "ernie_config.json"
    path.write_text(json.dumps({**CONFIG, "hidden_act": "relu"}))
    place.from_checkpoint(f"{path}: hidden_act is relu", f"{says} says gelu", ernie_config_path=path)
    place.from_checkpoint("--max_seq_len 41", "40 positions", max_seq_len=41)


def test_what_the_inference_model_says_otherwise(place):
    says = place.bundle / "bundle.json"
    place.from_bundle("--num_labels 3", f"{says} says 2", num_labels=3)
    place.from_bundle("--for_cn true", f"{says} says false", for_cn="true")
    place.from_bundle("--is_regression true", "'classify'", is_regression="true")
    place.from_bundle("--max_seq_len 41", "40 positions", max_seq_len=41)
    path = place.model / "ernie_config.json"
    path.write_text(json.dumps({**CONFIG, "num_attention_heads": 2}))
    place.from_bundle(f"{path}: num_attention_heads is 2", f"{says} says 4", ernie_config_path=path)


def test_a_vocabulary_of_another_model(place):
    path = place.model / "vocab.txt"
    words = path.read_text().splitlines()
    path.write_text("".join(f"{word}\n" for word in [*words[:5], *reversed(words[5:])]))
    place.from_checkpoint(path, "not the vocabulary", place.checkpoint, "--vocab_path")
    place.from_bundle(path, "not the vocabulary", place.bundle / "vocab.txt", "--vocab_path", vocab_path=path)


def test_an_older_checkpoint_that_does_not_tell_how_text_was_read(place, bundle):
    """Where the flags are left out, those with which the vocabulary is the training's are taken."""
    path = place.checkpoint / "checkpoint.json"
    stored = json.loads(path.read_text())
    for name in ("do_lower_case", "for_cn", "task_id", "flags", "metric"):
        del stored[name]
    path.write_text(json.dumps(stored))
    given = {"init_checkpoint": place.checkpoint, "vocab_path": place.model / "vocab.txt", "predict_set": place.rows}
    assert infer(SCRIPT, **given)[0] == infer(SCRIPT, inference_model=bundle, predict_set=place.rows)[0]
    place.from_checkpoint("not the vocabulary", "with --for_cn true", for_cn="true")


def test_checkpoints_that_are_none(place):
    (place.checkpoint / "_cls_out_w").unlink()
    place.from_checkpoint("_cls_out_w", "missing", place.checkpoint)
    alone = shutil.copytree(place.model / "params", place.checkpoint.parent / "alone")
    place.from_checkpoint(alone, "--ernie_config_path", init_checkpoint=alone)
    given = {"init_checkpoint": alone, "ernie_config_path": place.model / "ernie_config.json"}
    place.from_checkpoint("_cls_out_", alone, **given)
    path = place.checkpoint / "checkpoint.json"
    path.write_text(path.read_text().replace('"classify"', '"mrc"'))
    place.from_checkpoint(place.checkpoint, "'mrc'", "use infer_mrc.py")
    path.write_text("{")
    place.from_checkpoint(path, "not JSON")


def test_a_checkpoint_without_its_vocabulary_asks_for_it(place):
    (place.checkpoint / "vocab.txt").unlink()
    place.from_checkpoint("--init_checkpoint needs --vocab_path", place.checkpoint, vocab_path=None)


def test_damaged_inference_models(place):
    weights = place.bundle / "model.pdiparams"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    place.from_bundle(weights, "damaged")
    weights.write_bytes(content[:-1])
    place.from_bundle(weights, "bytes")
    weights.unlink()
    place.from_bundle(weights, "missing")
    path = place.bundle / "bundle.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 9'))
    place.from_bundle(path, "format 9")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"predict_sett": "x"}, ["--predict_sett", "--predict_set"]),
        ({"batch_size": 0}, ["--batch_size"]),
        ({"batch_size": "many"}, ["--batch_size", "many"]),
        ({"num_workers": -1}, ["--num_workers"]),
        ({"precision": "fp16"}, ["--precision", "bf16"]),
        ({"output_format": "csv"}, ["--output_format", "jsonl"]),
        ({"use_fp16": "true"}, ["--use_fp16", "--precision bf16"]),
        ({"predict_set": None}, ["--predict_set", "--do_prediction false"]),
        ({"inference_model": None}, ["--init_checkpoint", "--inference_model"]),
        ({"init_checkpoint": "x"}, ["--init_checkpoint", "--inference_model"]),
        ({"inference_model": None, "init_checkpoint": "x"}, ["--init_checkpoint x", "no such directory"]),
        ({"save_inference_model_path": "x"}, ["--save_inference_model_path", "--init_checkpoint"]),
        ({"onnx": "true"}, ["--onnx", "--save_inference_model_path"]),
        ({"overwrite": "true"}, ["--overwrite", "--save_inference_model_path"]),
        ({"do_prediction": "false"}, ["--do_prediction", "--save_inference_model_path"]),
        ({"use_cuda": "true"}, ["--use_cuda", "auto"]),
    ],
    ids=str,
)
def test_flags(place, changes, words):
    if "use_cuda" in changes:
        import paddle

        if paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count():
            pytest.skip("this machine has a GPU")
    place.from_bundle(*words, **changes)


def test_the_exit_status_is_2_and_the_line_is_the_last(place):
    path = write_tsv(place.rows, [("good", "extra")], ["text_a"])
    printed, error = infer(SCRIPT, status=2, inference_model=place.bundle, predict_set=path)
    assert printed == ""
    assert error.startswith(f"error: {path}, line 2: 2 fields")
