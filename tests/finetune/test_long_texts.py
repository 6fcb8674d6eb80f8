"""--long_text window: long texts in classification and regression, trained, scored and predicted in windows.

python -m pytest tests/finetune/test_long_texts.py            # what takes seconds
python -m pytest tests/finetune/test_long_texts.py -m slow    # the runs
"""

import json
import re

import numpy as np
import pytest

import finetune
from ernie.config import ErnieConfig
from finetune import task_class
from finetune.classification.classifier import Classifier
from finetune.prediction.model import InferenceModel
from finetune.report import main as report
from finetune.reporting.parts import count_texts, text_tables
from finetune.serving.handler import open_handler
from finetune.spec import ModelSpec, settings_of
from finetune.training.args import from_keywords
from finetune.training.main import main
from finetune.training.settled import settle_run
from propeller.errors import UserError
from propeller.service.errors import TooLarge
from propeller.service.limits import Limits
from propeller.train.model import RunMode
from propeller.train.trainer import Learner, RunConfig
from reader.tables.form import TableForm
from reader.windows import WindowReader, Windows
from tests.helpers.predicting import infer, table
from tests.helpers.row_files import FORMS, write_as
from tests.helpers.runs import read_records
from tests.helpers.served import respond
from tests.helpers.tiny import BAD, CONFIG, GOOD, OTHER, flags, make_model, write_tsv
from tokenization import build_tokenizer

WINDOWS = {"long_text": "window", "max_seq_len": 12, "window_stride": 8}


