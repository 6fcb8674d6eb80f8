"""Word vectors that a teacher makes for a student's vocabulary."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from distill import vectors
from ernie.checkpoint import read_params, write_params
from propeller.errors import UserError
from tests.helpers.students import train_student, write_shape
from tests.helpers.tiny import BAD, CONFIG, GOOD, OTHER, make_model

WORDS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", *GOOD, *BAD, *OTHER[:9], "films", "\u2370")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("teacher") / "model")


@pytest.fixture
def vocab(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("".join(f"{word}\n" for word in WORDS), encoding="utf8")
    return path


def made(teacher, vocab, folder, *words):
    with paddle.utils.unique_name.guard():
        paddle.disable_static()
        assert vectors.main([str(teacher), str(vocab), str(folder), *words]) == 0
    return read_params(folder / "params")["word_embedding"]


def test_a_word_is_the_mean_of_its_pieces_in_the_top_layer(teacher):
    """Beside the network of the words read one by one, without padding."""
    paddle.disable_static()
    with paddle.utils.unique_name.guard():
        reader = vectors.Reader(teacher)
    found = reader.vectors(["good", "films", "", "awful"])
    assert found.shape == (4, CONFIG["hidden_size"])
    assert not found[2].any()
    for number, pieces in ((0, ["good"]), (1, ["film", "##s"]), (3, ["awful"])):
        ids = [reader.tokenizer.vocab[piece] for piece in ("[CLS]", *pieces, "[SEP]")]
        places, zeros = list(range(len(ids))), [0] * len(ids)
        named = {"src_ids": ids, "pos_ids": places, "sent_ids": zeros, "task_ids": zeros}
        features = {name: paddle.to_tensor(np.array([values], "int64")) for name, values in named.items()}
        states = reader.encoder({**features, "input_mask": paddle.ones([1, len(ids)])}).numpy()[0]
        np.testing.assert_allclose(found[number], states[1:-1].mean(axis=0), atol=1e-5)


def test_the_vectors_lie_around_zero_and_specials_are_zero(teacher, vocab, tmp_path):
    table = made(teacher, vocab, tmp_path / "start")
    assert table.shape == (len(WORDS), CONFIG["hidden_size"])
    assert not table[:4].any()
    words = table[4:-1]
    np.testing.assert_allclose(words.std(), vectors.SPREAD, rtol=0.1)
    assert len(np.unique(words.round(6), axis=0)) == len(words)


def test_the_first_axes_hold_the_most(teacher, vocab, tmp_path):
    """Distances of few columns are nearly those of all where the others hold little."""
    random = np.random.RandomState(0)
    table = random.randn(50, 3) @ random.randn(3, 8) + 0.01 * random.randn(50, 8)
    found = vectors.scaled(table.astype("float32"), [], 3)
    assert found.shape == (50, 3)
    whole = vectors.scaled(table.astype("float32"), [], None)
    apart = np.linalg.norm(found[:, None] - found[None], axis=-1)
    every = np.linalg.norm(whole[:, None] - whole[None], axis=-1)
    assert np.corrcoef(apart.ravel(), every.ravel())[0, 1] > 0.999
    assert made(teacher, vocab, tmp_path / "start", "--size", "5").shape == (len(WORDS), 5)


def test_a_student_begins_with_them(teacher, vocab, data, tmp_path):
    table = made(teacher, vocab, tmp_path / "start", "--size", "6")
    shape = write_shape(tmp_path, "bow", embedding_size=6)
    last = train_student(
        shape, teacher, data, tmp_path / "run", vocab_path=vocab, epoch=1, learning_rate=1e-12, do_test="false",
        init_pretraining_params=tmp_path / "start" / "params",
    )  # fmt: skip
    np.testing.assert_allclose(read_params(last)["word_embedding"], table, atol=1e-6)


def test_columns_that_the_teacher_has_not_are_zero(teacher, vocab, tmp_path):
    table = made(teacher, vocab, tmp_path / "start", "--size", "40")
    assert table.shape == (len(WORDS), 40)
    assert not table[:, CONFIG["hidden_size"] :].any()
    assert table[:, : CONFIG["hidden_size"]].any()


def test_no_columns_are_told(teacher, vocab, tmp_path):
    with pytest.raises(UserError, match="--size must be at least 1, not 0"):
        made(teacher, vocab, tmp_path / "start", "--size", "0")
    assert not (tmp_path / "start").exists()


def test_a_teacher_without_a_vocabulary_is_told(teacher, vocab, tmp_path):
    (tmp_path / "bare").mkdir()
    write_params(tmp_path / "bare" / "params", read_params(teacher / "params"))
    (tmp_path / "bare" / "ernie_config.json").write_bytes((teacher / "ernie_config.json").read_bytes())
    with pytest.raises(UserError, match=r"bare: has no vocab.txt"):
        made(tmp_path / "bare", vocab, tmp_path / "start")
