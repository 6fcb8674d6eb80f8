"""A teacher's logits on the disk: written, gone on with, checked."""

import json
import subprocess
import sys

import numpy as np
import pytest

import finetune
from distill import label
from distill.rows import open_table
from distill.soft_labels import SoftLabels, folder_of
from propeller.errors import UserError
from tests.helpers.common import ROOT
from tests.helpers.students import (
    serving,
    train_teacher,
    write_unlabelled,
)
from tests.helpers.tiny import sentences


def read(path):
    table = open_table(path)
    return SoftLabels.read(folder_of(path), table.sha256, path)


def test_the_labels_are_the_teachers_logits(teacher, labelled):
    predictor = finetune.load(teacher, use_cuda="false")
    texts = [text for _, text in sentences(50, 7)]
    found = read(labelled).take(np.arange(50))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, predictor.logits(texts))
    chances = np.exp(found) / np.exp(found).sum(1, keepdims=True)
    wanted = [list(each["probabilities"].values()) for each in predictor(texts)]
    np.testing.assert_allclose(chances, wanted, atol=2e-5)


def test_a_text_has_the_same_logits_alone_among_others_and_from_a_server(teacher):
    texts = [text for _, text in sentences(40, 9)]
    predictor = finetune.load(teacher, use_cuda="false")
    together = predictor.logits(texts)
    np.testing.assert_array_equal(together, np.concatenate([predictor.logits([text]) for text in texts]))
    np.testing.assert_array_equal(together, predictor.logits(texts, batch_size=3))
    from finetune.client import ErnieClient

    with serving(teacher) as url, ErnieClient(url) as client:
        np.testing.assert_array_equal(together, client.logits(texts))
        client._batch_size = 3
        np.testing.assert_array_equal(together, client.logits(texts))
        plain = client.post("/predict", {"texts": texts[:1]})["predictions"][0]
        assert "logits" not in plain


def test_labelling_goes_on_where_it_was(teacher, tmp_path):
    """After a part is done, only the rest is asked for, and the result is that of one run."""
    path = write_unlabelled(tmp_path / "u.tsv")
    label.main([str(teacher), path, "--output", str(tmp_path / "whole"), "--use_cuda", "false"])
    table = open_table(path)
    predictor = finetune.load(teacher, use_cuda="false")
    facts = json.loads((tmp_path / "whole" / "labels.json").read_text())["teacher"]
    with SoftLabels.open_or_make(folder_of(path), table.sha256, 50, facts, path) as part:
        texts = [text for _, text in sentences(50, 7)]
        part.put(np.arange(20), predictor.logits(texts[:20]))
        part.put(np.array([30, 31, 40]), predictor.logits([texts[30], texts[31], texts[40]]))
        assert part.missing().tolist() == [*range(20, 30), *range(32, 40), *range(41, 50)]
    with pytest.raises(UserError, match="has not labelled all rows"):
        read(path)
    done = subprocess.run(
        [sys.executable, "-m", "distill.label", str(teacher), path, "--use_cuda", "false"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "50 rows, 27 of them without logits" in done.stderr
    assert (tmp_path / "u.tsv.teacher" / "logits.npy").read_bytes() == (tmp_path / "whole" / "logits.npy").read_bytes()
    again = json.loads((tmp_path / "u.tsv.teacher" / "labels.json").read_text())
    assert again == json.loads((tmp_path / "whole" / "labels.json").read_text())


def test_a_server_labels_too(teacher, labelled, tmp_path):
    path = write_unlabelled(tmp_path / "u.tsv")
    with serving(teacher) as url:
        label.main([url, path])
    np.testing.assert_array_equal(read(path).logits, read(labelled).logits)
    assert read(path).facts == read(labelled).facts


def damaged(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("fault", ["none", "other file", "damaged", "short", "facts", "format"])
def test_labels_that_cannot_be_used_are_told(fault, teacher, tmp_path):
    path = write_unlabelled(tmp_path / "u.tsv", 8)
    folder = tmp_path / "u.tsv.teacher"
    if fault != "none":
        label.main([str(teacher), path, "--use_cuda", "false"])
    if fault == "other file":
        write_unlabelled(tmp_path / "u.tsv", 9)
    elif fault == "damaged":
        damaged(folder / "logits.npy")
    elif fault == "short":
        content = (folder / "logits.npy").read_bytes()
        (folder / "logits.npy").write_bytes(content[:-8])
    elif fault == "facts":
        (folder / "labels.json").write_text("{")
    elif fault == "format":
        facts = json.loads((folder / "labels.json").read_text())
        (folder / "labels.json").write_text(json.dumps({**facts, "format": 9}))
    told = {
        "none": "no labels of a teacher there: python -m distill.label",
        "other file": "its labels are of another file",
        "damaged": "damaged, its sha256 is another",
        "short": "cannot be read",
        "facts": "damaged: remove",
        "format": "of format 9",
    }
    with pytest.raises(UserError, match=told[fault]):
        read(path)


def test_labels_of_another_teacher_stay(teacher, model, data, labelled, tmp_path):
    other = train_teacher(model, data, tmp_path / "run", epoch=1)
    with pytest.raises(UserError, match="holds the labels of another teacher"):
        label.main([str(other), labelled, "--use_cuda", "false"])
    path = write_unlabelled(tmp_path / "u.tsv")
    label.main([str(teacher), path, "--use_cuda", "false"])
    label.main([str(other), path, "--overwrite", "--use_cuda", "false"])
    assert not np.array_equal(read(path).logits, read(labelled).logits)


def test_a_checkpoint_is_the_teacher_that_its_bundle_is(teacher, labelled):
    """The same logits and the same facts, so a run may go on with the other."""
    label.main([str(teacher.parent / "run" / "last"), labelled, "--use_cuda", "false"])


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--batch_size", "0"], "--batch_size must be at least 1"),
        (["--retries", "-1"], "--retries must be at least 0"),
        (["--overwrit"], "did you mean --overwrite"),
    ],
    ids=["batch", "retries", "misspelt"],
)
def test_wrong_flags_are_told(flags, told, labelled):
    with pytest.raises(UserError) as caught:
        label.main(["nowhere", labelled, *flags])
    assert told in str(caught.value)


def test_no_teacher_is_told(labelled, model, tmp_path):
    with pytest.raises(UserError, match="no such directory"):
        label.main([str(tmp_path / "no"), labelled])
    with pytest.raises(UserError, match="a student learns from one of classify"):
        label.main([str(model), labelled, "--use_cuda", "false"])
    with pytest.raises(UserError, match="does not answer after 1 tries"):
        label.main(["http://127.0.0.1:9", labelled, "--retries", "0"])


def test_a_blank_row_is_told_by_its_line(teacher, tmp_path):
    path = tmp_path / "u.tsv"
    path.write_text("text_a\tteacher_a\ngood film\tgood\nfilm\t \n")
    with pytest.raises(UserError, match="u.tsv, line 3: teacher_a is blank"):
        label.main([str(teacher), str(path), "--use_cuda", "false"])
