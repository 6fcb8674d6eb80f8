"""SQuAD JSON to windows and batches: equal to 2019's, restartable, strict."""

import json
import logging
import math

import numpy as np
import pytest

from propeller.errors import UserError
from reader.squad.file import SquadFile, locate
from reader.squad.reader import FIRST_UNIQUE_ID, SquadReader, max_context
from tests.helpers.common import GOLDEN, ROOT
from tests.helpers.squad import squad
from tokenization import build_tokenizer

WORDS = ["the", "film", "story", "was", "is", "a", "and", "very", "cast", "good", "bad", "great", "dull", "who", "what"]
READING = {"max_seq_len": 64, "doc_stride": 16, "max_query_length": 20}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    vocabulary = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    letters = [f"{mark}{letter}" for letter in "abcdefghijklmnopqrstuvwxyz0123456789" for mark in ("", "##")]
    tokens = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", *WORDS, *letters, "?", ".", ",", *"我们在北京城里"]
    vocabulary.write_text("\n".join(dict.fromkeys(tokens)) + "\n", encoding="utf8")
    return build_tokenizer("FullTokenizer", vocabulary, for_cn=False)


@pytest.fixture(scope="module")
def chinese():
    return build_tokenizer("FullTokenizer", GOLDEN / "vocab" / "vocab_zh.txt", for_cn=False)


def story(seed, words):
    return " ".join(np.random.RandomState(seed).choice(WORDS[:15], words))


@pytest.fixture
def long_file(tmp_path):
    """Ten questions over five stories of different lengths: windows from one to many."""
    return squad(
        tmp_path / "long.json",
        *(
            (
                f"{story(i, 5 + 12 * i)} 7 {story(i + 50, 9)}",
                [(f"{i}a", "who ?", "7"), (f"{i}b", "what was good", "7 ")],
            )
            for i in range(5)
        ),
    )


CASES = {
    "mrc_train": {"answers": "train", "batch_size": 6},
    "mrc_dev": {"answers": "score", "batch_size": 6},
    "mrc_train_shuffle_epoch2": {"answers": "train", "batch_size": 16, "epochs": 2, "shuffle": True, "seed": 1},
    "mrc_dev_in_tokens": {"answers": "score", "batch_size": 256, "in_tokens": True},
}


@pytest.mark.parametrize("case", CASES)
def test_batches_equal_2019(chinese, case):
    recorded = np.load(GOLDEN / "2_readers" / "batches.npz")
    reader = SquadReader(GOLDEN / "2_readers" / "data" / "mrc.json", chinese, **READING, **CASES[case])
    assert reader.num_examples == 134
    number = -1
    for number, (batch, _) in enumerate(reader.batches()):
        for name, array in batch.items():
            wanted = recorded[f"{case}/{number}/{name}"]
            assert array.dtype == wanted.dtype
            np.testing.assert_array_equal(array, wanted.reshape(wanted.shape[:2]), err_msg=f"{number} {name}")
        assert f"{case}/{number + 1}/src_ids" in recorded or number + 1 == len({
            key.split("/")[1] for key in recorded.files if key.startswith(f"{case}/")
        })  # fmt: skip
    assert number > 0


@pytest.mark.parametrize("case", ["mrc_train", "mrc_dev"])
def test_features_equal_2019(chinese, case):
    recorded = json.loads((GOLDEN / "2_readers" / "mrc_features.json").read_text(encoding="utf8"))[case]
    reader = SquadReader(GOLDEN / "2_readers" / "data" / "mrc.json", chinese, **READING, **CASES[case])
    features = iter(recorded["features_in_current_order"])
    for number, question in enumerate(reader.file.questions):
        example = recorded["examples"][number]
        assert (question.id, question.text) == (example["qas_id"], example["question_text"])
        assert question.answer == example["orig_answer_text"]
        document, windows = reader.document(number), reader.windows(number)
        for window, own in zip(windows, max_context(windows, len(document.tokens))):
            wanted = next(features)
            part = slice(window.start, window.start + window.length)
            places = range(window.first, window.first + window.length)
            tokens = ["[CLS]", *reader.query_tokens(number), "[SEP]", *document.tokens[part], "[SEP]"]
            assert (window.unique_id, number) == (wanted["unique_id"], wanted["example_index"])
            assert " ".join(tokens) == wanted["tokens"]
            assert dict(zip(map(str, places), document.part[part].tolist())) == wanted["token_to_orig_map"]
            assert dict(zip(map(str, places), own.tolist())) == wanted["token_is_max_context"]
    assert next(features, None) is None


