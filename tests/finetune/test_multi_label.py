"""Multi-label classification: scores beside scikit-learn's, thresholds, and a run from its rows to every answer.

python -m pytest tests/finetune/test_multi_label.py            # what takes seconds
python -m pytest tests/finetune/test_multi_label.py -m slow    # the runs
"""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn import metrics as sk

import finetune
from ernie.checkpoint import read_params
from ernie.convert import to_hf, to_params
from finetune.classification import thresholds as cuts
from finetune.classification.classifier import Classifier
from finetune.classification.multi_label import MultiLabel
from finetune.labels import find_labels
from finetune.prediction.model import InferenceModel
from finetune.report import main as report
from finetune.score import ScoreArgs, score_file
from finetune.serving.handler import open_handler
from finetune.training.args import from_keywords
from finetune.training.main import main
from finetune.training.settled import settle_run
from propeller.errors import UserError
from propeller.service.limits import Limits
from reader.row_encoder import LabelRule
from reader.tables.form import PLAIN
from reader.tables.opening import open_table
from script.zh_task.preprocess import entity_kinds
from tests.helpers.common import ROOT
from tests.helpers.label_sets import LABELS, label_sets, make_task
from tests.helpers.predicting import infer, table
from tests.helpers.row_files import write_as
from tests.helpers.runs import in_processes, read_records
from tests.helpers.served import respond
from tests.helpers.tiny import flags, write_tsv

FAST = {"multi_label": "true", "learning_rate": 4e-3, "warmup_proportion": 0, "epoch": 20, "batch_size": 8,
        "validation_steps": 30, "eval_strategy": "steps", "save_steps": 0, "skip_steps": 60}  # fmt: skip


# ---------------------------------------------------------------- scores and thresholds


# ---------------------------------------------------------------- a run


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return make_task(tmp_path_factory.mktemp("sets") / "task")


def train(task, folder, **changes):
    given = {"label_map_config": task / "labels.json", **FAST, **changes}
    main("run_classifier.py", "classify", flags(task / "model", task, folder, **given))
    return folder


@pytest.fixture(scope="module")
def run(task, tmp_path_factory):
    """A run with a threshold tuned for each label."""
    return train(task, tmp_path_factory.mktemp("run") / "run", tune_threshold="per_label")


def record_of(folder):
    return json.loads((folder / "checkpoint.json").read_text())


def test_it_learns_tunes_and_scores(run):
    records = read_records(run)
    dev = [record for record in records if record["event"] == "dev"]
    assert max(record["micro_f1"] for record in dev) > 0.9
    best = record_of(run / "best")
    assert best["task"] == "multi_label_classification"
    assert best["flags"]["label_separator"] == ","
    (of_best,) = [record for record in dev if record["step"] == best["step"]]
    assert of_best["tuned"] == {"flags": {"threshold": best["flags"]["threshold"]}}
    assert len(best["flags"]["threshold"].split(",")) in (1, 3)
    tests = [record for record in records if record["event"] == "test"]
    assert {"micro_f1", "macro_f1", "sample_f1", "exact_match", "loss"} <= set(tests[0])
    assert "tuned" not in tests[0]


def test_the_prediction_file_is_scored_as_the_log_says(run, task):
    """Its label column is that of a labelled file, decided by the stored thresholds."""
    step, record = record_of(run / "last")["step"], record_of(run / "last")
    (path,) = run.glob(f"test_out.tsv.*.{step}")
    header, rows = table(path.read_text(encoding="utf8"))
    assert header == ["text_a", "label", "prob_cast", "prob_plot", "prob_sound"]
    limits = cuts.read_thresholds(record["flags"]["threshold"], 3)
    gold = np.array([[name in label.split(",") for name in LABELS] for label, _ in label_sets(16, 3)])
    probs = np.array([row[2:] for row in rows], float)
    for row, chosen in zip(rows, probs >= limits):
        assert row[1] == ",".join(name for name, is_chosen in zip(LABELS, chosen) if is_chosen)
    lines = read_records(run)
    (logged,) = [line for line in lines if line["event"] == "test" and line["step"] == step]
    for name, value in cuts.set_scores(probs >= limits, gold).items():
        assert logged[name] == pytest.approx(value)


