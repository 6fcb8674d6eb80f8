"""Shards whose instances or tokens have classes: what is read of them, what is wrong with them, how many there are."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from propeller.errors import UserError
from reader.pretraining.shard_check import check_shards
from reader.pretraining.shards import SPECIAL, Limits, parse_lines
from tests.helpers.class_rows import line, listed, sentence, tokens
from tests.helpers.reading import open_shards
from tests.helpers.shard_rows import shard

TOKENIZER = SimpleNamespace(pad_id=0, cls_id=1, sep_id=2, mask_id=3, vocab=dict.fromkeys(range(60)))
ENCODER = {"src_ids", "sent_ids", "pos_ids", "task_ids", "input_mask"}
SIZES = {"max_seq_len": 16, "batch_size": 3, "in_tokens": False}


def test_classes_of_sentences_are_read_and_nothing_is_masked(tmp_path):
    path = listed(tmp_path, [sentence(label) for label in (0, 8, 12)], [sentence(3, 5)])
    reader = open_shards(path, TOKENIZER, kind="sentence", classes=13, task_id=4, **SIZES)
    (first, at), (second, last) = reader.batches()
    assert first.keys() == ENCODER | {"labels"}
    assert first["labels"].tolist() == [[0], [8], [12]]
    assert first["labels"].dtype == np.int64
    assert second["labels"].tolist() == [[3]]
    assert first["src_ids"].tolist() == [[1, 10, 11, 12, 2]] * 3
    assert (first["task_ids"] == 4).all()
    assert (at.mask_type, at.ended, last.ended) == ("sentence", False, True)
    assert reader.stats["masked"] == 0


def test_classes_of_tokens_are_read_with_their_places(tmp_path):
    path = listed(tmp_path, [tokens([0, 1, -1, 2]), tokens([-1, -1]), tokens([8]), tokens([1, 0], 1)])
    reader = open_shards(path, TOKENIZER, kind="token", classes=9, **SIZES)
    ((batch, at),) = reader.batches()
    assert batch.keys() == ENCODER | {"token_pos", "token_labels"}
    assert batch["token_labels"].tolist() == [[0], [1], [2], [8], [1], [0]]
    assert batch["token_pos"].tolist() == [[1], [2], [4], [7], [13], [14]]  # six tokens a row
    assert batch["token_pos"].dtype == batch["token_labels"].dtype == np.int64
    assert batch["src_ids"].reshape(-1)[batch["token_pos"].ravel()].tolist() == [10, 11, 13, 10, 10, 11]
    assert at.mask_type == "token"
    assert (reader.stats["no_class"], reader.stats["masked"], reader.stats["rows"]) == (1, 6, 3)
    path = listed(tmp_path, [tokens([-1, -1])])
    with pytest.raises(UserError, match="not one instance .*1 without a class"):
        list(open_shards(path, TOKENIZER, kind="token", classes=2, **SIZES).batches())


def test_special_tokens_have_no_class_whatever_the_shard_says():
    rows, _ = parse_lines([b"1 10 2;0 0 0;0 1 2;0 1 -1;0"], Limits(token_classes=2))
    assert rows.units.tolist() == [0, 2, SPECIAL]  # the reader marks [CLS]


many = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@many
@given(st.lists(st.lists(st.integers(-1, 8), min_size=1, max_size=9), min_size=1, max_size=20), st.data())
def test_each_token_keeps_its_class_in_any_order_and_after_restarts(tmp_path, rows, data):
    """Tokens are told by their ids: class and place in the row are part of each."""
    known = [row for row in rows if any(one >= 0 for one in row)]
    if not known:
        return
    lines = [line([4 + one for one in row], [-1, *row, -1], 0) for row in rows]
    flags = {"kind": "token", "classes": 9, "shuffle": True, "shuffle_buffer": 7, "epochs": 2, **SIZES}
    found = list(open_shards(listed(tmp_path, lines), TOKENIZER, **flags).batches())
    per_epoch = [[], []]
    for batch, at in found:
        ids = batch["src_ids"].reshape(-1)[batch["token_pos"].ravel()]
        assert (ids - 4 == batch["token_labels"].ravel()).all()
        told = np.zeros(batch["src_ids"].size, bool)
        told[batch["token_pos"].ravel()] = True
        assert (batch["src_ids"].reshape(-1)[~told] < 4).all()
        per_epoch[at.epoch].extend(tuple(one - 4 for one in row if one > 2) for row in batch["src_ids"])
    for epoch in per_epoch:
        assert sorted(epoch) == sorted(map(tuple, known))
    stop = data.draw(st.integers(0, len(found) - 1))
    place = json.loads(json.dumps(found[stop][1].to_dict()))
    again = list(open_shards(tmp_path / "filelist", TOKENIZER, **flags).batches(place))
    assert [at for _, at in again] == [at for _, at in found[stop + 1 :]]
    for (batch, _), (other, _) in zip(again, found[stop + 1 :]):
        for name in batch:
            np.testing.assert_array_equal(batch[name], other[name])


@pytest.mark.parametrize(
    ("kind", "bad", "problem"),
    [
        ("sentence", sentence(3), "line 2: the class is '3', but the head has 3, from 0 on; give it as many"),
        ("sentence", sentence("x"), "line 2: the class is 'x'"),
        ("sentence", sentence(""), "line 2: the class is ''"),
        ("token", tokens([0, 3]), "line 2: a token's class is '-1 0 3 -1', but the head has 3"),
        ("token", tokens([0, 9]), "line 2: a token's class is '-1 0 9 -1'"),
        ("token", tokens([0, 12]), "line 2: a token's class is '-1 0 12 -1'"),
        ("token", tokens([0, -2]), "line 2: seg_labels is"),
        ("token", tokens([0, 1]) + ";1-2-p", "line 2: units is given beside classes of tokens"),
        ("token", tokens([0]).replace("-1 0 -1", "-1 0"), "line 2: 3 token_ids but 2 seg_labels"),
    ],
)
def test_what_the_head_does_not_have_is_named_with_its_line(tmp_path, kind, bad, problem):
    good = sentence(2) if kind == "sentence" else tokens([2, 1])
    path = listed(tmp_path, [good, bad, good])
    with pytest.raises(UserError, match=f"part-0.gz, {problem}"):
        list(open_shards(path, TOKENIZER, kind=kind, classes=3, **SIZES).batches())
    with pytest.raises(UserError, match=f"part-0.gz, {problem}"):
        check_shards(path, kind, 3)
    reader = open_shards(path, TOKENIZER, kind=kind, classes=3, on_bad="skip", **SIZES)
    ((batch, _),) = reader.batches()
    assert (len(batch["src_ids"]), reader.stats["bad_lines"]) == (2, 1)


def test_two_classes_of_a_pair_and_labels_that_only_count_right_together(tmp_path):
    path = listed(tmp_path, [sentence(""), sentence(10)])
    with pytest.raises(UserError, match="line 1: next_sentence_label is ''"):
        list(open_shards(path, TOKENIZER, **SIZES).batches())


def test_flags_of_masking_do_not_go_with_classes(tmp_path):
    path = listed(tmp_path, [sentence(1)])
    for flags, problem in (
        ({"kind": "words"}, "kind is 'words'; give one of masking, sentence, token"),
        ({"kind": "sentence"}, "classes is None; give how many a sentence may have"),
        ({"kind": "sentence", "classes": 1}, "classes is 1"),
        ({"kind": "token", "classes": 10}, "classes is 10; give how many a token may have, 2 to 9"),
        ({"classes": 2}, "but shards of kind masking have none"),
        ({"kind": "token", "classes": 2, "units": "word"}, "units belongs to masking"),
        ({"kind": "token", "classes": 2, "generate_neg_sample": True, "shuffle": True}, "generate_neg_sample belongs"),
        ({"kind": "sentence", "classes": 2, "draws_of_2019": True}, "draws_of_2019 belongs to masking"),
    ):
        with pytest.raises(UserError, match=problem):
            open_shards(path, TOKENIZER, **flags, **SIZES)


def test_every_class_has_to_be_there(tmp_path):
    assert check_shards(listed(tmp_path, [sentence(0), sentence(1)], [sentence(1)]), "sentence", 2) == {0: 1, 1: 2}
    path = listed(tmp_path, [sentence(0), sentence(2)], [sentence(2)])
    with pytest.raises(UserError, match=r"no instance of class 1 \(near\); build shards of more text, or do this"):
        check_shards(path, "sentence", ("next", "near", "far"), remedy="do this")
    assert check_shards(path, "sentence", 4, every_class=False) == {0: 1, 1: 0, 2: 2, 3: 0}
    path = listed(tmp_path, [tokens([0, 0, -1]), tokens([1, -1, 0])])
    assert check_shards(path, "token", ["no", "yes"]) == {0: 3, 1: 1}
    with pytest.raises(UserError, match=r"filelist: no token of class 2; build"):
        check_shards(path, "token", 3)
    with pytest.raises(UserError, match=r"no token of 7 of the 9 classes: 2, 3, 4, 5, 6, ...; build"):
        check_shards(path, "token", 9)


def test_what_is_longer_than_the_run_takes_is_told_at_once(tmp_path):
    path = listed(tmp_path, [sentence(0, size=6), sentence(1, size=9)])
    assert check_shards(path, "sentence", 2, max_seq_len=8) == {0: 1, 1: 1}
    with pytest.raises(UserError, match="all 2 instances are longer than --max_seq_len 7, the shortest has 8 tokens"):
        check_shards(path, "sentence", 2, max_seq_len=7)


def recorded(folder, number, classes, lengths, task="distance", names=("a", "b", "c")):
    """Write the record of part-NUMBER.gz as pretrain.build_data does; the shard gets a name as it has there."""
    path = folder / f"part-{number}.gz"
    path = path.rename(folder / f"text{number}-00000.gz")
    shards = [{"path": path.name, "instances": 1, "bytes": path.stat().st_size}]
    stats = {**{f"class_{key}": value for key, value in classes.items()}, "instances": 1, "lengths": lengths}
    record = {"task": task, "classes": names, "input": {}, "shards": shards, "stats": stats}
    (folder / f"text{number}.json").write_text(json.dumps(record))
    return f"{path}\t1\n"


def test_what_the_build_recorded_is_taken_for_the_shards_it_names(tmp_path):
    path = listed(tmp_path, [sentence(1)], [sentence(2)])
    first, second = recorded(tmp_path, 0, {0: 5, 1: 7}, {"5": 12}), recorded(tmp_path, 1, {2: 4}, {"30": 4})
    path.write_text(first + second)
    assert check_shards(path, "sentence", 3) == {0: 5, 1: 7, 2: 4}
    with pytest.raises(UserError, match="all 16 instances are longer than --max_seq_len 4, the shortest has 5"):
        check_shards(path, "sentence", 3, max_seq_len=4)
    with pytest.raises(UserError, match="4 instances have class 2, but the head has 2, from 0 on"):
        check_shards(path, "sentence", 2)
    assert check_shards(path, "sentence", 2, on_bad="skip") == {0: 5, 1: 7}
    assert check_shards(path, "sentence", 3, task="distance") == {0: 5, 1: 7, 2: 4}
    for kind in ("sentence", "masking"):
        with pytest.raises(UserError, match=r"text0.json: these are shards of distance, not of order"):
            check_shards(path, kind, 3, task="order")
    path.write_text(first)  # a line was taken out of the list
    with pytest.raises(UserError, match=r"no instance of class 2 \(c\); build"):
        check_shards(path, "sentence", 3)
    path.write_text(second)
    with pytest.raises(UserError, match="all 4 instances are longer than --max_seq_len 8"):
        check_shards(path, "masking", max_seq_len=8)
    assert check_shards(path, "masking", max_seq_len=30) == {}


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"shards": 3}', '{"shards": [], "stats": {}}'])
def test_shards_whose_record_is_no_use_are_read(tmp_path, damage):
    path = listed(tmp_path, [sentence(1)])
    path.write_text(recorded(tmp_path, 0, {0: 5}, {"5": 12}))
    assert check_shards(path, "sentence", 2, every_class=False) == {0: 5, 1: 0}
    (tmp_path / "text0.json").write_text(damage)
    assert check_shards(path, "sentence", 2, every_class=False) == {0: 0, 1: 1}


def test_shards_that_are_not_those_of_the_record_are_read(tmp_path):
    path = listed(tmp_path, [sentence(1)])
    path.write_text(recorded(tmp_path, 0, {0: 5}, {"5": 12}))
    shard(tmp_path / "text0-00000.gz", [sentence(1), sentence(0)])
    assert check_shards(path, "sentence", 2) == {0: 1, 1: 1}, "another one of this name"
    shard(tmp_path / "text0-00001.gz", [sentence(1)])
    path.write_text(path.read_text() + f"{tmp_path}/text0-00001.gz\t1\n")
    assert check_shards(path, "sentence", 2) == {0: 1, 1: 2}, "one more than the record names"


def test_a_missing_shard_is_named(tmp_path):
    path = listed(tmp_path, [sentence(1)])
    (tmp_path / "part-0.gz").unlink()
    with pytest.raises(UserError, match="part-0.gz: No such file"):
        check_shards(path, "sentence", 2)
    with pytest.raises(UserError, match="no instance of 2 of the 2 classes: 0, 1; build"):
        check_shards(path, "sentence", 2, on_bad="skip")


# ---------------------------------------------------------------- numbers


def test_numbers_of_instances_are_read(tmp_path):
    path = listed(tmp_path, [sentence(number) for number in ("0.25", "-3", "1e-3")], [sentence("7.5e2", 5)])
    reader = open_shards(path, TOKENIZER, kind="number", task_id=4, **SIZES)
    (first, at), (second, _) = reader.batches()
    assert first.keys() == ENCODER | {"labels"}
    assert first["labels"].dtype == np.float32
    assert first["labels"].tolist() == [[0.25], [-3.0], [np.float32(1e-3)]]
    assert second["labels"].tolist() == [[750.0]]
    assert (at.mask_type, reader.stats["masked"]) == ("number", 0)


def test_numbers_stay_with_their_instances_when_shuffled_and_shared_by_ranks(tmp_path):
    path = listed(tmp_path, *([sentence(f"{size}.5", size) for size in range(1, 10)] for _ in range(3)))
    flags = {**SIZES, "kind": "number", "shuffle": True, "shuffle_buffer": 5, "seed": 3, "world_size": 2}
    seen = []
    for rank in range(2):
        for batch, _ in open_shards(path, TOKENIZER, rank=rank, **flags).batches():
            sizes = batch["input_mask"].sum(axis=1) - 2
            assert batch["labels"].ravel().tolist() == (sizes + 0.5).tolist()
            seen += sizes.tolist()
    assert sorted(seen) == sorted([*range(1, 10)] * 3)


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("", "the number is '': give a decimal number, like 2, -0.5 or 1e-3"),
        ("nan", "the number is 'nan'"),
        ("1_0", "the number is '1_0'"),
        ("1e39", "the number is '1e39': give one below 3e38"),
    ],
)
def test_a_bad_number_is_named_with_its_line(tmp_path, bad, problem):
    path = listed(tmp_path, [sentence(1), sentence(bad), sentence(2.5)])
    problem = f"part-0.gz, line 2: {problem}"
    with pytest.raises(UserError, match=problem):
        list(open_shards(path, TOKENIZER, kind="number", **SIZES).batches())
    with pytest.raises(UserError, match=problem):
        check_shards(path, "number")
    assert check_shards(path, "number", on_bad="skip") == {}
    reader = open_shards(path, TOKENIZER, kind="number", on_bad="skip", **SIZES)
    ((batch, _),) = reader.batches()
    assert batch["labels"].tolist() == [[1.0], [2.5]]
    assert reader.stats["bad_lines"] == 1


def test_shards_with_numbers_are_checked_for_their_task_and_lengths(tmp_path):
    path = listed(tmp_path, [sentence(0.5), sentence(1)])
    assert check_shards(path, "number", max_seq_len=5) == {}
    with pytest.raises(UserError, match="all 2 instances are longer than --max_seq_len 4, the shortest has 5 tokens"):
        check_shards(path, "number", max_seq_len=4)
    shards = [{"path": "news-00000.gz", "bytes": (tmp_path / "part-0.gz").stat().st_size}]
    (tmp_path / "part-0.gz").rename(tmp_path / "news-00000.gz")
    (tmp_path / "filelist").write_text("news-00000.gz\t1\n")
    record = {"task": "place", "classes": None, "shards": shards, "stats": {"instances": 2, "lengths": {"5": 2}}}
    (tmp_path / "news.json").write_text(json.dumps(record))
    assert check_shards(path, "number", task="place") == {}
    with pytest.raises(UserError, match="these are shards of place, not of order"):
        check_shards(path, "number", task="order")
    with pytest.raises(UserError, match="all 2 instances are longer than --max_seq_len 4"):
        check_shards(path, "number", task="place", max_seq_len=4)


def test_numbers_have_no_classes_and_are_not_masked(tmp_path):
    path = listed(tmp_path, [sentence(1)])
    for flags, problem in (
        ({"classes": 2}, "classes is 2, but shards of kind number have none; leave it out"),
        ({"units": "word"}, "units belongs to masking, not to shards of kind number; leave it out"),
    ):
        with pytest.raises(UserError, match=problem):
            open_shards(path, TOKENIZER, kind="number", **flags, **SIZES)
