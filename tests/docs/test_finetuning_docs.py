"""docs/finetuning.md: its commands, its Python, and the task that it adds with one file, one line and one recipe.

python -m pytest tests/docs/test_finetuning_docs.py            # the blocks themselves
python -m pytest tests/docs/test_finetuning_docs.py -m slow    # every command, and the task in a copy of the project
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest

from tests.helpers.browser import needs_chromium
from tests.helpers.common import ROOT
from tests.helpers.runs import read_records
from tests.helpers.shell import clean_environment
from tests.helpers.tiny import characters, make_model, write_tsv

TEXT = (ROOT / "docs" / "finetuning.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


TRAIN, PREDICT, *_, RECIPE = blocks("sh")  # the other commands: tests/docs/test_pages.py
API, FILE, LINE = blocks("python")
LABELS = ["cast", "plot", "sound"]
ASK = """
import json, urllib.request
import finetune
from propeller.service import InferenceServer

def get(url, payload=None):
    data = json.dumps(payload).encode() if payload else None
    return json.load(urllib.request.urlopen(urllib.request.Request(url, data, {"Content-Type": "application/json"})))

if __name__ == "__main__":
    texts = ["the film cast great", "the film"]
    with InferenceServer("served", handlers="finetune.serving", use_cuda="false").listen(0, wait=False) as server:
        answer = get(server.url + "/predict", {"texts": texts})["predictions"]
        info = get(server.url + "/info")["model"]
    print(json.dumps([answer, finetune.load("served", use_cuda="false")(texts), info]))
"""
LOOK = """
import json, pathlib, tempfile
from propeller.service import InferenceServer
from tests.helpers.browser import Browser

if __name__ == "__main__":
    server = InferenceServer("paged", handlers="finetune.serving", use_cuda="false")
    with server.listen(0, wait=False) as running, Browser(pathlib.Path(tempfile.mkdtemp())) as browser:
        browser.open(running.url)
        browser.wait("return !document.getElementById('main').hidden")
        browser.run("document.getElementById('text').value = 'the film cast great'")
        browser.click("#send")
        browser.wait("return document.getElementById('json').textContent")
        shown = browser.run("return document.getElementById('answer').textContent")
        print(json.dumps([browser.run("return document.getElementById('title').textContent"), shown]))
"""
WORDS = {"cast": "cast", "plot": "story", "sound": "great"}


def test_the_example_is_one_file_of_at_most_a_hundred_lines_one_line_and_one_recipe(tmp_path):
    assert set(re.findall(r"^```(\w*)$", TEXT, re.MULTILINE)) == {"", "sh", "python"}
    assert "`finetune/multi_label.py`:\n\n```python\n" in TEXT
    assert "`script/zh_task/ernie_base/run_topics.sh`:\n\n```sh\n#!/bin/sh\n" in TEXT
    assert len(FILE.splitlines()) <= 100
    assert len(LINE.splitlines()) == 1
    (tmp_path / "multi_label.py").write_text(FILE, encoding="utf-8")
    command = [sys.executable, "-m", "ruff", "check", "--config", ROOT / "pyproject.toml", tmp_path / "multi_label.py"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or "No module named ruff" in done.stderr, done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of the project with its tests, a model, data, and exactly what the page adds."""
    clone = tmp_path_factory.mktemp("clone") / "repository"
    unwanted = shutil.ignore_patterns(".*", "output", "checkpoints", "__pycache__", "results")
    shutil.copytree(ROOT, clone, ignore=unwanted)
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # so small a network learns surely
    make_model(clone / "MODEL", characters(ROOT / "data"), max_position_embeddings=128, **dropout)
    (clone / "finetune" / "multi_label.py").write_text(FILE, encoding="utf-8")
    path = clone / "finetune" / "__init__.py"
    names = path.read_text(encoding="utf-8")
    end = names.index("}\n", names.index("TASKS = {\n"))
    path.write_text(names[:end] + LINE + names[end:], encoding="utf-8")
    (clone / "script/zh_task/ernie_base/run_topics.sh").write_text(RECIPE, encoding="utf-8")
    make_topics(clone / "task" / "topics")
    return clone


def make_topics(folder):
    """Texts whose labels are told by words in them; none, one or several."""
    folder.mkdir(parents=True)
    (folder / "label_map.json").write_text(json.dumps({name: i for i, name in enumerate(LABELS)}))
    rows = []
    for number in range(8):
        chosen = [name for i, name in enumerate(LABELS) if number >> i & 1]
        rows.append((" ".join(["the film", *(WORDS[name] for name in chosen)]), ",".join(chosen)))
    write_tsv(folder / "train.tsv", rows * 8, ("text_a", "label"))
    write_tsv(folder / "dev.tsv", rows, ("text_a", "label"))
    write_tsv(folder / "test.tsv", [(text,) for text, _ in rows], ("text_a",))


def run(clone, *command, status=0, **changes):
    """Run a command in the copy."""
    environment = {**clean_environment(), "PYTHONPATH": str(clone), **changes}
    done = subprocess.run(
        [str(word) for word in command], cwd=clone, env=environment, capture_output=True, text=True, check=False,
        timeout=900,
    )  # fmt: skip
    assert done.returncode == status, done.stderr[-4000:] + done.stdout[-4000:]
    return done


