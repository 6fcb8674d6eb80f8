"""Checks of tagging and reading comprehension: all tags O, answers not in their context, hidden test sets."""

import json
import re

import pytest

from finetune.prediction import main as prediction
from finetune.training.main import main
from propeller.errors import UserError
from tests.helpers.predicting import words
from tests.helpers.said import Said
from tests.helpers.squad import squad
from tests.helpers.tagged import IOB, tagged, write_tagged
from tests.helpers.tiny import flags, write_tsv

NER = ("run_sequence_labeling.py", "sequence_label")
MRC = ("run_mrc.py", "mrc")
QUESTION, CONTEXT = "the cast ?", "the story was good and the film was dull ."


def ner(model, folder, **changes):
    labels = folder.parent / "labels.json"
    labels.write_text(json.dumps(IOB))
    given = {"label_map_config": labels, "num_labels": len(IOB), "dev_set": None, "test_set": None, "epoch": 1}
    main(*NER, flags(model, folder.parent, folder, **{**given, **changes}))
    return folder


def mrc(model, folder, **changes):
    given = {"dev_set": None, "test_set": None, "epoch": 1, "doc_stride": 8, "test_save": folder / "predicted.json"}
    main(*MRC, flags(model, folder.parent, folder, **{**given, **changes}))
    return folder


def questions(path, *answers):
    """A file of a question with each of these answers; None: without one."""
    asked = [(f"q{i}", QUESTION, *([] if answer is None else [(answer, -1)])) for i, answer in enumerate(answers)]
    return squad(path, (CONTEXT, asked))


def error_of(start, *given, **changes):
    with pytest.raises(UserError) as caught:
        start(*given, **changes)
    assert not list(given[1].glob("step_*"))
    return str(caught.value)


def test_all_tags_o_is_no_training_data(model, tmp_path):
    path = write_tagged(tmp_path / "train.tsv", [(tokens, ["O"] * len(tokens)) for tokens, _ in tagged(6, 1)])
    told = error_of(ner, model, tmp_path / "run", train_set=path)
    assert re.search(r"train.tsv: 100.0% of the \d+ tags mean that there is no entity: .*--allow_no_entities", told)
    good = write_tagged(tmp_path / "good.tsv", tagged(6, 1))
    assert path in error_of(ner, model, tmp_path / "run", train_set=good, dev_set=path)
    with Said() as said:
        ner(model, tmp_path / "run", train_set=path, allow_no_entities="true")
    assert "it goes on with --allow_no_entities" in said.text


@pytest.mark.parametrize("tag", ["O", "-1", "?"])
def test_a_hidden_test_set_of_tags_is_predicted_and_not_scored(model, tmp_path, tag):
    good = write_tagged(tmp_path / "good.tsv", tagged(6, 1))
    hidden = write_tagged(tmp_path / "hidden.tsv", [(tokens, [tag] * len(tokens)) for tokens, _ in tagged(4, 2)])
    with Said() as said:
        ner(model, tmp_path / "run", train_set=good, test_set=hidden)
    assert f"{hidden}: no labels or answers to score against" in said.text
    assert "test evaluation" not in said.text
    (written,) = (tmp_path / "run").glob("test_out.tsv.*")
    assert len(written.read_text(encoding="utf8").splitlines()) == 4


BAD_SENTENCES = {
    "a tag too few": ("good\x02film", "B-PER", "2 tokens but 1 tags"),
    "an unknown tag": ("good", "B-DOG", "label 'B-DOG' is not in the label map"),
    "no token": (" ".strip(), "", "text_a is empty"),
}


@pytest.mark.parametrize("case", BAD_SENTENCES)
def test_a_bad_last_sentence_of_a_dev_set_is_met_first_or_left_out(model, tmp_path, case):
    text, tags, problem = BAD_SENTENCES[case]
    good = write_tagged(tmp_path / "good.tsv", tagged(6, 1))
    rows = [("\x02".join(tokens), "\x02".join(names)) for tokens, names in tagged(4, 2)]
    dev = write_tsv(tmp_path / "dev.tsv", [*rows, (text, tags)], ("text_a", "label"))
    told = error_of(ner, model, tmp_path / "run", train_set=good, dev_set=dev)
    assert told.startswith(f"{dev}, line 6: {problem}")
    with Said() as said:
        ner(model, tmp_path / "run", train_set=good, dev_set=dev, on_bad="skip")
    assert f"{dev}: 1 of 5 rows left out, lines 6" in said.text


