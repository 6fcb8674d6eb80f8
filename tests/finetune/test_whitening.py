"""Whitening, correlations with scores, and vectors of another length: beside plain numpy and scipy, and mistakes.

python -m pytest tests/finetune/test_whitening.py
"""

import json
import shutil

import numpy as np
import pytest
from scipy import stats

import finetune
from ernie.facts import write_facts
from finetune.embedding.main import main as encode
from finetune.embedding.resize import main as resize
from finetune.embedding.sts import ScoredPairs, StsFlags, correlations
from finetune.embedding.sts import main as sts
from finetune.embedding.vector_files import open_vectors
from finetune.embedding.whiten import main as whiten
from finetune.embedding.whitening import Whitening
from propeller.errors import UserError
from tests.helpers.embedding import words
from tests.helpers.sentences import make_sentences


def some_vectors(rows=200, columns=6, seed=0):
    random = np.random.RandomState(seed)
    return (random.randn(rows, columns) @ random.randn(columns, columns) + random.randn(columns)).astype("float32")


def test_a_whitened_set_has_mean_zero_and_covariance_one():
    vectors = some_vectors()
    found = Whitening.of(vectors).apply(vectors)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(found.T, bias=True), np.eye(6), atol=1e-3)


def test_fewer_dimensions_are_those_that_vary_most():
    vectors = some_vectors()
    whole, part = Whitening.of(vectors).apply(vectors), Whitening.of(vectors, 2).apply(vectors)
    np.testing.assert_allclose(part, whole[:, :2], atol=1e-5)
    centred = vectors.astype("float64") - vectors.mean(axis=0)
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    wanted = centred @ directions[:2].T / values[:2] * np.sqrt(len(vectors))
    np.testing.assert_allclose(np.abs(part), np.abs(wanted), atol=1e-3)


def test_parts_give_the_same(monkeypatch):
    vectors = some_vectors()
    whole = Whitening.of(vectors)
    monkeypatch.setattr("finetune.embedding.whitening.CHUNK", 7)
    np.testing.assert_allclose(Whitening.of(vectors).apply(vectors), whole.apply(vectors), atol=1e-4)


def test_it_is_read_as_it_was_written(tmp_path):
    made = Whitening.of(some_vectors(), 3, {"pooling": "mean", "rows": 200})
    made.save(tmp_path / "w.npz")
    read = Whitening.load(tmp_path / "w.npz")
    assert read.facts == made.facts
    np.testing.assert_array_equal(read.matrix, made.matrix)
    np.testing.assert_array_equal(read.mean, made.mean)


def test_what_does_not_vary_is_refused():
    vectors = some_vectors(rows=4)
    with pytest.raises(UserError, match="--dimensions 6: 4 vectors of 6 numbers vary in 3 directions: give 1 to 3"):
        Whitening.of(vectors)
    with pytest.raises(UserError, match="5 vectors are all the same"):
        Whitening.of(np.ones((5, 6), "float32"))


