"""Questions without an answer (SQuAD 2.0): read, trained, predicted by a threshold, and scored beside a second scorer.

python -m pytest tests/finetune/test_squad2.py            # what takes seconds
python -m pytest tests/finetune/test_squad2.py -m slow    # the runs
"""

import json
import re

import numpy as np
import pytest

import finetune
from finetune.mrc import unanswerable
from finetune.mrc.answers import Span
from finetune.mrc.task import ReadingComprehension
from finetune.prediction.model import InferenceModel
from finetune.report import main as report
from finetune.score import ScoreArgs, score_file
from finetune.serving.handler import open_handler
from finetune.training.args import from_keywords
from finetune.training.main import main
from finetune.training.settled import settle_run
from propeller.errors import UserError
from propeller.service.limits import Limits
from reader.squad.file import SquadFile
from reader.squad.reader import SquadReader
from tests.helpers.predicting import infer
from tests.helpers.runs import read_records
from tests.helpers.served import respond
from tests.helpers.squad2 import normal, second_scorer, squad2
from tests.helpers.tiny import flags, make_model
from tokenization import build_tokenizer

MRC = {"version_2_with_negative": "true", "doc_stride": 8, "max_answer_length": 4, "n_best_size": 5}


# ---------------------------------------------------------------- scores and thresholds

WORDS = ("the", "a", "cast", "story", "film", "!", "Cast")


def random_case(seed):
    """(answers, predictions, odds) of questions, half of them without an answer, some predictions empty."""
    random = np.random.RandomState(seed)

    def text():
        return " ".join(random.choice(WORDS, random.randint(1, 4)))

    names = [f"q{number}" for number in range(random.randint(1, 25))]
    answers = {name: tuple(text() for _ in range(random.randint(1, 3) * random.randint(2))) for name in names}
    # The official script takes a text of articles alone for an answer in one place and for none in another.
    guesses = {name: texts[0] if texts and random.rand() < 0.4 else text() for name, texts in answers.items()}
    predictions = {name: guess if normal(guess) and random.rand() < 0.9 else "" for name, guess in guesses.items()}
    return answers, predictions, {name: float(random.randn()) for name in names}


@pytest.mark.parametrize("seed", range(25))
def test_scores_equal_a_second_scorer(seed):
    answers, predictions, odds = random_case(seed)
    for threshold in (-0.5, 0.0, 0.7):
        found = unanswerable.score("en", answers, predictions, odds, threshold)
        for name, value in second_scorer(answers, predictions, odds, threshold).items():
            assert found[name] == pytest.approx(value), name
        assert (found["em"], found["question_num"]) == (found["exact"], len(answers))
        assert found.get("HasAns_total", 0) + found.get("NoAns_total", 0) == len(answers)


@pytest.mark.parametrize("seed", range(25))
def test_no_threshold_is_better_than_the_tuned_one(seed):
    answers, predictions, odds = random_case(seed)
    odds = {name: round(value, 1) for name, value in odds.items()}  # some are equal
    has_answer, limits = np.array([bool(texts) for texts in answers.values()]), np.array(list(odds.values()))
    for column, name in enumerate(("exact", "f1")):
        table = unanswerable.raw_table("en", answers, predictions)[:, column]
        tuned = unanswerable.best_threshold(table, has_answer, limits)
        every = [limits.min() - 1, *limits]
        best = max(unanswerable.score("en", answers, predictions, odds, value)[name] for value in every)
        assert unanswerable.score("en", answers, predictions, odds, tuned)[name] == pytest.approx(best)


@pytest.mark.parametrize("language", ["zh", "en", "dureader"])
def test_an_empty_prediction_is_right_where_there_is_no_answer(language):
    assert unanswerable.raw_scores(language, (), "") == (1, 1)
    assert unanswerable.raw_scores(language, (), "大桥") == (0, 0)
    assert unanswerable.raw_scores(language, ("大桥",), "") == (0, 0)
    assert unanswerable.raw_scores(language, ("大桥", "桥"), "大桥") == (1, 1)


def test_no_answer_is_compared_with_the_best_one():
    """The least sum at [CLS] of all windows; probabilities are over the answers and no answer."""
    logits = [(np.array([3.0, 0]), np.array([2.0, 0])), (np.array([1.0, 0]), np.array([2.0, 0]))]
    spans = [Span("one", 4, 7, 0.9, 2.0, 0.5), Span("two", 8, 11, 0.1, 1.0, 0.0)]
    found = unanswerable.decoded(spans, logits, threshold=0.6)
    assert found["null_score_diff"] == pytest.approx(3.0 - 2.5)
    assert (found["answer"], found["start"], found["end"]) == ("one", 4, 7)
    shares = np.exp([2.5, 1.0, 3.0]) / np.exp([2.5, 1.0, 3.0]).sum()
    assert found["probability"] == pytest.approx(shares[0])
    assert found["no_answer_probability"] == pytest.approx(shares[2])
    assert [span["probability"] for span in found["nbest"]] == pytest.approx(shares[:2])
    none = unanswerable.decoded(spans, logits, threshold=0.4)
    assert (none["answer"], none["start"], none["end"]) == (None, None, None)
    assert none["probability"] == none["no_answer_probability"] == pytest.approx(shares[2])
    assert unanswerable.decoded([], logits, threshold=0.0)["answer"] is None


