"""Semantic search: beside brute force, from a file to an answer of commands, server and API, and mistakes.

python -m pytest tests/finetune/test_search.py
"""

import builtins
import json
import subprocess
import sys

import numpy as np
import pytest

import finetune
from finetune.embedding.main import main as encode
from finetune.search import index as indexes
from finetune.search.__main__ import main
from finetune.search.args import GRAPH_FROM
from finetune.search.build import kind_of
from finetune.search.handler import open_search_handler
from finetune.search.index import SearchIndex, new_index
from finetune.search.query import Searcher
from finetune.serving import open_handler
from propeller.errors import UserError
from propeller.service.errors import ServiceError
from propeller.service.handlers import open_handler as open_by_name
from propeller.service.limits import Limits
from propeller.tools.start_server import build_parser, parse
from tests.helpers.common import ROOT
from tests.helpers.embedding import words
from tests.helpers.sentences import make_sentences, training
from tests.helpers.served import make_bundle, respond
from tests.helpers.tiny import flags, write_tsv

MODEL = {"weights": "w", "pooling": "mean", "tokenizer": "t", "max_seq_len": 24, "task_id": 0}
FACTS = {"model": MODEL, "model_path": "/nowhere", "data": {}}


def make(folder, vectors, texts=None, kind="exact", **settings):
    texts = texts or [f"text {number}" for number in range(len(vectors))]
    with new_index(folder, len(vectors), vectors.shape[1]) as new:
        half = len(texts) // 2
        new.add(texts[:half], vectors[:half])
        new.add(texts[half:], vectors[half:])
        new.finish(kind, FACTS, **settings)
    return SearchIndex.open(folder)


def brute_force(vectors, questions, top):
    """(numbers, cosines) of the nearest, of equal ones the first first."""
    vectors = vectors.astype("float64") / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = questions.astype("float64") / np.linalg.norm(questions, axis=1, keepdims=True) @ vectors.T
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :top]
    return order, np.take_along_axis(cosines, order, axis=1)


@pytest.mark.parametrize("block", [3, 10, 1000])
@pytest.mark.parametrize("top", [1, 4, 40, 100])
def test_exact_search_is_brute_force(top, block, tmp_path, monkeypatch):
    monkeypatch.setattr(indexes, "BLOCK", block)
    random = np.random.RandomState(top)
    vectors, questions = random.randn(40, 8).astype("float32"), random.randn(5, 8).astype("float32")
    scores, rows = make(tmp_path / "index", vectors).search(questions, top)
    wanted, cosines = brute_force(vectors, questions, top)
    assert rows.tolist() == wanted.tolist()
    np.testing.assert_allclose(scores, cosines, atol=1e-5)


@pytest.mark.parametrize("block", [3, 5, 1000])
def test_of_equal_texts_the_first_comes_first(block, tmp_path, monkeypatch):
    monkeypatch.setattr(indexes, "BLOCK", block)
    vectors = np.tile(np.eye(3, dtype="float32"), (6, 1))
    _, rows = make(tmp_path / "index", vectors).search(np.eye(3, dtype="float32")[:1], 4)
    assert rows.tolist() == [[0, 3, 6, 9]]


def test_a_graph_finds_nearly_what_brute_force_does(tmp_path):
    pytest.importorskip("faiss")
    random = np.random.RandomState(0)
    vectors, questions = random.randn(3000, 16).astype("float32"), random.randn(20, 16).astype("float32")
    index = make(tmp_path / "index", vectors, kind="hnsw")
    wanted, cosines = brute_force(vectors, questions, 10)
    scores, rows = index.search(questions, 10)
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, wanted)]) > 0.9
    assert (np.diff(scores, axis=1) <= 0).all()
    assert scores[0, 0] == pytest.approx(cosines[0, 0], abs=1e-5)
    little = index.search(questions, 1, effort=1)[1][:, 0]
    much = index.search(questions, 1, effort=500)[1][:, 0]
    assert (much == wanted[:, 0]).mean() >= (little == wanted[:, 0]).mean()
    assert (much == wanted[:, 0]).all()
    assert index.about["links"] == 32
    other = make(tmp_path / "few", vectors, kind="hnsw", links=4, effort=8)
    assert (tmp_path / "few/index.faiss").stat().st_size < (tmp_path / "index/index.faiss").stat().st_size
    assert (other.about["links"], other.about["effort"]) == (4, 8)


