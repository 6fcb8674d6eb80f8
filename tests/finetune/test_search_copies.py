"""A text that repeats, in an index with a graph: it is found as often as it is there, and hides no other text.

python -m pytest tests/finetune/test_search_copies.py
"""

import json

import numpy as np
import pytest

from finetune.search.index import SearchIndex, new_index
from propeller.errors import UserError

FACTS = {"model": {}, "data": {}}
DISTINCT, COPIES = 3000, 1000


def make(folder, texts, vectors, kind="hnsw"):
    pytest.importorskip("faiss")
    with new_index(folder, len(texts), vectors.shape[1]) as new:
        new.add(texts, vectors)
        new.finish(kind, FACTS)
    return SearchIndex.open(folder)


@pytest.fixture(scope="module")
def texts_and_vectors():
    """3,000 texts and 1,000 times more the first of them, with vectors that differ in their last bits."""
    random = np.random.default_rng(0)
    distinct = random.normal(size=(DISTINCT, 24)).astype("float32")
    of = random.permutation(np.concatenate([np.arange(DISTINCT), np.zeros(COPIES, np.int64)]))
    vectors = distinct[of] * (1 + random.uniform(-1e-7, 1e-7, (len(of), 24))).astype("float32")
    return [f"text {number}" for number in of], vectors, of, distinct


def test_the_nearest_texts_are_found_beside_many_copies(texts_and_vectors, tmp_path):
    texts, vectors, of, distinct = texts_and_vectors
    index = make(tmp_path / "index", texts, vectors)
    asked = np.arange(1, 301)
    questions = distinct[asked] + 0.05 * np.random.default_rng(1).normal(size=(300, 24)).astype("float32")
    scores, rows = index.search(questions, 3)
    assert (of[rows[:, 0]] == asked).mean() > 0.98
    assert (np.diff(scores, axis=1) <= 0).all()
    exact = make(tmp_path / "exact", texts, vectors, "exact").search(questions, 3)
    assert (rows == exact[1]).mean() > 0.95
    np.testing.assert_allclose(scores[:, 0], exact[0][:, 0], atol=1e-5)


def test_copies_are_found_in_the_order_of_the_file(texts_and_vectors, tmp_path):
    texts, vectors, of, distinct = texts_and_vectors
    index = make(tmp_path / "index", texts, vectors)
    scores, rows = index.search(distinct[:1], COPIES + 11)
    copies = np.flatnonzero(of == 0)
    assert len(copies) == COPIES + 1
    assert rows[0, : len(copies)].tolist() == copies.tolist()
    assert len(set(rows[0].tolist())) == COPIES + 11
    assert (scores[0, : len(copies)] > 0.9999).all()
    assert (scores[0, len(copies) :] < 0.999).all()
    found = index.results(distinct[:1], 2)[0]
    assert [(each["text"], each["row"]) for each in found] == [("text 0", copies[0] + 1), ("text 0", copies[1] + 1)]


def test_a_graph_of_few_texts_is_asked_for_all(tmp_path):
    index = make(tmp_path / "index", ["one", "two", "one"], np.eye(2, dtype="float32")[[0, 1, 0]])
    scores, rows = index.search(np.array([[1.0, 0.1]], "float32"), 9)
    assert rows.tolist() == [[0, 2, 1]]
    assert scores[0, 0] == scores[0, 1] > scores[0, 2]
    assert [len(found) for found in index.results(np.eye(2, dtype="float32"), 9)] == [3, 3]


def test_an_index_of_texts_that_all_differ_has_no_file_more(tmp_path):
    make(tmp_path / "index", ["one", "two"], np.eye(2, dtype="float32"))
    files = json.loads((tmp_path / "index/index.json").read_text())["files"]
    assert sorted(files) == ["index.faiss", "text_ends.npy", "texts.bin", "vectors.npy"]


def test_damage_is_seen(tmp_path):
    make(tmp_path / "index", ["one", "one"], np.eye(2, dtype="float32"))
    path = tmp_path / "index/next_same.npy"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match=r"damaged \(next_same.npy has another size\): build it again"):
        SearchIndex.open(tmp_path / "index")
