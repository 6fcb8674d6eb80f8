"""finetune.load and finetune.train: the same numbers as the scripts, from Python."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import finetune
from finetune.prediction.model import InferenceModel
from finetune.training.args import from_keywords
from propeller.errors import UserError
from tests.helpers.common import FIXTURES, ROOT
from tests.helpers.predicting import infer, table, train
from tests.helpers.served import make_bundle
from tests.helpers.tiny import sentences, write_tsv

SCRIPT, RUN = "infer_classifyer.py", ("run_classifier.py", "classify")
TEXTS = ["a good film", "the cast was dull and the story was poor", "fine", "a bright story"] * 5


@pytest.fixture(scope="module")
def checkpoint(model, data, tmp_path_factory):
    """A fine-tuned classifier of three epochs."""
    return train(*RUN, model, data, tmp_path_factory.mktemp("run") / "run")


@pytest.fixture(scope="module")
def predictor(checkpoint):
    return finetune.load(checkpoint, use_cuda="false")


def test_predictions_are_those_of_the_script(checkpoint, predictor, tmp_path):
    """A checkpoint alone is enough: its vocabulary, its network and its settings are in it."""
    path = tmp_path / "rows.tsv"
    write_tsv(path, [(text,) for text in TEXTS], ("text_a",))
    infer(SCRIPT, init_checkpoint=checkpoint, predict_set=path, output=tmp_path / "out.tsv")
    header, rows = table((tmp_path / "out.tsv").read_text(encoding="utf8"))
    answers = predictor(TEXTS, batch_size=3)
    assert [answer["label"] for answer in answers] == [row[1] for row in rows]
    for answer, row in zip(answers, rows):
        assert list(answer["probabilities"]) == [name.removeprefix("prob_") for name in header[2:]]
        assert list(answer["probabilities"].values()) == pytest.approx(list(map(float, row[2:])), abs=1e-5)
        assert answer["truncated"] is False


def test_the_spec_says_what_the_model_is(checkpoint, predictor):
    record = json.loads((checkpoint / "checkpoint.json").read_text(encoding="utf8"))
    spec = predictor.spec
    assert (spec.task, spec.num_labels, spec.max_seq_len) == ("classify", record["num_labels"], record["max_seq_len"])
    assert spec.labels == ["0", "1"]
    assert {**spec.record(), "sp_model": None} == {
        key: value for key, value in {**record, "sp_model": None}.items()
        if key not in ("format", "step", "files", "copied", "ernie_config", "sha256")
    }  # fmt: skip


def test_pairs_and_batches_of_any_size(predictor):
    items = ["a good film", ("a good film", "the cast was dull"), ["fine", "dull"], "poor"]
    whole = predictor(items, batch_size=32)
    for size in (1, 3):
        for one, other in zip(whole, predictor(items, batch_size=size)):
            assert one["label"] == other["label"]
            assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)
    assert predictor([]) == []
    assert whole[0]["probabilities"] != whole[1]["probabilities"]


@pytest.mark.parametrize("columns", [("label", "text_a"), ("label", "text_a", "text_b")], ids=["texts", "pairs"])
def test_a_model_says_whether_it_reads_pairs(columns, model, tmp_path):
    """By its training file: in the checkpoint, in an inference model and at the server."""
    rows = [(label, *[text] * (len(columns) - 1)) for label, text in sentences(8, 1)]
    write_tsv(tmp_path / "train.tsv", rows, columns)
    result = finetune.train("classify", model=model, train_set=tmp_path / "train.tsv", do_val=False, do_test=False,
                            epoch=1, max_seq_len=24, checkpoints=tmp_path / "run", use_cuda=False,
                            for_cn=False)  # fmt: skip
    record = json.loads((result.folder / "last" / "checkpoint.json").read_text())
    assert record["pairs"] == ("text_b" in columns)
    with finetune.load(result.folder / "last", use_cuda=False) as predictor:
        assert predictor.describe()["pairs"] == record["pairs"]
        assert predictor.describe()["language"] == "en"
        assert predictor.model.bundle.meta["pairs"] == record["pairs"]


def test_several_threads_get_their_own_answers(predictor):
    wanted = [predictor([text])[0]["probabilities"] for text in TEXTS[:4]]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda text: predictor([text])[0]["probabilities"], TEXTS[:4] * 6))
    for number, answer in enumerate(answers):
        assert answer == pytest.approx(wanted[number % 4], abs=1e-5)


def test_embeddings_of_a_fine_tuned_model(checkpoint, predictor, tmp_path):
    path, out = tmp_path / "rows.tsv", tmp_path / "vectors"
    write_tsv(path, [(text,) for text in TEXTS], ("text_a",))
    infer("ernie_encoder.py", init_checkpoint=checkpoint, data_set=path, output_dir=out, pooling="mean")
    vectors = predictor.embed(TEXTS, pooling="mean")
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, np.load(out / "cls_emb.npy"), atol=1e-5)
    long = np.linalg.norm(predictor.embed(TEXTS[:2], normalize=True), axis=1)
    np.testing.assert_allclose(long, 1, atol=1e-5)
    with pytest.raises(ValueError, match="pooling must be one of"):
        predictor.embed(TEXTS[:1], pooling="sum")


@pytest.mark.parametrize(
    ("task", "items"),
    [
        ("regression", ["a good film", ("fine", "dull")]),
        ("sequence_label", ["the cast was dull", ["the", "cast"]]),
        ("mrc", [("good ?", "the story was good . a film"), {"question": "dull ?", "context": "the cast was dull"}]),
        ("embed", ["a good film", "dull"]),
    ],
)
def test_every_task(task, items, model, tmp_path):
    """From an inference model; the answers have what the server's have."""
    folder = make_bundle(tmp_path / task, model, task)
    if task == "sequence_label":
        items = items[:1]
    answers = finetune.load(folder, use_cuda="false")(items)
    keys = {
        "regression": {"score", "truncated"},
        "sequence_label": {"entities", "tokens"},
        "mrc": {"answer", "start", "end", "probability", "nbest"},
        "embed": {"embedding", "truncated"},
    }
    assert [set(answer) for answer in answers] == [keys[task]] * len(items)
    json.dumps(answers, allow_nan=False)