def test_a_wrong_start_is_repaired_where_2019_dropped_the_question(chinese, caplog):
    folder = GOLDEN / "2_readers" / "data"
    with caplog.at_level(logging.INFO):
        repaired = SquadReader(folder / "mrc_wrong_start.json", chinese, **READING, **CASES["mrc_train"])
    assert "1 with a wrong one taken at the nearest place of their text" in caplog.text
    assert "left out" not in caplog.text
    right = SquadReader(folder / "mrc.json", chinese, **READING, **CASES["mrc_train"])
    for (ours, _), (wanted, _) in zip(repaired.batches(), right.batches()):
        for name in wanted:
            np.testing.assert_array_equal(ours[name], wanted[name])


def test_a_second_answer_is_no_error_in_training(chinese):
    """2019 refused the file; here the first answer with a place is learnt."""
    reader = SquadReader(
        GOLDEN / "2_readers" / "data" / "mrc_two_answers.json", chinese, **READING, **CASES["mrc_train"]
    )
    assert reader.file.questions[0].answers == ("李彦宏", "李")
    assert (reader.file.questions[0].start, reader.file.questions[0].answer) == (25, "李彦宏")


@pytest.mark.parametrize(
    ("context", "text", "start", "wanted"),
    [
        ("abcabc", "bc", 4, (4, "bc", "given")),
        ("abcabc", "bc", None, (1, "bc", "found")),
        ("abcabc", "bc", -1, (1, "bc", "found")),
        ("abcd", "bc", 0, (1, "bc", "repaired")),
        ("abcabc", "bc", 0, (1, "bc", "repaired")),
        ("abcabc", "bc", 3, (4, "bc", "repaired")),
        ("bc_bc", "bc", 1, (0, "bc", "repaired")),
        ("bc__bc", "bc", 2, (0, "bc", "repaired")),  # as near: the first
        ("abcabc", "bc", 99, (4, "bc", "repaired")),  # outside of the context
        ("abcabc", "bc", -2, (1, "bc", "repaired")),
        ("aaa", "aa", 2, (1, "aa", "repaired")),  # twice, one over the other
        ("abcd", "x", 0, (None, None, None)),
        ("abcd", "x", None, (None, None, None)),
        ("abcd", " bc ", 1, (1, "bc", "repaired")),
        ("a bc d", " bc ", 1, (1, " bc ", "given")),
        ("abcd", " ", 0, (None, None, None)),
    ],
)
def test_where_an_answer_stands(context, text, start, wanted):
    assert locate(context, text, start) == wanted


def test_what_is_done_about_answers_is_counted_and_logged(tokenizer, tmp_path, caplog):
    path = squad(
        tmp_path / "train.json",
        (
            "the good film was a great film",
            [
                ("right", "who", "good"),
                ("none", "who", ("great", None)),
                ("wrong", "who", ("great", 2)),
                ("twice", "who", ("film", 2)),
                ("nowhere", "who", ("story", 2)),
                ("second", "who", ("story", 2), ("good", 4)),
            ],
        ),
    )
    with caplog.at_level(logging.INFO):
        reader = SquadReader(path, tokenizer, answers="train", max_seq_len=32, batch_size=8)
    assert [question.id for question in reader.file.questions] == ["right", "none", "wrong", "twice", "second"]
    assert (
        "1 answers without answer_start found by search, 2 with a wrong one taken at the nearest place of their text, "
        "1 questions left out because the place of their answer cannot be told ('nowhere')"
    ) in caplog.text
    ((batch, _),) = reader.batches()
    assert batch["start"].ravel().tolist() == batch["end"].ravel().tolist() == [4, 8, 8, 5, 4]
    scored = SquadReader(path, tokenizer, answers="score", max_seq_len=32, batch_size=8)
    assert len(scored.file.questions) == 6, "for scoring the place of an answer does not matter"