def test_score_computes_what_the_log_says(run, task, tmp_path):
    """python -m finetune.score, of the TSV and of JSON lines."""
    step = record_of(run / "last")["step"]
    (path,) = run.glob(f"test_out.tsv.*.{step}")
    args = ScoreArgs(task="multi_label_classification", label_map_config=str(task / "labels.json"))
    found, _ = score_file(str(path), str(task / "test.tsv"), args)
    lines = read_records(run)
    (logged,) = [line for line in lines if line["event"] == "test" and line["step"] == step]
    assert found.pop("rows") == 16
    assert found.pop("task") == "multi_label_classification"
    assert found == pytest.approx({name: logged[name] for name in found})
    assert len(found) == 4
    rows = [{"labels": [part for part in row[1].split(",") if part]} for row in table(path.read_text())[1]]
    (tmp_path / "out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    again, _ = score_file(str(tmp_path / "out.jsonl"), str(task / "test.tsv"), args)
    assert {name: again[name] for name in found} == pytest.approx(found)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["label", "noise"], "out.tsv, line 2: the label 'noise' is not in the label map"),
        (["label", "", "cast"], "the first without a counterpart is"),
        (["text_a", "good"], "out.tsv, line 2: no labels: give every row a column 'label'"),
    ],
)
def test_files_that_cannot_be_scored(rows, message, task, tmp_path):
    (tmp_path / "out.tsv").write_text("\n".join(rows) + "\n")
    write_tsv(tmp_path / "gold.tsv", [("cast", "the film")])
    args = ScoreArgs(task="multi_label_classification", label_map_config=str(task / "labels.json"))
    with pytest.raises(UserError, match=message):
        score_file(str(tmp_path / "out.tsv"), str(tmp_path / "gold.tsv"), args)


@pytest.fixture(scope="module")
def bundle(run, task, tmp_path_factory):
    """An inference model of the best checkpoint, and what infer_classifyer.py predicts: its TSV."""
    folder = tmp_path_factory.mktemp("saved")
    infer("infer_classifyer.py", init_checkpoint=run / "best", predict_set=task / "test.tsv", output=folder / "out.tsv",
          save_inference_model_path=folder / "saved")  # fmt: skip
    return next((folder / "saved").iterdir()), folder / "out.tsv"


@pytest.mark.slow
def test_every_way_gives_the_same_sets(run, task, bundle, tmp_path):
    """TSV, JSON lines, the Python API and the server, from the checkpoint and from its inference model."""
    texts = [text for _, text in label_sets(16, 3)]
    saved, out = bundle
    infer("infer_classifyer.py", inference_model=saved, predict_set=task / "test.tsv", output=tmp_path / "out.jsonl",
          output_format="jsonl")  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf8").splitlines()]
    header, rows = table(out.read_text(encoding="utf8"))
    handler, model = open_handler(saved), InferenceModel.open(saved, use_cuda="false")
    served = respond(handler, model.predictor, {"texts": texts}, Limits())["predictions"]
    local = finetune.load(run / "best", use_cuda="false", threads=1)(texts)
    assert handler.describe()["labels"] == list(LABELS)
    assert set(lines[0]) == {"text_a", "gold_label", "labels", "probabilities"}
    for row, line, answer, own in zip(rows, lines, served, local):
        assert row[header.index("label")] == ",".join(line["labels"])
        assert line["labels"] == answer["labels"] == own["labels"]
        assert answer["truncated"] is False
        assert list(line["probabilities"].values()) == pytest.approx(list(own["probabilities"].values()), abs=1e-5)


@pytest.mark.slow
def test_a_threshold_that_is_given_wins(bundle, task, tmp_path):
    saved, _ = bundle
    given = {"inference_model": saved, "predict_set": task / "test.tsv", "output": tmp_path / "out.tsv"}
    infer("infer_classifyer.py", **given, threshold="0.000001", label_separator="|")
    header, rows = table((tmp_path / "out.tsv").read_text(encoding="utf8"))
    assert {row[header.index("label")] for row in rows} == {"cast|plot|sound"}
    _, error = infer("infer_classifyer.py", 2, **given, threshold="0.5,0.5")
    assert "--threshold 0.5,0.5: has 2 numbers for 3 labels" in error


@pytest.mark.slow
def test_a_checkpoint_is_evaluated_with_its_thresholds(run, task, tmp_path):
    """--do_train false: as stored, not 0.5."""
    given = {"do_train": "false", "init_checkpoint": run / "best", "init_pretraining_params": None, **FAST}
    given.update(label_map_config=task / "labels.json", test_save=tmp_path / "again.tsv")
    main("run_classifier.py", "classify", flags(task / "model", task, tmp_path / "unused", **given))
    _, rows = table((tmp_path / "again.tsv").read_text(encoding="utf8"))
    limits = cuts.read_thresholds(record_of(run / "best")["flags"]["threshold"], 3)
    for row in rows:
        chosen = np.array(row[2:], float) >= limits
        assert row[1] == ",".join(name for name, is_chosen in zip(LABELS, chosen) if is_chosen)