def long_sentences(count, seed):
    """(label, text): texts of 20 to 40 words, told by three words in their second half."""
    random, rows = np.random.RandomState(seed), []
    for number in range(count):
        words = list(random.choice(OTHER[:9], random.randint(20, 41)))
        for place in random.choice(np.arange(len(words) // 2, len(words)), 3, replace=False):
            words[place] = random.choice(GOOD if number % 2 else BAD)
        rows.append((number % 2, " ".join(words)))
    return rows


def numbers_in(line):
    return [float(number) for number in re.findall(r"\d+\.\d+", line)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """train.tsv, dev.tsv, test.tsv and a model."""
    folder = tmp_path_factory.mktemp("long")
    for name, count, seed in (("train", 48, 1), ("dev", 16, 2), ("test", 10, 3)):
        write_tsv(folder / f"{name}.tsv", long_sentences(count, seed))
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    make_model(folder / "model", num_hidden_layers=1, **dropout)
    return folder


def train(place, folder, **changes):
    given = {
        **WINDOWS,
        "epoch": 16,
        "batch_size": 8,
        "validation_steps": 32,
        "eval_strategy": "steps",
        "save_steps": 0,
        "skip_steps": 36,
        "head_dropout": 0,
        "learning_rate": 4e-3,
        "window_pooling": "max",
        **changes,
    }
    main("run_classifier.py", "classify", flags(place / "model", place, folder, **given))
    return folder


@pytest.fixture(scope="module")
def run(place, tmp_path_factory):
    return train(place, tmp_path_factory.mktemp("run") / "run")


def test_a_report_counts_lengths_before_windows_and_what_is_beyond_them(place):
    tokenizer = build_tokenizer("FullTokenizer", str(place / "model" / "vocab.txt"), True, False)
    given = {"max_seq_len": 12, "batch_size": 4, "label_kind": "class", "num_labels": 2}
    for most, cut in ((16, 0), (2, 16)):
        reader = WindowReader(str(place / "dev.tsv"), tokenizer, windows=Windows(most=most), **given)
        texts = count_texts(reader)
        assert texts.lengths.min() > 20
        assert int(texts.cut.sum()) == cut
        assert (texts.windows <= most).all()
        facts, (table_of_lengths,) = text_tables(texts, np.ones(16), 12)
        assert (facts["cut"], facts["windows"]) == (cut, int(texts.windows.sum()))
        assert "in several windows" in [row[0] for row in table_of_lengths.rows]
        assert "are read in windows" in table_of_lengths.about


def test_the_line_on_memory_reaches_to_texts_of_many_windows(place):
    config = ErnieConfig(CONFIG)
    setting = {"batch_size": 8, "max_seq_len": 12}
    spec = ModelSpec(settings=settings_of(Classifier.flags, {}))
    plain = Classifier.memory_line(config, spec, **setting)
    spec = spec.replace(settings=settings_of(Classifier.flags, {"long_text": "window", "max_windows": 5}))
    line = Classifier.memory_line(config, spec, **setting)
    low, high = (
        numbers_in(text)
        for text in (plain, Classifier.memory_line(config, ModelSpec(), **{**setting, "batch_size": 40}))
    )
    assert numbers_in(line) == [low[0], high[1]]
    assert line.endswith("from batches of texts of one window to batches whose texts all have 5 (--max_windows)")


@pytest.mark.slow
def test_it_learns_what_stands_behind_the_first_window(run, place, tmp_path):
    lines = read_records(run)
    assert max(line["acc"] for line in lines if line["event"] == "dev") > 0.9
    assert {line["data_num"] for line in lines if line["event"] == "dev"} == {16}
    record = json.loads((run / "best" / "checkpoint.json").read_text())
    assert record["flags"]["long_text"] == "window"
    assert record["flags"]["window_pooling"] == "max"
    assert record["max_seq_len"] == 12


FAST = {("classify", "mean"), ("regression", "max"), ("multi_label_classification", "first")}


@pytest.mark.parametrize(
    ("name", "pooling"),
    [
        pytest.param(name, pooling, marks=[] if (name, pooling) in FAST else pytest.mark.slow)
        for name in ("classify", "regression", "multi_label_classification")
        for pooling in ("mean", "max", "first")
    ],
)
def test_the_loss_of_a_program_is_that_of_pooled_logits(name, pooling, place):
    """Beside logits of each window from the prediction Program, pooled and scored by hand."""
    task, outputs = task_class(name), 1 if name == "regression" else 3
    given = {"long_text": "window", "window_pooling": pooling, "window_stride": 5}
    given.update({"metric": "pearson_and_spearman"} if name == "regression" else {})
    spec = ModelSpec(task=name, num_labels=outputs, max_seq_len=10, settings=settings_of(task.flags, {}, given),
                     metric=given.get("metric", "simple_accuracy"))  # fmt: skip
    config = ErnieConfig({**CONFIG, "initializer_range": 0.3})
    learner = Learner(lambda mode: task(config, spec, mode), RunConfig(seed=3))
    tokenizer = build_tokenizer("FullTokenizer", str(place / "model" / "vocab.txt"), True, False)
    label = {"classify": "2", "regression": "0.5", "multi_label_classification": "0,2"}[name]
    path = write_tsv(place / f"{name}_{pooling}.tsv", [(label, text) for _, text in long_sentences(4, 5)])
    kind = task.label_kind
    reader = WindowReader(path, tokenizer, windows=Windows(5, 16, pooling), num_labels=outputs, label_kind=kind,
                          max_seq_len=10, batch_size=4)  # fmt: skip
    ((batch, position),) = reader.batches()
    random = np.random.RandomState(0)
    shapes = learner.parameter_shapes(RunMode.PREDICT)
    learner.write({n: random.randn(*shape).astype("float32") * 0.3 for n, shape in sorted(shapes.items())})
    scores = learner.evaluate([(batch, position)])
    ((predicted, _),) = list(learner.predict([(batch, position)]))
    parts = np.split(predicted["logits"], np.cumsum(batch["window_counts"].ravel())[:-1])
    assert len(parts) == scores["data_num"] == 4
    assert len(predicted["logits"]) > 12
    ways = {"mean": lambda part: part.mean(0), "max": lambda part: part.max(0), "first": lambda part: part[0]}
    logits = np.stack([ways[pooling](part) for part in parts]).astype("float64")
    if name == "classify":
        wanted = np.mean(np.log(np.exp(logits).sum(1)) - logits[:, 2])
    elif name == "regression":
        wanted = np.mean((logits - 0.5) ** 2)
    else:
        labels = np.array([1.0, 0, 1])
        wanted = np.mean(np.log1p(np.exp(logits)) - labels * logits)
    assert scores["loss"] == pytest.approx(wanted, rel=1e-4)
    by_task = task.by_example(predicted, batch, reader)
    np.testing.assert_allclose(by_task["logits"], logits, atol=1e-5)


@pytest.mark.slow
def test_every_way_gives_the_same_answers(run, place, tmp_path):
    """The test file of the run, infer_classifyer.py, the Python API and the server."""
    step = json.loads((run / "last" / "checkpoint.json").read_text())["step"]
    (saved,) = run.glob(f"test_out.tsv.*.{step}")
    of_run = [line.split("\t")[1].strip("[]").split() for line in saved.read_text().splitlines()]
    infer("infer_classifyer.py", init_checkpoint=run / "last", predict_set=place / "test.tsv", batch_size=3,
          output=tmp_path / "out.tsv", save_inference_model_path=tmp_path / "saved")  # fmt: skip
    header, rows = table((tmp_path / "out.tsv").read_text(encoding="utf8"))
    texts = [text for _, text in long_sentences(10, 3)]
    assert header == ["gold_label", "text_a", "label", "prob_0", "prob_1"]
    rows = [row[1:] for row in rows]
    assert [row[0] for row in rows] == texts
    folder = next((tmp_path / "saved").iterdir())
    handler, model = open_handler(folder), InferenceModel.open(folder, use_cuda="false")
    served = respond(handler, model.predictor, {"texts": texts}, Limits())["predictions"]
    predictor = finetune.load(run / "last", use_cuda="false", threads=1)
    own = predictor(texts, batch_size=3)
    assert (handler.describe()["max_windows"], handler.describe()["window_pooling"]) == (16, "max")
    for line, row, answer, mine in zip(of_run, rows, served, own):
        probabilities = [float(row[2]), float(row[3])]
        assert probabilities == pytest.approx([float(word) for word in line], abs=1e-5)
        assert list(answer["probabilities"].values()) == pytest.approx(probabilities, abs=1e-5)
        assert list(mine["probabilities"].values()) == pytest.approx(probabilities, abs=1e-5)
        assert row[1] == answer["label"] == mine["label"]
        assert answer["truncated"] is False
    assert {len(parts) > 1 for parts in [handler.parse({"texts": texts[:1]}, Limits()).instances]} == {True}
    logits = predictor.logits(texts)
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(1, keepdims=True),
                               [list(mine["probabilities"].values()) for mine in own], atol=1e-5)  # fmt: skip


@pytest.mark.slow
def test_what_is_beyond_the_last_window_is_said_to_be_cut(run, place):
    predictor = finetune.load(run / "last", use_cuda="false", threads=1)
    first, second = predictor(["good film", "film " * 400])
    assert (first["truncated"], second["truncated"]) == (False, True)
    handler = predictor._handler
    with pytest.raises(TooLarge, match=r"in 64 windows, more than the 8 allowed"):
        handler.parse({"texts": ["film " * 400] * 4}, Limits(max_texts=8, queue_size=8))


@pytest.mark.slow
def test_a_model_that_was_trained_without_windows_predicts_with_them(place, tmp_path):
    """The settings of a prediction win over the model's."""
    run = train(place, tmp_path / "run", epoch=1, long_text="cut", window_stride=0, window_pooling="mean")
    given = {"init_checkpoint": run / "last", "predict_set": place / "test.tsv"}
    infer("infer_classifyer.py", **given, output=tmp_path / "cut.tsv")
    infer("infer_classifyer.py", **given, output=tmp_path / "first.tsv", long_text="window", window_pooling="first")
    infer("infer_classifyer.py", **given, output=tmp_path / "mean.tsv", long_text="window", window_stride=4)
    cut, first, mean = (table((tmp_path / f"{name}.tsv").read_text())[1] for name in ("cut", "first", "mean"))
    for one, other, third in zip(cut, first, mean):
        assert [float(part) for part in one[2:]] == pytest.approx([float(part) for part in other[2:]], abs=1e-5)
        assert one[2:] != third[2:]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"window_pooling": "max"}, "--window_pooling is for texts in windows: give --long_text window"),
        ({"max_windows": 4}, "--max_windows is for texts in windows"),
        ({"long_text": "window", "window_stride": 23}, "have room for 22 tokens: give at most that"),
        ({"long_text": "window", "max_windows": 0}, "--max_windows must be at least 1, not 0"),
    ],
)
def test_flags_that_do_not_go_together(given, message, place, tmp_path):
    values = {
        "ernie_config_path": place / "model" / "ernie_config.json",
        "vocab_path": place / "model" / "vocab.txt",
        "train_set": write_tsv(tmp_path / "train.tsv", [("0", "good"), ("1", "bad")]),
        "max_seq_len": 24,
        **given,
    }
    with pytest.raises(UserError, match=re.escape(message)):
        settle_run(Classifier, from_keywords(values, Classifier.flags))


