"""The CRF of sequence labelling: beside sums and maxima over all sequences, and a run from its rows to every answer.

python -m pytest tests/finetune/test_crf.py            # what takes seconds
python -m pytest tests/finetune/test_crf.py -m slow    # the runs
"""

import itertools
import json

import numpy as np
import paddle
import pytest

import finetune
from finetune.prediction.model import InferenceModel
from finetune.serving.handler import open_handler
from finetune.tagging import crf
from finetune.training.main import main
from propeller.errors import UserError
from propeller.service.limits import Limits
from tests.helpers.predicting import infer, table
from tests.helpers.runs import read_records
from tests.helpers.served import respond
from tests.helpers.tiny import BAD, GOOD, OTHER, flags, make_model, write_tsv

TAGS = {"B-A": 0, "I-A": 1, "B-B": 2, "I-B": 3, "O": 4}


def all_scores(logits, transitions):
    """(sequences, their scores) by brute force."""
    length, size = logits.shape
    paths = np.array(list(itertools.product(range(size), repeat=length)))
    scores = logits[np.arange(length), paths].sum(axis=1)
    return paths, scores + transitions[paths[:, :-1], paths[:, 1:]].sum(axis=1)


def case(seed, longest=6):
    random = np.random.RandomState(seed)
    length, size = random.randint(1, longest), random.randint(2, 4)
    return random.randn(length, size) * 3, random.randn(size, size) * 2


@pytest.mark.parametrize("seed", range(20))
def test_viterbi_is_the_best_of_all_sequences(seed):
    logits, transitions = case(seed)
    paths, scores = all_scores(logits, transitions)
    assert crf.viterbi(logits, transitions).tolist() == paths[scores.argmax()].tolist()


@pytest.mark.parametrize("seed", range(20))
def test_marginals_are_sums_over_all_sequences(seed):
    logits, transitions = case(seed)
    paths, scores = all_scores(logits, transitions)
    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    found = crf.marginals(logits, transitions)
    for place, number in np.ndindex(*logits.shape):
        assert found[place, number] == pytest.approx(shares[paths[:, place] == number].sum(), abs=1e-6)


@pytest.fixture(scope="module")
def graph():
    """Runs the loss in a static Program of dynamic shape, with its gradients: name -> array."""
    paddle.enable_static()
    main_program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main_program, startup):
        logits = paddle.static.data("logits", [None, None, 3], "float32")
        transitions = paddle.static.data("transitions", [3, 3], "float32")
        labels = paddle.static.data("labels", [None, None], "int64")
        lengths = paddle.static.data("lengths", [None, 1], "int64")
        logits.stop_gradient = transitions.stop_gradient = False
        losses = crf.negative_log_likelihood(logits, transitions, labels, lengths, 16)
        grads = paddle.static.gradients([losses.sum()], [logits, transitions])
    executor = paddle.static.Executor(paddle.CPUPlace())

    def run(**feed):
        paddle.enable_static()
        found = executor.run(main_program, feed=feed, fetch_list=[losses, *grads])
        return dict(zip(("losses", "logits", "transitions"), found))

    return run


def batch_of(seed, rows=4, longest=6):
    random = np.random.RandomState(seed)
    lengths = random.randint(2, longest + 1, (rows, 1))
    lengths[0] = longest
    return {
        "logits": (random.randn(rows, longest, 3) * 2).astype("float32"),
        "transitions": (random.randn(3, 3) * 2).astype("float32"),
        "labels": random.randint(0, 3, (rows, longest)),
        "lengths": lengths,
    }


@pytest.mark.parametrize("longest", [2, 3, 4, 5, 6])
def test_the_loss_is_minus_the_log_of_a_share_of_all_sequences(graph, longest):
    batch = batch_of(longest, longest=longest)
    found = graph(**batch)["losses"]
    for row, (length,) in enumerate(batch["lengths"]):
        logits, labels = batch["logits"][row, :length].astype("float64"), batch["labels"][row, :length]
        paths, scores = all_scores(logits, batch["transitions"].astype("float64"))
        (own,) = scores[(paths == labels).all(axis=1)]
        top = scores.max()
        assert found[row] == pytest.approx(top + np.log(np.exp(scores - top).sum()) - own, abs=1e-4)


def test_the_gradient_is_marginals_minus_labels(graph):
    """Padding has none; of the transitions it sums up to nothing over all moves of a row."""
    batch = batch_of(7)
    found = graph(**batch)
    for row, (length,) in enumerate(batch["lengths"]):
        wanted = crf.marginals(batch["logits"][row, :length], batch["transitions"])
        wanted[np.arange(length), batch["labels"][row, :length]] -= 1
        np.testing.assert_allclose(found["logits"][row, :length], wanted, atol=1e-4)
        np.testing.assert_array_equal(found["logits"][row, length:], 0)
    assert found["transitions"].sum() == pytest.approx(0, abs=1e-4)
    assert np.abs(found["transitions"]).max() > 0.1


def test_scores_that_are_far_apart_stay_finite(graph):
    batch = batch_of(3)
    batch["logits"] *= 40
    batch["transitions"] *= 40
    found = graph(**batch)
    assert all(np.isfinite(array).all() for array in found.values())
    assert (found["losses"] > -1e-2).all()


# ---------------------------------------------------------------- a run


