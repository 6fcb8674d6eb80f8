"""The pages tell the truth: every command is run as it is printed, every flag, file, link and anchor is there.

python -m pytest tests/docs/test_pages.py            # without the commands that train
python -m pytest tests/docs/test_pages.py -m slow    # those: on tiny models, in a copy of the repository

A command is in one of two classes, and one that is in neither fails the test: NOT_RUN (it installs or downloads; its
script must be there and be valid shell) and RUN, in the order printed, since later ones use what earlier ones made.
"""

from __future__ import annotations

import json
import pickle
import re
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from tests.helpers.common import FIXTURES, ROOT
from tests.helpers.foreign_models import write_classifier
from tests.helpers.pages import DOCUMENTS, NOT_RUN, PAGES, blocks, commands, kind, read
from tests.helpers.pdparams import paddlenlp_state
from tests.helpers.shell import clean_environment
from tests.helpers.tiny import characters, make_model, write_tsv


def test_every_page_with_commands_is_run():
    with_commands = {name for name in DOCUMENTS if name.startswith("docs/") and commands(name)}
    own = {f"docs/{path.name[5:-8]}.md" for path in (ROOT / "tests/docs").glob("test_*_docs.py")}
    assert with_commands - own <= {*PAGES, "docs/propeller.md", "docs/guide_zh.md"}  # the guide's are the pages' own


@pytest.mark.parametrize("name", PAGES)
def test_commands_stand_in_blocks_that_are_looked_at(name):
    assert set(re.findall(r"^```(\w*)$", read(name), re.MULTILINE)) - {""} <= {"sh", "text", "python"}
    assert len(blocks(name)) == read(name).count("```sh\n")


