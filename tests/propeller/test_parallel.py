"""Training in two processes over gloo: the steps, weights, scores and files of one process.

python -m pytest tests/propeller/test_parallel.py
"""

import json
import signal
import socket
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from ernie.checkpoint import read_params
from propeller.train.distribution import GradientReducer, ParallelRanks, Ranks, add_numbers, pack, unpack
from tests.helpers.common import ROOT
from tests.helpers.runs import read_records
from tests.helpers.shell import clean_environment
from tests.helpers.squad import squad
from tests.helpers.tagged import IOB
from tests.helpers.tiny import GOOD, OTHER, flags, make_data, make_model, sentences, write_tsv

TOY = str(ROOT / "tests" / "helpers" / "parallel_toy.py")
FINETUNE = str(ROOT / "finetune" / "__main__.py")


def run(words, log, status=0):
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == status, done.stderr
    log.write_text(done.stderr)
    return done.stderr


def launched(folder, processes):
    if processes == 1:
        return []
    launcher = [str(ROOT / "finetune_launch.py"), "--print_config", "false", "--backend", "gloo"]
    return [*launcher, "--nproc_per_node", str(processes), "--split_log_path", str(folder / "log")]


def train_toy(folder, processes, **given):
    """-> for each rank its arrays (``losses``, ``predicted``, weights) and what it said."""
    folder.mkdir(exist_ok=True)
    run([*launched(folder, processes), TOY, str(folder), json.dumps(given)], folder / "said")
    ranks = []
    for rank in range(processes):
        with np.load(folder / f"rank{rank}.npz") as arrays:
            ranks.append(({**arrays}, json.loads((folder / f"rank{rank}.json").read_text())))
    return ranks


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "given", "alone"),
    [
        # 20 rows: batches of 7, 7 and 6, so the last step of an epoch has one for the first rank only; with dropout
        (2, {"size": 7}, {"size": 7, "accumulate": 2}),
        pytest.param(
            2, {"size": 3, "accumulate": 2, "bucket_mb": 1e-6}, {"size": 3, "accumulate": 4}, marks=pytest.mark.slow
        ),
        # a rank that never has a batch
        pytest.param(3, {"size": 10}, {"size": 10, "accumulate": 2}, marks=pytest.mark.slow),
    ],
)
def test_steps_are_those_of_one_process(tmp_path, processes, given, alone):
    ((wanted, said),) = train_toy(tmp_path / "alone", 1, **alone)
    found = train_toy(tmp_path / "shared", processes, **given)
    for arrays, other in found:
        np.testing.assert_allclose(arrays["losses"], wanted["losses"], atol=1e-5)
        for name in ("toy_w", "toy_b"):
            np.testing.assert_allclose(arrays[name], wanted[name], atol=1e-6)
            np.testing.assert_array_equal(arrays[name], found[0][0][name], err_msg="alike on all ranks, bit for bit")
        np.testing.assert_array_equal(arrays["predicted"], wanted["predicted"], err_msg="in the order of the file")
        assert other["scores"]["data_num"] == said["scores"]["data_num"] == 20
        assert other["scores"]["acc"] == said["scores"]["acc"]
        assert other["state"] == found[0][1]["state"]
        for key in ("step", "batches", "epoch", "rows", "position", "best_step", "best_score", "window_examples"):
            assert other["state"][key] == said["state"][key]
    checkpoint = read_params(tmp_path / "shared" / "run" / "last")
    np.testing.assert_array_equal(checkpoint["toy_w"], found[0][0]["toy_w"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "accumulate"),
    [(1, 1), pytest.param(0, 1, marks=pytest.mark.slow), pytest.param(1, 2, marks=pytest.mark.slow)],
)
def test_infinities_on_one_rank_make_all_skip_the_step(tmp_path, rank, accumulate):
    """The loss scale looks at sums over the ranks. Of an epoch's four batches the second rank has every other."""
    scaling = {"initial": 64.0, "incr_every_n_steps": 2, "decr_every_n_nan_or_inf": 1, "decr_ratio": 0.25}
    given = {"size": 5, "epochs": 6, "scaling": scaling, "bad": [[1, 15 + 5 * rank], [3, 5 + 5 * rank]]}
    ((wanted, said),) = train_toy(tmp_path / "alone", 1, accumulate=2 * accumulate, **given)
    found = train_toy(tmp_path / "shared", 2, accumulate=accumulate, **given)
    assert said["state"]["skipped"] == 2
    assert len(set(wanted["scales"])) > 2, "it rose and fell"
    moments = [name for name in wanted if "moment" in name or "pow_acc" in name]
    assert moments
    for arrays, other in found:
        assert {key: other["state"][key] for key in ("step", "skipped", "batches")} == {
            key: said["state"][key] for key in ("step", "skipped", "batches")
        }
        np.testing.assert_array_equal(arrays["scales"], wanted["scales"])
        np.testing.assert_allclose(arrays["losses"], wanted["losses"], atol=1e-5)
        for name in ("toy_w", "toy_b", *moments):
            assert np.isfinite(arrays[name]).all()
            np.testing.assert_allclose(arrays[name], wanted[name], atol=1e-6, err_msg=name)
        for name in set(arrays) - {"losses", "predicted"}:
            np.testing.assert_array_equal(arrays[name], found[0][0][name], err_msg="alike on all ranks, bit for bit")