# ---------------------------------------------------------------- reading


def test_questions_without_an_answer_are_kept_and_labelled_at_cls(model, tmp_path):
    tokenizer = build_tokenizer("FullTokenizer", str(model / "vocab.txt"), True, False)
    path = squad2(tmp_path / "train.json", 6, seed=1)
    reader = SquadReader(
        path, tokenizer, answers="train", unanswerable=True, max_seq_len=24, batch_size=64, doc_stride=8
    )
    assert [bool(question.answers) for question in reader.file.questions] == [True, False] * 3
    assert reader.file.unanswered == ["train1", "train3", "train5"]
    ((batch, _),) = reader.batches()
    numbers = np.searchsorted(reader.offsets, np.arange(reader.num_examples), side="right") - 1
    for number, start, end in zip(numbers, batch["start"].ravel(), batch["end"].ravel()):
        if number % 2:
            assert (start, end) == (0, 0)
        else:
            assert start == end
    assert (batch["start"].ravel()[numbers % 2 == 0] > 0).any()
    found = reader.survey()
    assert (found.answered, found.lost) == (3, 0)


def test_an_empty_list_of_answers_is_enough(tmp_path):
    """As CMRC-like sets have it; and answers whose texts are empty."""
    path = squad2(tmp_path / "train.json", 4, seed=1, empty_list_alone=True)
    content = json.loads(path.read_text())
    content["data"][0]["paragraphs"][1]["qas"][0]["answers"] = [{"text": "", "answer_start": -1}]
    path.write_text(json.dumps(content))
    for answers in ("train", "score"):
        file = SquadFile(path, answers, unanswerable=True)
        assert [bool(question.answers) for question in file.questions] == [True, False] * 2
        assert "2 questions without an answer kept ('train1', 'train3')" in file.report()


def test_a_question_without_the_list_is_refused(tmp_path):
    path = squad2(tmp_path / "train.json", 4, seed=1, empty_list_alone=True)
    content = json.loads(path.read_text())
    del content["data"][0]["paragraphs"][1]["qas"][0]["answers"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="question 'train1': 'answers' is missing: give a list, empty for a question"):
        SquadFile(path, "train", unanswerable=True)
    with pytest.raises(UserError, match="--on_bad skip leaves them out, --version_2_with_negative true trains"):
        SquadFile(path, "train")


# ---------------------------------------------------------------- a run


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """train.json, dev.json, test.json and a model."""
    folder = tmp_path_factory.mktemp("squad2")
    for name, count, seed in (("train", 48, 1), ("dev", 16, 2), ("test", 12, 3)):
        squad2(folder / f"{name}.json", count, seed)
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    make_model(folder / "model", num_hidden_layers=1, **dropout)
    return folder


def train(place, folder, **changes):
    given = {name: place / f"{name.partition('_')[0]}.json" for name in ("train_set", "dev_set", "test_set")}
    given.update(test_save=folder / "predicted.json", **MRC, epoch=10, validation_steps=30, eval_strategy="steps")
    given.update(save_steps=0, head_dropout=0, skip_steps=50, **changes)
    main("run_mrc.py", "mrc", flags(place / "model", place, folder, **given))
    return folder


@pytest.fixture(scope="module")
def run(place, tmp_path_factory):
    return train(place, tmp_path_factory.mktemp("run") / "run", tune_null_threshold="f1")


def read(path):
    return json.loads(path.read_text(encoding="utf8"))


@pytest.mark.slow
def test_it_learns_which_questions_have_an_answer(run, place):
    records = read_records(run)
    dev = [record for record in records if record["event"] == "dev"]
    best = max(dev, key=lambda record: record["avg"])
    assert best["HasAns_exact"] > 60
    assert best["NoAns_exact"] > 60
    assert best["f1"] == pytest.approx(best["best_f1"])  # tuned by it, on this set
    record = read(run / "best" / "checkpoint.json")
    assert record["flags"]["version_2_with_negative"] is True
    assert best["tuned"] == {"flags": {"null_score_diff_threshold": record["flags"]["null_score_diff_threshold"]}}
    assert "tune_null_threshold" not in record["flags"]


