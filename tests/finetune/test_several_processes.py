"""Fine-tuning in two processes over gloo: the steps, weights, scores and files of one process.

python -m pytest tests/finetune/test_several_processes.py
"""

import json
import subprocess
import sys

import numpy as np
import pytest

from ernie.checkpoint import read_params
from tests.helpers.common import ROOT
from tests.helpers.launch import launcher
from tests.helpers.runs import timeless_records
from tests.helpers.shell import clean_environment
from tests.helpers.squad import squad
from tests.helpers.tagged import IOB
from tests.helpers.tiny import GOOD, OTHER, flags, make_data, make_model, sentences, write_tsv

FINETUNE = str(ROOT / "finetune" / "__main__.py")


def run(words, log, status=0):
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == status, done.stderr
    log.write_text(done.stderr)
    return done.stderr


@pytest.fixture(scope="module")
def steady(tmp_path_factory):
    """A model without dropout."""
    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return make_model(tmp_path_factory.mktemp("steady") / "model", **off)


def both(task, folder, make_flags):
    """A run of a task in one process and in two, with half the batch each; their standard errors."""
    outputs = []
    for processes in (1, 2):
        words = [*launcher(folder / str(processes), processes), FINETUNE, task]
        (folder / str(processes)).mkdir(parents=True, exist_ok=True)
        outputs.append(
            run(
                [*words, *make_flags(folder / str(processes), 32 // processes), "--head_dropout", "0"],
                folder / f"{processes}.said",
            )
        )
    return outputs


def assert_alike(folder, steps):
    """Losses within 1e-5, weights within 1e-4; a bias of the keys changes no loss, so Adam moves it by noise."""
    one, two = (timeless_records(folder / name / "run") for name in "12")
    assert [line["step"] for line in one] == [line["step"] for line in two]
    assert max(line["step"] for line in one) == steps
    for line, other in zip(one, two):
        if line["event"] == "train":  # precision and recall are means over batches, which are halves here
            line, other = (
                {key: entry[key] for key in ("step", "epoch", "loss", "learning_rate")} for entry in (line, other)
            )
        assert line == pytest.approx(other, abs=1e-5)
    one, two = (read_params(folder / name / "run" / "last") for name in "12")
    for name in one:
        # What is added to all scores that are compared changes no loss: Adam moves it by rounding errors.
        if not name.endswith(("key_fc.b_0", "cls_mrc_out_b")):
            np.testing.assert_allclose(one[name], two[name], atol=1e-4, err_msg=name)


@pytest.mark.slow
def test_classification_equals_one_process(steady, tmp_path):
    """50 steps and more; 109 rows: each epoch ends with a step of 13 rows, which the second rank has none of."""
    data = make_data(tmp_path / "data")
    write_tsv(data / "train.tsv", sentences(109, 1))
    given = {"epoch": 13, "skip_steps": 1, "learning_rate": 1e-3, "predict_batch_size": 3}
    _, said = both(
        "classify", tmp_path, lambda folder, size: flags(steady, data, folder / "run", batch_size=size, **given)
    )
    assert_alike(tmp_path, 52)
    assert "Device count: 2" in said
    predictions = [
        [(label, [float(v) for v in probs.strip("[]").split()]) for label, probs in
         (line.split("\t") for line in (tmp_path / name / "run" / "test_out.tsv.12.52").read_text().splitlines())]
        for name in "12"
    ]  # fmt: skip
    assert [label for label, _ in predictions[0]] == [label for label, _ in predictions[1]]
    np.testing.assert_allclose(*[[probs for _, probs in rows] for rows in predictions], atol=1e-5)
    second = (tmp_path / "2" / "log" / "job.log.1").read_text()
    assert "[dev evaluation]" in second, "its log lines are in a file of its own"
    assert "saved checkpoint" not in second


@pytest.mark.slow
def test_classification_with_options_equals_one_process(steady, tmp_path):
    """What a row's loss, its adversarial step and the mean of the weights are does not depend on who computes them."""
    data = make_data(tmp_path / "data")
    write_tsv(data / "train.tsv", sentences(109, 1))
    given = {
        "epoch": 4, "skip_steps": 1, "learning_rate": 1e-3, "predict_batch_size": 3, "do_test": "false",
        "class_weights": "balanced", "label_smoothing": 0.1, "focal_gamma": 1.0, "rdrop_alpha": 1.0,
        "fgm_epsilon": 0.1, "ema_decay": 0.9, "layer_lr_decay": 0.9,
    }  # fmt: skip
    both("classify", tmp_path, lambda folder, size: flags(steady, data, folder / "run", batch_size=size, **given))
    assert_alike(tmp_path, 16)


@pytest.mark.slow
def test_tagging_equals_one_process(steady, tmp_path):
    """Its loss is a mean over places: numerator and denominator are those of all ranks. Long sentences in windows."""
    random = np.random.RandomState(3)
    words = ["good", "bad", "film", "story", "the"]
    tags = {"good": "B-PER", "bad": "B-LOC"}

    def rows(count, length):
        made = [random.choice(words, length(i)) for i in range(count)]
        return [("\x02".join(row), "\x02".join(tags.get(word, "O") for word in row)) for row in made]

    data = tmp_path / "data"
    data.mkdir()
    write_tsv(data / "train.tsv", rows(90, lambda i: 9), ("text_a", "label"))
    for name in ("dev", "test"):
        write_tsv(data / f"{name}.tsv", rows(23, lambda i: 4 + 11 * (i % 4 == 1)), ("text_a", "label"))
    (tmp_path / "map.json").write_text(json.dumps(IOB))
    given = {"label_map_config": tmp_path / "map.json", "num_labels": len(IOB), "max_seq_len": 11, "epoch": 17,
             "skip_steps": 1, "predict_batch_size": 3, "learning_rate": 1e-3}  # fmt: skip
    both("sequence_label", tmp_path, lambda folder, size: flags(steady, data, folder / "run", batch_size=size, **given))
    assert_alike(tmp_path, 51)
    files = [(tmp_path / name / "run" / "test_out.tsv.16.51").read_text().splitlines() for name in "12"]
    assert len(files[0]) == 23
    for one, two in zip(*files):
        one, two = one.split("\t"), two.split("\t")
        assert (one[:2], one[3]) == (two[:2], two[3])


@pytest.mark.slow
def test_reading_comprehension_equals_one_process(steady, tmp_path):
    """Windows are gathered from both processes; the answer files and those of predictions are the same."""
    random, data = np.random.RandomState(1), tmp_path / "data"
    data.mkdir()
    for name, count in (("train", 37), ("dev", 8), ("test", 5)):
        paragraphs = []
        for i in range(count):
            words = list(random.choice(OTHER[:9], 5 if i % 3 else 30))
            words.insert(random.randint(len(words)), answer := random.choice(GOOD))
            paragraphs.append((" ".join(words), [(f"{name}{i}", "the cast ?", answer, answer)]))
        squad(data / f"{name}.json", *paragraphs)
    given = {"train_set": data / "train.json", "dev_set": data / "dev.json", "test_set": data / "test.json", "epoch": 4,
             "doc_stride": 8, "max_answer_length": 4, "n_best_size": 5, "skip_steps": 1, "learning_rate": 1e-3,
             "predict_batch_size": 2, "num_labels": None}  # fmt: skip
    both("mrc", tmp_path, lambda folder, size: flags(steady, data, folder / "run", batch_size=size, **given))
    steps = max(line["step"] for line in timeless_records(tmp_path / "1" / "run"))
    assert_alike(tmp_path, steps)
    names = sorted(path.name for path in (tmp_path / "1" / "run").glob("*predictions.json"))
    assert names
    for name in names:
        one, two = (json.loads((tmp_path / side / "run" / name).read_text()) for side in "12")
        if "nbest" not in name:
            assert one == two


@pytest.mark.slow
def test_a_recipe_trains_on_two_cores(steady, tmp_path):
    """``DEVICES=cpu:2 sh recipe``: the launcher's processes, the recipe's total batch, its last words."""
    data = make_data(tmp_path / "data" / "chnsenticorp")
    recipe = ROOT / "script" / "zh_task" / "ernie_base" / "run_ChnSentiCorp.sh"
    settings = {"MODEL_PATH": steady, "TASK_DATA_PATH": data.parent, "OUTPUT": tmp_path / "out", "DEVICES": "cpu:2"}
    words = ["sh", str(recipe), "--epoch", "1", "--max_seq_len", "24", "--for_cn", "false", "--skip_steps", "1"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False,
                          env=clean_environment(**settings, PYTHON=sys.executable))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "the total batch stays 24 (1 GPUs x 24): batches of 12 in each of 2 processes" in done.stderr
    assert "Device count: 2" in done.stderr
    folder = tmp_path / "out" / "zh_task" / "ernie_base" / "ChnSentiCorp" / "seed_1"
    assert (folder / "best" / "checkpoint.json").is_file()
    assert (folder / "log" / "job.log.1").is_file()
    assert "progress: 24/40" in (folder / "train.log").read_text()
    assert "done, seeds 1" in done.stdout


@pytest.mark.slow
def test_a_rank_with_a_bad_row_ends_the_run_with_its_message(steady, tmp_path):
    data = make_data(tmp_path / "data")
    rows = sentences(40, 1)
    rows[10] = ("neither", "good film")
    write_tsv(data / "train.tsv", rows)
    words = flags(steady, data, tmp_path / "run", shuffle="false", token_cache_dir="off")
    said = run([*launcher(tmp_path, 2), FINETUNE, "classify", *words], tmp_path / "said", status=2)
    assert "train.tsv, line 12" in said
    assert "ended with exit status 2" in said
