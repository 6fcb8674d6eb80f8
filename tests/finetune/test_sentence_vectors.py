"""Sentence vectors: losses beside numpy, two views, every flag, runs that go on, and one vector everywhere.

python -m pytest tests/finetune/test_sentence_vectors.py            # what takes seconds
python -m pytest tests/finetune/test_sentence_vectors.py -m slow    # several processes
"""

import json
import subprocess
import sys

import numpy as np
import paddle
import pytest

import finetune
from ernie.checkpoint import read_params
from ernie.config import ErnieConfig
from ernie.optimization import AdamW, OptimizationConfig
from finetune.embedding.main import main as encode
from finetune.embedding.pooled import CHOICES
from finetune.embedding.server import with_layer
from finetune.metrics import pearson_and_spearman
from finetune.serving.handler import open_handler
from finetune.sources import open_weights
from finetune.spec import ModelSpec
from finetune.training.args import from_keywords, parse
from finetune.training.main import main
from finetune.training.runner import run as start
from finetune.vectors.flags import OBJECTIVES, SentenceVectorFlags
from finetune.vectors.losses import contrastive, cosines
from finetune.vectors.task import SentenceVectors
from propeller.errors import UserError
from propeller.service.limits import Limits
from propeller.train.hooks import RunHook
from propeller.train.trainer import Learner, RunConfig
from tests.helpers.common import ROOT
from tests.helpers.embedding import words
from tests.helpers.sentences import make_sentences, numpy_contrastive, training, unit
from tests.helpers.served import respond
from tests.helpers.shell import clean_environment
from tests.helpers.tiny import CONFIG, flags, make_model, write_tsv

# ---------------------------------------------------------------- losses


@pytest.mark.parametrize("seed", range(6))
def test_contrast_is_the_formula(seed):
    paddle.disable_static()
    random = np.random.RandomState(seed)
    rows, sets = random.randint(1, 7), random.randint(1, 3)
    anchors, *others = random.randn(1 + sets, rows, 5).astype("float32")
    same = (random.rand(rows, rows * sets) < 0.2).astype("float32")
    same[np.arange(rows), np.arange(rows)] = 0
    wanted, right = numpy_contrastive(anchors.astype("float64"), others, same, 0.3)
    loss, hits = contrastive(
        paddle.to_tensor(anchors), [paddle.to_tensor(x) for x in others], paddle.to_tensor(same), 0.3
    )
    assert float(loss) == pytest.approx(wanted, rel=1e-4, abs=1e-5)
    assert hits.numpy().ravel().astype(bool).tolist() == right


def test_cosines_of_anything_are_finite():
    paddle.disable_static()
    one = np.array([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]], "float32")
    other = np.array([[6.0, 8.0], [1.0, 2.0], [-2.0, 0.0]], "float32")
    np.testing.assert_allclose(
        cosines(paddle.to_tensor(one), paddle.to_tensor(other)).numpy().ravel(), [1, 0, -1], atol=1e-6
    )


# ---------------------------------------------------------------- runs


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    return make_sentences(tmp_path_factory.mktemp("texts"))


def train(model, texts, folder, objective="simcse", **changes):
    """Train; returns the folder."""
    main("test", "sentence_vectors", flags(model, texts, folder, **training(texts, objective, **changes)))
    return folder


def records(folder, event):
    lines = (folder / "metrics.jsonl").read_text(encoding="utf8").splitlines()
    return [record for record in map(json.loads, lines) if record["event"] == event]


def first_loss(model, texts, folder, objective, **changes):
    """The loss of the first step, whose learning rate is 0."""
    given = {"max_steps": 1, "skip_steps": 1, "dev_set": None, "do_val": "false", "shuffle": "false", **changes}
    return records(train(model, texts, folder, objective, **given), "train")[0]["loss"]


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """A model without dropout."""
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return make_model(tmp_path_factory.mktemp("still") / "model", **rates)


def rows_of(path):
    return [line.split("\t") for line in path.read_text().splitlines()[1:]]


