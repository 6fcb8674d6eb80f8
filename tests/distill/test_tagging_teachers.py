"""Students of tagging that learn from a teacher's word on single tokens, on the disk or asked for while training."""

import json

import numpy as np
import pytest

import finetune
from distill import label
from distill.questions import TokenQuestions
from distill.rows import open_table
from distill.soft_labels import SoftLabels, folder_of
from distill.students.flags import TeachingFlags
from distill.tagging.flags import StudentTaggingArgs
from distill.tagging.task import StudentSequenceLabel
from finetune.spec import ModelSpec, Reading
from finetune.training.main import main
from propeller.errors import UserError
from reader.tagging.tags import TagSet
from reader.tagging.token_logits import TokenLogits
from tests.helpers.runs import read_records
from tests.helpers.served import make_bundle
from tests.helpers.students import serving, train_student, weights_of, write_shape
from tests.helpers.tagged import IOB, tagged, write_tagged
from tests.helpers.tiny import flags, write_tsv

SHORT = {"num_labels": 5, "do_test": "false", "validation_steps": 0, "save_steps": 0}


@pytest.fixture(scope="module")
def tags(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tags")
    for name, count, seed in (("train", 60, 1), ("dev", 12, 2)):
        write_tagged(folder / f"{name}.tsv", tagged(count, seed))
    (folder / "map.json").write_text(json.dumps(IOB))
    return folder


@pytest.fixture(scope="module")
def teacher(model, tmp_path_factory):
    """The bundle of a tagger with random weights; in its vocabulary `films` and `casts` are two word pieces."""
    return make_bundle(tmp_path_factory.mktemp("teacher") / "bundle", model, "sequence_label")


@pytest.fixture(scope="module")
def trained(model, tags, tmp_path_factory):
    """The folder of a checkpoint of a tagger that has learned the tags."""
    folder = tmp_path_factory.mktemp("trained")
    given = {**SHORT, "label_map_config": tags / "map.json", "epoch": 6}
    main("run_sequence_labeling.py", "sequence_label", flags(model, tags, folder, **given))
    return folder / "last"


def write_unlabelled(path, count=30, seed=7):
    return write_tagged(path, tagged(count, seed), labels=False)


@pytest.fixture(scope="module")
def labelled(teacher, tmp_path_factory):
    path = write_unlabelled(tmp_path_factory.mktemp("unlabelled") / "unlabelled.tsv")
    assert label.main([str(teacher), path, "--use_cuda", "false"]) == 0
    return path


def sentences(path):
    return [line.split("\t")[0].split("\x02") for line in open(path, encoding="utf8").read().splitlines()[1:]]


def test_the_labels_are_the_teachers_logits_of_tokens(teacher, labelled):
    """One vector per token, of several pieces the mean over the tags they would have; a server gives the same."""
    table = open_table(labelled)
    found = SoftLabels.read(folder_of(labelled), table.sha256, labelled)
    tokens = sentences(labelled)
    predictor = finetune.load(teacher, use_cuda="false")
    wanted = predictor.token_logits(tokens)
    assert [len(each) for each in wanted] == [len(each) for each in tokens]
    np.testing.assert_array_equal(found.take(np.arange(found.rows)), np.concatenate(wanted))
    np.testing.assert_array_equal(predictor.token_logits(tokens[3:4], batch_size=1)[0], wanted[3])
    best = [[token["tag"] for token in each["tokens"]] for each in predictor(tokens)]
    names = sorted(IOB, key=IOB.__getitem__)
    for row, logits, found in zip(tokens, wanted, best):
        whole = [number for number, token in enumerate(row) if token not in ("films", "casts")]
        assert [names[logits[number].argmax()] for number in whole] == [found[number] for number in whole]
    from finetune.client import ErnieClient

    with serving(teacher) as url, ErnieClient(url) as client:
        for one, other in zip(client.token_logits(tokens), wanted):
            np.testing.assert_array_equal(one, other)
        assert client.token_logits([["good", "\x00"]])[0][1].tolist() == [-np.inf] * 5
    with pytest.raises(ValueError, match="has logits of tokens"):
        predictor.logits(["good"])


def train(network, model, tags, folder, **changes):
    given = {**SHORT, "label_map_config": tags / "map.json", "tokenizer": None, "epoch": 2, **changes}
    return train_student(write_shape(folder, network), model, tags, folder / "run", "student_sequence_label", **given)


@pytest.mark.parametrize("tokenizer", ["pieces", pytest.param("words", marks=pytest.mark.slow)])
def test_offline_and_online_give_the_same_student(tokenizer, teacher, labelled, model, tags, tmp_path):
    """Bit for bit, with the teacher's word pieces or with words of the student's own; and other than alone."""
    given = {}
    if tokenizer == "words":
        vocabulary = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "good", "bad", "films", "the", "casts", "great"]
        (tmp_path / "vocab.txt").write_text("".join(f"{word}\n" for word in vocabulary))
        given = {"tokenizer": "WholeWordTokenizer", "vocab_path": tmp_path / "vocab.txt", "allow_unk": "true"}
    ways = {name: tmp_path / name for name in ("offline", "online", "alone")}
    for folder in ways.values():
        folder.mkdir()
    offline = weights_of(train("cnn", model, tags, ways["offline"], unlabelled_set=labelled, **given))
    path = write_unlabelled(tmp_path / "u.tsv")
    with serving(teacher) as url:
        online = weights_of(train("cnn", model, tags, ways["online"], unlabelled_set=path, teacher=url, **given))
    assert offline == online
    assert offline != weights_of(train("cnn", model, tags, ways["alone"], **given))


