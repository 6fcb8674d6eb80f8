"""From logits to answers: equal to 2019's but for texts that were wrong then."""

import json

import numpy as np
import pytest

from finetune.mrc import answers as mrc_answers
from finetune.mrc.scores import score
from reader.squad.reader import SquadReader
from tests.helpers.common import GOLDEN
from tests.helpers.squad import squad
from tokenization import BasicTokenizer, build_tokenizer, tokenize_chinese_chars


class Recorded:
    """A recorded case: the reader, logits by unique id, and the n best answers that 2019 made of them."""

    def __init__(self, case):
        folder = GOLDEN / "5_metrics"
        config = json.loads((folder / f"mrc_{case}_config.json").read_text())
        tokenizer = build_tokenizer("FullTokenizer", GOLDEN / "vocab" / "vocab_zh.txt", for_cn=False)
        path = GOLDEN / "2_readers" / "data" / "mrc.json"
        self.reader = SquadReader(path, tokenizer, answers="score", batch_size=8, **config["reader"])
        stored = np.load(folder / f"mrc_{case}_logits.npz")
        pairs = zip(stored["start_logits"], stored["end_logits"])
        self.logits = dict(zip(stored["unique_ids"].ravel().tolist(), pairs))
        self.nbest = json.loads((folder / f"mrc_{case}_nbest_predictions.json").read_text())
        self.predictions = json.loads((folder / f"mrc_{case}_predictions.json").read_text())
        self.sizes = config["n_best_size"], config["max_answer_length"]
        self.scores = config["eval_file"]

    def answers(self):
        """Question id -> our n best answers, padding's logits looked at as in 2019."""
        made = {}
        for number, question in enumerate(self.reader.file.questions):
            document, windows = self.reader.document(number), self.reader.windows(number)
            logits = [self.logits[window.unique_id] for window in windows]
            made[question.id] = mrc_answers.n_best(question.context, document, windows, logits, *self.sizes)
        return made


def text_of_2019(context, document, first, last):
    """The text as 2019 made it (run_squad.py, get_final_text): pieces joined, looked for in the words they are of."""
    joined = " ".join(document.tokens[first : last + 1]).replace(" ##", "").replace("##", "").strip()
    parts = tokenize_chinese_chars(context)
    return final_text_of_2019(" ".join(joined.split()), "".join(parts[document.part[first] : document.part[last] + 1]))


def final_text_of_2019(wanted, text, do_lower_case=True):
    words = " ".join(BasicTokenizer(do_lower_case).tokenize(text))
    at = words.find(wanted)
    places, word_places = ([i for i, char in enumerate(side) if char != " "] for side in (text, words))
    if at < 0 or len(places) != len(word_places):
        return text
    numbers = {place: number for number, place in enumerate(word_places)}
    begin, end = numbers.get(at), numbers.get(at + len(wanted) - 1)
    if begin is None or end is None:
        return text
    return text[places[begin] : places[end] + 1]


def test_the_way_of_2019_is_written_right_here():
    for case in json.loads((GOLDEN / "5_metrics" / "mrc_helpers.json").read_text())["get_final_text"]:
        assert final_text_of_2019(case["pred"], case["orig"], case["do_lower_case"]) == case["out"], case


@pytest.mark.parametrize("case", ["a", "b"])
def test_the_choice_of_answers_equals_2019(case, monkeypatch):
    """With 2019's text all is 2019's: texts, order, probabilities and logits to the last bit, and the scores."""
    recorded = Recorded(case)
    monkeypatch.setattr(mrc_answers, "cut", text_of_2019)
    answers = recorded.answers()
    assert answers == recorded.nbest
    predictions = {name: made[0]["text"] for name, made in answers.items()}
    assert predictions == recorded.predictions
    scores = score("zh", {question.id: question.answers for question in recorded.reader.file.questions}, predictions)
    assert [scores[name] for name in ("em", "f1", "avg", "question_num")] == pytest.approx(recorded.scores)


@pytest.mark.parametrize("case", ["a", "b"])
def test_a_text_differs_from_2019_only_where_that_was_wrong(case):
    """Wrong: it holds more than the tokens of the answer. Cut by offsets, a text gives these tokens and no more.

    Where no text of a question was wrong, its n best answers are 2019's, probabilities and all.
    """
    recorded, different = Recorded(case), {}
    tokenizer = recorded.reader.tokenizer
    for number, question in enumerate(recorded.reader.file.questions):
        document, windows = recorded.reader.document(number), recorded.reader.windows(number)
        own = [mrc_answers._candidates(window, most, recorded.logits[window.unique_id], *recorded.sizes)
               for window, most in zip(windows, mrc_answers.max_context(windows, len(document.tokens)))]  # fmt: skip
        for first, last in {(f, e) for columns in own for f, e in zip(columns[0].tolist(), columns[1].tolist())}:
            ours, theirs = (cut(question.context, document, first, last) for cut in (mrc_answers.cut, text_of_2019))
            chosen = [token.replace("##", "") for token in document.tokens[first : last + 1]]
            assert "".join(letters(tokenizer, ours)) == "".join(chosen)
            if ours != theirs:
                assert (
                    len("".join(letters(tokenizer, theirs))) > len("".join(chosen)) or theirs.strip("\u3000") != theirs
                )
                different.setdefault(question.id, set()).add((theirs, ours))
    answers = recorded.answers()
    for name, wanted in recorded.nbest.items():
        if name not in different:
            assert answers[name] == wanted
    if case == "a":
        assert set(different) == {"Q7", "Q8", "Q9", "Q10"}, "the context with [UNK] and full-width letters"
        assert ("São Paulo; 价格是 $19.99（", "São Paulo; 价格是 $") in different["Q8"]
        changed = {name for name in answers if answers[name][0]["text"] != recorded.predictions[name]}
        assert changed == {"Q8"}
    else:
        assert answers == recorded.nbest