@pytest.mark.parametrize(
    ("objective", "pooling"),
    [*(("pairs", pooling) for pooling in CHOICES), ("triplets", "mean"), ("cosine", "mean"), ("teacher", "first_last")],
)
def test_the_first_loss_is_that_of_numpy(objective, pooling, still, texts, tmp_path):
    """From the vectors that ernie_encoder.py computes: without dropout the loss is known."""
    found = first_loss(still, texts, tmp_path / "run", objective, pooling=pooling, batch_size=8)
    rows = rows_of(training(texts, objective)["train_set"])[:8]
    count = {"pairs": 2, "triplets": 3, "cosine": 2, "teacher": 1}[objective]
    path = write_tsv(tmp_path / "all.tsv", [(row[place],) for place in range(count) for row in rows], ("text_a",))
    encode("ernie_encoder.py", words(still, path, tmp_path / "out", pooling=pooling))
    vectors = np.load(tmp_path / "out/cls_emb.npy").astype("float64").reshape(count, 8, 32)
    if objective == "teacher":
        wanted = ((vectors[0] - np.load(texts / "teacher.npy")[:8]) ** 2).mean()
    elif objective == "cosine":
        scores = np.array([float(row[2]) for row in rows]) / 5
        wanted = (((unit(vectors[0]) * unit(vectors[1])).sum(axis=1) - scores) ** 2).mean()
    else:
        wanted, _ = numpy_contrastive(vectors[0], vectors[1:], np.zeros((8, 8 * (count - 1))), 0.05)
    assert found == pytest.approx(wanted, rel=1e-3)


def test_two_views_differ_by_dropout_alone(model, still, texts, tmp_path):
    """Without dropout both views are one vector: a row's own cosine is 1, and the loss follows from the others."""
    changes = {"batch_size": 8, "pooling": "mean"}
    found = first_loss(still, texts, tmp_path / "still", "simcse", **changes)
    path = write_tsv(tmp_path / "rows.tsv", [row[:1] for row in rows_of(texts / "texts.tsv")[:8]], ("text_a",))
    encode("ernie_encoder.py", words(still, path, tmp_path / "out", pooling="mean"))
    vectors = np.load(tmp_path / "out/cls_emb.npy").astype("float64")
    wanted, _ = numpy_contrastive(vectors, [vectors], np.zeros((8, 8)), 0.05)
    assert found == pytest.approx(wanted, rel=1e-3)
    assert abs(first_loss(model, texts, tmp_path / "dropped", "simcse", **changes) - found) > 1e-3


class Seen(SentenceVectors):
    """Its vectors can be fetched."""

    def forward(self, features):
        self.seen = super().forward(features)["vectors"]
        return {"vectors": self.seen}


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_the_views_of_a_text(rate):
    """The train network gives two vectors for a text, which differ where there is dropout; no text has another's."""
    config = ErnieConfig({**CONFIG, "hidden_dropout_prob": rate, "attention_probs_dropout_prob": rate})
    spec = ModelSpec(settings=SentenceVectorFlags(), num_labels=1)
    optimizer = AdamW(OptimizationConfig(learning_rate=0.1, num_train_steps=3))
    learner = Learner(lambda mode: Seen(config, spec, mode, optimizer), RunConfig(seed=1))
    learner.graphs.initialise()
    graph = learner.graphs.train().gradient
    ids = np.array([[[1, 5, 6, 2]], [[1, 5, 6, 2]]])
    feed = {"src_ids": ids, "sent_ids": ids * 0, "pos_ids": ids * 0 + np.arange(4), "task_ids": ids * 0,
            "input_mask": np.ones((2, 1, 4), "float32"), "same": np.zeros((2, 2), "float32")}  # fmt: skip
    (vectors,) = learner.executor.run(
        graph.main, feed={**feed, **optimizer.feed(0)}, fetch_list=[graph.model.seen], scope=learner.scope
    )
    assert vectors.shape == (2, 2, 32)
    views = vectors.reshape(4, 32)
    apart = [np.abs(one - other).max() for number, one in enumerate(views) for other in views[:number]]
    assert min(apart) > 1e-3 if rate else max(apart) < 1e-6


class Died(Exception):
    pass