def test_an_inference_model_of_another_task_has_no_embeddings(model, tmp_path):
    loaded = finetune.load(make_bundle(tmp_path / "bundle", model, "classify"), use_cuda="false")
    with pytest.raises(UserError, match="load the checkpoint it was made from"):
        loaded.embed(["a good film"])


def test_a_model_directory_and_a_hugging_face_directory_give_embeddings(model):
    ours = finetune.load(model, use_cuda="false")
    assert ours.spec.task == "embed"
    assert ours.embed(["a good film"]).shape == (1, 32)
    io = np.load(FIXTURES / "peers" / "bert" / "io.npz")
    with finetune.load(FIXTURES / "peers" / "bert", use_cuda="false") as foreign:
        assert foreign.embed(["the film"]).shape[1] == foreign._model.config.hidden_size
    assert io.files


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ("a text", "give a list of texts"),
        (["good", ""], r"texts\[1\] is empty"),
        (["good", 3], r"texts\[1\]"),
        ([("a", "b", "c")], "pair of strings"),
        (
            [{"body": "b"}],
            r"an object: give the text of each row, as in \[row\['review'\] for row in rows\], or its two",
        ),
    ],
)
def test_what_is_wrong_with_an_item_is_said(items, message, predictor):
    with pytest.raises((ValueError, TypeError), match=message):
        predictor(items)


def test_folders_that_hold_no_model(tmp_path, checkpoint):
    with pytest.raises(UserError, match="no such directory"):
        finetune.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no checkpoint"):
        finetune.load(tmp_path)
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    (copy / "vocab.txt").unlink()
    with pytest.raises(UserError, match="needs --vocab_path"):
        finetune.load(copy)
    loaded = finetune.load(copy, vocab_path=checkpoint / "vocab.txt", use_cuda="false")
    assert loaded(["good"])[0]["label"] in ("0", "1")
    with pytest.raises(UserError, match="is of the task 'classify'"):
        finetune.load(checkpoint, task="mrc")


TRAIN = """
import json, sys
import finetune
result = finetune.train("classify", model=sys.argv[1], train_set=sys.argv[2] + "/train.tsv",
                        dev_set=sys.argv[2] + "/dev.tsv", checkpoints=sys.argv[3], for_cn=False, max_seq_len=24,
                        batch_size=8, epoch=1, validation_steps=2, use_cuda=False, num_labels=2)
again = finetune.train("classify", model=sys.argv[1], train_set=sys.argv[2] + "/train.tsv",
                       dev_set=sys.argv[2] + "/dev.tsv", checkpoints=sys.argv[3], for_cn=False, max_seq_len=24,
                       batch_size=8, epoch=1, validation_steps=2, use_cuda=False, num_labels=2)
print(json.dumps([result.scores, str(result.folder), result.step, result.best_step, again == result]))
"""


