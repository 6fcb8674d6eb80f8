"""script/demo/demo_report.py, on what a finished run leaves behind.

python -m pytest tests/script/test_demo_report.py
"""

from __future__ import annotations

import json
import re
import sys

import pytest

from script.demo import demo_news
from tests.helpers.shell import SCRIPT, shell


def finished(tmp_path, scores, predictions, rows, name="test_out.tsv.0.4"):
    """What a finished run leaves behind, as far as the report reads it."""
    checkpoints, data = tmp_path / "run", tmp_path / "data"
    checkpoints.mkdir()
    data.mkdir()
    entries = [{"step": 2, **scores[0]}, {"step": 4, **scores[1]}]
    text = "".join(json.dumps({"event": "dev", **entry}) + "\n" for entry in entries)
    (checkpoints / "metrics.jsonl").write_text(text)
    (checkpoints / name).write_text(predictions, encoding="utf-8")
    for part in ("dev", "test"):
        (data / f"{part}.tsv").write_text(rows, encoding="utf-8")
    return checkpoints, data


def report(name, checkpoints, data):
    program = SCRIPT / "demo" / "demo_report.py"
    return shell([sys.executable, program, name, "--checkpoints", checkpoints, "--data", data])


def test_the_report_on_strength(tmp_path):
    scores = [{"corr": 0.9, "pearson": 0.91, "spearmanr": 0.89}, {"corr": 0.5, "pearson": 0.52, "spearmanr": 0.48}]
    rows = "label\ttext_a\n" + "".join(f"{n}.5\tsentence {n}\n" for n in range(3))
    done = report("strength", *finished(tmp_path, scores, "0.25\t[0.25]\n" * 3, rows))
    assert done.returncode == 0, done.stderr
    assert "Pearson correlation 0.5200, Spearman 0.4800" in done.stdout
    assert "best, after step 2: Pearson correlation 0.9100" in done.stdout
    assert "predicted +0.25  people +2.50  sentence 2" in done.stdout
    assert f"infer_classifyer.py --model {tmp_path}/run/best --predict_set mine.txt" in done.stdout
    assert "mine_predictions.tsv then has each sentence and its score." in done.stdout


def test_the_report_on_reviews(tmp_path):
    rows = "label\ttext_a\n1\t好书\n0\t很差\n"
    done = report("reviews", *finished(tmp_path, [{"acc": 0.6}, {"acc": 0.75}], "1.0\t[0.1 0.9]\n" * 2, rows))
    assert done.returncode == 0, done.stderr
    assert "Accuracy 0.7500, 2 held-out rows, after the last step, 4" in done.stdout
    assert "positive  0.900  right  好书" in done.stdout
    assert "positive  0.900  wrong  很差" in done.stdout
    assert re.search(r"959 of the 1,200 dev rows and 7,663 of the\n9,600 train rows of ChnSentiCorp", done.stdout)


def test_the_report_on_entities(tmp_path):
    scores = [{"f1": 0.1, "precision": 0.2, "recall": 0.3}] * 2
    rows = "text_a\tlabel\n江\x02到\x02京\tB-PER\x02O\x02B-LOC\n好\tO\n"
    found = json.dumps([{"text": "江", "start": 0, "end": 1, "type": "PER"}], ensure_ascii=False)
    predictions = f"江\x02到\x02京\tB-PER\x02O\x02O\t1\x021\x021\t{found}\n好\tO\t1\t[]\n"
    done = report("entities", *finished(tmp_path, scores, predictions, rows))
    assert done.returncode == 0, done.stderr
    assert "F1 0.1000, precision 0.2000, recall 0.3000" in done.stdout
    assert "  江到京\n    found 江 (PER)    labelled 江 (PER), 京 (LOC)\n" in done.stdout


def test_the_report_on_cloze(tmp_path):
    scores = [{"avg": 1, "em": 1, "f1": 1}, {"avg": 15, "em": 10, "f1": 20}]
    checkpoints, data = finished(tmp_path, scores, '{"DEV_0": "北京", "DEV_1": "江"}', "", "dev_predictions.json")
    for path in data.iterdir():
        path.unlink()
    item = {"context": "江到北京", "answer": "北京", "start": 2, "names": 2, "question": "江到＿＿"}
    other = {**item, "answer": "到", "start": 1, "question": "江＿＿北京"}
    (data / "dev.json").write_bytes(demo_news.squad_json([item, other], "DEV"))
    done = report("cloze", checkpoints, data)
    assert done.returncode == 0, done.stderr
    assert "Exact match 10.00, F1 20.00, of 100, 2 held-out rows" in done.stdout
    assert "  江到＿＿\n    right: 北京    wanted: 北京\n  江＿＿北京\n    wrong: 江    wanted: 到" in done.stdout
    (checkpoints / "dev_predictions.json").unlink()
    done = report("cloze", checkpoints, data)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "predictions", "said"),
    [
        ("strength", "much\t[1]\n", "line 1 is not a number"),
        ("entities", "a\tO\n", "line 1 is not text, tags, probabilities and entities"),
        ("reviews", "1.0\t[0 1]\n" * 2, "has 2 lines for 1 rows"),
    ],
)
def test_the_report_names_what_is_wrong(tmp_path, name, predictions, said):
    scores = dict.fromkeys(("corr", "pearson", "spearmanr", "acc", "f1", "precision", "recall"), 0.5)
    done = report(name, *finished(tmp_path, [scores] * 2, predictions, "text_a\tlabel\nx\t1\n"))
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