class DieAfter(RunHook):
    """Ends a run without a word after a step."""

    def __init__(self, step):
        self.step = step

    def after_step(self, learner, state):
        if state.step == self.step:
            raise Died


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_run_that_died_ends_with_the_same_weights(objective, model, texts, tmp_path):
    changes = {"save_steps": 3, "epoch": 2, "bucket_window": 16, "random_seed": 7}
    if objective == "simcse":
        changes["projection"] = "true"
    whole = train(model, texts, tmp_path / "whole", objective, **changes)
    given = flags(model, texts, tmp_path / "cut", **training(texts, objective, **changes))
    with pytest.raises(Died):
        start(SentenceVectors, parse("test", "", given, SentenceVectorFlags), hooks=[DieAfter(4)])
    cut = train(model, texts, tmp_path / "cut", objective, **changes)
    one, other = read_params(whole / "last"), read_params(cut / "last")
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    scores = [[record["spearmanr"] for record in records(folder, "dev")] for folder in (whole, cut)]
    assert scores[0] == scores[1]
    assert not np.array_equal(one["word_embedding"], read_params(model / "params")["word_embedding"])


@pytest.mark.parametrize("objective", ["simcse", "teacher"])
def test_a_file_of_sentences_trains_beside_a_table_for_evaluation(objective, model, texts, tmp_path):
    """A .txt without a header, as for embeddings; the dev set is a TSV all the same."""
    lines = tmp_path / "texts.txt"
    lines.write_text("".join(f"{row[0]}\n" for row in rows_of(texts / "texts.tsv")), encoding="utf8")
    found = []
    for name, path in (("tsv", texts / "texts.tsv"), ("txt", lines)):
        train(model, texts, tmp_path / name, objective, train_set=path, max_steps=2, skip_steps=1)
        found.append([(record["event"], record["loss"]) for record in
                      [*records(tmp_path / name, "train"), *records(tmp_path / name, "dev")]])  # fmt: skip
    assert found[0] == found[1]


@pytest.fixture(scope="module")
def run(model, texts, tmp_path_factory):
    """A run of pairs with a pooling of its own."""
    changes = {"pooling": "first_last", "epoch": 6, "test_set": texts / "test.tsv", "eval_strategy": "epoch"}
    folder = tmp_path_factory.mktemp("run") / "run"
    return train(model, texts, folder, "pairs", test_save=folder / "test.tsv", **changes)


def test_it_learns_and_scores(run, texts):
    losses = [record["loss"] for record in records(run, "train")]
    assert losses[-1] < 0.9 * losses[0]
    assert records(run, "train")[-1]["acc"] > records(run, "train")[0]["acc"]
    last = records(run, "dev")[-1]
    with finetune.load(run / "last", use_cuda=False) as predictor:
        rows = rows_of(texts / "dev.tsv")
        one, other = (predictor.embed([row[place] for row in rows], normalize=True) for place in (0, 1))
    found = pearson_and_spearman((one * other).sum(axis=1), [float(row[2]) for row in rows])
    for name, value in found.items():
        assert last[name] == pytest.approx(value, abs=1e-4), name
    best = max(records(run, "dev"), key=lambda record: record["spearmanr"])
    assert (run / "best").resolve().name == f"step_{best['step']}"


def test_a_test_set_is_predicted_by_cosines(run, texts):
    step = (run / "last").resolve().name.removeprefix("step_")
    header, *lines = next(run.glob(f"test.tsv.*.{step}")).read_text(encoding="utf8").splitlines()
    assert header == "text_a\ttext_b\tsimilarity"
    with finetune.load(run / "last", use_cuda=False) as predictor:
        for line, row in zip(lines, rows_of(texts / "test.tsv")):
            one, other = predictor.embed(row, normalize=True)
            assert line.split("\t")[:2] == row
            assert float(line.split("\t")[2]) == pytest.approx(float(one @ other), abs=1e-4)