def letters(tokenizer, text):
    return [token.replace("##", "") for token in tokenizer.tokenize(text)]


def test_helpers_equal_2019():
    recorded = json.loads((GOLDEN / "5_metrics" / "mrc_helpers.json").read_text())
    for case in recorded["_get_best_indexes"]:
        assert mrc_answers.best_indexes(case["logits"], case["n"]).tolist() == case["out"]
    for case in recorded["_compute_softmax"]:
        assert mrc_answers.softmax(case["scores"]) == case["out"]


def test_accents_behind_the_last_letter_belong_to_the_answer(model, tmp_path):
    tokenizer = build_tokenizer("FullTokenizer", model / "vocab.txt", for_cn=False)
    context = "the goode\u0301 film"
    path = squad(tmp_path / "a.json", (context, [("1", "cast", "film")]))
    reader = SquadReader(path, tokenizer, answers="score", max_seq_len=24, batch_size=1)
    assert mrc_answers.cut(context, reader.document(0), 0, 1) == "the goode\u0301"


@pytest.fixture
def reader(model, tmp_path):
    """One question over `the film was good and the cast was bad .`, in three windows of 4 tokens, 3 further on each."""
    tokenizer = build_tokenizer("FullTokenizer", model / "vocab.txt", for_cn=False)
    path = squad(tmp_path / "a.json", ("the film was good and the cast was bad .", [("1", "cast", "film")]))
    return SquadReader(path, tokenizer, answers="score", max_seq_len=8, doc_stride=3, batch_size=1)


def answers(reader, starts, ends, n_best_size=20, max_answer_length=10):
    """The n best, with 0 for every logit but those given as (window, token of its context) -> logit."""
    windows = reader.windows(0)
    logits = {window.unique_id: np.zeros((2, window.first + window.length + 4), "float32") for window in windows}
    for side, given in enumerate((starts, ends)):
        for (window, place), value in given.items():
            logits[windows[window].unique_id][side, windows[window].first + place] = value
    return mrc_answers.predict(reader, logits, n_best_size, max_answer_length)[1]["1"]


def test_the_best_is_the_highest_sum(reader):
    assert [(window.start, window.length) for window in reader.windows(0)] == [(0, 4), (3, 4), (6, 4)]
    best = answers(reader, {(0, 1): 3, (2, 2): 2}, {(0, 3): 1, (2, 3): 4}, n_best_size=1)
    assert best == [{"text": "bad .", "probability": 1.0, "start_logit": 2.0, "end_logit": 4.0}]
    two = answers(reader, {(0, 1): 3, (2, 2): 2}, {(0, 3): 1, (2, 3): 4}, n_best_size=2)
    assert [answer["text"] for answer in two] == ["bad .", "film was good"]
    assert two[0]["probability"] == pytest.approx(np.exp(6) / (np.exp(6) + np.exp(4)))


def test_an_answer_may_not_be_too_long_nor_run_backwards(reader):
    given = {(0, 0): 5}, {(0, 2): 5}
    assert answers(reader, *given, max_answer_length=3)[0]["text"] == "the film was"
    assert answers(reader, *given, max_answer_length=2)[0]["text"] != "the film was"
    assert "" not in {answer["text"] for answer in answers(reader, {(0, 2): 5}, {(0, 1): 5})}
    assert answers(reader, {(0, 2): 5}, {(0, 1): 5}, n_best_size=1)[0]["text"] == "empty", "as 2019 wrote it"


def test_an_answer_begins_where_its_context_is_largest(reader):
    """Token 6, `cast`, ends the second window and begins the third: equal, so the first of them counts."""
    assert answers(reader, {(2, 0): 9}, {(2, 1): 9})[0]["text"] != "cast was"
    assert answers(reader, {(1, 3): 9}, {(1, 3): 9})[0]["text"] == "cast"


def test_a_text_counts_once_and_padding_never(reader):
    found = answers(reader, {(0, 0): 4, (1, 2): 3}, {(0, 0): 1, (1, 2): 1})
    assert [answer["text"] for answer in found].count("the") == 1, "it stands at two places"
    assert answers(reader, {(2, 0): 1, (2, 6): 99}, {(2, 7): 99}, n_best_size=4) == answers(
        reader, {(2, 0): 1}, {}, n_best_size=4
    )
