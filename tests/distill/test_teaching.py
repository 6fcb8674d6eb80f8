"""Students that learn from a teacher: labels on the disk or asked for while training."""

import json
import re
import subprocess
import sys
import threading

import numpy as np
import pytest

import finetune
from distill import label
from distill.rows import open_table
from distill.soft_labels import SoftLabels, folder_of
from distill.sources import Asked
from propeller.errors import UserError
from tests.helpers.common import ROOT
from tests.helpers.runs import read_records
from tests.helpers.students import (
    serving,
    stopped_and_whole,
    student_flags,
    train_student,
    train_student_apart,
    weights_of,
    write_shape,
    write_unlabelled,
)
from tests.helpers.tiny import sentences, write_tsv


def read(path):
    table = open_table(path)
    return SoftLabels.read(folder_of(path), table.sha256, path)


def distil(shape, model, data, folder, unlabelled_set, **changes):
    changes = {"unlabelled_set": unlabelled_set, "do_test": "false", "epoch": 2, **changes}
    return train_student(shape, model, data, folder, **changes)


def waiting(folder):
    """The shares of waiting in the training records of a run."""
    records = read_records(folder)
    found = [record.get("waiting") for record in records if record["event"] == "train"]
    assert found
    return [] if found == [None] * len(found) else found


def test_offline_and_online_give_the_same_student(teacher, labelled, model, data, tmp_path):
    """Bit for bit; and a second run, or epoch, asks the teacher nothing."""
    shape = write_shape(tmp_path, "bow")
    offline = weights_of(distil(shape, model, data, tmp_path / "offline", labelled))
    path = write_unlabelled(tmp_path / "u.tsv")
    with serving(teacher) as url:
        online = weights_of(distil(shape, model, data, tmp_path / "online", path, teacher=url))
        asked = Asked(open_table(path), url, folder_of(path))
        assert len(asked.labels.missing()) < 50
        asked.prepare(np.setdiff1d(np.arange(50), asked.labels.missing()))
        assert asked.asked == 0
    here = weights_of(distil(shape, model, data, tmp_path / "here", write_unlabelled(tmp_path / "h.tsv"),
                             teacher=teacher))  # fmt: skip
    alone = weights_of(train_student(shape, model, data, tmp_path / "alone", do_test="false", epoch=2))
    assert offline == online == here
    assert offline != alone
    assert all(0 <= share <= 1 for share in waiting(tmp_path / "online")), "the log says how much is waited"
    assert waiting(tmp_path / "offline") == []


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 4},
        {"soft_weight": 3},
        {"mse_weight": 1},
        {"hard_weight": 1},
        {"gold_weight": 0},
        {"unlabelled_ratio": 2},
        {"teach_labelled": "true"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_flag_changes_the_student(changes, teacher, labelled, model, data, tmp_path):
    shape = write_shape(tmp_path, "bow")
    if "teach_labelled" in changes:
        label.main([str(teacher), str(data / "train.tsv"), "--use_cuda", "false"])
    plain = weights_of(distil(shape, model, data, tmp_path / "plain", labelled, epoch=1))
    assert weights_of(distil(shape, model, data, tmp_path / "other", labelled, epoch=1, **changes)) != plain


def test_an_interrupted_run_ends_with_the_same_weights(labelled, model, data, tmp_path):
    """Stopped between a teacher's batch and the labelled one that follows it; the ratio is 2."""
    shape = write_shape(tmp_path, "cnn", hidden_dropout_prob=0.3)
    given = {"unlabelled_set": labelled, "do_test": "false", "unlabelled_ratio": 2, "epoch": 3}
    cut, whole = stopped_and_whole(shape, model, data, tmp_path, 19, **given)
    assert cut == whole


def test_another_file_of_labels_is_another_run(teacher, labelled, model, data, tmp_path):
    shape = write_shape(tmp_path, "bow")
    distil(shape, model, data, tmp_path / "run", labelled, epoch=1)
    other = write_unlabelled(tmp_path / "u.tsv", seed=8)
    label.main([str(teacher), other, "--use_cuda", "false"])
    with pytest.raises(UserError, match="another|differ"):
        distil(shape, model, data, tmp_path / "run", other, epoch=1)


def test_a_teacher_that_dies_is_an_error_behind_a_checkpoint(teacher, model, data, tmp_path):
    """Status 2, one line, after the retries; the same command goes on when it is there again."""
    path = write_unlabelled(tmp_path / "u.tsv", 200)
    shape = write_shape(tmp_path, "bow")
    given = {"unlabelled_set": path, "do_test": "false", "epoch": 4, "queue_size": 1, "teacher_retries": 1,
             "batch_size": 2, "validation_steps": 0, "save_steps": 0, "skip_steps": 1}  # fmt: skip
    with serving(teacher) as url:
        words = student_flags(shape, model, data, tmp_path / "run", teacher=url, **given)
        process = subprocess.Popen([sys.executable, "-m", "finetune", "student", *words], cwd=ROOT, text=True,
                                   stderr=subprocess.PIPE)  # fmt: skip
        for line in process.stderr:
            if "step: 4," in line:
                break
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2
    last = said.splitlines()[-1]
    assert re.match("error: the teacher does not answer after 2 tries: .*start it again", last), last
    step = int((tmp_path / "run" / "last").resolve().name.partition("_")[2])
    assert step >= 4
    with serving(teacher) as url:
        last = train_student_apart(shape, model, data, tmp_path / "run", teacher=url, **given)
    given["unlabelled_set"] = write_unlabelled(tmp_path / "again.tsv", 200)
    whole = train_student_apart(shape, model, data, tmp_path / "whole", teacher=teacher, **given)
    assert weights_of(last) == weights_of(whole)


def test_the_teacher_reads_its_own_column_with_its_own_vocabulary(teacher, model, data, tmp_path):
    """Column ``teacher_a`` goes to the teacher as it stands; the student's words are unknown to it."""
    texts = [text for _, text in sentences(10, 3)]
    rows = [("qqq zzz", text) for text in texts]
    path = write_tsv(tmp_path / "u.tsv", rows, ("text_a", "teacher_a"))
    label.main([str(teacher), path, "--use_cuda", "false"])
    predictor = finetune.load(teacher, use_cuda="false")
    np.testing.assert_array_equal(read(path).logits, predictor.logits(texts))
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("".join(f"{word}\n" for word in ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "qqq", "zzz")))
    last = distil(write_shape(tmp_path, "bow"), model, data, tmp_path / "run", path, vocab_path=vocabulary,
                  epoch=1, allow_unk="true")  # fmt: skip
    assert finetune.load(last)(["qqq"])[0]["label"] in ("0", "1")


