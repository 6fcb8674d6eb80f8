"""Exact match and F1 of reading comprehension against recorded figures and against second scorers written here."""

import collections
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune import mrc_scores
from tests.common import FIXTURES, GOLDEN, needs_shared

ZH_PUNCTUATION = "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』"


def second_zh_segments(text):
    """Another way to the same segments: one regular expression over the text without punctuation."""
    text = "".join(char for char in text.lower().strip() if char not in ZH_PUNCTUATION)
    return [
        word
        for part in re.findall("[\u4e00-\u9fa5]|[^\u4e00-\u9fa5]+", text)
        for word in ([part] if "\u4e00" <= part <= "\u9fa5" else mrc_scores.words(part))
    ]


def second_scorer(answers, predictions):
    """em, f1 and avg of Chinese, by trying every run of the prediction, longest first."""
    em = f1 = 0
    for name, texts in answers.items():
        predicted, best = second_zh_segments(predictions[name]), 0
        strip = [text.lower().strip().translate({ord(c): None for c in ZH_PUNCTUATION}) for text in texts]
        em += predictions[name].lower().strip().translate({ord(c): None for c in ZH_PUNCTUATION}) in strip
        for text in texts:
            wanted = second_zh_segments(text)
            for size in range(min(len(wanted), len(predicted)), 0, -1):
                runs = {tuple(wanted[i : i + size]) for i in range(len(wanted) - size + 1)}
                if any(tuple(predicted[i : i + size]) in runs for i in range(len(predicted) - size + 1)):
                    best = max(best, 2 * size / (len(wanted) + len(predicted)))
                    break
        f1 += best
    em, f1 = 100 * em / len(answers), 100 * f1 / len(answers)
    return {"em": em, "f1": f1, "avg": (em + f1) / 2}


@pytest.fixture(scope="module")
def recorded():
    return json.loads((GOLDEN / "5_metrics" / "cmrc_eval.json").read_text(encoding="utf8"))


@needs_shared
def test_pairs_equal_2019(recorded):
    for case in recorded["pairs"]:
        answers, prediction = case["answers"], case["prediction"]
        assert mrc_scores.chinese_em(answers, prediction) == case["em"], case
        assert mrc_scores.chinese_f1(answers, prediction) == pytest.approx(case["f1"], abs=1e-12), case


@needs_shared
def test_segments_and_common_runs_equal_2019(recorded):
    for case in recorded["mixed_segmentation"]:
        assert mrc_scores.mixed_segmentation(case["text"]) == case["seg"]
        assert mrc_scores.mixed_segmentation(case["text"], remove_punctuation=True) == case["seg_rm_punc"]
        assert mrc_scores.remove_punctuation(case["text"]) == case["remove_punctuation"]
    for case in recorded["find_lcs"]:
        assert list(mrc_scores.longest_common_run(case["a"], case["b"])) == case["out"]


@needs_shared
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


def test_a_question_without_prediction_counts():
    answers = {"1": ["yes"], "2": ["no"]}
    assert mrc_scores.score("en", answers, {"1": "yes"}) == {"em": 50, "f1": 50, "avg": 50, "question_num": 2}
    assert mrc_scores.score("zh", {"1": ["是"], "2": ["否"]}, {"2": "否"})["em"] == 50


def test_the_language_is_that_of_half_of_the_questions():
    assert mrc_scores.language_of(["谁？", "who?"]) == "zh"
    assert mrc_scores.language_of(["谁？", "who?", "why?"]) == "en"


texts = st.text(st.sampled_from("北京市大学abc1. ,'-，。“”（）·é"), max_size=12)


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