@pytest.mark.slow
def test_commands_and_python_run_as_printed(clone):
    for command in (TRAIN, PREDICT):
        words = command.replace("\\\n", " ").replace("python ", f"{sys.executable} ", 1)
        run(clone, "sh", "-c", words)
    header, *rows = (clone / "output/sst2_predictions.tsv").read_text(encoding="utf8").splitlines()
    assert header.split("\t")[:3] == ["qid", "text_a", "label"] or header.startswith("text_a\tlabel")
    assert len(rows) == len((clone / "data/SST-2/test.tsv").read_text(encoding="utf8").splitlines()) - 1
    shown = run(clone, sys.executable, "-c", API).stdout
    assert "'acc': " in shown
    assert "(1, 32)" in shown


@pytest.fixture(scope="module")
def recipe_run(clone):
    """The recipe, trained; returns (its output, the folder of the run)."""
    environment = {"PYTHON": sys.executable, "MODEL_PATH": "MODEL", "TASK_DATA_PATH": "task", "OUTPUT": "output"}
    flags = ["--epoch", "40", "--learning_rate", "2e-3", "--batch_size", "4", "--for_cn", "false"]
    flags += ["--validation_steps", "40", "--use_cuda", "false", "--warmup_proportion", "0"]
    done = run(clone, "sh", "script/zh_task/ernie_base/run_topics.sh", *flags, **environment)
    return done.stdout, clone / "output/zh_task/ernie_base/topics/seed_1"


@pytest.mark.slow
def test_the_task_trains_evaluates_and_predicts(clone, recipe_run):
    shown, folder = recipe_run
    log = (folder / "train.log").read_text(encoding="utf8")
    assert re.search(r"\[dev evaluation\] ave loss: [\d.]+, micro_f1: [\d.]+, macro_f1: ", log)
    records = read_records(folder)
    best = max(record["micro_f1"] for record in records if record["event"] == "dev")
    assert best > 0.95  # the labels are told by words
    (line,) = [line for line in shown.splitlines() if "finetune/prediction/__main__.py" in line]
    header, *rows = next(folder.glob("test_out.tsv.*")).read_text(encoding="utf8").splitlines()
    assert header == "text_a\tlabels\tprob_cast\tprob_plot\tprob_sound"
    assert len(rows) == 8
    command = [sys.executable, "-m", "finetune.prediction", "--init_checkpoint", folder / "best", "--use_cuda", "false"]
    command += ["--predict_set", "task/topics/test.tsv"]
    run(clone, *command, "--output", "new.tsv", "--save_inference_model_path", "saved")
    header, *rows = [line.split("\t") for line in (clone / "new.tsv").read_text(encoding="utf8").splitlines()]
    assert json.loads(rows[7][header.index("labels")]) == LABELS
    assert json.loads(rows[0][header.index("labels")]) == []
    run(clone, *command, "--output", "new.jsonl", "--output_format", "jsonl", "--threshold", "0.999999")
    strict = [json.loads(line) for line in (clone / "new.jsonl").read_text(encoding="utf8").splitlines()]
    assert set(strict[0]) == {"text_a", "labels", "probabilities"}
    assert sum(len(row["labels"]) for row in strict) < sum(len(json.loads(row[1])) for row in rows)
    done = run(clone, *command, "--output", "x.tsv", "--threshold", "2", status=2)
    assert "--threshold must be between 0 and 1" in done.stderr


@pytest.mark.slow
def test_the_task_is_served(clone, recipe_run):
    """The answer of the server, of the Python API and of the prediction file are the same."""
    run(clone, sys.executable, "-m", "finetune.prediction", "--init_checkpoint", recipe_run[1] / "best",
        "--use_cuda", "false", "--do_prediction", "false", "--save_inference_model_path", "served")  # fmt: skip
    (clone / "ask.py").write_text(ASK, encoding="utf8")
    answer, local, info = json.loads(run(clone, sys.executable, "ask.py").stdout.splitlines()[-1])
    assert [entry["labels"] for entry in answer] == [["cast", "sound"], []]
    assert [set(entry) for entry in answer] == [{"labels", "probabilities", "truncated"}] * 2
    for served, own in zip(answer, local):
        assert served["labels"] == own["labels"]
        assert served["probabilities"] == pytest.approx(own["probabilities"], abs=1e-5)
    assert info["labels"] == LABELS
    assert info["about"].startswith("Multi-label classification")


@pytest.mark.slow
@needs_chromium
def test_the_page_shows_the_task(clone, recipe_run):
    """The page has no entry for the task: it shows what ``decode`` gives."""
    run(clone, sys.executable, "-m", "finetune.prediction", "--init_checkpoint", recipe_run[1] / "best",
        "--use_cuda", "false", "--do_prediction", "false", "--save_inference_model_path", "paged")  # fmt: skip
    (clone / "look.py").write_text(LOOK, encoding="utf8")
    title, shown = json.loads(run(clone, sys.executable, "look.py").stdout.splitlines()[-1])
    assert title == "Multi label"
    assert '["cast","sound"]' in shown
    for label in LABELS:
        assert label in shown
    assert "%" in shown


@pytest.mark.slow
def test_the_tests_of_every_task_and_recipe_pass_with_it(clone):
    scripts = ["tests/script/test_recipes.py", "tests/script/test_published_recipes.py"]
    names = ("test_serving.py", "test_serving_requests.py", "test_page.py")
    tests = [*scripts, *(f"tests/finetune/{name}" for name in names)]
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *tests]
    done = run(clone, *command, "-v", "-k", "recipe or every_task or multi_label or named", "-m", "not slow")
    assert re.search(r"\d+ passed", done.stdout)
    assert re.search(r"test_every_task_has_a_handler\[multi_label\] PASSED", done.stdout)
    assert re.search(r"run_topics.sh\] PASSED", done.stdout)