def test_one_vector_everywhere(run, model, texts, tmp_path):
    """ernie_encoder.py, the Python API, the server, of checkpoint and inference model: the trained pooling."""
    lines = [row[0] for row in rows_of(texts / "texts.tsv")]
    with finetune.load(run / "last", use_cuda=False) as predictor:
        wanted, other = predictor.embed(lines), predictor.embed(lines, pooling="mean")
        assert predictor.describe()["pooling"] == "first_last"
    assert np.abs(wanted - other).max() > 0.01
    saved = tmp_path / "saved"
    given = ["--init_checkpoint", str(run / "last"), "--use_cuda", "false", "--data_set", str(texts / "texts.tsv")]
    encode("e", [*given, "--output_dir", str(tmp_path / "one"), "--save_inference_model_path", str(saved)])
    encode("e", ["--inference_model", str(saved), "--use_cuda", "false", "--data_set", str(texts / "texts.tsv"),
                 "--output_dir", str(tmp_path / "two")])  # fmt: skip
    for folder in ("one", "two"):
        np.testing.assert_allclose(np.load(tmp_path / folder / "cls_emb.npy"), wanted, atol=1e-5)
        facts = json.loads((tmp_path / folder / "embeddings.json").read_text())
        assert (facts["pooling"], facts["objective"]) == ("first_last", "pairs")
    handler = open_handler(saved)
    with finetune.load(saved, use_cuda=False) as predictor:
        np.testing.assert_allclose(predictor.embed(lines), wanted, atol=1e-5)
        answer = respond(handler, predictor.model.predictor, {"texts": lines[:5]}, Limits())
    np.testing.assert_allclose(answer["embeddings"], wanted[:5], atol=1e-5)
    served = with_layer(open_weights(run / "last", None, None).checkpoint, None).spec.facts
    assert (served["pooling"], served["main"]) == ("first_last", "first_last")


def test_a_checkpoint_is_evaluated_and_trained_on(run, model, texts, tmp_path):
    """Alone, with another objective, and with a head that it lacks."""
    given = {"init_pretraining_params": None, "init_checkpoint": run / "last"}  # which has its pooling
    found = finetune.train(
        "sentence_vectors", **keywords(model, texts, tmp_path / "none", "pairs", do_train=False, **given)
    )
    assert found.scores["spearmanr"] == pytest.approx(records(run, "dev")[-1]["spearmanr"], abs=1e-6)
    train(model, texts, tmp_path / "on", "cosine", epoch=1, **given)
    assert json.loads((tmp_path / "on/last/checkpoint.json").read_text())["flags"]["pooling"] == "first_last"
    with pytest.raises(UserError, match="sentence_projection"):
        train(model, texts, tmp_path / "head", "pairs", projection="true", **given)


def keywords(model, texts, folder, objective, **changes):
    """Keyword arguments of ``finetune.train``."""
    values = {
        "ernie_config_path": str(model / "ernie_config.json"), "vocab_path": str(model / "vocab.txt"),
        "init_pretraining_params": str(model / "params"), "checkpoints": str(folder), "for_cn": False,
        "max_seq_len": 24, "use_cuda": "false", **training(texts, objective, fused_encoder="false"), **changes,
    }  # fmt: skip
    return {name: str(value) if hasattr(value, "parts") else value for name, value in values.items()}


CHANGES = {
    "objective": ("simcse", {"objective": "teacher", "teacher_vectors": "teacher.npy"}),
    "pooling": ("simcse", {"pooling": "cls"}),
    "temperature": ("pairs", {"temperature": 0.5}),
    "projection": ("simcse", {"projection": "true"}),
    "largest_score": ("cosine", {"largest_score": 4.0}),
    "teacher_vectors": ("teacher", {"teacher_vectors": "other.npy"}),
}


def test_every_flag_is_tried():
    assert set(CHANGES) == set(SentenceVectorFlags.__dataclass_fields__)


@pytest.mark.parametrize("name", CHANGES)
def test_a_flag_changes_the_loss(name, still, texts, tmp_path):
    objective, changes = CHANGES[name]
    np.save(texts / "other.npy", np.load(texts / "teacher.npy") * 2)
    changes = {key: texts / value if key == "teacher_vectors" else value for key, value in changes.items()}
    plain = first_loss(still, texts, tmp_path / "plain", objective)
    changed = first_loss(still, texts, tmp_path / "changed", changes.pop("objective", objective), **changes)
    assert abs(changed - plain) > 1e-4 * abs(plain)