def test_questions_cut_are_counted(tokenizer, tmp_path, caplog):
    path = squad(tmp_path / "a.json", ("the good film", [("1", "who " * 5, "good"), ("2", "who " * 4, "good")]))
    with caplog.at_level(logging.INFO):
        reader = SquadReader(path, tokenizer, max_query_length=4, max_seq_len=32, batch_size=8)
    assert "1 questions cut to --max_query_length 4 tokens" in caplog.text
    assert reader.query_tokens(0) == reader.query_tokens(1) == ["who"] * 4


def test_an_answer_of_no_token_is_left_out(tokenizer, tmp_path):
    path = squad(tmp_path / "train.json", ("good\x01film", [("1", "who", "\x01"), ("2", "who", "film")]))
    reader = SquadReader(path, tokenizer, answers="train", max_seq_len=32, batch_size=8)
    assert (reader.file.left_out, reader.num_examples) == (["1"], 1)


def test_windows_hold_every_token_and_their_answer(tokenizer, long_file):
    reader = SquadReader(long_file, tokenizer, answers="train", max_seq_len=20, doc_stride=5, batch_size=64)
    labelled = 0
    rows = iter([
        (ids[mask > 0], start, end)
        for batch, _ in reader.batches()
        for ids, mask, start, end in zip(batch["src_ids"], batch["input_mask"], batch["start"], batch["end"])
    ])  # fmt: skip
    for number, question in enumerate(reader.file.questions):
        document, seen = reader.document(number), set()
        for window in reader.windows(number):
            ids, start, end = next(rows)
            tokens = tokenizer.convert_ids_to_tokens(ids.tolist())
            assert len(tokens) <= 20
            assert tokens[window.first : -1] == document.tokens[window.start : window.start + window.length]
            seen.update(range(window.start, window.start + window.length))
            if start[0]:
                labelled += 1
                first, last = (int(place[0]) - window.first + window.start for place in (start, end))
                assert question.context[document.begin[first] : document.end[last]] == question.answer.strip()
        assert seen == set(range(len(document.tokens)))
    assert labelled >= len(reader.file.questions)
    assert next(rows, None) is None


def test_max_context_is_the_rule_of_bert(tokenizer, long_file):
    """Against a loop over all windows for every token."""
    reader = SquadReader(long_file, tokenizer, max_seq_len=16, doc_stride=3, batch_size=8)
    for number in range(len(reader.file.questions)):
        windows, tokens = reader.windows(number), len(reader.document(number).tokens)
        for index, (window, own) in enumerate(zip(windows, max_context(windows, tokens))):
            for step, value in enumerate(own):
                token, best, winner = window.start + step, -math.inf, None
                for other, span in enumerate(windows):
                    if span.start <= token < span.start + span.length:
                        left, right = token - span.start, span.start + span.length - 1 - token
                        score = min(left, right) + 0.01 * span.length
                        if score > best:
                            best, winner = score, other
                assert value == (winner == index)


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 4},
        {"batch_size": 4, "shuffle": True, "seed": 3},
        {"batch_size": 64, "in_tokens": True, "shuffle": True},
        {"batch_size": 4, "bucket_window": 11, "shuffle": True},
    ],
    ids=str,
)
def test_restarting_anywhere_gives_the_batches_that_followed(tokenizer, long_file, options):
    reading = {"answers": "train", "max_seq_len": 20, "doc_stride": 5, "epochs": 2, **options}
    whole = list(SquadReader(long_file, tokenizer, **reading).batches())
    ids = [i for batch, place in whole if place.epoch == 0 for i in batch["unique_ids"].ravel()]
    assert sorted(ids) == list(range(FIRST_UNIQUE_ID, FIRST_UNIQUE_ID + len(ids)))
    for done, (_, position) in enumerate(whole):
        stored = json.loads(json.dumps(position.to_dict()))
        rest = SquadReader(long_file, tokenizer, **reading).batches(stored)
        for (batch, place), (wanted, wanted_place) in zip(rest, whole[done + 1 :]):
            assert place == wanted_place
            for name in wanted:
                np.testing.assert_array_equal(batch[name], wanted[name])
        assert next(rest, None) is None