def test_texts_come_back_as_they_were(tmp_path):
    texts = ["good", "好 film\twith a tab", "", "é" * 100, "\u00a0"]
    index = make(tmp_path / "index", np.eye(5, dtype="float32"), texts)
    assert [index.text(row) for row in range(5)] == texts
    (found,) = index.results(np.eye(5, dtype="float32")[1:2], 2)
    assert found[0] == {"text": texts[1], "score": 1.0, "row": 2}


def test_an_index_appears_whole_or_not_at_all(tmp_path):
    def die():
        with new_index(tmp_path / "index", 2, 3) as new:
            new.add(["one"], np.ones((1, 3), "float32"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        die()
    assert list(tmp_path.iterdir()) == []
    make(tmp_path / "index", np.eye(3, dtype="float32"))
    with pytest.raises(UserError, match="index: exists already"), new_index(tmp_path / "index", 2, 3):
        pass
    with new_index(tmp_path / "index", 1, 3, overwrite=True) as new:
        new.add(["new"], np.ones((1, 3), "float32"))
        new.finish("exact", FACTS)
    assert SearchIndex.open(tmp_path / "index").text(0) == "new"


@pytest.mark.parametrize("name", ["vectors.npy", "texts.bin", "text_ends.npy", "index.json"])
def test_damage_is_seen(name, tmp_path):
    make(tmp_path / "index", np.eye(3, dtype="float32"))
    path = tmp_path / "index" / name
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match=r"index: the index is damaged \(.*\): build it again"):
        SearchIndex.open(tmp_path / "index")


def test_another_format_and_no_index(tmp_path):
    make(tmp_path / "index", np.eye(3, dtype="float32"))
    about = json.loads((tmp_path / "index/index.json").read_text())
    (tmp_path / "index/index.json").write_text(json.dumps({**about, "format": 9}))
    with pytest.raises(UserError, match="is an index of format 9, and 1 is known here: build it again"):
        SearchIndex.open(tmp_path / "index")
    with pytest.raises(UserError, match="holds no index.json: build the index with"):
        SearchIndex.open(tmp_path)


def test_without_faiss_every_text_is_compared(tmp_path, monkeypatch):
    there = builtins.__import__

    def missing(name, *args, **named):
        if name == "faiss":
            raise ImportError(name)
        return there(name, *args, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert kind_of("auto", 10) == kind_of("auto", 10 * GRAPH_FROM) == kind_of("exact", 10) == "exact"
    with pytest.raises(
        UserError, match="--kind hnsw needs faiss: python -m pip install -r requirements-search.txt, or"
    ):
        kind_of("hnsw", 10)
    make(tmp_path / "index", np.eye(3, dtype="float32"))
    about = json.loads((tmp_path / "index/index.json").read_text())
    (tmp_path / "index/index.json").write_text(json.dumps({**about, "kind": "hnsw"}))
    with pytest.raises(UserError, match="is an index of kind hnsw, which needs faiss: .*or build it with --kind exact"):
        SearchIndex.open(tmp_path / "index")


def test_a_graph_is_made_of_many_texts(monkeypatch):
    monkeypatch.setattr("finetune.search.build.load_faiss", lambda: object())
    assert [kind_of("auto", rows) for rows in (GRAPH_FROM - 1, GRAPH_FROM)] == ["exact", "hnsw"]
    assert kind_of("hnsw", 1) == "hnsw"


# ---------------------------------------------------------------- from a file to an answer


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    """texts, saved/ (an inference model of the mean) and index/ by it."""
    folder = make_sentences(tmp_path_factory.mktemp("search"))
    given = {"pooling": "mean", "save_inference_model_path": folder / "saved", "no_top_layer": "true"}
    encode("ernie_encoder.py", words(model, None, folder / "unused", **given))
    (folder / "saved" / "params_inference_model").rename(folder / "bundle")
    build(folder / "bundle", folder / "texts.tsv", folder / "index")
    return folder


def build(model, path, folder, *more):
    given = ("--model", model, "--data_set", path, "--search_index", folder, "--use_cuda", "false", *more)
    main(["build", *map(str, given)])
    return folder


def texts_in(path):
    return path.read_text(encoding="utf8").splitlines()[1:]


def test_queries_are_brute_force_over_the_models_vectors(made, capsys):
    texts = texts_in(made / "texts.tsv")
    with finetune.load(made / "bundle", use_cuda=False) as predictor:
        vectors, questions = predictor.embed(texts), predictor.embed(["good film", "dull"])
    wanted, cosines = brute_force(vectors, questions, 3)
    main(["query", "--search_index", str(made / "index"), "--top", "3", "--use_cuda", "false", "good film", "dull"])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == ["good film", "dull"]
    shown = [line.strip().split("  ") for line in lines if line.startswith(" ")]
    assert [text for _, text in shown] == [texts[row] for row in wanted.ravel()]
    np.testing.assert_allclose([float(score) for score, _ in shown], cosines.ravel(), atol=2e-3)


def test_a_file_of_questions(made, tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text('{"q": "good film", "id": 1}\n{"q": "a dull\\tstory", "id": 2}\n', encoding="utf8")
    main(["query", "--search_index", str(made / "index"), "--query_set", str(path), "--text_column", "q", "--top", "2",
          "--output", str(tmp_path / "found.tsv"), "--use_cuda", "false"])  # fmt: skip
    header, *rows = [line.split("\t") for line in (tmp_path / "found.tsv").read_text(encoding="utf8").splitlines()]
    assert header == ["question", "rank", "score", "row", "text"]
    assert [row[:2] for row in rows] == [
        ["good film", "1"],
        ["good film", "2"],
        ["a dull story", "1"],
        ["a dull story", "2"],
    ]
    texts = texts_in(made / "texts.tsv")
    assert all(texts[int(row[3]) - 1] == row[4] for row in rows)


def test_texts_without_a_header_and_among_other_columns(made, tmp_path):
    """A .txt of texts, and a CSV whose other columns no flag names, as embeddings take them."""
    texts = texts_in(made / "texts.tsv")
    lines, table = tmp_path / "texts.txt", tmp_path / "texts.csv"
    lines.write_text("\n".join(texts) + "\n", encoding="utf8")
    table.write_text("id,text_a\n" + "".join(f'{n},"{text}"\n' for n, text in enumerate(texts)), encoding="utf8")
    wanted = SearchIndex.open(made / "index").results(np.eye(1, 32, dtype="float32"), 3)
    for path in (lines, table):
        index = SearchIndex.open(build(made / "bundle", path, tmp_path / f"index_{path.suffix[1:]}"))
        assert index.results(np.eye(1, 32, dtype="float32"), 3) == wanted
    main(["query", "--search_index", str(made / "index"), "--query_set", str(lines), "--top", "1",
          "--output", str(tmp_path / "found.tsv"), "--use_cuda", "false"])  # fmt: skip
    assert [line.split("\t")[0] for line in texts_in(tmp_path / "found.tsv")] == texts


def test_columns_that_are_not_read_and_lines_of_text(made, tmp_path):
    """As for predictions and embeddings: an id is no obstacle, a .txt has a text per line."""
    texts = texts_in(made / "texts.tsv")[:6]
    write_tsv(tmp_path / "ids.tsv", list(enumerate(texts)), ("id", "text_a"))
    (tmp_path / "lines.txt").write_text("".join(f"{text}\n" for text in texts), encoding="utf8")
    for name in ("ids.tsv", "lines.txt"):
        index = SearchIndex.open(build(made / "bundle", tmp_path / name, tmp_path / f"{name}-index"))
        assert [index.text(row) for row in range(index.rows)] == texts
    (tmp_path / "questions.txt").write_text("good film\ndull\n", encoding="utf8")
    main(["query", "--search_index", str(tmp_path / "ids.tsv-index"), "--query_set", str(tmp_path / "questions.txt"),
          "--top", "1", "--output", str(tmp_path / "found.tsv"), "--use_cuda", "false"])  # fmt: skip
    rows = (tmp_path / "found.tsv").read_text(encoding="utf8").splitlines()[1:]
    assert [row.split("\t")[0] for row in rows] == ["good film", "dull"]


def test_every_flag_of_build_changes_the_index(made, model, tmp_path):
    one = json.loads((made / "index/index.json").read_text())
    vectors = np.load(made / "index/vectors.npy")
    build(made / "bundle", made / "texts.tsv", tmp_path / "max", "--pooling", "max", "--batch_size", "3")
    assert json.loads((tmp_path / "max/index.json").read_text())["model"]["pooling"] == "max"
    assert np.abs(np.load(tmp_path / "max/vectors.npy") - vectors).max() > 0.01
    build(made / "bundle", made / "test.tsv", tmp_path / "max", "--overwrite", "--text_column", "text_b")
    assert SearchIndex.open(tmp_path / "max").text(0) == texts_in(made / "test.tsv")[0].split("\t")[1]
    assert (one["kind"], one["rows"]) == ("exact", 48)


def test_checkpoint_and_inference_model_share_an_index(model, made, tmp_path):
    """The identity is that of the weights, not of the folder."""
    from finetune.training.main import main as train

    train("t", "sentence_vectors", flags(model, made, tmp_path / "run", **training(made, "simcse", epoch=1)))
    last = tmp_path / "run/last"
    encode("e", ["--init_checkpoint", str(last), "--save_inference_model_path", str(tmp_path / "saved"), "--use_cuda",
                 "false", "--no_top_layer"])  # fmt: skip
    (bundle,) = (tmp_path / "saved").iterdir()
    build(last, made / "texts.tsv", tmp_path / "index")
    with (
        Searcher(tmp_path / "index", use_cuda=False) as one,
        Searcher(tmp_path / "index", bundle, use_cuda=False) as two,
    ):
        first, second = one(["good film"]), two(["good film"])
    assert [each["row"] for each in first[0]] == [each["row"] for each in second[0]]
    with pytest.raises(
        UserError, match=r"index: was built by a model of other weights than .*bundle: give that model \(.*"
    ):
        Searcher(tmp_path / "index", made / "bundle", use_cuda=False)


def test_the_server_searches(made):
    handler = open_search_handler(made / "bundle", made / "index")
    assert handler.describe()["search"] == {"rows": 48, "kind": "exact", "top": 10}
    with Searcher(made / "index", use_cuda=False) as searcher:
        predictor = searcher.predictor.model.predictor
        wanted = searcher(["good film", "dull"], top=10)
        for asked, top in ((["good film", "dull"], None), ("good film", 3)):
            payload = {"search": asked, **({} if top is None else {"top": top})}
            answer = json.loads(json.dumps(respond(handler, predictor, payload, Limits())))
            expected = wanted if top is None else [wanted[0][:3]]
            assert [[each["row"] for each in found] for found in answer["results"]] == [
                [each["row"] for each in found] for found in expected
            ]
            assert answer["results"][0][0]["text"] == expected[0][0]["text"]
            assert answer["results"][0][0]["score"] == pytest.approx(expected[0][0]["score"], abs=1e-5)
            assert answer["truncated"] == [False] * len(expected)
        pairs = respond(handler, predictor, {"pairs": [["good", "good"]]}, Limits())
    assert pairs["similarity"] == pytest.approx([1.0], abs=1e-5)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({"search": ""}, "search is empty: give a text"),
        ({"search": []}, "search is an empty list"),
        ({"search": [1]}, r"search\[0\] must be a string, not a number"),
        ({"search": "good", "top": 0}, "top must be a whole number from 1 to 100"),
        ({"search": "good", "top": True}, "top must be a whole number"),
        ({"search": "good", "texts": ["x"]}, "unknown key 'texts'"),
    ],
    ids=["empty", "none", "number", "zero", "boolean", "two"],
)
def test_bad_requests_are_refused(payload, message, made):
    with pytest.raises(ServiceError, match=message):
        open_search_handler(made / "bundle", made / "index").parse(payload, Limits())


def test_the_servers_flag(made, model, tmp_path):
    args = parse(["-m", "x", "--search_index", str(made / "index")], build_parser())
    assert args.search_index == str(made / "index")
    options = {"search_index": str(made / "index")}
    assert open_by_name("finetune.serving", made / "bundle", options).describe()["search"]["rows"] == 48
    assert "search" not in open_handler(made / "bundle").describe()
    with pytest.raises(UserError, match="--search_index with --handlers none, which takes no text"):
        open_by_name("none", made / "bundle", options)
    with pytest.raises(UserError, match="--search_index: the handlers tests.helpers.service_toys know nothing of it"):
        open_by_name("tests.helpers.service_toys", made / "bundle", options)
    classifier = make_bundle(tmp_path / "classify", model, "classify")
    with pytest.raises(UserError, match="a model of the task 'classify', which gives no vectors: serve"):
        open_handler(classifier, made / "index")
    other = make_bundle(tmp_path / "embed", model, "embed")
    with pytest.raises(UserError, match="was built by a model of other weights than"):
        open_handler(other, made / "index")


def test_mistakes_are_one_line(made, tmp_path):
    blank = write_tsv(tmp_path / "blank.tsv", [("good",), (" ",)], ("text_a",))
    index = ["--search_index", str(made / "index")]
    new = ["--search_index", str(tmp_path / "new")]
    bundle = ["--model", str(made / "bundle")]
    cases = [
        ([], "give build or query and its flags, not nothing"),
        (["find"], "give build or query and its flags, not 'find'"),
        (["build", *bundle, "--data_set", blank, *new], r"blank.tsv, line 3: text_a is empty"),
        (["build", *bundle, "--data_set", blank, *index], "index: exists already; give another --search_index, or"),
        (["build", *bundle, "--data_set", str(made / "texts.tsv"), *new, "--pooling", "first_last"], "pooling must be"),
        (
            ["build", *bundle, "--data_set", blank, *new, "--kind", "exact", "--links", "8"],
            "--links is for --kind hnsw",
        ),
        (["build", *bundle, "--data_set", blank, *new, "--batch_size", "0"], "--batch_size must be at least 1, not 0"),
        (["query", *index], "give one question or more, or --query_set"),
        (["query", *index, "a", "--query_set", blank], "give one question or more, or --query_set"),
        (["query", *index, " "], "question 1 is empty: give a text"),
        (["query", *index, "a", "--top", "1001"], "--top 1001: give at most 1000"),
        (["query", *index, "a", "--output", str(tmp_path)], "is a directory; name a file in it"),
        (
            ["query", *index, "a", "--model", str(tmp_path / "gone")],
            "gone: no such directory; give --model, the model that",
        ),
    ]
    for argv, message in cases:
        with pytest.raises(UserError, match=message) as caught:
            main([*argv, *(["--use_cuda", "false"] if len(argv) > 1 else [])])
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_the_command_as_its_user_starts_it(made):
    command = [sys.executable, "-m", "finetune.search", "query", "--search_index", str(made / "index"), "good film"]
    done = subprocess.run([*command, "--use_cuda", "false"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 6
