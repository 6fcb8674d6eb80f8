"""infer_sequence_labeling.py as its user starts it, on a tiny model."""

import json

import pytest

from tests.helpers.predicting import fails, infer, rerun, table, train
from tests.helpers.tagged import IOB, tagged, write_tagged
from tests.helpers.tiny import write_tsv

SCRIPT, RUN = "infer_sequence_labeling.py", ("run_sequence_labeling.py", "sequence_label")
HEADER = ["text_a", "tags", "probabilities", "entities"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folder with the label map, training rows, and rows to predict of lengths that need windows, in both forms."""
    folder = tmp_path_factory.mktemp("ner") / "data"
    folder.mkdir()
    write_tagged(folder / "train.tsv", tagged(160, 1, 15))
    write_tagged(folder / "long.tsv", tagged(70, 4, 60))
    write_tagged(folder / "blanks.tsv", tagged(12, 5, 30), " ", labels=False)
    (folder / "map.json").write_text(json.dumps(IOB))
    return folder


@pytest.fixture(scope="module")
def checkpoint(model, place, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    return train(*RUN, model, place, folder, learning_rate=1e-2, epoch=4, **options(place))


def options(place):
    return {"label_map_config": place / "map.json", "num_labels": 5}


def given(model, checkpoint, path, **changes):
    return {"init_checkpoint": checkpoint, "vocab_path": model / "vocab.txt", "predict_set": path, **changes}


@pytest.fixture(scope="module")
def saved(model, checkpoint, place, tmp_path_factory):
    """An inference model."""
    folder = tmp_path_factory.mktemp("saved")
    flags = given(model, checkpoint, None, do_prediction="false", save_inference_model_path=folder)
    infer(SCRIPT, **flags)
    return folder


@pytest.mark.parametrize("long_text", ["window", "cut"])
@pytest.mark.parametrize("name", ["long.tsv", "blanks.tsv"])
def test_equal_to_run_sequence_labeling(name, long_text, model, place, checkpoint, saved, tmp_path):
    """With windows over long sentences and without, byte for byte but for the last digit of a probability."""
    flags = {"predict_set": place / name, "long_text": long_text, "batch_size": 4, "copy_columns": "false"}
    header, *lines = infer(SCRIPT, inference_model=saved, **flags)[0].splitlines()
    assert header.split("\t") == HEADER
    wanted = rerun(
        *RUN, model, place, checkpoint, place / name, tmp_path / "run.tsv", long_text=long_text, **options(place)
    )
    assert len(lines) == len(wanted)
    assert any("PER" in line for line in lines)
    for line, other in zip(lines, wanted):
        ours, theirs = line.split("\t"), other.split("\t")
        assert [ours[0], ours[1], ours[3]] == [theirs[0], theirs[1], theirs[3]]
        separator = "\x02" if name == "long.tsv" else " "
        numbers = [[float(value) for value in row[2].split(separator)] for row in (ours, theirs)]
        assert numbers[0] == pytest.approx(numbers[1], abs=2e-5)


def test_json_lines_say_the_same_from_the_checkpoint(model, place, checkpoint, saved, tmp_path):
    path = place / "blanks.tsv"
    printed, log = infer(SCRIPT, inference_model=saved, predict_set=path)
    _, rows = table(printed)
    assert "prediction results" in log
    flags = given(model, checkpoint, path, output=tmp_path / "out.jsonl", output_format="jsonl")
    assert "prediction results" not in infer(SCRIPT, **flags)[1], "nothing follows it"
    objects = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf8").splitlines()]
    for (text, tags, probs, entities), entry in zip(rows, objects):
        assert list(entry) == ["text", "tokens", "tags", "probabilities", "entities"]
        assert entry["text"] == text
        assert entry["tokens"] == text.split(" ")
        assert entry["tags"] == tags.split(" ")
        assert entry["probabilities"] == pytest.approx([float(value) for value in probs.split(" ")], abs=2e-5)
        assert entry["entities"] == json.loads(entities)
    assert len(objects) == len(rows)


def test_running_text_is_parted_into_words(saved, place, tmp_path):
    """The spans are of the text as it stands; tokens that blanks part give what they give as tokens."""
    texts = ["the good, films was  bad.", "lovely story" + " the bad casts" * 12]
    path = write_tsv(tmp_path / "text.tsv", [[text] for text in texts], ["text_a"])
    flags = {"inference_model": saved, "predict_set": path, "tokenized": "false"}
    header, rows = table(infer(SCRIPT, **flags)[0])
    assert header == ["text_a", "tokens", *HEADER[1:]]
    objects = [json.loads(line) for line in infer(SCRIPT, **flags, output_format="jsonl")[0].splitlines()]
    assert objects[0]["tokens"] == ["the", "good", ",", "films", "was", "bad", "."]
    for text, row, entry in zip(texts, rows, objects):
        assert row[0] == entry["text"] == text
        assert row[1].split(" ") == entry["tokens"]
        assert row[2].split(" ") == entry["tags"]
        assert len(entry["tokens"]) == len(entry["tags"]) == len(entry["probabilities"])
        assert json.loads(row[4]) == entry["entities"]
        for entity in entry["entities"]:
            assert text[entity["start"] : entity["end"]] == entity["text"]
    tokens = write_tsv(tmp_path / "tokens.tsv", [[" ".join(entry["tokens"])] for entry in objects], ["text_a"])
    _, parted = table(infer(SCRIPT, inference_model=saved, predict_set=tokens)[0])
    assert [row[1] for row in parted] == [row[2] for row in rows]
    assert any("LOC" in row[4] for row in rows)


def test_bad_rows(saved, tmp_path):
    path = tmp_path / "rows.tsv"
    for content, words in (
        ("text_a\nthe good\n \n", [f"{path}, line 3", "text_a is empty"]),
        ("text_a\tlabel\nthe good\n", [f"{path}, line 2", "1 fields"]),
        ("text\nthe good\n", [f"{path}, line 1", "text_a"]),
    ):
        path.write_text(content)
        for tokenized in ("true", "false"):
            fails(SCRIPT, *words, inference_model=saved, predict_set=path, tokenized=tokenized)


def test_an_inference_model_of_another_task_names_the_script(saved, place):
    _, error = infer("infer_classifyer.py", status=2, inference_model=saved, predict_set=place / "long.tsv")
    assert str(saved) in error
    assert "'sequence_label'" in error
    assert error.endswith("use infer_sequence_labeling.py")
