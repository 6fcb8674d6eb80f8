"""Training, evaluation, prediction and embeddings from CSV, JSON and Parquet: the numbers of the same rows in a TSV."""

import csv

import numpy as np
import pytest

import finetune
from finetune.prediction.main import main as predict
from finetune.training.main import main
from propeller.errors import UserError
from tests.helpers.embedding import embed
from tests.helpers.row_files import write_as
from tests.helpers.runs import read_records
from tests.helpers.tagged import tagged
from tests.helpers.tiny import flags, make_data, sentences, write_tsv

NAMES = {"text_column": "review", "label_column": "stars"}
SHORT = {"epoch": 1, "save_steps": 0, "validation_steps": 0}
SLOW = pytest.mark.slow
PARTS = {"train": (40, 1), "dev": (13, 2), "test": (7, 3)}


def write_parts(folder, form, header=("stars", "review")):
    """train, dev and test of tests.helpers.tiny, with a column more and other names."""
    folder.mkdir()
    for name, (count, seed) in PARTS.items():
        write_as(folder / f"{name}.{form}", [(*row, 7) for row in sentences(count, seed)], (*header, "id"))
    return {f"{name}_set": folder / f"{name}.{form}" for name in PARTS}


def scores(folder):
    """What a run learnt and predicted, without the files it was made of."""
    records = read_records(folder)
    left_out = {"time", "speed", "elapsed", "file", "steps_per_second"}
    kept = [{name: value for name, value in each.items() if name not in left_out} for each in records]
    predictions = sorted(path.read_text() for path in folder.glob("test_out*"))
    assert predictions
    return [each for each in kept if each.get("event") in ("train", "dev", "test")], predictions


@pytest.fixture(scope="module")
def plain(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    data = make_data(folder / "data")
    main("run_classifier.py", "classify", flags(model, data, folder / "run", **SHORT))
    return folder


@pytest.mark.parametrize("form", ["csv", *(pytest.param(form, marks=SLOW) for form in ("jsonl", "parquet"))])
def test_a_run_is_that_of_a_tsv(model, plain, tmp_path, form):
    paths = write_parts(tmp_path / "data", form)
    given = {**SHORT, **paths, **NAMES}
    main("run_classifier.py", "classify", flags(model, tmp_path, tmp_path / "run", **given))
    assert scores(tmp_path / "run") == scores(plain / "run")
    with pytest.raises(UserError, match="--max_train_rows"):
        main("run_classifier.py", "classify", flags(model, tmp_path, tmp_path / "run", **given, max_train_rows=30))


def test_prediction_and_embedding(model, plain, tmp_path):
    """A second text by its column; a tab and a line end in a text are blanks in the TSV that is written."""
    rows = [("good\tfilm", "bad\nfilm", 5), ("dull, and", 'a "film"', 6)]
    path = tmp_path / "rows.csv"
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("one", "two", "id"), *rows])
    beside = write_tsv(
        tmp_path / "rows.tsv", [("good film", "bad film", 5), ("dull, and", 'a "film"', 6)], ("text_a", "text_b", "id")
    )
    columns = {"text_column": "one", "text_pair_column": "two"}

    def predicted(source, output, **more):
        given = {"use_cuda": "false", "init_checkpoint": plain / "run" / "last", "predict_set": source,
                 "output": output, "output_format": "tsv", **more}  # fmt: skip
        predict("infer_classifyer.py", ("classify",), [w for k, v in given.items() for w in (f"--{k}", str(v))])
        return output.read_text().splitlines()

    wanted = predicted(beside, tmp_path / "a")
    assert predicted(path, tmp_path / "b", **columns) == wanted
    (tmp_path / "rows.dat").write_bytes(path.read_bytes())
    assert predicted(tmp_path / "rows.dat", tmp_path / "c", format="csv", **columns) == wanted
    one = embed(model, beside, tmp_path / "one")
    other = embed(model, path, tmp_path / "two", **columns)
    for array, same in zip(one.states, other.states):
        np.testing.assert_array_equal(array, same)


def test_reading_comprehension_has_no_columns(model, tmp_path):
    (tmp_path / "a.json").write_text("{}")
    given = {"train_set": tmp_path / "a.json", "dev_set": None, "test_set": None, **SHORT, "text_column": "x"}
    with pytest.raises(UserError, match="SQuAD's layout: leave --format and the columns' flags out"):
        main("run_mrc.py", "mrc", flags(model, tmp_path, tmp_path / "run", **given))


@pytest.mark.slow
def test_tagged_tokens_in_lists_by_the_python_api(model, tmp_path):
    rows = [tuple(map(list, row)) for row in tagged(12, 1)]
    for name in ("train", "dev"):
        write_as(tmp_path / f"{name}.jsonl", rows, ("words", "tags"))
    (tmp_path / "map.json").write_text('{"B-PER": 0, "I-PER": 1, "B-LOC": 2, "I-LOC": 3, "O": 4}')
    result = finetune.train(
        "sequence_label", model=model, train_set=tmp_path / "train.jsonl", dev_set=tmp_path / "dev.jsonl", epoch=1,
        text_column="words", label_column="tags", max_train_rows=5, max_seq_len=24, use_cuda=False, for_cn=False,
        checkpoints=tmp_path / "run", label_map_config=tmp_path / "map.json", batch_size=5,
    )  # fmt: skip
    assert result.step == 1, "five rows are one batch"
    assert result.scores["data_num"] == 12, "of the dev set all rows count"