def test_copies_teach_beside_rows_with_columns_of_their_own(labelled, model, data, tmp_path):
    """--text_column names the text of the rows; the copies that the teacher labelled have text_a."""
    for name in ("train", "dev"):
        rows = (data / f"{name}.tsv").read_text().replace("text_a", "review", 1).replace("label", "stars", 1)
        (tmp_path / f"{name}.tsv").write_text(rows)
    own = {"train_set": tmp_path / "train.tsv", "dev_set": tmp_path / "dev.tsv"}
    given = {"epoch": 1, "text_column": "review", "label_column": "stars", **own}
    shape = write_shape(tmp_path, "bow")
    named = distil(shape, model, data, tmp_path / "named", labelled, **given)
    assert weights_of(named) == weights_of(distil(shape, model, data, tmp_path / "plain", labelled, epoch=1))


def test_ranks_learn_what_one_process_does(labelled, data, model):
    """Two ranks' batches are those of one reader of the same position, in turn."""
    from distill.students.classifier import Student
    from distill.students.flags import StudentFlags
    from finetune.spec import ModelSpec, Reading

    def reader(rank, size, **changes):
        spec = ModelSpec(tokenizer="WholeWordTokenizer", settings=StudentFlags(unlabelled_set=labelled, **changes))
        tokenizer = spec.build_tokenizer(Student, model / "vocab.txt")
        reading = Reading(batch_size=7, training=True, shuffle=True, epochs=2, seed=3, rank=rank, world_size=size)
        return Student.open_reader(str(data / "train.tsv"), tokenizer, spec, reading)

    one = list(reader(0, 1).batches())
    assert [bool(batch["is_labelled"][0, 0]) for batch, _ in one] == [False, True] * 12
    assert [position.rows for _, position in one][:4] == [7, 14, 21, 28]
    assert [position.epoch for _, position in one] == [0] * 12 + [1] * 12
    assert one[11][1].rows == reader(0, 1).num_examples == 40 + 6 * 7
    for stop in range(0, 24, 5):  # from any position the rest follows, through JSON
        place = json.loads(json.dumps(one[stop][1].to_dict()))
        rest = list(reader(0, 1).batches(place))
        assert len(rest) == 23 - stop
        for (batch, position), (again, there) in zip(one[stop + 1 :], rest):
            assert json.dumps(position.to_dict()) == json.dumps(there.to_dict())
            assert all(np.array_equal(batch[name], again[name]) for name in batch)
    both = [list(reader(rank, 2).batches()) for rank in (0, 1)]
    for (mine, here), (theirs, there) in zip(*both):
        assert here == there
        assert mine is not None or theirs is not None
    seen = [row for batches in both for batch, _ in batches if batch is not None and batch["is_labelled"].all()
            for row in batch["src_ids"].tolist()]  # fmt: skip
    assert len(seen) == 80


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"temperature": 0}, "--temperature must be above 0"),
        ({"soft_weight": -1}, "--soft_weight must be 0 or more"),
        ({"soft_weight": 0}, "all weights of the teacher are 0"),
        ({"unlabelled_ratio": 0}, "--unlabelled_ratio must be at least 1"),
        ({"teacher_retries": -1}, "--teacher_retries must be 0 or more"),
        ({"unlabelled_set": None, "teacher": "http://x:1"}, "--teacher needs --unlabelled_set"),
        ({"unlabelled_set": None, "teacher_labels": "x"}, "--teacher_labels needs --unlabelled_set"),
        ({"teach_labelled": "true", "teacher_labels": "x"}, "--teacher_labels names the logits of one file"),
        ({"num_labels": 3}, "the teacher tells 2 classes apart, the student 3"),
        ({"in_tokens": "true", "batch_size": 64}, "--in_tokens with --unlabelled_set"),
        ({"unlabelled_set": "nowhere.tsv"}, "nowhere.tsv: no such file"),
    ],
    ids=["temperature", "negative", "no weight", "ratio", "retries", "teacher", "folder", "two files", "classes",
         "tokens", "no file"],
)  # fmt: skip
def test_flags_of_teaching_that_do_not_go_together(changes, told, labelled, model, data, tmp_path):
    with pytest.raises(UserError) as caught:
        distil(
            write_shape(tmp_path, "bow"),
            model,
            data,
            tmp_path / "run",
            **{"unlabelled_set": labelled, **changes},
        )
    assert told in str(caught.value)


