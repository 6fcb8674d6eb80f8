"""run_classifier.py as its user starts it, on a tiny model."""

import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from ernie.checkpoint import read_params
from tests.helpers.common import GOLDEN, ROOT
from tests.helpers.runs import at_a_terminal, read_records
from tests.helpers.tiny import flags, sentences, write_tsv
from tests.helpers.weights import assert_same_weights, weights

STEPS = 10  # 40 rows in batches of 8, twice


def start(arguments, **options):
    return subprocess.Popen(
        [sys.executable, str(ROOT / "run_classifier.py"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def run(arguments, status=0, **options):
    """The program's output; its exit status is checked."""
    process = start(arguments, **options)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == status, output
    return output


@pytest.fixture(scope="module")
def whole(model, data, tmp_path_factory):
    """A run from beginning to end: its folder and its output."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    output = run(flags(model, data, folder, log_file=folder / "train.log"))
    return folder, output


def test_a_run_from_beginning_to_end(whole, data):
    folder, output = whole
    messages = [line.split("\t", 1)[1] for line in output.splitlines() if line.startswith("[") and "\t" in line]
    text = "\n".join(messages)
    assert "Num train examples: 40\nMax train steps: 10\nNum warmup steps: 1" in text
    assert re.search(r"^Theoretical memory usage in training: \d+\.\d{3} - \d+\.\d{3} MB$", text, re.M)
    number = r"-?\d+\.\d{6}"
    assert re.search(
        rf"^epoch: 0, progress: 16/40, step: 2, ave loss: {number}, ave acc: {number}, speed: {number} steps/s$",
        text,
        re.M,
    )
    assert f"validation result of dataset {data / 'dev.tsv'}:" in text
    assert re.search(
        rf"^\[dev evaluation\] ave loss: {number}, acc:{number}, data_num: 13, elapsed time: {number} s, "
        rf"file: {re.escape(str(data / 'dev.tsv'))}, epoch: 1, steps: 10$",
        text,
        re.M,
    )
    assert f"testing {data / 'test.tsv'}, save to {folder / 'test_out.tsv'}.1.10" in text
    assert re.search(rf"^\[test evaluation\] ave loss: {number}, acc:{number}, data_num: 7, ", text, re.M)
    assert "\r" not in output
    assert "\x1b" not in output
    shown = [line for line in output.splitlines() if line.startswith("[")]
    logged = (folder / "train.log").read_text().splitlines()
    assert [line for line in logged if line in shown] == shown
    only_there = [line.partition("\t")[2] for line in logged if line not in shown]
    assert {"early_stop: 0", "hidden_size: 32"} <= {*only_there}


def test_what_a_run_leaves(whole):
    folder, _ = whole
    assert {"best", "last", "curves.png", "events", "metrics.jsonl", "run.json", "step_10", "train.log"} <= {
        entry.name for entry in folder.iterdir()
    }
    described = json.loads((folder / "last" / "checkpoint.json").read_text())
    assert (described["task"], described["num_labels"], described["max_seq_len"]) == ("classify", 2, 24)
    predictions = (folder / f"test_out.tsv.1.{STEPS}").read_text().splitlines()
    assert len(predictions) == 7
    for line in predictions:
        label, probs = line.split("\t")
        probs = [float(value) for value in probs.strip("[]").split()]
        assert float(label) == np.argmax(probs)
        assert sum(probs) == pytest.approx(1, abs=1e-5)


def test_test_sets_are_scored_once_with_the_last_and_with_the_best(whole):
    folder, _ = whole
    lines = read_records(folder)
    tested = [line["checkpoint"] for line in lines if line["event"] == "test"]
    best = (folder / "best").resolve().name
    assert tested == (["last"] if best == f"step_{STEPS}" else ["last", "best"])


def test_a_finished_run_says_so_and_another_one_is_refused(whole, model, data):
    folder, _ = whole
    before = (folder / "metrics.jsonl").read_bytes()
    assert "this run is finished" in run(flags(model, data, folder))
    output = run(flags(model, data, folder, learning_rate=1e-3), status=2)
    assert output.splitlines()[-1].startswith("error: ")
    assert "--learning_rate was 0.005, now 0.001" in output
    assert "--overwrite" in output
    assert (folder / "metrics.jsonl").read_bytes() == before


@pytest.mark.slow
def test_overwrite_begins_afresh(model, data, tmp_path):
    run(flags(model, data, tmp_path / "run", epoch=1, do_test="false"))
    run([*flags(model, data, tmp_path / "run", epoch=1, do_test="false", learning_rate=1e-3), "--overwrite"])
    assert json.loads((tmp_path / "run" / "run.json").read_text())["fingerprint"]["flag"]["--learning_rate"] == 1e-3


@pytest.mark.slow
def test_two_runs_are_bit_equal(whole, model, data, tmp_path):
    run(flags(model, data, tmp_path / "again"))
    assert_same_weights(whole[0], tmp_path / "again")


def test_the_best_checkpoint_evaluates_and_predicts_alone(whole, model, data, tmp_path):
    """What the recipe prints as the next command: no training, a test set without labels."""
    folder, output = whole
    unlabelled = write_tsv(tmp_path / "new.tsv", [[text] for _, text in sentences(7, 3)], ["text_a"])
    later = run(
        flags(
            model,
            data,
            tmp_path / "unused",
            do_train="false",
            train_set=None,
            init_pretraining_params=None,
            init_checkpoint=folder / "last",
            test_set=unlabelled,
            test_save=tmp_path / "predicted.tsv",
        )
    )
    line = re.compile(r"\[dev evaluation\] (ave loss: \S+, acc:\S+),")
    assert line.findall(later)[-1] == line.findall(output)[-1], "the last evaluation of the run, once more"
    assert "[test evaluation]" not in later
    assert (tmp_path / "predicted.tsv").read_text() == (folder / f"test_out.tsv.1.{STEPS}").read_text()
    assert not (tmp_path / "unused").exists()


def test_predictions_equal_2019(tmp_path):
    """The recorded checkpoint, its test file, the prediction file the 2019 code wrote."""
    recorded = GOLDEN / "6_cli"
    saved = tmp_path / "predicted"
    run(
        [
            *("--do_train", "false", "--do_val", "false", "--use_cuda", "false", "--max_seq_len", "64"),
            *("--ernie_config_path", str(recorded / "data" / "cfg.json"), "--batch_size", "8"),
            *("--vocab_path", str(GOLDEN / "vocab" / "vocab_zh.txt")),
            *("--init_checkpoint", str(recorded / "cls_step_15_params")),
            *("--test_set", str(recorded / "data" / "cls_test.tsv"), "--test_save", str(saved)),
        ]
    )
    ours, theirs = (path.read_text().splitlines() for path in (saved, recorded / "out" / "cls_test.1.15"))
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs):
        (label, probs), (wanted_label, wanted) = one.split("\t"), other.split("\t")
        assert label == wanted_label
        np.testing.assert_allclose(
            *[[float(v) for v in text.strip("[]").split()] for text in (probs, wanted)], atol=1e-6
        )


@pytest.mark.slow
def test_text_pairs_reach_the_network(model, tmp_path):
    """The class is whether the second sentence is the first one: no telling from either alone."""
    texts = [text for _, text in sentences(60, 4)]
    rows = [(int(i % 2), text, text if i % 2 else texts[i - 1]) for i, text in enumerate(texts)]
    for name in ("train", "dev", "test"):
        write_tsv(tmp_path / f"{name}.tsv", rows, ["label", "text_a", "text_b"])
    output = run(flags(model, tmp_path, tmp_path / "run", epoch=1, do_test="false"))
    assert "[dev evaluation]" in output
    swapped = [(label, b, a) for label, a, b in rows]
    write_tsv(tmp_path / "train.tsv", swapped, ["label", "text_a", "text_b"])
    run(flags(model, tmp_path, tmp_path / "other", epoch=1, do_test="false"))
    assert not np.array_equal(weights(tmp_path / "run")["_cls_out_w"], weights(tmp_path / "other")["_cls_out_w"])


@pytest.mark.slow
def test_a_checkpoint_of_other_labels_or_vocabulary_is_refused(whole, model, data, tmp_path):
    folder, _ = whole
    given = {"init_checkpoint": folder / "best", "init_pretraining_params": None, "epoch": 1, "do_test": "false"}
    labels = tmp_path / "map.json"
    labels.write_text('{"0": 1, "1": 0}')
    output = run(flags(model, data, tmp_path / "a", **given, label_map_config=labels), status=2)
    assert "label_map is None, this run's {'0': 1, '1': 0}" in output.splitlines()[-1]
    output = run(flags(model, data, tmp_path / "b", **given, do_lower_case="false"), status=2)
    assert "tokenizer_fingerprint" in output.splitlines()[-1]
    output = run(flags(model, data, tmp_path / "c", **{**given, "max_seq_len": 20}))
    assert "was trained with --max_seq_len 24, now 20" in output


@pytest.mark.slow
def test_init_pretraining_params_takes_the_encoder_and_drops_the_head(whole, model, data, tmp_path):
    """From a fine-tuned checkpoint with two classes to a task with three (as MNLI -> RTE, the other way round)."""
    folder, _ = whole
    given = {"init_pretraining_params": folder / "best", "learning_rate": 1e-12, "epoch": 1, "do_test": "false"}
    output = run(flags(model, data, tmp_path / "run", num_labels=3, **given))
    assert "the head is new" in output
    assert "--init_checkpoint" not in output.partition("the head is new")[2].splitlines()[0]  # it has two labels
    output = run(flags(model, data, tmp_path / "again", max_steps=1, **given))
    assert f"(--init_checkpoint {folder / 'best'} trains the one that is there)" in output
    before, after = read_params(folder / "best"), weights(tmp_path / "run")
    assert after["_cls_out_w"].shape == (32, 3)
    np.testing.assert_allclose(after["word_embedding"], before["word_embedding"], atol=1e-6)


def wait_for(process, pattern):
    """Read the process's output until a line matches; the lines read."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if re.search(pattern, line):
            return lines
    raise AssertionError(f"{pattern} never came:\n{''.join(lines)}")


LONG = {"epoch": 8, "bucket_window": 16, "skip_steps": 2}


@pytest.fixture(scope="module")
def killed_run_whole(model, data, tmp_path_factory):
    """The runs that nobody kills, made once each."""
    made = {}

    def get(accumulate):
        if accumulate not in made:
            folder = tmp_path_factory.mktemp("never_killed") / "run"
            run(flags(model, data, folder, **LONG, gradient_accumulation_steps=accumulate))
            made[accumulate] = folder
        return made[accumulate]

    return get


@pytest.mark.slow
@pytest.mark.parametrize(
    ("accumulate", "moment"),
    [
        (1, "Num warmup steps"),
        (1, "step: 4,"),
        (1, "saved checkpoint"),
        (1, "step: 14,"),
        (2, "step: 6,"),
        (2, "dev evaluation"),
    ],
)
def test_kill_at_any_moment_and_continue(model, data, killed_run_whole, tmp_path, moment, accumulate):
    """kill -9, the same command again: the same weights, bit for bit, and the same figures."""
    changes = {**LONG, "gradient_accumulation_steps": accumulate}
    whole = killed_run_whole(accumulate)
    process = start(flags(model, data, tmp_path / "cut", **changes))
    wait_for(process, moment)
    time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    saved = list((tmp_path / "cut").glob("step_*"))
    output = run(flags(model, data, tmp_path / "cut", **changes))
    assert ("continue from step" in output) == bool(saved)
    assert_same_weights(whole, tmp_path / "cut")
    figures = [
        [
            {k: v for k, v in json.loads(line).items() if k not in ("speed", "elapsed", "queue_size", "file")}
            for line in (folder / "metrics.jsonl").read_text().splitlines()
        ]
        for folder in (whole, tmp_path / "cut")
    ]
    assert figures[0] == figures[1]
    assert not [entry for entry in (tmp_path / "cut").iterdir() if ".new-" in entry.name], "leftovers of the killed run"


@pytest.mark.slow
def test_the_bar_is_on_a_terminal_only(model, data, tmp_path):
    """Through a pseudo-terminal there is a bar; the log file stays free of control characters."""

    log_file = tmp_path / "train.log"
    shown = at_a_terminal([ROOT / "run_classifier.py", *flags(model, data, tmp_path / "run", log_file=log_file)])
    assert b"step/s" in shown or b"s/step" in shown
    text = log_file.read_text()
    assert "\r" not in text
    assert "\x1b" not in text


@pytest.mark.slow
def test_predictions_of_ranked_rows_begin_with_their_qid(model, data, tmp_path):
    rows = [(7 + i // 3, text) for i, (_, text) in enumerate(sentences(6, 5))]
    test = write_tsv(tmp_path / "test.tsv", rows, ["qid", "text_a"])
    run(flags(model, data, tmp_path / "run", epoch=1, test_set=test))
    lines = (tmp_path / "run" / "test_out.tsv.0.5").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["7", "7", "7", "8", "8", "8"]
    assert all(len(line.split("\t")) == 3 for line in lines)