@pytest.mark.parametrize("form", FORMS)
def test_windows_are_those_of_a_tsv_in_every_form(form, place, tmp_path):
    tokenizer = build_tokenizer("FullTokenizer", str(place / "model" / "vocab.txt"), True, False)
    rows = [(["0", "1"][number % 2], text, number) for number, (_, text) in enumerate(long_sentences(6, 7))]
    found = []
    for path in (tmp_path / "rows.tsv", tmp_path / f"rows.{form}"):
        table = write_as(path, rows, ("label", "review", "id"))
        reader = WindowReader(table, tokenizer, windows=Windows(5, 16, "mean"), num_labels=2, max_seq_len=10,
                              batch_size=4, form=TableForm(text_a="review"))  # fmt: skip
        found.append([batch for batch, _ in reader.batches()])
    assert len(found[0]) == len(found[1]) == 2
    for one, other in zip(*found):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.slow
def test_a_report_scores_texts_and_not_windows(run, place, tmp_path):
    dev = str(place / "dev.tsv")
    assert report([str(run / "best"), dev, "--output_dir", str(tmp_path / "report"), "--use_cuda", "false"]) == 0
    facts = json.loads((tmp_path / "report" / "report.json").read_text())
    lines = read_records(run)
    assert facts["rows"] == 16
    assert facts["windows"] > 2 * 16
    assert facts["cut"] == 0
    assert facts["accuracy"] == pytest.approx(max(line["acc"] for line in lines if line["event"] == "dev"))