@pytest.mark.slow
def test_a_student_learns_tags_from_the_teacher_alone(trained, model, tags, tmp_path):
    """With no weight on labels, which are all O here, it finds the entities that the teacher does."""
    rows = [(tokens, ["O"] * len(tokens)) for tokens, _ in tagged(60, 1)]
    write_tagged(tmp_path / "train.tsv", rows)
    write_tagged(tmp_path / "dev.tsv", tagged(12, 2))
    (tmp_path / "map.json").write_text(json.dumps(IOB))
    path = write_unlabelled(tmp_path / "u.tsv", 120)
    label.main([str(trained), path, "--use_cuda", "false"])
    train("cnn", model, tmp_path, tmp_path, gold_weight=0, unlabelled_set=path, epoch=20, allow_no_entities="true")
    lines = read_records(tmp_path / "run")
    assert [line["f1"] for line in lines if line["event"] == "dev"][-1] > 0.8


def reader_of(tags, model, path, tokenizer="FullTokenizer", vocab_path=None, **changes):
    settings = StudentTaggingArgs(unlabelled_set=path, **changes.pop("settings", {}))
    spec = ModelSpec(task="student_sequence_label", num_labels=5, label_map=IOB, tokenizer=tokenizer, max_seq_len=12,
                     settings=settings)  # fmt: skip
    tokenizer = spec.build_tokenizer(StudentSequenceLabel, vocab_path or model / "vocab.txt")
    reading = Reading(batch_size=4, training=True, **changes)
    return StudentSequenceLabel.open_reader(str(tags / "train.tsv"), tokenizer, spec, reading), tokenizer