@pytest.mark.slow
def test_training_from_python_is_the_run_of_the_script(model, data, tmp_path):
    command = [sys.executable, "-c", TRAIN, str(model), str(data), str(tmp_path / "run")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    scores, folder, step, best_step, same = json.loads(done.stdout.splitlines()[-1])
    assert same  # a finished run says how it ended
    assert (folder, step) == (str(tmp_path / "run"), 5)
    records = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    (best,) = [r for r in records if r["event"] == "dev" and r["step"] == best_step]
    assert scores["acc"] == best["acc"] == max(r["acc"] for r in records if r["event"] == "dev")
    flags = {"ernie_config_path": model / "ernie_config.json", "vocab_path": model / "vocab.txt",
             "init_pretraining_params": model / "params", "train_set": data / "train.tsv", "dev_set": data / "dev.tsv",
             "for_cn": "false", "max_seq_len": 24, "batch_size": 8, "epoch": 1, "validation_steps": 2,
             "use_cuda": "false", "checkpoints": tmp_path / "script"}  # fmt: skip
    words = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    subprocess.run([sys.executable, ROOT / "run_classifier.py", *words], check=True, capture_output=True)
    for name in ("_cls_out_w", "word_embedding"):
        assert (tmp_path / "script/last" / name).read_bytes() == (tmp_path / "run/last" / name).read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rat": 1e-3}, "unknown argument learning_rat: did you mean learning_rate"),
        ({"epoch": "three"}, "epoch is 'three': give a whole number$"),
        ({"epoch": True}, "epoch is True"),
        ({"label_map_config": {"a": 0}}, "label_map_config is {'a': 0}: give a text$"),
        ({"train_set": ["a.tsv", "b.tsv"]}, r"train_set is \['a.tsv', 'b.tsv'\]: give a text$"),
        ({"dev_set": 3}, "dev_set is 3: give a text or a list of them"),
        ({"dev_set": ["a,b.tsv"]}, "dev_set has 'a,b.tsv': each member is a text without commas, a path or a number"),
        ({"dev_set": [None]}, "dev_set has None: each member"),
        ({"lr_scheduler": "sine"}, "give one of linear_warmup_decay"),
        ({"train_set": None}, "needs --train_set"),
        ({"model": "nowhere"}, "nowhere: no such directory"),
    ],
)
def test_keywords_are_checked_as_flags_are(changes, message, model):
    flags = {"model": model, "train_set": "train.tsv", "do_val": False, **changes}
    with pytest.raises(UserError, match=message):
        finetune.train("classify", **flags)


def test_a_list_is_a_text_with_commas():
    flags = {"model": None, "ernie_config_path": "c.json", "vocab_path": "vocab.txt", "train_set": "train.tsv"}
    lists = {
        "dev_set": [Path("dev.tsv"), "more.tsv"],
        "test_set": ("test.tsv",),
        "test_save": [],
        "class_weights": [1, 2.5],
    }
    texts = {"dev_set": "dev.tsv,more.tsv", "test_set": "test.tsv", "test_save": "", "class_weights": "1,2.5"}
    made = from_keywords({**flags, **lists})
    assert made == from_keywords({**flags, **texts})
    assert (made.data.dev_set, made.loss.class_weights) == ("dev.tsv,more.tsv", "1,2.5")


def test_tasks_that_are_unknown_or_not_trained(model):
    with pytest.raises(UserError, match="unknown: give one of classify"):
        finetune.train("clasify", model=model)
    with pytest.raises(UserError, match="nothing to train"):
        finetune.train("embed", model=model)


def test_what_pre_training_leaves_is_an_encoder(model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "pretrained")
    record = {"task": "multi_task", "tasks": {"knowledge_masking": {"task_id": 0}}, "for_cn": False}
    (folder / "params/checkpoint.json").write_text(json.dumps(record))
    found = finetune.load(folder, use_cuda="false").embed(TEXTS[:2], pooling="mean")
    np.testing.assert_array_equal(found, finetune.load(model, use_cuda="false").embed(TEXTS[:2], pooling="mean"))


def test_a_bundle_and_its_checkpoint_say_the_same(checkpoint, tmp_path):
    infer(SCRIPT, init_checkpoint=checkpoint, do_prediction="false", save_inference_model_path=tmp_path / "saved")
    one = finetune.load(tmp_path / "saved", use_cuda="false")
    assert one(TEXTS[:3]) == finetune.load(checkpoint, use_cuda="false")(TEXTS[:3])
    assert InferenceModel.open(tmp_path / "saved", use_cuda="false").spec == one.spec
