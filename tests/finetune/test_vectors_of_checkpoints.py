"""Vectors of a checkpoint of any task: for search, and as a teacher of sentence vectors.

python -m pytest tests/finetune/test_vectors_of_checkpoints.py
"""

import json
import logging

import numpy as np
import pytest

import finetune
from finetune.embedding.main import main as encode
from finetune.search.__main__ import main as search
from finetune.search.handler import open_search_handler
from finetune.search.query import Searcher
from finetune.training.main import main
from finetune.vectors.teacher import TeacherVectors, is_model, stored_vectors, teacher_digest
from propeller.errors import UserError
from propeller.train.hooks import RunHook
from reader.tables.opening import open_table
from tests.helpers.questions import make_task
from tests.helpers.sentences import make_sentences, training
from tests.helpers.served import make_bundle
from tests.helpers.tiny import flags, make_model, write_tsv


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    return make_sentences(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def trained(model, data, tmp_path_factory):
    """task -> a checkpoint: a step of classification, and of multiple choice."""
    folder = tmp_path_factory.mktemp("trained")
    few = {"max_steps": 2, "do_val": "false", "do_test": "false"}
    main("t", "classify", flags(model, data, folder / "classify", **few))
    task = make_task(folder / "task")
    main("t", "multiple_choice", flags(model, task, folder / "multiple_choice", **few))
    return {name: folder / name / "last" for name in ("classify", "multiple_choice")}


def texts_in(path):
    return path.read_text(encoding="utf8").splitlines()[1:]


@pytest.mark.parametrize("task", ["classify", "multiple_choice"])
def test_search_takes_the_checkpoint_of_a_task(task, trained, texts, tmp_path):
    """With the pooled [CLS], which it trained; the server by an inference model of the same weights."""
    given = ["--model", str(trained[task]), "--data_set", str(texts / "texts.tsv"), "--use_cuda", "false"]
    search(["build", *given, "--search_index", str(tmp_path / "index")])
    known = json.loads((tmp_path / "index/index.json").read_text())["model"]
    assert known["pooling"] == "cls"
    with finetune.load(trained[task], use_cuda=False) as predictor:
        assert predictor.spec.task == task
        questions = predictor.embed(["good film"])
    with Searcher(tmp_path / "index", use_cuda=False) as searcher:
        found, wanted = searcher(["good film"], top=3), searcher.index.results(questions, 3)
        assert [each["row"] for each in found[0]] == [each["row"] for each in wanted[0]]
        np.testing.assert_allclose(*[[each["score"] for each in one[0]] for one in (found, wanted)], atol=1e-5)
    if task == "classify":
        encode("e", ["--init_checkpoint", str(trained[task]), "--save_inference_model_path", str(tmp_path / "saved"),
                     "--use_cuda", "false", "--no_top_layer"])  # fmt: skip
        (bundle,) = (tmp_path / "saved").iterdir()
        assert open_search_handler(bundle, tmp_path / "index").describe()["search"]["rows"] == 48


def test_an_inference_model_of_another_task_is_refused(model, texts, tmp_path):
    bundle = make_bundle(tmp_path / "classify", model, "classify")
    given = ["--model", str(bundle), "--data_set", str(texts / "texts.tsv"), "--use_cuda", "false"]
    message = "an inference model of the task 'classify' gives no vectors: give the checkpoint it was made from"
    with pytest.raises(UserError, match=message):
        search(["build", *given, "--search_index", str(tmp_path / "index")])
    table = open_table(texts / "texts.tsv")
    with pytest.raises(UserError, match=f"--teacher_vectors .*classify: {message}"):
        TeacherVectors(bundle, table, 32).make()
    assert not (tmp_path / "index").exists()


# ---------------------------------------------------------------- teachers


def test_a_model_and_a_file_are_told_apart(model, trained, texts, tmp_path):
    assert is_model(model)
    assert is_model(trained["classify"])
    assert not is_model(texts / "teacher.npy")
    written = tmp_path / "written"
    encode("e", ["--model", str(model), "--data_set", str(texts / "texts.tsv"), "--output_dir", str(written),
                 "--use_cuda", "false", "--no_top_layer", "--for_cn", "false", "--max_seq_len", "24"])  # fmt: skip
    assert not is_model(written)
    assert stored_vectors(written, 32).shape == (48, 32)
    for place in (tmp_path / "none", tmp_path):
        with pytest.raises(
            UserError, match="no such file; give a .npy file, .* that ernie_encoder.py wrote, or a model"
        ):
            stored_vectors(place, 32)


def test_a_teacher_is_known_by_its_files(model, tmp_path):
    one, other = make_model(tmp_path / "one"), make_model(tmp_path / "other", num_hidden_layers=1)
    assert teacher_digest(one) == teacher_digest(model)
    assert teacher_digest(other) != teacher_digest(model)
    (one / "training_state").mkdir()
    (one / "training_state/state.json").write_text("{}")
    assert teacher_digest(one) == teacher_digest(model)
    (one / "vocab.txt").write_text("[PAD]\n")
    assert teacher_digest(one) != teacher_digest(model)


def test_vectors_are_those_of_embed_and_are_kept(trained, texts, tmp_path, caplog):
    table, rows = open_table(texts / "texts.tsv"), np.array([1, 5, 40])
    with finetune.load(trained["classify"], use_cuda=False) as predictor:
        wanted = predictor.embed(texts_in(texts / "texts.tsv"))
    made = TeacherVectors(trained["classify"], table, 32, folder=tmp_path)
    assert len(made) == 48
    np.testing.assert_array_equal(made[np.arange(48)], wanted)
    few = TeacherVectors(trained["classify"], table, 32, rows, tmp_path)
    np.testing.assert_allclose(few[rows[::-1]], wanted[rows[::-1]], atol=1e-5)
    assert len(list(tmp_path.glob("teacher_vectors_*.npy"))) == 2
    caplog.clear()
    with caplog.at_level(logging.INFO):
        np.testing.assert_array_equal(
            TeacherVectors(trained["classify"], table, 32, folder=tmp_path)[rows], wanted[rows]
        )
    assert "makes the vectors" not in caplog.text
    nowhere = TeacherVectors(trained["classify"], table, 32)
    np.testing.assert_array_equal(nowhere[rows], wanted[rows])


def test_another_length_is_refused(trained, texts, tmp_path):
    with pytest.raises(UserError, match="vectors of 32 numbers, and the encoder has 48: .*finetune.embedding.resize"):
        TeacherVectors(trained["classify"], open_table(texts / "texts.tsv"), 48, folder=tmp_path).make()


def taught(model, texts, folder, teacher, **changes):
    given = training(texts, "teacher", teacher_vectors=teacher, epoch=2, **changes)
    main("t", "sentence_vectors", flags(model, texts, folder, **given))
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def losses(records):
    return [record["loss"] for record in records if record["event"] == "train"]


@pytest.mark.slow
def test_a_run_by_a_model_is_the_run_by_its_vectors(model, trained, texts, tmp_path):
    with finetune.load(trained["classify"], use_cuda=False) as predictor:
        np.save(tmp_path / "vectors.npy", predictor.embed(texts_in(texts / "texts.tsv")))
    by_file = taught(model, texts, tmp_path / "file", tmp_path / "vectors.npy")
    by_model = taught(model, texts, tmp_path / "model", trained["classify"])
    assert losses(by_model) == losses(by_file)
    assert len(list((tmp_path / "model").glob("token_cache/teacher_vectors_*.npy"))) == 1
    with pytest.raises(UserError, match=r"holds another run.*teacher_vectors"):
        taught(model, texts, tmp_path / "model", model)


@pytest.mark.slow
def test_a_run_goes_on_and_leaves_bad_rows_out(model, trained, texts, tmp_path, monkeypatch):
    """Of a file with an empty row, drawn rows alone; interrupted, it goes on to the same losses."""
    rows = texts_in(texts / "texts.tsv")
    path = write_tsv(tmp_path / "rows.tsv", [(text,) for text in (*rows[:20], " ", *rows[20:])], ("text_a",))
    given = {"train_set": path, "on_bad": "skip", "max_train_rows": 30, "skip_steps": 1, "save_steps": 2}
    whole = taught(model, texts, tmp_path / "whole", trained["multiple_choice"], **given)
    (kept,) = (tmp_path / "whole").glob("token_cache/teacher_vectors_*.npy")
    assert len(np.load(kept)) == 30

    class Kill(RunHook):
        def after_step(self, learner, state):
            if state.step == 3:
                raise SystemExit(143)

    with monkeypatch.context() as patch:
        patch.setattr("finetune.training.runner.ProgressBar", lambda *_: Kill())
        with pytest.raises(SystemExit):
            taught(model, texts, tmp_path / "parts", trained["multiple_choice"], **given)
    assert losses(taught(model, texts, tmp_path / "parts", trained["multiple_choice"], **given)) == losses(whole)