def test_each_piece_has_what_the_teacher_says_of_its_token(teacher, tags, model, tmp_path):
    """Tokens of one piece have the token's logits; [CLS], [SEP], padding and what the cut takes are not taught."""
    rows = [["good", "film", "\x00"], ["films", "the"], ["the"] * 15]
    path = write_tsv(tmp_path / "u.tsv", [("\x02".join(row),) for row in rows], ("text_a",))
    label.main([str(teacher), path, "--use_cuda", "false"])
    made, tokenizer = reader_of(tags, model, path)
    batch, _ = next(made.unlabelled.batches())
    said = finetune.load(teacher, use_cuda="false").token_logits([row[:2] if len(row) == 3 else row for row in rows])
    counts = [len(ids) for ids in tokenizer.encode_batch(["films", "the"])]
    assert counts == [2, 1]
    assert batch["is_taught"][:3].sum(axis=1).tolist() == [2, 3, 10]
    assert batch["is_taught"][:3, 0].tolist() == [0, 0, 0]
    np.testing.assert_array_equal(batch["teacher_logits"][0, 1:3], said[0])
    np.testing.assert_array_equal(batch["teacher_logits"][1, 3], said[1][1])
    spread = TokenLogits(TagSet(IOB)).spread(said[1][:1], [2])
    np.testing.assert_array_equal(batch["teacher_logits"][1, 1:3], spread)
    np.testing.assert_array_equal(batch["teacher_logits"][2, 1:11], said[2][:10])
    assert batch["labels"][0, 1:3].tolist() == said[0].argmax(1).tolist()
    assert batch["labels"][0, 0] == IOB["O"]
    assert (batch["is_labelled"] == 0).all()


def test_batches_go_on_from_any_position(labelled, tags, model):
    """Through JSON, as in checkpoints; a labelled batch comes after two of the teacher's."""
    made, _ = reader_of(tags, model, labelled, settings={"unlabelled_ratio": 2}, shuffle=True, seed=3)
    batches = list(made.batches())
    assert [bool(batch["is_labelled"].all()) for batch, _ in batches[:6]] == [False, False, True] * 2
    for stop in (0, 1, 5, len(batches) - 2):
        again, _ = reader_of(tags, model, labelled, settings={"unlabelled_ratio": 2}, shuffle=True, seed=3)
        rest = list(again.batches(json.loads(json.dumps(batches[stop][1].to_dict()))))
        assert len(rest) == len(batches) - stop - 1
        for (batch, _), (other, _) in zip(batches[stop + 1 :], rest):
            assert batch.keys() == other.keys()
            assert all(np.array_equal(batch[name], other[name]) for name in batch)


def chances(logits):
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def test_logits_go_from_pieces_to_tokens_and_back():
    """A token's B-PER is B-PER and I-PER on two pieces: that is what is weighed, and what a piece then is."""
    logits = TokenLogits(TagSet(IOB))
    pieces = np.random.RandomState(0).randn(4, 5).astype(np.float32)
    tokens = logits.gather([1, 0, 3], pieces)
    np.testing.assert_array_equal(tokens[0], pieces[0])
    assert (tokens[1] == -np.inf).all()
    person = (pieces[1, IOB["B-PER"]] + pieces[2, IOB["I-PER"]] + pieces[3, IOB["I-PER"]]) / 3
    assert tokens[2, IOB["B-PER"]] == pytest.approx(person, abs=1e-6)
    assert tokens[2, IOB["O"]] == pytest.approx(pieces[1:, IOB["O"]].mean(), abs=1e-6)
    spread = logits.spread(tokens, [1, 1, 2])
    assert spread.shape == (4, 5)
    back = chances(spread[[0, 0, 2, 3]])
    np.testing.assert_allclose(back[0], chances(tokens[0]), atol=1e-6)
    whole = chances(tokens[2])
    np.testing.assert_allclose(back[2], whole, atol=1e-6)
    assert back[3, IOB["I-PER"]] == pytest.approx(whole[IOB["B-PER"]] + whole[IOB["I-PER"]], abs=1e-3)
    assert back[3, IOB["B-PER"]] < 1e-3


