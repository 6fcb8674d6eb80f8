"""Exact match and F1 of reading comprehension against recorded figures and against second scorers written here."""

import collections
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.mrc import scores as mrc_scores
from tests.helpers.common import FIXTURES, GOLDEN
from tests.helpers.mrc_scorer import second_scorer, texts


@pytest.fixture(scope="module")
def recorded():
    return json.loads((GOLDEN / "5_metrics" / "cmrc_eval.json").read_text(encoding="utf8"))


def test_pairs_equal_2019(recorded):
    for case in recorded["pairs"]:
        answers, prediction = case["answers"], case["prediction"]
        assert mrc_scores.chinese_em(answers, prediction) == case["em"], case
        assert mrc_scores.chinese_f1(answers, prediction) == pytest.approx(case["f1"], abs=1e-12), case


def test_segments_and_common_runs_equal_2019(recorded):
    for case in recorded["mixed_segmentation"]:
        assert mrc_scores.mixed_segmentation(case["text"]) == case["seg"]
        assert mrc_scores.mixed_segmentation(case["text"], remove_punctuation=True) == case["seg_rm_punc"]
        assert mrc_scores.remove_punctuation(case["text"]) == case["remove_punctuation"]
    for case in recorded["find_lcs"]:
        assert list(mrc_scores.longest_common_run(case["a"], case["b"])) == case["out"]


def test_a_file_equals_2019(recorded):
    folder = GOLDEN / "5_metrics"
    gold = json.loads((folder / "cmrc_gold.json").read_text(encoding="utf8"))
    questions = [q for article in gold["data"] for p in article["paragraphs"] for q in p["qas"]]
    answers = {q["id"].strip(): [answer["text"] for answer in q["answers"]] for q in questions}
    scores = mrc_scores.score("zh", answers, json.loads((folder / "cmrc_pred.json").read_text(encoding="utf8")))
    assert [scores[name] for name in ("em", "f1", "avg", "question_num")] == pytest.approx(
        recorded["eval_file_EM_F1_AVG_TOTAL"]
    )


def test_words_equal_nltk():
    """Recorded from nltk 3.8.1's NLTKWordTokenizer; CMRC's punctuation never comes to it."""
    for text, wanted in json.loads((FIXTURES / "mrc_words.json").read_text(encoding="utf8")).items():
        assert mrc_scores.words(text) == wanted, text


@pytest.mark.parametrize(
    ("answers", "prediction", "em", "f1"),
    [
        (["the Cat"], "cat!", 1, 1.0),
        (["a cat", "dog"], "big dog", 0, 2 / 3),
        (["Saint Bernadette Soubirous"], "Bernadette", 0, 0.5),
        (["1,000"], "1000", 1, 1.0),
        (["x"], "", 0, 0.0),
        (["the the"], "a", 1, 0.0),  # nothing is left of either: equal, and nothing in common
    ],
)
def test_english(answers, prediction, em, f1):
    assert mrc_scores.english_em(answers, prediction) == em
    assert mrc_scores.english_f1(answers, prediction) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("answers", "prediction", "em", "f1", "by_cmrc"),
    [
        (["北京"], "北京。", 1, 1.0, 1),
        (["3-5天"], "35天", 0, 2 / 4, 1),  # the hyphen stays: 3-5 and 35 are unlike segments
        (["3,5天"], "35天", 1, 1.0, 0),  # the comma of ASCII is no sign to CMRC's script
        (["(北京)"], "北京", 1, 1.0, 0),
        (["a=b"], "a+b", 0, 0.0, 1),  # CMRC takes both signs out; here = is a segment and + belongs to its run
        (["a=b"], "A=c", 0, 2 / 3, 0),
        (["New York"], "New York City", 0, 0.0, 0),  # a run without CJK characters is one segment
        (["北京 "], "北京", 0, 4 / 5, 1),  # blanks stay
        (["\u3400字"], "\u3400", 0, 2 / 3, 0),  # an extension character is a segment
        (["x"], "", 0, 0.0, 0),
    ],
)
def test_dureader_by_its_own_script(answers, prediction, em, f1, by_cmrc):
    """Values by hand after the rules of DuReader-robust's evaluate.py; the last column is what CMRC's script says."""
    assert mrc_scores.dureader_em(answers, prediction) == em
    assert mrc_scores.dureader_f1(answers, prediction) == pytest.approx(f1)
    assert mrc_scores.chinese_em(answers, prediction) == by_cmrc
    assert mrc_scores.score("dureader", {"1": answers}, {"1": prediction})["em"] == 100 * em


def test_a_question_without_prediction_counts():
    answers = {"1": ["yes"], "2": ["no"]}
    assert mrc_scores.score("en", answers, {"1": "yes"}) == {"em": 50, "f1": 50, "avg": 50, "question_num": 2}
    assert mrc_scores.score("zh", {"1": ["是"], "2": ["否"]}, {"2": "否"})["em"] == 50


def test_the_language_is_that_of_half_of_the_questions():
    assert mrc_scores.language_of(["谁？", "who?"]) == "zh"
    assert mrc_scores.language_of(["谁？", "who?", "why?"]) == "en"


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.text("0123", min_size=1), st.tuples(st.lists(texts, min_size=1, max_size=3), texts), min_size=1)
)
def test_chinese_equals_a_second_scorer(cases):
    answers = {name: case[0] for name, case in cases.items()}
    predictions = {name: case[1] for name, case in cases.items()}
    scores = mrc_scores.score("zh", answers, predictions)
    assert {name: scores[name] for name in ("em", "f1", "avg")} == pytest.approx(second_scorer(answers, predictions))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["cat", "dog", "the", "a,", "1.5", "Fox's"]), max_size=6),
    st.lists(st.sampled_from(["cat", "dog", "an", "15", "foxs", "!"]), max_size=6),
)
def test_english_equals_a_second_scorer(answer, prediction):
    def bag(words):
        kept = [re.sub("[^a-z0-9]", "", word.lower()) for word in words]
        return collections.Counter(word for word in kept if word not in ("", "a", "an", "the"))

    wanted, predicted = bag(answer), bag(prediction)
    common = sum(min(wanted[word], predicted[word]) for word in wanted)
    f1 = 2 * common / (sum(wanted.values()) + sum(predicted.values())) if common else 0
    assert mrc_scores.english_f1([" ".join(answer)], " ".join(prediction)) == pytest.approx(f1)