def test_ranks_share_the_windows(tokenizer, long_file):
    reading = {"max_seq_len": 20, "doc_stride": 5, "batch_size": 3, "shuffle": True}
    one = [batch["unique_ids"].ravel().tolist() for batch, _ in SquadReader(long_file, tokenizer, **reading).batches()]
    for rank in range(2):
        share = SquadReader(long_file, tokenizer, **reading, rank=rank, world_size=2).batches()
        assert [batch["unique_ids"].ravel().tolist() for batch, _ in share] == one[rank::2]


def test_prediction_needs_and_gives_no_answers(tokenizer, tmp_path):
    path = tmp_path / "test.json"
    path.write_text(
        json.dumps({"data": [{"paragraphs": [{"context": "good", "qas": [{"id": 7, "question": "who"}]}]}]})
    )
    reader = SquadReader(path, tokenizer, max_seq_len=16, batch_size=2)
    ((batch, _),) = reader.batches()
    assert set(batch) == {"src_ids", "sent_ids", "pos_ids", "task_ids", "input_mask", "unique_ids"}
    assert reader.file.questions[0].id == "7"
    assert not reader.file.has_answers


def test_offsets_are_of_the_original_text(tokenizer, tmp_path):
    context = "  The  Café\u3000was ＧＯＯＤ, 我们 在北京。"
    reader = SquadReader(
        squad(tmp_path / "a.json", (context, [("1", "who", "在")])), tokenizer, max_seq_len=64, batch_size=1
    )
    document = reader.document(0)
    cut = [context[begin:end] for begin, end in zip(document.begin, document.end)]
    assert cut[0] == "The"
    assert "".join(cut) == context.replace(" ", "").replace("\u3000", "")


def test_the_samples(tokenizer):
    for name, kind in (
        ("cmrc2018/train", "train"),
        ("cmrc2018/dev", "score"),
        ("squad/train", "train"),
        ("squad/dev", "score"),
    ):
        file = SquadFile(ROOT / "data" / f"{name}.json", kind)
        assert file.questions
        assert not file.report()
    assert not SquadFile(ROOT / "data" / "cmrc2018" / "test.json").has_answers


def wrap(context="the good film", **question):
    entry = {"id": "Q9", "question": "who", "answers": [{"text": "good", "answer_start": 4}], **question}
    entry = {key: value for key, value in entry.items() if value is not None}
    return json.dumps({"data": [{"paragraphs": [{"context": context, "qas": [entry]}]}]})