@pytest.mark.parametrize("content", [b"", b"no npz", "array"], ids=["empty", "text", "npy"])
def test_another_file_is_no_whitening(content, tmp_path):
    path = tmp_path / "w.npz"
    if content == "array":
        with open(path, "wb") as file:
            np.save(file, np.zeros(3))
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"w.npz: is not a whitening .*make one with python -m finetune"):
        Whitening.load(path)
    with pytest.raises(UserError, match="no such file; make it with"):
        Whitening.load(tmp_path / "other.npz")


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    return make_sentences(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def made(model, texts, tmp_path_factory):
    """vectors/, of mean, and whitening.npz of them with 4 dimensions."""
    folder = tmp_path_factory.mktemp("made")
    encode("ernie_encoder.py", words(model, texts / "texts.tsv", folder / "vectors", pooling="mean"))
    whiten([str(folder / "vectors"), "--output", str(folder / "whitening.npz"), "--dimensions", "4"])
    return folder


def test_an_inference_model_stores_the_whitening(model, texts, made, tmp_path, capsys):
    """Its vectors are those of numpy, by ernie_encoder.py, the Python API and sts alike."""
    plain, whitening = np.load(made / "vectors/cls_emb.npy"), Whitening.load(made / "whitening.npz")
    assert whitening.facts["pooling"] == "mean"
    given = {"pooling": "mean", "whitening": made / "whitening.npz", "save_inference_model_path": tmp_path / "saved"}
    encode("ernie_encoder.py", words(model, texts / "texts.tsv", tmp_path / "out", **given))
    found = np.load(tmp_path / "out/cls_emb.npy")
    np.testing.assert_allclose(found, whitening.apply(plain), atol=1e-3)
    facts = json.loads((tmp_path / "out/embeddings.json").read_text())
    assert (facts["pooling"], facts["vector_size"], facts["hidden_size"]) == ("whitened", 4, 32)
    predictor = finetune.load(tmp_path / "saved", use_cuda=False)
    lines = (texts / "texts.tsv").read_text().splitlines()[1:]
    np.testing.assert_allclose(predictor.embed(lines), found, atol=1e-5)
    np.testing.assert_allclose(predictor.embed(lines, pooling="mean"), plain, atol=1e-5)
    assert predictor.describe()["hidden_size"] == 4

    def printed(*given):
        capsys.readouterr()
        sts([*map(str, given), str(texts / "dev.tsv"), "--use_cuda", "false"])
        return capsys.readouterr().out

    stored = printed(next((tmp_path / "saved").iterdir()))
    assert stored == printed(model, "--pooling", "mean", "--whitening", made / "whitening.npz")
    assert stored != printed(model, "--pooling", "mean")


def test_a_model_whose_vectors_have_length_1(model, texts, made, tmp_path, capsys):
    """A whitening is of vectors that have not, and the way there is named."""
    own = shutil.copytree(model, tmp_path / "own")
    write_facts(own, {"pooling": "mean", "normalize": True, "for_cn": False, "max_seq_len": 24})
    encode("e", words(own, texts / "texts.tsv", tmp_path / "unit", max_seq_len=None))
    whiten([str(tmp_path / "unit"), "--output", str(tmp_path / "unit.npz"), "--dimensions", "4"])
    of_dev = [str(texts / "dev.tsv"), "--use_cuda", "false"]
    with pytest.raises(UserError, match=r"vectors of length 1: make it of vectors with --normalize false"):
        sts([str(own), *of_dev, "--whitening", str(tmp_path / "unit.npz")])
    encode("e", words(own, texts / "texts.tsv", tmp_path / "free", max_seq_len=None, normalize="false"))
    whiten([str(tmp_path / "free"), "--output", str(tmp_path / "free.npz"), "--dimensions", "4"])
    np.testing.assert_allclose(Whitening.load(tmp_path / "free.npz").mean, Whitening.load(made / "whitening.npz").mean,
                               atol=1e-5)  # fmt: skip
    capsys.readouterr()
    sts([str(own), *of_dev, "--whitening", str(tmp_path / "free.npz")])
    found = capsys.readouterr().out
    sts([str(model), *of_dev, "--pooling", "mean", "--whitening", str(made / "whitening.npz")])
    assert capsys.readouterr().out == found


def test_sts_prints_the_correlations_of_scipy(model, texts, capsys):
    sts([str(model), str(texts / "dev.tsv"), "--pooling", "max", "--use_cuda", "false"])
    rows = [line.split("\t") for line in (texts / "dev.tsv").read_text().splitlines()[1:]]
    with finetune.load(model, use_cuda=False) as predictor:
        one, other = (predictor.embed([row[place] for row in rows], "max", normalize=True) for place in (0, 1))
    cosines, scores = (one * other).sum(axis=1), [float(row[2]) for row in rows]
    wanted = f"spearman {stats.spearmanr(cosines, scores)[0]:.4f}  pearson {stats.pearsonr(cosines, scores)[0]:.4f}"
    assert capsys.readouterr().out.startswith(f"{wanted}  rows 16  ")


def test_mistakes_are_one_line(model, texts, made, tmp_path):
    bad = tmp_path / "bad.tsv"
    bad.write_text("text_a\ttext_b\tlabel\ngood\tfine\t2\ngood\t \t1\n")
    other = Whitening.of(some_vectors(), 2)
    other.save(tmp_path / "other.npz")
    cases = [
        (lambda: sts([str(model), str(bad)]), r"bad.tsv, line 3: text_b is empty"),
        (lambda: sts([str(model), str(texts / "test.tsv")]), r"column 'label' is missing"),
        (lambda: sts([str(model), str(texts / "dev.tsv"), "--whitening", str(tmp_path / "other.npz")]),
         "other.npz: is of vectors of 6 numbers, these have 32: give that of this model"),
        (lambda: encode("e", words(model, texts / "texts.tsv", tmp_path / "x", pooling="max",
                                   whitening=made / "whitening.npz")),
         "whitening.npz: was made of vectors of the pooling mean, these are of max: give --pooling mean"),
        (lambda: whiten([str(made / "vectors"), "--output", "w.npy"]), "--output w.npy: name a .npz file"),
        (lambda: whiten([str(made), "--output", "w.npz"]), r"cls_emb.npy: no such file; give a .npy file"),
    ]  # fmt: skip
    for call, message in cases:
        with pytest.raises(UserError, match=message):
            call()


def test_a_model_of_another_task_does_not_say_its_pooling(made):
    class Classifier:
        def embed(self, texts, **options):
            return np.ones((len(texts), 32), "float32")

        def describe(self):
            return {"task": "classify"}

    flags = StsFlags(whitening=str(made / "whitening.npz"))
    with pytest.raises(UserError, match="a model of the task 'classify': give --pooling"):
        correlations(Classifier(), ScoredPairs(["a", "b"], ["b", "a"], np.array([1.0, 2.0])), flags)


@pytest.mark.parametrize(("dimensions", "kept"), [(6, 1.0), (9, 1.0), (5, 0.9)])
def test_vectors_of_another_length_keep_their_angles(dimensions, kept, tmp_path):
    vectors = some_vectors()
    np.savez(tmp_path / "v.npz", vectors=vectors)
    resize([str(tmp_path / "v.npz"), "--dimensions", str(dimensions), "--output", str(tmp_path / "r.npy")])
    found = open_vectors(tmp_path / "r.npy", dimensions)
    assert (found**2).sum() >= kept * (vectors.astype("float64") ** 2).sum() * (1 - 1e-5)
    if kept == 1.0:
        np.testing.assert_allclose(found @ found.T, vectors @ vectors.T, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 4), "float32"), "vectors of 4 numbers, and the encoder has 32: make them as long with"),
        (np.zeros(3, "float32"), r"an array \[3\] of float32, not one of a vector per row"),
        (np.zeros((3, 32), "int64"), "of int64, not one of a vector per row"),
        (np.zeros((0, 32), "float32"), r"an array \[0, 32\]"),
    ],
    ids=["length", "flat", "integers", "empty"],
)
def test_a_file_of_vectors_is_looked_at(array, message, tmp_path):
    np.save(tmp_path / "v.npy", array)
    with pytest.raises(UserError, match=message):
        open_vectors(tmp_path / "v.npy", 32)


def test_other_files_are_no_vectors(tmp_path):
    np.savez(tmp_path / "two.npz", a=np.zeros((2, 2)), b=np.zeros((2, 2)))
    (tmp_path / "text.npy").write_text("no array")
    for name, message in (("two.npz", "holds 2 arrays"), ("text.npy", "is not an array"), ("none.npy", "no such file")):
        with pytest.raises(UserError, match=message):
            open_vectors(tmp_path / name)
