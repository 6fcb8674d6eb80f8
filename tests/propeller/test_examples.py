"""The examples as end-to-end users: on the data beside them, in the notebook, and on real files where they are."""

import ast
import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.helpers.common import ROOT, SHARED

EXAMPLES = ROOT / "example" / "propeller"


def call(name, *words, text="", status=0):
    words = [sys.executable, str(EXAMPLES / f"{name}.py"), *map(str, words)]
    done = subprocess.run(words, input=text, capture_output=True, text=True, cwd=ROOT, timeout=300, check=False)
    assert done.returncode == status, done.stderr[-3000:]
    return done.stdout if status == 0 else done.stderr


@pytest.fixture
def data(tmp_path):
    return shutil.copytree(EXAMPLES / "data", tmp_path / "data")  # converted files are written beside it


def options(name, data, steps=100, **params):
    config = {"model_dir": str(data / "output" / name), "max_steps": steps, "eval_steps": steps // 2, "seed": 1}
    flags = ["--vocab_file", data / "vocab.txt", "--run_config", json.dumps(config)]
    return [*flags, "--hparam", json.dumps({"steps": steps, **params})]


def numbers(said):
    return {name: float(value) for name, value in (line.split("\t") for line in said.splitlines())}


def lines(path):
    return path.read_text(encoding="utf8").splitlines()


def test_the_data_are_those_that_make_data_writes(tmp_path):
    call("make_data", tmp_path)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    there = [path for path in (EXAMPLES / "data").rglob("*") if path.is_file() and "_gz" not in str(path)]
    assert made == {path.relative_to(EXAMPLES / "data"): path.read_bytes() for path in there}


def printed(name, data):
    """What the commands at the top of an example print, run as they stand there but for the folders."""
    top = ast.get_docstring(ast.parse((EXAMPLES / f"{name}.py").read_text(encoding="utf8")))
    script = "\n".join(line[4:] for line in top.splitlines() if line.startswith("    "))
    script = script.replace("example/propeller/data", str(data)).replace('"output/', f'"{data}/output/')
    script = f'python() {{ "{sys.executable}" "$@"; }}\n{script}'
    done = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, cwd=ROOT, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


@pytest.mark.slow
def test_classifier(data):
    score, *found = printed("classifier", data)
    assert numbers(score)["dev_acc"] > 0.9
    rows = [line.split("\t") for line in lines(data / "classifier" / "test" / "part-0")]
    assert len(found) == len(rows)
    assert sum(a == b for a, (_, b) in zip(found, rows)) > 0.9 * len(rows)
    assert (data / "output" / "classifier" / "export" / "inference" / "bundle.json").is_file()


@pytest.mark.slow
def test_ranker(data):
    said = printed("ranker", data)
    scores = numbers("\n".join(said[:4]))
    assert set(scores) == {"dev_acc", "dev_f1", "dev_mrr", "dev_loss"}
    assert min(scores["dev_acc"], scores["dev_f1"], scores["dev_mrr"]) > 0.85
    rows = [line.split("\t") for line in said[4:]]
    dev = [line.split("\t") for line in lines(data / "ranker" / "dev" / "part-0")]
    assert [row[:2] for row in rows] == [[row[0], row[3]] for row in dev]
    assert all(abs(float(p0) + float(p1) - 1) < 1e-4 for _, _, p0, p1 in rows)


@pytest.mark.slow
def test_tagger(data):
    said = printed("tagger", data)
    scores = numbers("\n".join(said[:2]))
    assert set(scores) == {"dev_f1", "test_f1"}
    assert min(scores.values()) > 0.9
    rows = [line.split("\t") for line in lines(data / "tagger" / "test" / "part-0")]
    assert [len(line.split()) for line in said[2:]] == [len(tokens.split("\x02")) for tokens, _ in rows]
    assert sum(line.split() == tags.split("\x02") for line, (_, tags) in zip(said[2:], rows)) > 0.8 * len(rows)


def test_a_row_of_unequal_tokens_and_tags_is_an_error(data):
    (data / "tagger" / "train" / "part-0").write_text("a\x02b\tO\n")
    said = call("tagger", "--data_dir", data / "tagger", *options("tagger", data), status=2)
    assert "error: a row of 2 tokens and 1 tags: give one of" in said.splitlines()[-1]


def test_columns_by_name(tmp_path):
    (tmp_path / "x.tsv").write_text("label\ttext_a\n1\tgood\n0\tbad\n")
    assert call("to_columns", tmp_path / "x.tsv", "text_a", "label") == "good\t1\nbad\t0\n"
    assert "no column 'text_b': it has label, text_a" in call("to_columns", tmp_path / "x.tsv", "text_b", status=2)


def run_notebook(folder):
    """The code of all cells in one process, in the folder; what its last names hold."""
    cells = json.loads((EXAMPLES / "xnli.ipynb").read_text(encoding="utf8"))["cells"]
    code = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    code += "\nimport json\nprint(json.dumps({'dev_acc': dev_acc, 'predicted': predicted}))\n"
    shutil.copy(EXAMPLES / "network.py", folder)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, cwd=folder, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_the_notebook(data):
    found = run_notebook(data.parent)
    assert found["dev_acc"] > 0.85
    assert found["predicted"] == ["entailment", "contradiction", "neutral"]


@pytest.mark.slow
@pytest.mark.beside("data/zh/xnli", "vocab")
def test_the_notebook_reads_xnli_as_it_is(data):
    """The real file in its place, its first rows for training and for evaluation."""
    real = lines(SHARED / "data" / "zh" / "xnli" / "dev.tsv")
    for name, begin in (("train", 1), ("dev", 601)):
        path = data / "xnli" / f"{name}.tsv"
        path.write_text("\n".join([real[0], *real[begin : begin + 600]]) + "\n", encoding="utf8")
    shutil.copy(SHARED / "vocab" / "vocab_zh.txt", data / "vocab.txt")
    found = run_notebook(data.parent)
    assert 0.25 < found["dev_acc"] < 0.9, "150 steps without a pre-trained model: no more than that it runs"


@pytest.mark.slow
@pytest.mark.beside("data/zh/chnsenticorp", "data/zh/msra_ner")
def test_classifier_and_tagger_on_real_files(data):
    zh = SHARED / "data" / "zh"
    for name, folder, columns in (
        ("classifier", "chnsenticorp", ["text_a", "label"]),
        ("tagger", "msra_ner", ["text_a", "label"]),
    ):
        for part, source, rows in (("train", "train", 1200), ("dev", "dev", 200), ("test", "dev", 100)):
            found = call("to_columns", zh / folder / f"{source}.tsv", *columns).splitlines()[:rows]
            (data / name / part / "part-0").write_text("\n".join(found) + "\n", encoding="utf8")
    characters = {c for path in data.rglob("part-0") for c in path.read_text(encoding="utf8")} - set("\t\n\x02")
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    (data / "vocab.txt").write_text("\n".join([*special, *sorted(characters)]) + "\n", encoding="utf8")
    said = call("classifier", "--data_dir", data / "classifier", *options("classifier", data, 150, classes=2))
    assert numbers(said)["dev_acc"] > 0.6, "without a pre-trained model"
    said = call("tagger", "--data_dir", data / "tagger", *options("tagger", data, 150))
    assert numbers(said)["test_f1"] > 0.1