@pytest.mark.slow
def test_the_files_are_those_of_the_stored_threshold(run, place):
    step = read(run / "last" / "checkpoint.json")["step"]
    limit = read(run / "last" / "checkpoint.json")["flags"]["null_score_diff_threshold"]
    (saved,) = run.glob(f"predicted.json.*.{step}")
    predictions, odds, nbest = (read(saved.with_name(saved.name + end)) for end in ("", ".null_odds", ".nbest"))
    assert {name for name, text in predictions.items() if not text} == {n for n, odd in odds.items() if odd > limit}
    for name, entries in nbest.items():
        assert sum(entry["probability"] for entry in entries) == pytest.approx(1)
        (null,) = [entry for entry in entries if entry["text"] == ""]
        others = [entry for entry in entries if entry["text"]]
        best = max(entry["start_logit"] + entry["end_logit"] for entry in others)
        assert odds[name] == pytest.approx(null["start_logit"] + null["end_logit"] - best)
    dev = {kind: read(run / f"dev_{kind}.json") for kind in ("predictions", "null_odds", "nbest_predictions")}
    assert len(dev["predictions"]) == len(dev["null_odds"]) == len(dev["nbest_predictions"]) == 16
    scores, _ = score_file(saved, place / "test.json", ScoreArgs())
    lines = read_records(run)
    (logged,) = [line for line in lines if line["event"] == "test" and line["step"] == step]
    for name in ("em", "f1", "HasAns_exact", "HasAns_f1", "NoAns_exact", "NoAns_f1", "HasAns_total", "NoAns_total"):
        assert scores[name] == pytest.approx(logged[name]), name
    assert "best_f1" not in scores  # a file of answers does not tell


@pytest.mark.slow
def test_every_way_gives_the_same_answers(run, place, tmp_path):
    """Files of infer_mrc.py, the Python API and the server, from the checkpoint and from its inference model."""
    infer("infer_mrc.py", init_checkpoint=run / "best", predict_set=place / "test.json", output=tmp_path / "out",
          save_inference_model_path=tmp_path / "saved")  # fmt: skip
    saved = next((tmp_path / "saved").iterdir())
    content = read(place / "test.json")["data"][0]["paragraphs"]
    pairs = [(paragraph["qas"][0]["question"], paragraph["context"]) for paragraph in content]
    names = [paragraph["qas"][0]["id"] for paragraph in content]
    files = {kind: read(tmp_path / "out" / f"{kind}.json") for kind in ("predictions", "null_odds")}
    assert len(set(map(bool, files["predictions"].values()))) == 2
    handler, model = open_handler(saved), InferenceModel.open(saved, use_cuda="false")
    asked = [dict(zip(("question", "context"), each)) for each in pairs]
    served = respond(handler, model.predictor, {"questions": asked}, Limits())["predictions"]
    local = finetune.load(run / "best", use_cuda="false", threads=1)(pairs)
    for name, answer, own in zip(names, served, local):
        assert (answer["answer"] or "") == (own["answer"] or "") == files["predictions"][name]
        assert own["null_score_diff"] == pytest.approx(files["null_odds"][name], abs=1e-4)
        assert own["nbest"]
    infer("infer_mrc.py", inference_model=saved, predict_set=place / "test.json", output=tmp_path / "all",
          null_score_diff_threshold=-1000)  # fmt: skip
    assert set(read(tmp_path / "all" / "predictions.json").values()) == {""}


@pytest.mark.slow
def test_a_checkpoint_is_evaluated_with_its_threshold(run, place, tmp_path, capsys):
    given = {"do_train": "false", "init_checkpoint": run / "best", "init_pretraining_params": None}
    train(place, tmp_path / "unused", **given)
    step = read(run / "best" / "checkpoint.json")["step"]
    (dev,) = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()
              if json.loads(line)["event"] == "dev" and json.loads(line)["step"] == step]  # fmt: skip
    (line,) = [text for text in capsys.readouterr().err.splitlines() if "[dev evaluation]" in text]
    assert f"em: {dev['em']:f}, f1: {dev['f1']:f}" in line


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"null_score_diff_threshold": 0.1}, "--null_score_diff_threshold is for questions without an answer"),
        ({"tune_null_threshold": "f1"}, "--tune_null_threshold is for questions without an answer"),
        (
            {"version_2_with_negative": True, "tune_null_threshold": "f1", "null_score_diff_threshold": 0.1},
            "--null_score_diff_threshold 0.1: is tuned by --tune_null_threshold",
        ),
        ({"version_2_with_negative": True, "tune_null_threshold": "f1"}, "--tune_null_threshold f1 needs --dev_set"),
        ({"version_2_with_negative": True, "null_score_diff_threshold": float("inf")}, "give a finite number"),
    ],
)
def test_flags_that_do_not_go_together(given, message, place):
    values = {
        "ernie_config_path": place / "model" / "ernie_config.json",
        "vocab_path": place / "model" / "vocab.txt",
        "train_set": "train.json",
        "max_seq_len": 24,
        **given,
    }
    with pytest.raises(UserError, match=re.escape(message)):
        settle_run(ReadingComprehension, from_keywords(values, ReadingComprehension.flags))


@pytest.mark.slow
def test_a_report_knows_questions_without_an_answer(run, place, tmp_path):
    dev = str(place / "dev.json")
    given = ["--output_dir", str(tmp_path / "report"), "--use_cuda", "false"]
    assert report([str(run / "best"), dev, *given]) == 0
    facts = read(tmp_path / "report" / "report.json")
    records = read_records(run)
    best = max((record for record in records if record["event"] == "dev"), key=lambda record: record["avg"])
    assert facts["questions"] == 16
    assert facts["em"] * 100 == pytest.approx(best["em"])
    assert facts["scored_as"].endswith("SQuAD 2.0")