def test_a_teachers_other_vectors_make_another_run(still, texts, tmp_path):
    first_loss(still, texts, tmp_path / "run", "teacher")
    np.save(tmp_path / "changed.npy", np.load(texts / "teacher.npy") + 1)
    with pytest.raises(UserError, match=r"holds another run.*teacher_vectors"):
        first_loss(still, texts, tmp_path / "run", "teacher", teacher_vectors=tmp_path / "changed.npy")


@pytest.mark.parametrize(
    ("objective", "changes", "message"),
    [
        ("simcse", {"temperature": 0}, "--temperature must be above 0, not 0"),
        ("cosine", {"largest_score": 0}, "--largest_score must be above 0, not 0"),
        ("cosine", {"temperature": 0.1}, "--temperature is for --objective simcse and pairs and triplets: give that"),
        ("teacher", {"projection": "true"}, "--projection is for --objective simcse and pairs and triplets"),
        ("simcse", {"teacher_vectors": "teacher.npy"}, "--teacher_vectors is for --objective teacher: give that"),
        ("teacher", {"teacher_vectors": None}, "--objective teacher needs --teacher_vectors"),
        ("teacher", {"teacher_vectors": "missing.npy"}, "missing.npy: no such file; give a .npy file"),
        ("simcse", {"train_set": "pairs.tsv"}, "pairs.tsv: has a column text_b, which --objective simcse does not"),
        ("pairs", {"train_set": "triplets.tsv"}, "has a column negative, which .* pairs .*--objective triplets"),
        ("pairs", {"train_set": "texts.tsv"}, "texts.tsv: column 'text_b' is missing"),
        ("triplets", {"train_set": "pairs.tsv"}, "pairs.tsv: column 'negative' is missing"),
        ("cosine", {"train_set": "pairs.tsv"}, "column 'label' is missing"),
        ("simcse", {"dev_set": "test.tsv"}, "column 'label' is missing"),
        ("simcse", {"num_labels": 2}, "--label_map_config and --num_labels are for classes"),
        ("simcse", {"best_metric": "acc"}, "--best_metric acc: .*give one of loss, pearson, spearmanr, corr"),
        ("simcse", {"fgm_epsilon": 1}, "--fgm_epsilon: the task sentence_vectors has no such loss"),
    ],
    ids=lambda value: value if isinstance(value, str) and value in OBJECTIVES else "",
)  # fmt: skip
def test_mistakes_are_one_line(objective, changes, message, still, texts, tmp_path):
    files = {key: texts / value if str(value).endswith((".tsv", ".npy")) else value for key, value in changes.items()}
    with pytest.raises(UserError, match=message) as caught:
        train(still, texts, tmp_path / "run", objective, **files)
    assert "\n" not in str(caught.value)


def test_there_are_no_predictions_of_rows(run):
    command = [
        sys.executable,
        "-m",
        "finetune.prediction",
        "--init_checkpoint",
        str(run / "last"),
        "--predict_set",
        "x",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "models of the task 'sentence_vectors' have no predictions of rows: use ernie_encoder.py" in done.stderr


def test_the_registry_knows_its_flags_without_paddle():
    assert finetune.flags_of("sentence_vectors").about.startswith("sentence vectors: ")
    assert from_keywords({"ernie_config_path": "a", "vocab_path": "b", "train_set": "c", "objective": "pairs"},
                         SentenceVectorFlags).task.objective == "pairs"  # fmt: skip


@pytest.mark.slow
def test_two_processes_train(model, texts, tmp_path):
    """Negatives are those of each process's own batch, so the run differs from one of one process, and ends well."""
    given = flags(model, texts, tmp_path / "run", **training(texts, "pairs", epoch=2))
    command = [sys.executable, "finetune_launch.py", "--nproc_per_node", "2", "--backend", "gloo", "--split_log_path",
               str(tmp_path / "log"), "finetune/__main__.py", "sentence_vectors", *given]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert records(tmp_path / "run", "dev")[-1]["data_num"] == 16
    assert json.loads((tmp_path / "run/run.json").read_text())["finished"]