def test_a_bad_unlabelled_row_is_told_before_training(teacher, model, data, tmp_path):
    path = tmp_path / "u.tsv"
    path.write_text("text_a\ngood film\n\n")
    with pytest.raises(UserError, match="u.tsv, line 3"):
        distil(write_shape(tmp_path, "bow"), model, data, tmp_path / "run", str(path), teacher=teacher)


def test_classes_in_another_order_are_refused(teacher, labelled, model, data, tmp_path):
    """Named classes are compared; a teacher of numbers goes with names."""
    facts_path = tmp_path / "u.tsv.teacher" / "labels.json"
    path = write_unlabelled(tmp_path / "u.tsv")
    label.main([str(teacher), path, "--use_cuda", "false"])
    facts = json.loads(facts_path.read_text())
    facts["teacher"]["labels"] = ["yes", "no"]
    facts_path.write_text(json.dumps(facts))
    (tmp_path / "map.json").write_text('{"no": 0, "yes": 1}')
    rows = [(("no", "yes")[number], text) for number, text in sentences(40, 1)]
    for name in ("train", "dev"):
        write_tsv(tmp_path / f"{name}.tsv", rows)
    with pytest.raises(UserError, match="the teacher's classes are yes, no, the student's no, yes"):
        distil(write_shape(tmp_path, "bow"), model, tmp_path, tmp_path / "run", path, epoch=1,
               label_map_config=tmp_path / "map.json")  # fmt: skip


def test_threads_share_a_source(teacher, tmp_path):
    """Rows asked for from several threads at once are right, and each is asked for once."""
    path = write_unlabelled(tmp_path / "u.tsv")
    source = Asked(open_table(path), str(teacher), folder_of(path), use_cuda="false")
    found = {}

    def take(number):
        source.prepare(np.arange(50))
        found[number] = source.take(np.arange(50))

    threads = [threading.Thread(target=take, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wanted = finetune.load(teacher, use_cuda="false").logits([text for _, text in sentences(50, 7)])
    for each in found.values():
        np.testing.assert_array_equal(each, wanted)
    assert source.asked == 50


def test_the_teacher_is_asked_ahead_of_training(data, model, tmp_path, monkeypatch):
    """While one batch is learnt, the reader has the next ones labelled: it waits for nobody to take them."""
    from distill import sources
    from distill.students.classifier import Student
    from distill.students.flags import StudentFlags
    from finetune.spec import ModelSpec, Reading
    from reader.pyreader import PyReader

    class Counting:
        facts = {"task": "classify", "labels": ["0", "1"], "columns": 2, "tokenizer": "t", "weights": "w"}  # noqa: RUF012
        asked, rows = threading.Semaphore(0), []  # noqa: RUF012

        def logits(self, rows):
            self.rows.append(len(rows))
            self.asked.release()
            return np.zeros((len(rows), 2), np.float32)

    monkeypatch.setattr(sources, "open_teacher", lambda *_, **__: Counting())
    path = write_unlabelled(tmp_path / "u.tsv")
    spec = ModelSpec(tokenizer="WholeWordTokenizer", settings=StudentFlags(unlabelled_set=path, teacher="http://t:1"))
    tokenizer = spec.build_tokenizer(Student, model / "vocab.txt")
    reading = Reading(batch_size=7, training=True, seed=3)
    reader = Student.open_reader(str(data / "train.tsv"), tokenizer, spec, reading)
    with PyReader(reader.batches, 8) as batches:
        items = iter(batches)
        next(items)
        for _ in range(3):  # for 1, 2 and 4 of its batches, to fill the queue; nothing more is taken from it
            assert Counting.asked.acquire(timeout=60)
    assert Counting.rows[:3] == [7, 14, 28]
