"""infer_classifyer.py as its user starts it, on a tiny model: from a checkpoint and from an inference model."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from propeller import runtime
from tests.helpers.common import GOLDEN, ROOT
from tests.helpers.predicting import infer, rerun, table, train, words
from tests.helpers.runs import at_a_terminal
from tests.helpers.tiny import sentences, write_tsv

SCRIPT, RUN = "infer_classifyer.py", ("run_classifier.py", "classify")


@pytest.fixture(scope="module")
def checkpoint(model, data, tmp_path_factory):
    return train(*RUN, model, data, tmp_path_factory.mktemp("run") / "run")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A file of rows of very different lengths, in no order, more than a batch."""
    random, path = np.random.RandomState(9), tmp_path_factory.mktemp("rows") / "rows.tsv"
    texts = [" ".join([text] * random.randint(1, 4)) for _, text in sentences(90, 7)]
    return write_tsv(path, [(1000 - i, text, i % 2) for i, text in enumerate(texts)], ("qid", "text_a", "label"))


@pytest.fixture(scope="module")
def saved(model, checkpoint, rows, tmp_path_factory):
    """The folder of an inference model, and what was predicted while it was made."""
    folder = tmp_path_factory.mktemp("saved")
    given = {"init_checkpoint": checkpoint, "vocab_path": model / "vocab.txt", "predict_set": rows}
    infer(SCRIPT, **given, output=folder / "first.tsv", save_inference_model_path=folder / "saved")
    assert [path.name for path in (folder / "saved").iterdir()] == ["last_inference_model"]
    return folder / "saved", (folder / "first.tsv").read_text(encoding="utf8")


def numbers(text):
    return np.array([[float(value) for value in line.split("\t")] for line in text.splitlines()])


def test_the_command_of_2019_prints_what_it_printed(tmp_path):
    """From the recorded checkpoint, and from the inference model that is left, which needs no other flag."""
    recorded = GOLDEN / "6_cli"
    command, _, rest = (recorded / "log" / "infer.log").read_text(encoding="utf8").partition("\n---- stdout\n")
    wanted = numbers(rest.partition("---- stderr")[0])
    given = dict(zip(*[iter(word.lstrip("-") for word in command.split()[3:])] * 2))
    given.update(
        ernie_config_path=recorded / "data" / given["ernie_config_path"],
        vocab_path=GOLDEN / "vocab" / "vocab_zh.txt",
        init_checkpoint=recorded / "cls_step_15_params",
        predict_set=recorded / "data" / given["predict_set"],
        save_inference_model_path=tmp_path / given["save_inference_model_path"],
    )
    printed, log = infer(SCRIPT, **given, log_file=tmp_path / "log")
    np.testing.assert_allclose(numbers(printed), wanted, atol=1e-6)
    line = r"\tqps:\d+\.\d+\ttotal_time:\d+\.\d+\ttotal_example:9\tbatch_size:4$"
    assert re.search(line, (tmp_path / "log").read_text(encoding="utf8"), re.M)
    assert "qps" not in log
    assert re.search(r"\tpredicted 9 rows in \d+\.\d+ s, \d+\.\d rows/s \(\d+\.\d+ s of it in the model\): ", log)
    bundle = tmp_path / "inf" / "cls_step_15_params_inference_model"
    assert f"\tsave inference model to {bundle}\n" in log
    assert infer(SCRIPT, inference_model=bundle, predict_set=given["predict_set"], batch_size=4)[0] == printed


def test_equal_to_run_classifier_in_the_files_order(model, data, checkpoint, rows, saved, tmp_path):
    header, found = table(saved[1])
    assert header == ["qid", "text_a", "gold_label", "label", "prob_0", "prob_1"]
    assert [row[0] for row in found] == [str(1000 - i) for i in range(90)]
    lines = rerun(*RUN, model, data, checkpoint, rows, tmp_path / "run.tsv")
    for row, line in zip(found, lines):
        qid, label, probs = line.split("\t")
        assert (row[0], row[3]) == (qid, f"{float(label):.0f}")
        np.testing.assert_allclose(
            [float(value) for value in row[4:]], [float(value) for value in probs.strip("[]").split()], atol=1e-5
        )
    assert len(lines) == len(found)