def test_a_tag_that_cannot_stand_on_several_pieces_is_unlikely_there():
    """Without I-PER a token of two pieces can be no person."""
    tags = TagSet({"B-PER": 0, "O": 1}, "IOB")
    logits = TokenLogits(tags)
    assert logits.gather([2], np.array([[9, 0], [9, 0]], np.float32))[0].tolist() == [-10, 0]
    assert chances(logits.spread(np.array([[5, 0]], np.float32), [2]))[:, 0].max() < 0.01


@pytest.mark.slow
def test_layers_and_labelled_rows_are_taught_too(trained, model, tags, tmp_path):
    """A Transformer student with the teacher's hidden states; the teacher has a say in labelled rows."""
    label.main([str(trained), str(tags / "train.tsv"), "--use_cuda", "false"])
    found = []
    for name, changes in (("plain", {}), ("taught", {"teach_labelled": "true"}), ("layers", {"hidden_weight": 1})):
        if "hidden_weight" in changes:
            changes["layer_teacher"] = trained
        given = {**SHORT, "label_map_config": tags / "map.json", "tokenizer": None, "epoch": 1,
                 "init_pretraining_params": model / "params", **changes}  # fmt: skip
        found.append(weights_of(train_student(model / "ernie_config.json", model, tags, tmp_path / name,
                                              "student_sequence_label", **given)))  # fmt: skip
    assert found[0] != found[1] != found[2] != found[0]


@pytest.mark.parametrize(
    ("rows", "header", "told"),
    [
        ([("good\x02film", "good")], ("text_a", "teacher_a"), "line 2: 2 tokens in text_a, 1 in teacher_a"),
        ([("good\x02film",), ("",)], ("text_a",), "line 3: the line is blank"),
        ([("good\x02film", "the")], ("text_a", "text_b"), "a teacher of tags reads one text"),
    ],
    ids=["tokens", "empty", "pair"],
)
def test_rows_whose_tokens_cannot_be_taught_are_told(rows, header, told, tmp_path):
    path = write_tsv(tmp_path / "u.tsv", rows, header)
    with pytest.raises(UserError, match=told):
        TokenQuestions(open_table(path))


def test_the_teacher_reads_its_own_tokens(teacher, tags, model, tmp_path):
    """Column ``teacher_a`` goes to the teacher, token for token."""
    path = write_tsv(tmp_path / "u.tsv", [("qqq\x02zzz", "good\x02films")], ("text_a", "teacher_a"))
    label.main([str(teacher), path, "--use_cuda", "false"])
    labels = SoftLabels.read(folder_of(path), open_table(path).sha256, path)
    wanted = finetune.load(teacher, use_cuda="false").token_logits([["good", "films"]])[0]
    np.testing.assert_array_equal(labels.take(np.arange(2)), wanted)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"chunk_scheme": "IO"}, "the teacher's --chunk_scheme is IOB, the student's IO"),
        ({"label_map_config": "other.json"}, "the teacher's classes are"),
    ],
    ids=["scheme", "tags"],
)
def test_tags_that_make_other_entities_are_refused(changes, told, labelled, model, tags, tmp_path):
    other = {name: number for number, name in enumerate(reversed(IOB))}
    (tmp_path / "other.json").write_text(json.dumps(other))
    given = {name: tmp_path / value if value.endswith(".json") else value for name, value in changes.items()}
    with pytest.raises(UserError, match=told):
        train("cnn", model, tags, tmp_path, unlabelled_set=labelled, **given)


def test_a_teacher_of_classes_is_none_of_tags(labelled, model, data, tmp_path):
    with pytest.raises(UserError, match="the teacher is of the task 'sequence_label', the student 'student'"):
        train_student(write_shape(tmp_path, "bow"), model, data, tmp_path / "run", unlabelled_set=labelled)


def test_the_flags_of_a_teacher_are_those_of_all_students():
    """A run from before there were teachers of tags goes on: it had none."""
    assert StudentSequenceLabel.former_flags["unlabelled_set"] is None
    assert set(StudentSequenceLabel.former_flags) == set(TeachingFlags.__dataclass_fields__)
