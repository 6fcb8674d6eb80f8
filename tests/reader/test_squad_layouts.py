"""Other libraries' layouts of SQuAD, answers of odd types and places, and questions without an answer."""

import json

import pytest

from propeller.errors import UserError
from reader.squad.file import SquadFile
from reader.squad.layouts import answer_place, answer_text, as_squad, parse_json
from tests.helpers.squad import squad

CONTEXT = "The mill stands by the river. It was built in 1850 and the mill still works."
FLAT = [
    {"id": "a", "title": "t", "context": CONTEXT, "question": "Built when?",
     "answers": {"text": ["1850"], "answer_start": [CONTEXT.index("1850")]}},
    {"id": "b", "title": "t", "context": CONTEXT, "question": "Stands where?",
     "answers": {"text": ["by the river"], "answer_start": [CONTEXT.index("by")]}},
]  # fmt: skip
FIRST_RELEASE = [
    {"context_id": "T", "context_text": CONTEXT, "title": None, "qas": [
        {"query_id": row["id"], "query_text": row["question"], "answers": row["answers"]["text"]} for row in FLAT]}
]  # fmt: skip
NESTED = {"data": [{"paragraphs": [{"context": CONTEXT, "qas": [
    {key: row[key] for key in ("id", "question", "answers")} for row in FLAT]}]}]}  # fmt: skip
LAYOUTS = {
    "JSON lines": "".join(json.dumps(row) + "\n" for row in FLAT),
    "one row": json.dumps(FLAT[0]),
    "rows under data": json.dumps({"version": "1", "data": FLAT}, indent=1),
    "a list of rows": json.dumps(FLAT),
    "answers as lists": json.dumps(NESTED),
    "the articles alone": json.dumps(NESTED["data"]),
    "the paragraphs alone": json.dumps(NESTED["data"][0]["paragraphs"]),
    "CMRC2018's first release": json.dumps(FIRST_RELEASE),
    "a byte-order mark": "\ufeff" + json.dumps(NESTED),
}


def read(tmp_path, content, answers="train", **how):
    (tmp_path / "a.json").write_text(content, encoding="utf-8")
    return SquadFile(tmp_path / "a.json", answers, **how)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_the_same_questions(tmp_path, layout):
    found = [(each.id, each.text, each.context, each.answer) for each in read(tmp_path, LAYOUTS[layout]).questions]
    wanted = [("a", "Built when?", CONTEXT, "1850"), ("b", "Stands where?", CONTEXT, "by the river")]
    assert found == (wanted[:1] if layout == "one row" else wanted)


def test_questions_of_one_context_share_it(tmp_path):
    first, second = read(tmp_path, LAYOUTS["JSON lines"]).questions
    assert first.context is second.context


@pytest.mark.parametrize("content", ['{"data": [1]}', "[1, 2]", "7", '[{"id": "a"}]', '{"context": "c"}'])
def test_other_shapes_are_left_for_the_reader_to_name(tmp_path, content):
    assert as_squad(parse_json(content)) == json.loads(content)
    with pytest.raises(UserError, match="not SQuAD"):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("written", "context", "text"),
    [
        ("4.9", "it costs 4.9", "4.9"),
        ("4.90", "it costs 4.90", "4.90"),
        ("147", "147 m high", "147"),
        ("147.0", "147 m high", "147"),
        ("39935.0", "on the second of May", "39935.0"),
        ('"x"', "x", "x"),
        ("null", "x", None),
        ("true", "true", None),
        ("[1]", "1", None),
    ],
)
def test_a_number_is_the_text_that_stands_in_the_context(written, context, text):
    assert answer_text(parse_json(written), context) == text


@pytest.mark.parametrize(("value", "place"), [(3, 3), ("3", 3), (3.0, 3), (None, None), ("x", None), (True, None)])
def test_the_place_of_an_answer_in_other_types(value, place):
    assert answer_place(value) == place


def odd(*answers):
    asked = [{"id": f"q{number}", "question": "?", "answers": [answer]} for number, answer in enumerate(answers)]
    return json.dumps({"data": [{"paragraphs": [{"context": CONTEXT, "qas": asked}]}]})


def test_no_offset_stops_a_run_whose_answer_stands_in_the_context(tmp_path):
    far = CONTEXT.rindex("mill")
    starts = (10**9, -7, "5", far + 2, "odd")
    answers = [{"text": "mill", "answer_start": start} for start in starts]
    file = read(tmp_path, odd(*answers, {"text": 1850, "answer_start": 0}))
    assert [question.start for question in file.questions] == [far, 4, 4, far, 4, CONTEXT.index("1850")]
    assert (file.repaired, file.found, file.numbers, file.left_out) == (5, 1, 1, [])
    assert "5 with a wrong one taken at the nearest place of their text" in file.report()
    assert "1 answers that are numbers taken as text" in file.report()


def squad2(path, marked=True):
    """Three questions, of which the second and the third have no answer."""
    squad(path, (CONTEXT, [("yes", "Built when?", "1850"), ("no", "Burnt when?"), ("none", "Sold when?")]))
    content = json.loads(path.read_text())
    for entry in content["data"][0]["paragraphs"][0]["qas"]:
        if marked:
            entry["is_impossible"] = not entry["answers"]
        if not entry["answers"]:
            entry["plausible_answers"] = [{"text": "1850", "answer_start": 46}]
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("answers", ["train", "score"])
def test_questions_without_an_answer_are_told_at_once_and_skipped_with_a_count(tmp_path, marked, answers):
    path = squad2(tmp_path / "train-v2.0.json", marked)
    message = (
        r"question 'no': it has no answer .*, as with 2 of 3 questions of the file: .* --on_bad skip leaves them out"
    )
    with pytest.raises(UserError, match=message):
        SquadFile(path, answers)
    file = SquadFile(path, answers, on_bad="skip")
    assert [question.id for question in file.questions] == ["yes"]
    assert "2 questions without an answer left out ('no', 'none')" in file.report()
    assert [question.id for question in SquadFile(path).questions] == ["yes", "no", "none"], "all are predicted"


def test_a_file_of_unanswerable_questions_alone(tmp_path):
    path = squad(tmp_path / "a.json", (CONTEXT, [("no", "Burnt when?")]))
    with pytest.raises(UserError, match="none of its 1 questions has an answer"):
        SquadFile(path, "train", on_bad="skip")


def test_bad_questions_are_skipped_with_the_first_named(tmp_path):
    content = json.loads(odd({"text": "mill", "answer_start": 4}, {"text": None}, "mill", {"text": "1850"}))
    content["data"][0]["paragraphs"][0]["qas"] += [{"id": "q9"}, "odd"]
    with pytest.raises(UserError, match=r"question 'q1'.*'text'"):
        read(tmp_path, json.dumps(content))
    file = read(tmp_path, json.dumps(content), on_bad="skip")
    assert [question.id for question in file.questions] == ["q0", "q3"]
    assert len(file.bad) == 4
    assert "4 bad questions left out (the first: " in file.report()
    assert "question 'q1'" in file.report()


def test_a_question_whose_answers_are_blank_has_none_to_score(tmp_path):
    """What annotation tools write where nothing was marked; beside a question with an answer."""
    path = squad(tmp_path / "a.json", (CONTEXT, [("yes", "When?", "1850"), ("blank", "Burnt when?", "")]))
    with pytest.raises(UserError, match="question 'blank': it has no answer"):
        SquadFile(path, "score")
    file = SquadFile(path, "score", on_bad="skip")
    assert [question.id for question in file.questions] == ["yes"]
    assert "1 questions without an answer left out ('blank')" in file.report()