def test_an_inference_model_needs_nothing_else(rows, saved):
    folder, first = saved
    printed, log = infer(SCRIPT, inference_model=folder, predict_set=rows, output_format="tsv")
    assert printed == first
    said = r"\tpredicted 90 rows in [\d.]+ s, [\d.]+ rows/s \([\d.]+ s of it in the model\): standard output$"
    assert re.search(said, log, re.MULTILINE)
    *_, predicted, scored = log.splitlines()
    assert predicted.endswith("standard output")
    assert "scores of 90 labelled rows: acc: " in scored
    assert "\r" not in log
    assert "\x1b" not in log


def test_json_lines_and_bare_probabilities_say_the_same(rows, saved):
    folder, first = saved
    header, found = table(first)
    given = {"inference_model": folder, "predict_set": rows}
    objects = [json.loads(line) for line in infer(SCRIPT, **given, output_format="jsonl")[0].splitlines()]
    bare = numbers(infer(SCRIPT, **given)[0])
    for row, entry, probs in zip(found, objects, bare):
        assert list(entry) == ["qid", "text_a", "gold_label", "label", "label_id", "probabilities"]
        assert [str(entry["qid"]), entry["text_a"], entry["gold_label"], entry["label"]] == row[:4]
        assert entry["label_id"] == int(probs.argmax())
        assert list(entry["probabilities"].values()) == probs.tolist()
        assert [float(value) for value in row[4:]] == pytest.approx(probs.tolist(), rel=1e-6)
    assert len(objects) == len(bare) == len(found)


@pytest.mark.slow
def test_pairs_label_words_and_columns_in_any_order(model, data, tmp_path):
    (tmp_path / "map.json").write_text(json.dumps({"no": 1, "so so": 0, "yes": 2}))
    texts = [text for _, text in sentences(24, 4)]
    pairs = [("yes" if i % 2 else "no", text, text if i % 2 else texts[i - 1]) for i, text in enumerate(texts)]
    train_set = write_tsv(tmp_path / "train.tsv", pairs, ("label", "text_a", "text_b"))
    options = {"label_map_config": tmp_path / "map.json", "num_labels": 3}
    checkpoint = train(*RUN, model, data, tmp_path / "run", train_set=train_set, **options)
    path = write_tsv(tmp_path / "new.tsv", [(b, a) for _, a, b in pairs], ("text_b", "text_a"))
    given = {"init_checkpoint": checkpoint, "vocab_path": model / "vocab.txt", "predict_set": path}
    header, found = table(infer(SCRIPT, **given, output_format="tsv")[0])
    assert header == ["text_b", "text_a", "label", "prob_so so", "prob_no", "prob_yes"]
    lines = rerun(*RUN, model, data, checkpoint, path, tmp_path / "run.tsv", **options)
    names = ["so so", "no", "yes"]
    for row, line, (_, a, b) in zip(found, lines, pairs):
        label, probs = line.split("\t")
        assert row[:3] == [b, a, names[int(float(label))]]
        np.testing.assert_allclose(
            [float(value) for value in row[3:]], [float(value) for value in probs.strip("[]").split()], atol=1e-5
        )
    short = infer(SCRIPT, **given, output_format="tsv", copy_columns="false")[0]
    assert table(short) == (header[2:], [row[2:] for row in found])