TWICE = json.loads(wrap())
TWICE["data"] *= 2
BAD = {
    "empty": ("", ["empty"]),
    "blanks": (" \n ", ["empty"]),
    "not utf-8": (b'{"data":\n "\xff"}', ["line 2", "UTF-8"]),
    "not json": ('{"data": [\n}', ["line 2", "JSON"]),
    "cut short": (wrap()[:-9], ["line 1", "JSON"]),
    "deep": ("[" * 200000, ["JSON"]),
    "a list": ("[1]", ["SQuAD", "object"]),
    "no data": ('{"version": "1"}', ["SQuAD", "'data'"]),
    "data no list": ('{"data": {}}', ["SQuAD", "'data'", "list"]),
    "no question": ('{"data": []}', ["no question"]),
    "no paragraphs": ('{"data": [{"title": "t"}]}', ["data[0]", "'paragraphs'"]),
    "no context": ('{"data": [{"paragraphs": [{"qas": []}]}]}', ["data[0].paragraphs[0]", "'context'"]),
    "context a number": (wrap(context=5), ["'context'", "5"]),
    "blank context": (wrap(context=" \n"), ["'Q9'", "blank"]),
    "context of no token": (wrap(context="\x01\x02\x03\x04\x05\x06"), ["'Q9'"]),
    "no id": (wrap(id=None), ["paragraphs[0].qas[0]", "'id'"]),
    "no question text": (wrap(question=None), ["'Q9'", "'question'"]),
    "no answers": (wrap(answers=None), ["'Q9'", "no answer"]),
    "empty answers": (wrap(answers=[]), ["'Q9'", "no answer"]),
    "impossible": (wrap(is_impossible=True, answers=[]), ["'Q9'", "is_impossible"]),
    "answers no list": (wrap(answers="good"), ["'Q9'", "'answers'"]),
    "answer no object": (wrap(answers=["good"]), ["'Q9'", "answers[0]"]),
    "answer no text": (wrap(answers=[{"answer_start": 4}]), ["'Q9'", "answers[0]", "'text'"]),
    "answer null": (wrap(answers=[{"text": None, "answer_start": 4}]), ["'Q9'", "answers[0]", "'text'"]),
    "lists of unlike length": (wrap(answers={"text": ["good"], "answer_start": []}), ["'Q9'", "'answers'"]),
    "duplicate ids": (json.dumps(TWICE), ["'Q9'", "more than once"]),
    "long question": (wrap(question="who " * 20), ["'Q9'", "--max_seq_len", "--max_query_length"]),
}


@pytest.mark.parametrize("kind", ["train", "score"])
@pytest.mark.parametrize("case", BAD)
def test_bad_files(tokenizer, tmp_path, case, kind):
    content, words = BAD[case]
    path = tmp_path / "bad.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        SquadReader(path, tokenizer, answers=kind, max_seq_len=20, batch_size=2)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    for word in words:
        assert word in message


def test_no_answer_in_its_context_at_all(tokenizer, tmp_path):
    path = tmp_path / "bad.json"
    path.write_text(wrap(answers=[{"text": "cast", "answer_start": 0}]))
    with pytest.raises(UserError, match="'Q9'.*no place in its context"):
        SquadReader(path, tokenizer, answers="train", max_seq_len=20, batch_size=2)
    assert SquadReader(path, tokenizer, answers="score", max_seq_len=20, batch_size=2).num_examples == 1


def test_bad_paths_and_numbers(tokenizer, tmp_path, long_file):
    with pytest.raises(UserError, match="no such file"):
        SquadReader(tmp_path / "none.json", tokenizer, max_seq_len=20, batch_size=2)
    with pytest.raises(UserError, match="cannot be read"):
        SquadReader(tmp_path, tokenizer, max_seq_len=20, batch_size=2)
    for name in ("doc_stride", "max_query_length"):
        with pytest.raises(UserError, match=f"--{name}"):
            SquadReader(long_file, tokenizer, max_seq_len=20, batch_size=2, **{name: 0})
    with pytest.raises(UserError, match="position"):
        next(SquadReader(long_file, tokenizer, max_seq_len=20, batch_size=2).batches({"rows": 10**6}))


@pytest.mark.parametrize("room", [0, 1])
def test_the_question_may_take_all_but_one_token(tokenizer, tmp_path, room):
    """2019 looped for ever without room for the context."""
    path = squad(tmp_path / "a.json", ("the good film", [("Q", "who " * 9, "good")]))
    length = 9 + 3 + room
    if not room:
        with pytest.raises(UserError, match="--max_seq_len 12"):
            SquadReader(path, tokenizer, answers="train", max_seq_len=length, batch_size=2)
    else:
        assert SquadReader(path, tokenizer, answers="train", max_seq_len=length, batch_size=2).num_examples == 3


def test_so_many_questions_are_drawn_by_the_seed(long_file, tokenizer):
    def ids(**flags):
        reader = SquadReader(long_file, tokenizer, answers="train", batch_size=4, max_rows=4, **READING, **flags)
        return [question.id for question in reader.file.questions]

    assert len(ids(seed=1)) == 4
    assert ids(seed=1) == sorted(ids(seed=1)) == ids(seed=1), "in the file's order"
    assert ids(seed=1) != ids(seed=2)
