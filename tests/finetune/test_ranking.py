"""Answer ranking: MRR and MAP against what the 2019 code computed, against scikit-learn, and as its user starts it."""

import json
import re

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score

from finetune import metrics
from finetune.classification.classifier import RankingClassifier
from finetune.spec import ModelSpec
from finetune.training.main import main
from propeller.errors import UserError
from tests.helpers.common import GOLDEN
from tests.helpers.runs import read_records
from tests.helpers.tiny import flags, sentences, write_tsv

HEAD = ModelSpec(metric="acc_and_f1_and_mrr")
FLAGS = {"metric": "acc_and_f1_and_mrr"}


@pytest.fixture(scope="module")
def recorded():
    with open(GOLDEN / "5_metrics" / "classify_metrics.json") as file:
        return json.load(file)


def make_ranked(folder, columns=("qid", "label", "text_a")):
    folder.mkdir(parents=True, exist_ok=True)
    for name, count, seed in (("train", 40, 1), ("dev", 13, 2), ("test", 8, 3)):
        rows = [(100 + i // 4, label, text) for i, (label, text) in enumerate(sentences(count, seed))]
        places = [("qid", "label", "text_a").index(column) for column in columns]
        write_tsv(folder / f"{name}.tsv", [[row[place] for place in places] for row in rows], columns)
    return folder


def test_mrr_and_map_equal_2019(recorded):
    for case in recorded["ranking"]:
        arrays = (case["qids"], case["scores"], case["labels"])
        assert metrics.mean_reciprocal_rank(*arrays) == pytest.approx(case["mrr"])
        assert metrics.mean_average_precision(*arrays) == pytest.approx(case["map"])
    assert len(recorded["ranking"]) >= 5


def test_map_and_mrr_equal_scikit_learn_whatever_the_order_of_the_rows():
    random = np.random.RandomState(4)
    qids = np.repeat(np.arange(30), 7)
    labels, scores = (random.rand(210) < 0.3).astype(int), random.rand(210)
    by_question = [slice(i * 7, i * 7 + 7) for i in range(30)]
    wanted = np.mean([average_precision_score(labels[q], scores[q]) if labels[q].any() else 0.0 for q in by_question])
    # With a single right answer a question, MRR is label ranking average precision.
    single = np.eye(7, dtype=int)[random.randint(7, size=30)]
    mrr = label_ranking_average_precision_score(single, scores.reshape(30, 7))
    order = random.permutation(210)
    assert metrics.mean_average_precision(qids[order], scores[order], labels[order]) == pytest.approx(wanted)
    assert metrics.mean_reciprocal_rank(qids[order], scores[order], single.ravel()[order]) == pytest.approx(mrr)


def test_the_evaluation_line_equals_2019(recorded):
    inputs = recorded["evaluate_classify_inputs"]
    sizes = [batch[4][0] for batch in inputs]
    loss = sum(batch[0][0] * size for batch, size in zip(inputs, sizes)) / sum(sizes)
    arrays = [np.concatenate([np.array(batch[i]) for batch in inputs]) for i in (2, 3, 5)]
    (wanted,) = [
        case["out"]
        for case in recorded["evaluate_classify"]
        if case["metric"] == "acc_and_f1_and_mrr" and case["with_qids"]
    ]
    scores = {"loss": loss, "data_num": sum(sizes), **metrics.acc_and_f1_and_mrr(*arrays)}
    assert f"[dev evaluation] {RankingClassifier.evaluation_line(HEAD, scores, 0.0)}" == wanted


def test_a_run_scores_by_question_and_training_rows_need_no_qid(model, tmp_path, capfd):
    data, folder = make_ranked(tmp_path / "data"), tmp_path / "run"
    make_ranked(tmp_path / "plain", ("label", "text_a"))
    train = tmp_path / "plain" / "train.tsv"
    main("run_classifier.py", "classify", flags(model, data, folder, **FLAGS, train_set=train))
    text = capfd.readouterr().err
    line = (
        r"\[dev evaluation\] ave loss: \S+, acc: \d\.\d{6}, f1: \d\.\d{6}, mrr: \d\.\d{6}, data_num: 13, elapsed time"
    )
    assert re.search(line, text)
    figures = read_records(folder)
    tested = next(row for row in figures if row["event"] == "test" and row["checkpoint"] == "last")
    rows = [row.split("\t") for row in (folder / "test_out.tsv.1.10").read_text().splitlines()]
    qids = [int(row[0]) for row in rows]
    scores = [float(row[2].strip("[]").split()[1]) for row in rows]
    labels = [int(row.split("\t")[1]) for row in (data / "test.tsv").read_text().splitlines()[1:]]
    assert tested["mrr"] == pytest.approx(metrics.mean_reciprocal_rank(qids, scores, labels))
    assert tested["map"] == pytest.approx(metrics.mean_average_precision(qids, scores, labels))
    dev = [row for row in figures if row["event"] == "dev"]
    best = int((folder / "best").resolve().name.split("_")[1])
    assert next(row["mrr"] for row in dev if row["step"] == best) == max(row["mrr"] for row in dev)


def test_a_file_without_qid_is_named(model, tmp_path):
    data = make_ranked(tmp_path / "data")
    plain = make_ranked(tmp_path / "plain", ("label", "text_a"))
    for which in ("dev", "test"):
        given = flags(model, data, tmp_path / f"run_{which}", **FLAGS, **{f"{which}_set": plain / f"{which}.tsv"})
        with pytest.raises(UserError, match="'qid'") as caught:
            main("run_classifier.py", "classify", given)
        assert f"{plain / which}.tsv, line 1" in str(caught.value)


def test_a_qid_that_is_no_integer_is_named(model, tmp_path):
    data = make_ranked(tmp_path / "data")
    dev = write_tsv(tmp_path / "dev.tsv", [("7", 1, "good"), ("q8", 0, "bad")], ("qid", "label", "text_a"))
    with pytest.raises(UserError, match="'q8' is not an integer") as caught:
        main("run_classifier.py", "classify", flags(model, data, tmp_path / "run", **FLAGS, dev_set=dev))
    assert f"{dev}, line 3" in str(caught.value)


def test_ranking_is_by_two_classes(model, tmp_path):
    data = make_ranked(tmp_path / "data")
    with pytest.raises(UserError, match="--num_labels 2, not 3"):
        main("run_classifier.py", "classify", flags(model, data, tmp_path / "run", **FLAGS, num_labels=3))