@pytest.mark.slow
def test_regression_is_known_by_its_checkpoint(model, data, tmp_path):
    scores = [(round(0.5 * (i % 7), 2), text) for i, (_, text) in enumerate(sentences(24, 4))]
    options = {"is_regression": "true", "num_labels": 1, "metric": "pearson_and_spearman"}
    train_set = write_tsv(tmp_path / "train.tsv", scores)
    checkpoint = train(*RUN, model, data, tmp_path / "run", train_set=train_set, **options)
    given = {"vocab_path": model / "vocab.txt", "predict_set": data / "test.tsv", "output_format": "tsv"}
    printed, _ = infer(SCRIPT, init_checkpoint=checkpoint, save_inference_model_path=tmp_path / "saved", **given)
    header, found = table(printed)
    assert header == ["gold_label", "text_a", "score"]
    lines = rerun(*RUN, model, data, checkpoint, data / "test.tsv", tmp_path / "run.tsv", **options)
    assert [float(row[2]) for row in found] == pytest.approx([float(line.split("\t")[0]) for line in lines], abs=1e-5)
    saved = {"inference_model": tmp_path / "saved", "predict_set": data / "test.tsv"}
    entry = json.loads(infer(SCRIPT, **saved, output_format="jsonl")[0].splitlines()[0])
    assert entry == {"gold_label": found[0][0], "text_a": found[0][1], "score": pytest.approx(float(found[0][2]))}
    (tmp_path / "checkpoint_of_2019").mkdir()
    for path in checkpoint.resolve().iterdir():
        if path.is_file() and path.name not in ("checkpoint.json", "vocab.txt"):
            (tmp_path / "checkpoint_of_2019" / path.name).symlink_to(path)
    old = {"init_checkpoint": tmp_path / "checkpoint_of_2019", "ernie_config_path": model / "ernie_config.json"}
    printed_old, _ = infer(SCRIPT, **old, **given, is_regression="true", max_seq_len=24, for_cn="false")
    assert printed_old == printed


def test_ranked_answers_keep_their_question(model, data, rows, tmp_path):
    checkpoint = train(*RUN, model, data, tmp_path / "run", metric="acc_and_f1_and_mrr")
    given = {"vocab_path": model / "vocab.txt", "save_inference_model_path": tmp_path / "saved"}
    header, found = table(infer(SCRIPT, **given, init_checkpoint=checkpoint, predict_set=rows, output_format="tsv")[0])
    assert header == ["qid", "text_a", "gold_label", "label", "prob_0", "prob_1"]
    assert [row[0] for row in found] == [str(1000 - i) for i in range(90)]
    described = json.loads((tmp_path / "saved" / "last_inference_model" / "bundle.json").read_text())
    assert described["meta"]["metric"] == "acc_and_f1_and_mrr"


@pytest.mark.slow
def test_standard_input_and_a_reader_that_has_enough(saved, rows):
    folder, _ = saved
    with open(rows, encoding="utf8") as file:
        content = file.read()
    given = {"inference_model": folder, "output_format": "tsv"}
    assert infer(SCRIPT, stdin=content, predict_set="-", **given)[0] == saved[1]
    _, error = infer(SCRIPT, status=2, stdin="text_a\tlabel\ngood\t1\nbad\n", predict_set="-", **given)
    assert error.startswith("error: standard input, line 3: 1 fields where the header has 2")
    command = [sys.executable, str(ROOT / SCRIPT), *words(predict_set=rows, **given)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    log = process.stderr.read()
    assert process.wait(timeout=60) == 1
    assert "standard output was closed" in log
    assert "Traceback" not in log
    assert "Exception ignored" not in log


@pytest.mark.slow
def test_devices_pipes_and_links_stay_what_they_are(saved, rows, tmp_path):
    given = {"inference_model": saved[0], "predict_set": rows, "output_format": "tsv"}
    infer(SCRIPT, **given, output=os.devnull)
    assert not Path(os.devnull).is_file()
    pipe, link, target = tmp_path / "pipe", tmp_path / "link.tsv", tmp_path / "target.tsv"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True) as cat:
        infer(SCRIPT, **given, output=pipe)
        assert cat.communicate()[0] == saved[1]
    assert pipe.is_fifo()
    target.write_text("old\n")
    link.symlink_to(target)
    infer(SCRIPT, **given, output=link)
    assert link.is_symlink()
    assert target.read_text() == saved[1]
    assert infer(SCRIPT, **given, output="-")[0] == saved[1]


def test_a_long_row_is_cut_and_counted(saved, tmp_path):
    path = write_tsv(tmp_path / "long.tsv", [["good " * 200], ["film"], ["good " * 300]], ["text_a"])
    printed, log = infer(SCRIPT, inference_model=saved[0], predict_set=path)
    assert "2 of 3 rows were cut to 24 tokens" in log
    first, _, last = numbers(printed)
    np.testing.assert_allclose(first, last, atol=1e-6)
    printed, log = infer(SCRIPT, inference_model=saved[0], predict_set=path, max_seq_len=20)
    assert "was saved with --max_seq_len 24, now 20" in log
    assert "2 of 3 rows were cut to 20 tokens" in log
    assert abs(numbers(printed)[0] - first).max() > 1e-6


