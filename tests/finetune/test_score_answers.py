"""python -m finetune.score of answers to questions."""

import json

import pytest

from finetune.mrc.scores import score
from finetune.score import ScoreArgs, kind_of, score_file
from propeller.errors import UserError
from tests.helpers.row_files import write_lines


@pytest.fixture
def write(tmp_path):
    return lambda name, *lines: write_lines(tmp_path / name, lines)


def scored(predictions, reference, **flags):
    return score_file(predictions, reference, ScoreArgs(**flags))


CHINESE = {"Q1": ("谁写的？", ["鲁迅先生", "鲁迅"]), "Q2": ("在哪里？", ["北京市"])}
ENGLISH = {"Q1": ("Who wrote it?", ["the young Lu Xun"]), "Q2": ("Where?", ["Beijing"])}


def squad(questions):
    context = " ".join(text for _, texts in questions.values() for text in texts)
    qas = [
        {"id": name, "question": question, "answers": [{"text": t, "answer_start": context.index(t)} for t in texts]}
        for name, (question, texts) in questions.items()
    ]
    return {"version": "v1", "data": [{"title": "", "paragraphs": [{"context": context, "qas": qas}]}]}


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    ("questions", "answers", "way"),
    [(CHINESE, {"Q1": "鲁迅。", "Q2": "北京"}, "zh"), (ENGLISH, {"Q1": "Young Lu Xun", "Q2": "Nanjing"}, "en")],
)
def test_answers_in_every_form(write, questions, answers, way, indent):
    reference = write("dev.json", json.dumps(squad(questions), indent=indent, ensure_ascii=False))
    assert kind_of(reference) == "mrc"
    wanted = score(way, {name: texts for name, (_, texts) in questions.items()}, answers)
    assert wanted["em"] == 50
    records = [{"id": name, "prediction_text": text} for name, text in answers.items()]
    for lines in (
        [json.dumps(answers, indent=indent)],
        [json.dumps({name: [{"text": text}, {"text": "x"}] for name, text in answers.items()}, indent=indent)],
        [json.dumps(records)],
        [json.dumps(record) for record in records],
    ):
        scores, notes = scored(write("p.json", *lines), reference)
        assert scores == {"task": "mrc", **wanted, "language": way}
        assert notes == []


def test_the_language_of_the_rules_can_be_chosen(write):
    reference = write("dev.json", json.dumps(squad(CHINESE)))
    predictions = write("p.json", json.dumps({"Q1": "鲁迅", "Q2": "北京"}))
    zh, en = (scored(predictions, reference, mrc_language=way)[0] for way in ("zh", "en"))
    assert scored(predictions, reference, mrc_language="cmrc")[0] == zh
    assert scored(predictions, reference, mrc_language="drcd")[0] == zh
    assert scored(predictions, reference, mrc_language="squad")[0] == en
    assert zh["f1"] > en["f1"]


def test_missing_and_left_over_answers_are_counted(write):
    reference = write("dev.json", json.dumps(squad(CHINESE)))
    scores, notes = scored(write("p.json", json.dumps({"Q1": "鲁迅", "Q9": "x"})), reference)
    assert (scores["em"], scores["question_num"]) == (50, 2)
    assert notes[0] == "1 of 2 questions have no prediction and score 0, 'Q2' first"
    assert notes[1].startswith("1 predictions are of no question of ")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"Q7": "x"}'], "no question of .*dev.json has a prediction there"),
        (['{"Q1": 3}'], "p, question 'Q1': its answer is no text"),
        (['{"Q1": "a", "Q1": "b"}'], "p: 'Q1' is there twice"),
        (['{"id": "Q1", "text": "a"}', '{"id": "Q1", "text": "b"}'], "p, line 2: the question 'Q1' has two"),
        (['{"id": "Q1", "text": "a"}', '{"text": "b"}'], "p, line 2: no 'id' and text"),
        (['[{"id": "Q1"}]'], "p, entry 1: no 'id' and text"),
        (["{", '"Q1": "a",', "}"], "p, line 3: not JSON"),
        (["Q1\ta"], "p, line 1: not JSON"),
        (["[" * 100000], "p: JSON nested too deep"),
    ],
)  # fmt: skip
def test_wrong_answers(write, lines, message):
    with pytest.raises(UserError, match=message):
        scored(write("p", *lines), write("dev.json", json.dumps(squad(CHINESE))))