def tagged(count, seed):
    """(tokens, tags) rows: a good word begins an entity of the type A, a bad one of B, which the next word goes on."""
    random, rows = np.random.RandomState(seed), []
    for number in range(count):
        words, tags = [], []
        while len(words) < (30 if number % 7 == 0 else 7):
            if random.rand() < 0.4:
                kind = "A" if random.rand() < 0.5 else "B"
                words += [random.choice(GOOD if kind == "A" else BAD), random.choice(OTHER[:9])]
                tags += [f"B-{kind}", f"I-{kind}"]
            else:
                words.append(random.choice(OTHER[:9]))
                tags.append("O")
        rows.append((" ".join(words), " ".join(tags)))
    return rows


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """train.tsv, dev.tsv, test.tsv, map.json and a model."""
    folder = tmp_path_factory.mktemp("crf")
    for name, count, seed in (("train", 64, 1), ("dev", 14, 2), ("test", 8, 3)):
        write_tsv(folder / f"{name}.tsv", tagged(count, seed), ("text_a", "label"))
    (folder / "map.json").write_text(json.dumps(TAGS))
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    make_model(folder / "model", num_hidden_layers=1, **dropout)
    return folder


def train(place, folder, **changes):
    given = {
        "label_map_config": place / "map.json",
        "crf": "true",
        "epoch": 6,
        "batch_size": 8,
        "head_dropout": 0,
        "validation_steps": 24,
        "eval_strategy": "steps",
        "save_steps": 0,
        "skip_steps": 24,
        **changes,
    }
    main("run_sequence_labeling.py", "sequence_label", flags(place / "model", place, folder, **given))
    return folder


@pytest.fixture(scope="module")
def run(place, tmp_path_factory):
    return train(place, tmp_path_factory.mktemp("run") / "run")


@pytest.mark.slow
def test_it_learns_and_says_what_it_is(run):
    lines = read_records(run)
    assert max(line["f1"] for line in lines if line["event"] == "dev") > 0.9
    record = json.loads((run / "best" / "checkpoint.json").read_text())
    assert record["task"] == "sequence_label_crf"
    assert (run / "best" / "cls_seq_label_crf_w").is_file()


@pytest.mark.slow
def test_every_way_gives_the_same_tags(run, place, tmp_path):
    """The test file of the run, infer_sequence_labeling.py, the Python API and the server; long sentences too."""
    step = json.loads((run / "last" / "checkpoint.json").read_text())["step"]
    (saved,) = run.glob(f"test_out.tsv.*.{step}")
    given = {"predict_set": place / "test.tsv", "output": tmp_path / "out.tsv"}
    infer("infer_sequence_labeling.py", init_checkpoint=run / "last", **given, batch_size=3,
          save_inference_model_path=tmp_path / "saved")  # fmt: skip
    of_run = [line.split("\t") for line in saved.read_text(encoding="utf8").splitlines()]
    header, rows = table((tmp_path / "out.tsv").read_text(encoding="utf8"))
    assert header == ["text_a", "gold_label", "tags", "probabilities", "entities"]
    rows = [[row[0], *row[2:]] for row in rows]
    assert [[row[0], row[1], row[3]] for row in rows] == [[row[0], row[1], row[3]] for row in of_run]
    folder = next((tmp_path / "saved").iterdir())
    handler, model = open_handler(folder), InferenceModel.open(folder, use_cuda="false")
    asked = [row[0].split() for row in rows]
    assert max(map(len, asked)) > 24  # longer than the model reads at once
    served = respond(handler, model.predictor, {"tokens": asked}, Limits())["predictions"]
    own = finetune.load(run / "last", use_cuda="false", threads=1)(asked, batch_size=3)
    for row, answer, mine in zip(rows, served, own):
        tags = row[1].split()
        assert [token["tag"] for token in answer["tokens"]] == [token["tag"] for token in mine["tokens"]] == tags
        chances = [float(word) for word in row[2].split()]
        assert [token["probability"] for token in mine["tokens"]] == pytest.approx(chances, abs=1e-4)
        kinds = [[entity["type"] for entity in entities] for entities in (json.loads(row[3]), answer["entities"])]
        assert kinds[0] == kinds[1]


def test_the_transitions_decide():
    """With the transitions of O to I- forbidden, no such move is predicted; without a CRF nothing holds it back."""
    random = np.random.RandomState(0)
    logits = random.randn(40, 5)
    transitions = np.zeros((5, 5))
    transitions[4, [1, 3]] = -50
    path = crf.viterbi(logits, transitions)
    free = logits.argmax(axis=1)
    moves = lambda found: {(one, other) for one, other in zip(found, found[1:])}  # noqa: E731
    assert moves(free) & {(4, 1), (4, 3)}
    assert not moves(path) & {(4, 1), (4, 3)}


@pytest.mark.slow
def test_a_checkpoint_predicts_alone(run, place, tmp_path):
    """--do_train false: the lines are those of the run."""
    given = {"do_train": "false", "init_checkpoint": run / "last", "init_pretraining_params": None,
             "test_save": tmp_path / "again.tsv"}  # fmt: skip
    train(place, tmp_path / "unused", **given)
    step = json.loads((run / "last" / "checkpoint.json").read_text())["step"]
    (saved,) = run.glob(f"test_out.tsv.*.{step}")
    assert (tmp_path / "again.tsv").read_text() == saved.read_text()


@pytest.mark.slow
def test_a_checkpoint_without_a_crf_is_refused(run, place, tmp_path):
    with pytest.raises(UserError, match="checkpoint's task is 'sequence_label_crf', this run's 'sequence_label'"):
        train(place, tmp_path / "run", crf="false", init_checkpoint=run / "last", init_pretraining_params=None)
