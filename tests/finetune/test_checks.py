"""Every file is checked before the first step, and a file of which hardly anything survives is no success."""

import json
import re

import numpy as np
import pytest

import finetune
from finetune.checks import InputChecks, Share, check_share, log
from finetune.embedding.args import parse as embed_flags
from finetune.embedding.run import start as embed
from finetune.prediction import main as prediction
from finetune.training.main import main
from propeller.errors import UserError
from tests.helpers.predicting import table, words
from tests.helpers.said import Said
from tests.helpers.tiny import flags, sentences, write_tsv

RUN = ("run_classifier.py", "classify")


@pytest.mark.parametrize(("unknown", "level"), [(1, "INFO"), (5, "INFO"), (6, "WARNING"), (50, "WARNING")])
def test_a_share_that_public_data_has_too_is_no_warning(unknown, level, caplog):
    share = Share(unknown, 100, 0.5, "pieces of its text are [UNK]", "allow_unk", str)
    with caplog.at_level("INFO"):
        check_share("rows.tsv", share, InputChecks(), log.warning, log.info)
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == (
        level,
        f"rows.tsv: {unknown}.0% of the 100 pieces of its text are [UNK]",
    )


@pytest.fixture(scope="module")
def checkpoint(model, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checks") / "run"
    main(*RUN, flags(model, data, folder, epoch=1, do_val="false", do_test="false"))
    return folder / "last"


def start(model, data, folder, **changes):
    main(*RUN, flags(model, data, folder, **{"epoch": 1, **changes}))
    return folder


def refused(model, data, folder, *expected, **changes):
    """The run ends with an error that has these words before anything is trained or written."""
    with pytest.raises(UserError) as caught:
        start(model, data, folder, **changes)
    for word in expected:
        assert str(word) in str(caught.value), str(caught.value)
    assert not list(folder.glob("step_*"))


BAD_ROWS = {  # name -> (header, last row, what is said of it)
    "label out of range": ("label\ttext_a", "7\tthe film", "label 7 is out of range"),
    "empty label": ("label\ttext_a", "\tthe film", "label is empty; put a label there or remove the row"),
    "a field too few": ("label\ttext_a", "1", "1 fields"),
    "a blank line": ("label\ttext_a", "", "the line is blank"),
    "a blank cell": ("label\ttext_a", "1\t ", "text_a is empty"),
    "not UTF-8": ("label\ttext_a", "1\tna\xefve", "UTF-8"),
}


@pytest.mark.parametrize("flag", ["dev_set", "test_set"])
@pytest.mark.parametrize("case", BAD_ROWS)
def test_the_last_row_is_met_before_the_first_step(model, data, tmp_path, case, flag):
    header, row, said = BAD_ROWS[case]
    path = tmp_path / "late.tsv"
    rows = [f"{label}\t{text}" for label, text in sentences(30, 4)]
    path.write_bytes("\n".join([header, *rows, row, ""]).encode("latin1"))
    refused(model, data, tmp_path / "run", f"{path}, line 32: ", said, "--on_bad skip", **{flag: path})


def test_all_bad_rows_are_counted_and_left_out_on_request(model, data, tmp_path):
    rows = sentences(20, 4)
    rows[3], rows[19] = ("x", "the film"), (1, " ")
    path = write_tsv(tmp_path / "train.tsv", rows)
    dev = write_tsv(tmp_path / "dev.tsv", [*sentences(5, 2), (9, "good")])
    refused(model, data, tmp_path / "run", f"{path}, line 5: ", "(2 of 20 rows are bad)", train_set=path)
    with Said() as said:
        start(model, data, tmp_path / "run", train_set=path, dev_set=dev, on_bad="skip")
    assert f"{path}: 2 of 20 rows left out, lines 5, 21" in said.text
    assert "Num train examples: 18" in said.text
    assert f"{dev}: 1 of 6 rows left out, lines 7" in said.text
    record = json.loads((tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf8").splitlines()[-1])
    assert record["event"] in ("dev", "test")


@pytest.mark.slow
def test_a_mended_dev_set_does_not_forbid_continuing(model, data, tmp_path):
    """The run is interrupted by an evaluation that fails; its checkpoint is there, and another dev set is one line."""
    from finetune.classification.classifier import Classifier

    folder, dev = tmp_path / "run", tmp_path / "dev.tsv"
    write_tsv(dev, sentences(9, 2))
    given = {"dev_set": dev, "do_test": "false", "validation_steps": 3, "save_steps": 0, "eval_strategy": "steps"}

    def fails(*_):
        raise UserError("the evaluation fails")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classifier, "finish_scores", classmethod(fails))
        with pytest.raises(UserError, match="the evaluation fails"):
            start(model, data, folder, **given)
    assert [path.name for path in folder.glob("step_*")] == ["step_3"]
    write_tsv(dev, sentences(11, 3))
    with Said() as said:
        start(model, data, folder, **given)
    assert "the dev set dev.tsv is another one than before" in said.text
    assert "continue from step 3" in said.text
    train = write_tsv(tmp_path / "train.tsv", sentences(40, 9))
    with pytest.raises(UserError, match=r"holds another run: its training file train.tsv has changed; choose"):
        start(model, data, folder, **given, train_set=train)
    other = write_tsv(tmp_path / "a.tsv", sentences(40, 9))
    with pytest.raises(UserError, match=r"holds another run: it was not trained on a.tsv; choose"):
        start(model, data, folder, **given, train_set=other)
    other = write_tsv(tmp_path / "z.tsv", sentences(40, 9))
    with pytest.raises(UserError, match=r"run: it was trained on train.tsv, not on this file; choose"):
        start(model, data, folder, **given, train_set=other)


@pytest.mark.slow
@pytest.mark.parametrize(
    "labels", [["-1", "-1", "-1"], ["", "", ""], ["?", "unknown", "-"]], ids=["minus one", "empty", "words"]
)
def test_a_test_set_with_placeholders_for_labels_is_predicted_and_not_scored(model, data, tmp_path, labels):
    rows = [(label, text) for label, (_, text) in zip(labels, sentences(3, 5))]
    path = write_tsv(tmp_path / "hidden.tsv", rows)
    with Said() as said:
        start(model, data, tmp_path / "run", test_set=path, do_val="false")
    assert f"{path}: no labels or answers to score against" in said.text
    assert "test evaluation" not in said.text
    (written,) = (tmp_path / "run").glob("test_out.tsv.*")
    assert len(written.read_text(encoding="utf8").splitlines()) == 3


def test_a_test_set_whose_labels_are_all_the_same_is_scored_and_said(model, data, tmp_path):
    path = write_tsv(tmp_path / "zeros.tsv", [(0, text) for _, text in sentences(3, 5)])
    with Said() as said:
        start(model, data, tmp_path / "run", test_set=path, do_val="false")
    assert f"{path}: every label is '0'" in said.text
    assert "test evaluation" in said.text


def test_english_read_as_chinese_names_the_flag(model, data, tmp_path):
    """Without its blanks a sentence is one word that the vocabulary lacks."""
    path = write_tsv(tmp_path / "train.tsv", sentences(20, 1))
    given = {"train_set": path, "for_cn": "true", "do_val": "false", "do_test": "false"}
    refused(model, data, tmp_path / "run", path, "[UNK]", "with --for_cn false it is 0.0%", "--allow_unk", **given)
    with Said() as said:
        start(model, data, tmp_path / "run", **given, allow_unk="true")
    assert "it goes on with --allow_unk" in said.text
    assert "give --for_cn false" in said.text


def test_rows_of_an_unknown_word_and_a_mark_name_the_flag(model, data, tmp_path):
    """``[UNK] .`` for every sentence: exactly half of the pieces are known."""
    path = write_tsv(tmp_path / "train.tsv", [(label, f"{text} .") for label, text in sentences(20, 1)])
    given = {"train_set": path, "for_cn": "true", "do_val": "false", "do_test": "false"}
    words = ("100.0% of the 20 rows looked at have no word but [UNK]", "with --for_cn false it is 0.0%", "--allow_unk")
    refused(model, data, tmp_path / "run", path, *words, **given)


def cased(folder, model):
    """The tiny model with a vocabulary of capitals."""
    vocab = folder / "cased.txt"
    text = (model / "vocab.txt").read_text()
    vocab.write_text(re.sub(r"(?m)^([a-z])", lambda found: found.group(1).upper(), text))
    return vocab


def test_a_cased_vocabulary_with_lower_cased_text_names_the_flag(model, data, tmp_path):
    rows = [(label, text.title()) for label, text in sentences(20, 1)]
    path = write_tsv(tmp_path / "train.tsv", rows)
    given = {"train_set": path, "vocab_path": cased(tmp_path, model), "do_val": "false", "do_test": "false"}
    refused(model, data, tmp_path / "run", "with --do_lower_case false it is 0.0%", **given)


def test_text_in_another_language_than_the_vocabulary(model, data, tmp_path):
    path = write_tsv(tmp_path / "train.tsv", [(0, "运河边有灯塔。"), (1, "他在家。")])
    refused(model, data, tmp_path / "run", "[UNK]", "the vocabulary is the one the model came with", train_set=path)


def test_most_rows_refused_is_no_success(model, data, tmp_path):
    path = write_tsv(tmp_path / "train.tsv", [*sentences(4, 1), *[("x", "good")] * 6])
    given = {"train_set": path, "do_val": "false", "do_test": "false", "on_bad": "skip"}
    refused(model, data, tmp_path / "run", "60.0% of the 10 rows are refused", "--allow_refused", **given)
    start(model, data, tmp_path / "run", **given, allow_refused="true")
    none = write_tsv(tmp_path / "none.tsv", [("", "good"), ("", "bad")])
    refused(model, data, tmp_path / "other", "none of its 2 rows can be used", **{**given, "train_set": none},
            allow_refused="true")  # fmt: skip


# Files to predict and embeddings


def late_blank(folder):
    rows = [(text,) for _, text in sentences(12, 8)]
    rows[3], rows[10] = (" ",), ("\u3000",)
    return write_tsv(folder / "new.tsv", rows, ["text_a"]), [text for (text,) in rows if text.strip()]


def predict(checkpoint, model, path, output, **changes):
    given = {"init_checkpoint": checkpoint, "vocab_path": model / "vocab.txt", "predict_set": path, "output": output}
    prediction.main("infer_classifyer.py", ("classify", "regression"), words(**given, **changes))


def embeddings(checkpoint, path, output, **changes):
    given = {"init_checkpoint": checkpoint, "data_set": path, "output_dir": output, "no_top_layer": "true"}
    return embed(embed_flags("ernie_encoder.py", "", words(**given, **changes)))


def test_one_answer_to_one_file_from_prediction_and_embedding(checkpoint, model, tmp_path):
    path, good = late_blank(tmp_path)
    told = f"{path}, line 5: text_a is empty"
    with pytest.raises(UserError, match=re.escape(told)):
        predict(checkpoint, model, path, tmp_path / "out.tsv")
    with pytest.raises(UserError, match=re.escape(told)):
        embeddings(checkpoint, path, tmp_path / "vectors")
    assert not (tmp_path / "out.tsv").exists()
    with Said() as said:
        predict(checkpoint, model, path, tmp_path / "out.tsv", on_bad="skip")
    assert f"{path}: 2 of 12 rows left out, lines 5, 12" in said.text
    header, rows = table((tmp_path / "out.tsv").read_text(encoding="utf8"))
    assert [row[header.index("text_a")] for row in rows] == good
    embeddings(checkpoint, path, tmp_path / "vectors", on_bad="skip")
    assert json.loads((tmp_path / "vectors" / "embeddings.json").read_text())["left_out"] == [5, 12]
    vectors = np.load(tmp_path / "vectors" / "cls_emb.npy")
    assert len(vectors) == 10
    alone = write_tsv(tmp_path / "good.tsv", [(text,) for text in good], ["text_a"])
    embeddings(checkpoint, alone, tmp_path / "alone")
    np.testing.assert_allclose(vectors, np.load(tmp_path / "alone" / "cls_emb.npy"), atol=1e-6)


def test_blank_cells_are_taken_on_request_by_both(checkpoint, model, tmp_path):
    path, _ = late_blank(tmp_path)
    predict(checkpoint, model, path, tmp_path / "out.tsv", allow_blank="true")
    embeddings(checkpoint, path, tmp_path / "vectors", allow_blank="true")
    assert len((tmp_path / "out.tsv").read_text(encoding="utf8").splitlines()) == 13
    assert len(np.load(tmp_path / "vectors" / "cls_emb.npy")) == 12


def test_a_file_in_another_language_is_not_predicted(checkpoint, model, tmp_path):
    path = write_tsv(tmp_path / "zh.tsv", [("运河边有灯塔。",), ("他在家。",)], ["text_a"])
    with pytest.raises(UserError, match=r"\[UNK\].*--allow_unk"):
        predict(checkpoint, model, path, tmp_path / "out.tsv")
    with pytest.raises(UserError, match=r"\[UNK\].*--allow_unk"):
        embeddings(checkpoint, path, tmp_path / "vectors")


def test_the_api_answers_none_to_what_it_leaves_out(checkpoint):
    with finetune.load(checkpoint) as predictor:
        items = ["a good film", " ", "a dull film", ""]
        with pytest.raises(ValueError, match="is blank"):
            predictor(items)
        with Said() as said:
            answers = predictor(items, on_bad="skip")
        assert "2 of 4 items left out: 1, 3" in said.text
        assert answers[1] is None is answers[3]
        assert [answers[0], answers[2]] == predictor([items[0], items[2]])
        assert predictor([" "], on_bad="skip") == [None]
        vectors = predictor.embed(items, on_bad="skip")
        assert np.isnan(vectors).all(axis=1).tolist() == [False, True, False, True]
        with pytest.raises(ValueError, match="give error or skip"):
            predictor(items, on_bad="ignore")