@pytest.mark.slow
def test_another_separator_makes_the_same_run(run, task, tmp_path):
    """And one threshold for all labels is one number."""
    for name, count, seed in (("train", 48, 1), ("dev", 16, 2), ("test", 16, 3)):
        write_tsv(tmp_path / f"{name}.tsv", label_sets(count, seed, "; "))
    folder = tmp_path / "run"
    given = {"label_map_config": task / "labels.json", **FAST, "epoch": 1, "label_separator": ";"}
    main("run_classifier.py", "classify", flags(task / "model", tmp_path, folder, **given, tune_threshold="one"))
    again = train(task, tmp_path / "again", epoch=1, tune_threshold="one")
    ours, theirs = read_params(folder / "last"), read_params(again / "last")
    assert all(np.array_equal(array, theirs[name]) for name, array in ours.items())
    assert 0 < float(record_of(folder / "last")["flags"]["threshold"]) < 1


@pytest.mark.slow
def test_a_run_that_goes_on_keeps_its_thresholds(run, task, caplog):
    before = record_of(run / "best")
    with caplog.at_level("INFO"):
        train(task, run, tune_threshold="per_label")
    assert record_of(run / "best") == before
    with pytest.raises(UserError, match="--tune_threshold"):
        train(task, run, tune_threshold="one")


@pytest.mark.slow
def test_two_processes_make_the_run_of_one(task, tmp_path):
    """The steps, the scores and the thresholds, with texts in windows."""
    found = []
    for name, size, count in (("one", 8, 1), ("two", 4, 2)):
        given = {**FAST, "epoch": 2, "batch_size": size, "validation_steps": 6, "tune_threshold": "per_label"}
        given.update(label_map_config=task / "labels.json", long_text="window", max_seq_len=6, head_dropout=0)
        words = flags(task / "model", task, tmp_path / name, **given)
        in_processes(count, ["run_classifier.py", *words])
        lines = read_records(tmp_path / name)
        found.append([line for line in lines if line["event"] != "train"])
        assert {line["data_num"] for line in found[-1]} == {16}
        limits = cuts.read_thresholds(record_of(tmp_path / name / "last")["flags"]["threshold"], 3)
        found[-1].append({"loss": 0.0, "threshold": limits})
    assert len(found[0]) == len(found[1]) > 2
    for one, other in zip(*found):
        for key in ("loss", "micro_f1", "macro_f1", "sample_f1", "threshold"):
            assert one.get(key, 0.0) == pytest.approx(other.get(key, 0.0), abs=1e-4), key


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            ("cast,noise", "the film"),
            r"train.tsv, line 50: label 'noise' is not in the label map \(cast, plot, sound\)",
        ),
        (("-1", "the film"), r"train.tsv, line 50: label '-1' is not in the label map"),
        (("cast", ""), "train.tsv, line 50: text_a is empty"),
    ],
)
def test_a_wrong_row(row, message, task, tmp_path):
    path = write_tsv(tmp_path / "train.tsv", [*label_sets(48, 1), row])
    with pytest.raises(UserError, match=message) as caught:
        train(task, tmp_path / "run", train_set=path)
    assert "--on_bad skip" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"threshold": "0"}, "--threshold 0: give numbers between 0 and 1"),
        ({"threshold": "0.5,x,0.5"}, "'x' is not a number"),
        ({"threshold": "0.5", "tune_threshold": "one"}, "--threshold 0.5: is tuned by --tune_threshold"),
        ({"tune_threshold": "one"}, "--tune_threshold one needs --dev_set, and --do_val true"),
        ({"label_separator": "a"}, "the label 'cast' holds the separator 'a'"),
        ({"label_separator": ""}, "--label_separator '': give a text"),
        ({"metric": "acc_and_f1"}, "--metric and --f1_average are for one label per text"),
        ({"is_regression": True}, "leave --is_regression and --is_classify out"),
        ({"best_metric": "acc", "dev_set": "dev.tsv"}, "give one of loss, micro_f1, macro_f1, sample_f1, exact_match"),
        ({"multi_label": False, "threshold": "0.4"}, "--threshold is for label sets: give --multi_label true"),
        ({"multi_label": False, "tune_threshold": "one"}, "--tune_threshold is for label sets"),
    ],
)
def test_flags_that_do_not_go_together(given, message, task):
    values = {
        "ernie_config_path": task / "model" / "ernie_config.json",
        "vocab_path": task / "model" / "vocab.txt",
        "train_set": "train.tsv",
        "label_map_config": task / "labels.json",
        "max_seq_len": 24,
        "multi_label": True,
        **given,
    }
    with pytest.raises(UserError, match=re.escape(message)):
        settle_run(Classifier, from_keywords(values, Classifier.flags))


# ---------------------------------------------------------------- Hugging Face