@pytest.mark.slow
def test_only_an_inference_model(model, checkpoint, data, rows, tmp_path):
    """It is written without a file to predict, is not replaced unasked, and may hold an ONNX file that agrees."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("paddle2onnx", reason="paddle2onnx is not installed")
    given = {"init_checkpoint": checkpoint, "vocab_path": model / "vocab.txt", "do_prediction": "false"}
    given["save_inference_model_path"] = tmp_path / "saved"
    printed, log = infer(SCRIPT, **given)
    bundle = tmp_path / "saved" / "last_inference_model"
    assert printed == ""
    assert "predicted" not in log
    assert not (bundle / "model.onnx").exists()
    before = (bundle / "bundle.json").read_bytes()
    _, error = infer(SCRIPT, status=2, **given, onnx="true")
    assert f"{bundle}: exists already" in error
    assert "--overwrite" in error
    assert (bundle / "bundle.json").read_bytes() == before
    infer(SCRIPT, **given, onnx="true", overwrite="true")
    session = onnxruntime.InferenceSession(str(bundle / "model.onnx"))
    from finetune.prediction.model import InferenceModel

    opened = InferenceModel.open(bundle)
    for batch, _ in opened.reader(rows, 16).batches():
        probs = opened.run(batch)["probs"]
        feed = {entry.name: batch[entry.name] for entry in session.get_inputs()}
        np.testing.assert_allclose(session.run(None, feed)[1], probs, atol=1e-5)


def test_a_failed_run_leaves_the_old_output(saved, rows, tmp_path):
    path = tmp_path / "rows.tsv"
    with open(rows, encoding="utf8") as file:
        path.write_text(file.read() + "0\tgood\n", encoding="utf8")
    (tmp_path / "out.tsv").write_text("old\n")
    _, error = infer(SCRIPT, status=2, inference_model=saved[0], predict_set=path, output=tmp_path / "out.tsv")
    assert f"{path}, line 92" in error
    assert (tmp_path / "out.tsv").read_text() == "old\n"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out.tsv", "rows.tsv"]


def test_bf16_gives_the_same_labels(saved, rows):
    if not runtime.cpu_has_bf16():
        pytest.skip("this processor has no bfloat16")
    exact = numbers(infer(SCRIPT, inference_model=saved[0], predict_set=rows)[0])
    rough = numbers(infer(SCRIPT, inference_model=saved[0], predict_set=rows, precision="bf16")[0])
    assert not np.array_equal(exact, rough)
    np.testing.assert_allclose(exact, rough, atol=0.03)
    sure = abs(exact[:, 0] - 0.5) > 0.03
    assert (exact.argmax(axis=1) == rough.argmax(axis=1))[sure].all()


def test_the_bar_is_on_a_terminal_only(saved, rows, tmp_path):

    given = words(inference_model=saved[0], predict_set=rows, output=tmp_path / "out.tsv", log_file=tmp_path / "log")
    shown = at_a_terminal([ROOT / SCRIPT, *given])
    assert b"90.0/90.0" in shown
    assert b"rows/s" in shown
    assert "\r" not in (tmp_path / "log").read_text()
    assert (tmp_path / "out.tsv").read_text() == saved[1]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(saved, tmp_path):
    peaks = []
    for count in (4_000, 64_000):
        path = tmp_path / f"{count}.tsv"
        write_tsv(path, [[text] for _, text in sentences(1000, 3)] * (count // 1000), ["text_a"])
        given = words(inference_model=saved[0], predict_set=path, output=tmp_path / "out.tsv", batch_size=64)
        process = subprocess.Popen([sys.executable, str(ROOT / SCRIPT), *given], stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        assert status == 0
        assert len((tmp_path / "out.tsv").read_text().splitlines()) == count + 1
        peaks.append(usage.ru_maxrss)  # KiB
    assert peaks[1] - peaks[0] < 24_000, peaks