@pytest.mark.slow
def test_a_run_goes_on_in_another_number_of_processes(tmp_path):
    ((whole, _),) = train_toy(tmp_path / "whole", 1, size=3, accumulate=2)
    train_toy(tmp_path / "moved", 2, size=3, max_steps=5)
    ((arrays, said),) = train_toy(tmp_path / "moved", 1, size=3, accumulate=2, max_steps=8)
    assert said["state"]["step"] == 8
    np.testing.assert_allclose(arrays["losses"], whole["losses"][5:8], atol=1e-5)
    for arrays, _ in train_toy(tmp_path / "moved", 2, size=3):
        np.testing.assert_allclose(arrays["losses"], whole["losses"][8:], atol=1e-5)
        np.testing.assert_allclose(arrays["toy_w"], whole["toy_w"], atol=1e-6)


@pytest.mark.slow
def test_all_ranks_stop_at_one_step(tmp_path):
    """The last rank is asked after its step 3, and tells the others with the next one."""
    for _, said in train_toy(tmp_path, 2, size=3, ask=3):
        assert said["state"]["step"] == 4
        assert said["state"]["saved_step"] == 4
        assert said["stopped"] == "the last rank was asked"


MEETING = """
import os, sys
import paddle
from propeller.train.distribution import ParallelRanks
rank, port = int(sys.argv[1]), int(sys.argv[2])
ranks = ParallelRanks.of_store(paddle.base.core.TCPStore("127.0.0.1", port, rank == 0, 2, 60), rank, 2)
for _ in range(3):
    ranks.barrier()
print("met", flush=True)
os._exit(0)
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_first_rank_may_end_right_behind_a_meeting():
    words = [sys.executable, "-c", MEETING]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    port = str(free_port())
    given = {"cwd": ROOT, "env": clean_environment(), **pipes}
    ranks = [subprocess.Popen([*words, str(rank), port], **given) for rank in range(2)]
    for rank in ranks:
        output, errors = rank.communicate(timeout=120)
        assert (rank.returncode, output) == (0, "met\n"), errors


def test_a_signal_does_not_break_a_meeting():
    """Paddle's store by itself takes an interrupted system call for an error."""
    ranks = ParallelRanks.of_store(paddle.base.core.TCPStore("127.0.0.1", free_port(), True, 1, 60), 0, 1)
    signals = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: signals.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        for _ in range(10):
            ranks.barrier()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert signals, "they came all the same"


def test_values_travel_without_pickle():
    value = {
        "text": "ä\u4e2d", "none": None, "numbers": [1, 2.5, True, float("inf")], "empty": {},
        "ids": np.arange(6).reshape(2, 3), "half": np.zeros((0, 4), "float16"), "one": np.float32(1.5),
        "3": np.int64(4), "turned": np.arange(6.0).reshape(2, 3).T, "nested": [{"x": np.ones(2, bool)}],
    }  # fmt: skip
    found = unpack(pack(value))
    assert list(found) == list(value)
    for name in ("ids", "half", "turned"):
        np.testing.assert_array_equal(found[name], value[name])
        assert found[name].dtype == value[name].dtype
    assert (found["one"], found["3"]) == (1.5, 4)
    assert found["nested"][0]["x"].tolist() == [True, True]
    assert {key: found[key] for key in ("text", "none", "numbers", "empty")} == {
        key: value[key] for key in ("text", "none", "numbers", "empty")
    }
    with pytest.raises(TypeError, match="Python objects"):
        pack(np.array([object()]))


def test_turns_come_in_the_order_of_the_file():
    class Three(Ranks):
        """Rank 0 of three; what the others have is known."""

        size = 3
        others = [[["b"], ["e"], None], [["c", "C"], None, None]]

        def all_gather(self, value):
            return [value, *(other.pop(0) for other in self.others)]

    assert list(Three().in_order([["a", "A"], ["d"]])) == ["a", "A", "b", "c", "C", "d", "e"]


def test_numbers_are_added_by_name():
    assert add_numbers([{"a": 1, "b": 0.5}, {}, {"a": 2, "c": 1}]) == {"a": 3, "b": 0.5, "c": 1}


def test_buckets_are_full_or_one_large_gradient_each():
    def grad(size, dtype="float32"):
        return (size, SimpleNamespace(shape=[size], dtype=dtype))

    pairs = [grad(100), grad(600), grad(200), grad(5000), grad(300), grad(10, "float16")]
    found = GradientReducer(1000 * 4 / 2**20).buckets(pairs)
    assert [[size for size, _ in bucket] for bucket in found] == [[10], [300], [5000], [200, 600, 100]]


@pytest.fixture(scope="module")
def steady(tmp_path_factory):
    """A model without dropout."""
    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return make_model(tmp_path_factory.mktemp("steady") / "model", **off)


def both(task, folder, make_flags):
    """A run of a task in one process and in two, with half the batch each; their standard errors."""
    outputs = []
    for processes in (1, 2):
        words = [*launched(folder / str(processes), processes), FINETUNE, task]
        (folder / str(processes)).mkdir(parents=True, exist_ok=True)
        outputs.append(
            run(
                [*words, *make_flags(folder / str(processes), 32 // processes), "--head_dropout", "0"],
                folder / f"{processes}.said",
            )
        )
    return outputs


def journal(folder):
    lines = read_records(folder)
    return [{k: v for k, v in line.items() if k not in ("speed", "elapsed", "queue_size", "file")} for line in lines]


def assert_alike(folder, steps):
    """Losses within 1e-5, weights within 1e-4; a bias of the keys changes no loss, so Adam moves it by noise."""
    one, two = (journal(folder / name / "run") for name in "12")
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
    steps = max(line["step"] for line in journal(tmp_path / "1" / "run"))
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
    said = run([*launched(tmp_path, 2), FINETUNE, "classify", *words], tmp_path / "said", status=2)
    assert "train.tsv, line 12" in said
    assert "ended with exit status 2" in said