@pytest.mark.slow
def test_a_converted_model_is_loaded_and_goes_back(run, task, tmp_path):
    """A checkpoint becomes a model with the problem_type, and that loads with the same labels."""
    texts = [text for _, text in label_sets(16, 3)]
    to_hf(run / "best", tmp_path / "hf", vocab_path=task / "model" / "vocab.txt")
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"
    assert config["label2id"] == LABELS
    found = finetune.load(tmp_path / "hf", use_cuda="false", threads=1)(texts)
    own = finetune.load(run / "best", use_cuda="false", threads=1)(texts)
    for one, other in zip(found, own):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)
        assert one["labels"] == [word for word, share in one["probabilities"].items() if share >= 0.5]
    to_params("hf", tmp_path / "hf", tmp_path / "back")
    assert json.loads((tmp_path / "back" / "ernie_model.json").read_text())["task"] == "multi_label_classification"


# ---------------------------------------------------------------- the recipe's data


def test_kinds_of_entities_become_label_sets(tmp_path):
    """script/zh_task/preprocess/entity_kinds.py, whose files the recipe takes."""
    assert entity_kinds.main([str(ROOT / "data" / "msra_ner"), str(tmp_path)]) == 0
    assert json.loads((tmp_path / "label_map.json").read_text()) == {"LOC": 0, "ORG": 1, "PER": 2}
    lines = (tmp_path / "train.tsv").read_text(encoding="utf8").splitlines()
    assert lines[:4] == [
        "label\ttext_a",
        "\t这本书很好看。",
        "LOC\t青海省今天下雨。",
        "LOC,PER\t记者李小芳从上海发来报道。",
    ]
    source = tmp_path / "bad"
    source.mkdir()
    write_tsv(source / "train.tsv", [("B-LOC O", "one")])
    (source / "label_map.json").write_text('{"B-LOC": 0, "O": 1}')
    with pytest.raises(UserError, match="train.tsv, line 2: 1 tokens, 2 tags of the kinds LOC"):
        entity_kinds.main([str(source), str(tmp_path / "out")])


# ---------------------------------------------------------------- labels that are found


@pytest.mark.parametrize("separator", [",", ";"])
def test_lists_of_labels_are_taken_as_they_stand(separator, tmp_path):
    """Whatever separates labels elsewhere: a label may hold a comma."""
    path = write_as(tmp_path / "rows.jsonl", [(["cast, crew", "plot"], "a"), ([], "b"), (["plot"], "c")])
    made = find_labels(MultiLabel, path, PLAIN, None, SimpleNamespace(label_separator=separator))
    assert made.label_map == {"cast, crew": 0, "plot": 1}
    rule = LabelRule("set", made.label_map, 2, separator)
    table = open_table(path, ("text_a", "label"))
    fields = [table.layout.fields(record)[0] for _, record in table.records()]
    assert [rule.read(field).tolist() for field in fields] == [[1, 1], [0, 0], [0, 1]]
    with pytest.raises(ValueError, match="label is a list; a row has one label here"):
        LabelRule("class", {"plot": 0}, 1).read(fields[2])


def test_an_empty_separator_is_refused_before_the_labels_are_looked_for(task, tmp_path):
    path = write_tsv(tmp_path / "train.tsv", label_sets(8, 1))
    values = {
        "ernie_config_path": task / "model" / "ernie_config.json",
        "vocab_path": task / "model" / "vocab.txt",
        "train_set": path,
        "multi_label": True,
        "label_separator": "",
    }
    with pytest.raises(UserError, match="--label_separator '': give a text"):
        settle_run(Classifier, from_keywords(values, Classifier.flags))


def test_its_report_says_what_is_wrong_by_label(run, task, tmp_path):
    """Scores by label are scikit-learn's; the wrong rows are those whose set is another one."""
    folder = tmp_path / "report"
    report([str(run / "best"), str(task / "dev.tsv"), "--output_dir", str(folder), "--use_cuda", "false"])
    found = json.loads((folder / "report.json").read_text())
    predictor = finetune.load(run / "best", use_cuda="false")
    rows = label_sets(16, 2)
    chosen = [answer["labels"] for answer in predictor([text for _, text in rows])]
    given = [label.split(",") if label else [] for label, _ in rows]
    truth, guess = (np.array([[name in names for name in LABELS] for names in sets]) for sets in (given, chosen))
    for name, column in zip(LABELS, range(3)):
        wanted = sk.precision_recall_fscore_support(
            truth[:, column], guess[:, column], average="binary", zero_division=0
        )
        of_label = found["labels"][name]
        assert [of_label[key] for key in ("precision", "recall", "f1")] == pytest.approx(wanted[:3])
        assert of_label["support"] == truth[:, column].sum()
    wrong = [number for number in range(16) if set(given[number]) != set(chosen[number])]
    assert found["wrong"] == len(wrong)
    lines = (folder / "wrong.tsv").read_text(encoding="utf8").splitlines()[1:]
    assert sorted(int(line.split("\t")[0]) - 1 for line in lines) == wrong
    assert sorted(int(line.split("\t")[1]) - 2 for line in lines) == wrong  # after the header
    assert found["micro_f1"] == pytest.approx(sk.f1_score(truth, guess, average="micro"))