def test_sentences_to_predict_without_a_token(model, tmp_path):
    good = write_tagged(tmp_path / "good.tsv", tagged(6, 1))
    checkpoint = ner(model, tmp_path / "run", train_set=good) / "last"
    new = write_tsv(tmp_path / "new.tsv", [("the good film",), (" ",), ("dull",)], ["text_a"])
    for tokenized in ("true", "false"):
        output = tmp_path / f"{tokenized}.tsv"
        given = {"init_checkpoint": checkpoint, "predict_set": new, "output": output, "tokenized": tokenized}
        with pytest.raises(UserError, match=re.escape(f"{new}, line 3: text_a is empty")):
            prediction.main("infer_sequence_labeling.py", NER[1:], words(**given))
        assert not output.exists()
        prediction.main("infer_sequence_labeling.py", NER[1:], words(**given, on_bad="skip"))
        lines = output.read_text(encoding="utf8").splitlines()[1:]
        assert [line.split("\t")[0] for line in lines] == ["the good film", "dull"]


HIDDEN = {
    "another text": ["FAKE_ANSWER_1", "FAKE_ANSWER_1"],
    "blank": ["", " "],
    "none": [None, None],
    "numbers": [-1, 0],
}


@pytest.mark.parametrize("case", HIDDEN)
def test_a_hidden_test_set_of_answers_is_predicted_and_not_scored(model, tmp_path, case):
    train = questions(tmp_path / "train.json", "good", "dull")
    hidden = questions(tmp_path / "hidden.json", *HIDDEN[case])
    with Said() as said:
        mrc(model, tmp_path / "run", train_set=train, test_set=hidden)
    assert f"{hidden}: no labels or answers to score against" in said.text
    assert "test evaluation" not in said.text
    (written,) = [path for path in (tmp_path / "run").glob("predicted.json.*") if "nbest" not in path.name]
    assert set(json.loads(written.read_text(encoding="utf8"))) == {"q0", "q1"}


def test_a_dev_set_whose_answers_are_not_in_their_contexts(model, tmp_path):
    train = questions(tmp_path / "train.json", "good", "dull")
    dev = questions(tmp_path / "dev.json", "FAKE_1", "FAKE_2", "good")
    told = error_of(mrc, model, tmp_path / "run", train_set=train, dev_set=dev)
    assert "66.7% of the 3 questions have no answer that stands in their context" in told
    assert "--allow_lost_answers" in told
    with Said() as said:
        mrc(model, tmp_path / "run", train_set=train, dev_set=dev, allow_lost_answers="true")
        half = questions(tmp_path / "half.json", "FAKE_1", "good")
        mrc(model, tmp_path / "half", train_set=train, dev_set=half)
    assert f"{half}: 50.0% of the 2 questions have no answer" in said.text
    lost = questions(tmp_path / "lost.json", "FAKE_1", "FAKE_2", "good")
    assert "--allow_lost_answers" in error_of(mrc, model, tmp_path / "other", train_set=lost)


def test_bad_questions_to_predict_are_left_out_on_request(model, tmp_path):
    train = questions(tmp_path / "train.json", "good", "dull")
    checkpoint = mrc(model, tmp_path / "run", train_set=train) / "last"
    new = tmp_path / "new.json"
    asked = [("a", QUESTION), ("b", QUESTION), ("a", QUESTION), ("c", QUESTION)]
    squad(new, (CONTEXT, asked), (" ", [("d", QUESTION)]))
    given = {"init_checkpoint": checkpoint, "predict_set": new, "output": tmp_path / "out"}
    with pytest.raises(UserError, match="'a': the id appears more than once"):
        prediction.main("infer_mrc.py", MRC[1:], words(**given))
    with Said() as said:
        prediction.main("infer_mrc.py", MRC[1:], words(**given, on_bad="skip"))
    assert f"{new}: 2 bad questions left out" in said.text
    predicted = json.loads((tmp_path / "out" / "predictions.json").read_text(encoding="utf8"))
    assert list(predicted) == ["a", "b", "c"]