@pytest.mark.parametrize("command", dict.fromkeys(command for page in PAGES for command in commands(page)))
def test_every_command_is_in_a_class(command):
    if kind(command) == "not run":
        script = NOT_RUN.fullmatch(command).group(2)
        if script is None:
            assert (ROOT / command.split()[-1]).is_file()
            return
        script = ROOT / script
        done = subprocess.run(["sh", "-n", str(script)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home folder with tiny models under the names of the released ones, and tiny data in GLUE's own columns."""
    home = tmp_path_factory.mktemp("home")
    models = home / "models"
    for name in ("ERNIE_Base_en_stable-2.0.0", "ERNIE_1.0_max-len-512"):
        make_model(models / name, characters(ROOT / "data"), max_position_embeddings=512)
    shutil.copytree(FIXTURES / "peers/bert", models / "bert-base-uncased")
    write_classifier(models / "my-classifier", models / "bert-base-uncased")
    paddlenlp = shutil.copytree(FIXTURES / "peers/ernie", models / "ernie-2.0-base-en")
    (paddlenlp / "model.safetensors").unlink()
    (paddlenlp / "model_state.pdparams").write_bytes(pickle.dumps(paddlenlp_state("ernie"), 4))
    glue = home / "glue" / "SST-2"
    glue.mkdir(parents=True)
    rows = [("a fine film", 1), ("a dull story", 0)] * 20
    write_tsv(glue / "train.tsv", rows, ("sentence", "label"))
    write_tsv(glue / "dev.tsv", rows[:6], ("sentence", "label"))
    write_tsv(glue / "test.tsv", [(0, "a sentence that is fine"), (1, "a grim cast")], ("index", "sentence"))
    shutil.copytree(ROOT / "data/chnsenticorp", home / "raw/chnsenticorp")
    return home


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of the repository, as after the quickstart, with stand-ins for its virtual environment and its model."""
    clone = tmp_path_factory.mktemp("clone") / "repository"
    unwanted = shutil.ignore_patterns(".*", "output", "checkpoints", "__pycache__", "tests", "results")
    shutil.copytree(ROOT, clone, ignore=unwanted)
    scripts = clone / ".venv" / "bin"
    scripts.mkdir(parents=True)
    (scripts / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (scripts / "python").chmod(0o755)
    (scripts / "activate").write_text(f'PATH="{scripts}:$PATH"\n')
    make_model(clone / "output/quickstart/model", characters(ROOT / "data"), max_position_embeddings=512)
    shutil.copytree(clone / "output/quickstart/model", clone / "MODEL")
    return clone


@pytest.mark.slow
def test_every_command_runs_as_printed(clone, home):
    """In one shell, page by page; SEEDS=1 saves four repeats, DEVICES=cpu stands for a machine without a GPU."""
    printed = [(page, command) for page in PAGES for command in commands(page) if kind(command) == "run"]
    script = "set -e\n" + "".join(f"echo '== {number}' >&2\n{line}\n" for number, (_, line) in enumerate(printed))
    env = clean_environment(HOME=home, SEEDS=1, DEVICES="cpu")
    done = subprocess.run(
        ["sh", "-c", script], cwd=clone, env=env, capture_output=True, text=True, check=False, timeout=1800
    )
    reached = int(re.findall(r"^== (\d+)$", done.stderr, re.MULTILINE)[-1])
    assert done.returncode == 0, f"{printed[reached]}\n{done.stderr[-3000:]}"
    assert reached == len(printed) - 1
    check_python(clone, env)
    check_what_is_left(clone, home)


# What the Python of a page prints, at its end.
PRINTED = {
    "README.md": r"([01] \{'0': [\d.e-]+, '1': [\d.e-]+\}\n){2}",
    "docs/prediction.md": r"([01] \{'0': 0\.\d+, '1': 0\.\d+\}\n){2}\(1, 32\)\n",
    "docs/embeddings.md": r"(-?\d\.\d\d  \S.+\n){3}",
    "docs/search.md": r"(-?\d\.\d{3} \d \S.+\n){3}",
    "docs/api.md": r"classify 64\nNone\n",
}


def check_python(clone, env):
    """The Python of the pages, after the commands; the SST-2 recipe on the samples stands for the quickstart's run."""
    shutil.copytree(clone / "output/trial/en_glue", clone / "output/quickstart/en_glue", symlinks=True)
    assert set(PRINTED) | {"docs/finetuning.md"} == {page for page in PAGES if blocks(page, "python")}
    for page, pattern in PRINTED.items():
        (code,) = blocks(page, "python")
        shown = subprocess.run(
            [sys.executable, "-c", code], cwd=clone, env=env, capture_output=True, text=True, check=True, timeout=300
        )
        assert re.search(pattern + r"\Z", shown.stdout), (page, shown.stdout)


def check_what_is_left(clone, home):
    """The files that "What a run leaves" names, in the forms it gives."""
    for model in ("bert", "ernie-en"):
        assert {path.name for path in (home / "models" / model).iterdir()} == {
            "params",
            "ernie_config.json",
            "ernie_model.json",
            "vocab.txt",
        }
    assert (home / "models/ernie-hf/model.safetensors").is_file()
    assert (home / "data/SST-2/test.tsv").read_text() == "qid\ttext_a\n0\ta sentence that is fine\n1\ta grim cast\n"
    run = clone / "output/pairs"
    for name in ("last", "best", "metrics.jsonl", "events", "curves.png", "run.json", "token_cache"):
        assert (run / name).exists(), name
    step = (run / "last").resolve()
    assert step.name == "step_6"  # 8 rows, 4 a batch, 3 epochs
    assert (step / "word_embedding").is_file()
    assert (step / "training_state").is_dir()
    assert json.loads((step / "checkpoint.json").read_text())["step"] == 6
    rows = (run / "predictions.tsv.2.6").read_text().splitlines()
    assert len(rows) == 2
    assert all(re.fullmatch(r"[01]\.0\t\[\S+ +\S+ *\]", row) for row in rows)
    assert len((clone / "output/dev_predictions.tsv").read_text().splitlines()) > 2
    header, *rows = (clone / "output/new_predictions.tsv").read_text().splitlines()
    assert header == "text_a\tlabel\tprob_0\tprob_1"
    assert len(rows) == 3
    assert (clone / "output/served/best_inference_model/bundle.json").is_file()
    assert (clone / "output/saved/best_inference_model/bundle.json").is_file()
    served = json.loads((clone / "output/classifier/params_inference_model/bundle.json").read_text())
    assert served["meta"]["label_map"] == {"bad": 0, "good": 1}
    assert np.load(clone / "output/mean/cls_emb.npy").shape == (2, 32)
    assert (clone / "output/embeddings/top_layer_emb.npy").is_file()
    assert (clone / "output/more_embeddings/embeddings.json").is_file()
    assert np.load(clone / "output/vectors.npy").shape == (2, 32)
    assert np.load(clone / "output/whitened/cls_emb.npy").shape == (3, 8)
    assert np.load(clone / "output/resized.npy").shape == (16, 16)
    assert json.loads((clone / "output/sentences/embeddings.json").read_text())["pooling"] == "mean"
    assert len((clone / "output/found.tsv").read_text().splitlines()) == 1 + 4 * 3
    table = (clone / "output/results.md").read_text(encoding="utf8")
    assert "| en_glue/ernie_base/SST-2 | dev.tsv | acc |" in table
    assert "| zh_task/ernie_base/ChnSentiCorp | test.tsv | acc |" in table
    assert zipfile.ZipFile(clone / "output/glue.zip").namelist() == ["SST-2.tsv"]
    log = (clone / "output/zh_task/ernie_base/ChnSentiCorp/seed_1/train.log").read_text(encoding="utf8")
    assert "[dev evaluation]" in log
    assert "[test evaluation]" in log  # its test set has labels
    assert "[test evaluation]" not in (clone / "output/trial/en_glue/ernie_base/SST-2/seed_1/train.log").read_text()
