"""The READMEs tell the truth: every command in them is run as it is printed, every flag, file and link is there.

python -m pytest tests/docs/test_readme.py            # without the commands that train
python -m pytest tests/docs/test_readme.py -m slow    # those: on tiny models, in a copy of the repository

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
from tests.helpers.pdparams import paddlenlp_state
from tests.helpers.shell import clean_environment
from tests.helpers.tiny import characters, make_model, write_tsv

READMES = ("README.md", "README.zh.md")
DOCUMENTS = (
    *READMES,
    "docs/architecture.md",
    "docs/migration.md",
    "docs/pretraining.md",
    "docs/propeller.md",
    "docs/data.md",
    "docs/distillation.md",
    "distill/README.md",
    "data/README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
)
NOT_RUN = re.compile(
    r"(PADDLE=gpu )?sh (script/(quickstart|test|demo/\w+|(zh_task|en)/pretrain(_ernie2)?)\.sh)"
    r"( --all)?"
    r"|python -m pip install --require-hashes -r requirements\.lock"  # downloads; test_packaging.py looks at the file
)
RUN = re.compile(
    r"(export TASK_DATA_PATH=|\. \.venv/bin/activate"
    r"|python (run_\w+|train|infer_\w+|ernie_encoder|script/report)\.py |python -m ernie\.convert "
    r"|python -m (finetune\.score|propeller\.tools\.(start_server|ckpt_inspector)) |until curl |curl |kill \$!"
    r"|python -m finetune\.embedding\.(server|client) "
    r"|MODEL_PATH=\S+ (TASK_DATA_PATH=\S+ )?(SEEDS=\d+ )?(OUTPUT=\S+ )?sh script/(en_glue|zh_task)/"
    r"|sh script/(en_glue|zh_task)/preprocess/cvt\.sh )"
)

PUBLISHED = set(json.loads((FIXTURES / "recipes.json").read_text(encoding="utf-8"))["rows"])
PRETRAIN = ("build_data", "build_vocab", "inspect", "connectives", "click_log")
MODULES = tuple(
    ["-m", name]
    for name in (
        "ernie.convert",
        "finetune.report",
        "finetune.score",
        "finetune.split",
        "finetune.embedding.server",
        "finetune.embedding.client",
        "propeller.tools.ckpt_inspector",
        "propeller.tools.start_server",
    )
)


def read(name):
    return (ROOT / name).read_text(encoding="utf8")


def blocks(name, language="sh"):
    """The fenced blocks of one language, as texts."""
    return re.findall(rf"^```{language}\n(.*?)^```$", read(name), re.MULTILINE | re.DOTALL)


def commands(name):
    """The commands of all sh blocks in order, one a line, lines that end in a backslash joined."""
    lines = "".join(blocks(name)).replace("\\\n", " ").splitlines()
    return [re.sub(r"\s+", " ", line).strip() for line in lines if line.strip()]


def kind(command):
    """``not run`` or ``run``; the test fails on a command that is in neither class."""
    if NOT_RUN.fullmatch(command):
        return "not run"
    assert RUN.match(command), f"a command of the README that no test runs: {command}"
    return "run"


def test_both_readmes_hold_the_same_commands():
    assert commands("README.md") == commands("README.zh.md")


def test_commands_stand_in_blocks_that_are_looked_at():
    for name in READMES:
        assert set(re.findall(r"^```(\w*)$", read(name), re.MULTILINE)) - {""} <= {"sh", "text", "python"}
        assert len(blocks(name)) == read(name).count("```sh\n")


@pytest.mark.parametrize("command", dict.fromkeys(commands("README.md") if (ROOT / "README.md").exists() else []))
def test_every_command_is_in_a_class(command):
    if kind(command) == "not run":
        script = NOT_RUN.fullmatch(command).group(2)
        if script is None:
            assert (ROOT / command.split()[-1]).is_file()
            return
        script = ROOT / script
        done = subprocess.run(["sh", "-n", str(script)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_two_commands_and_the_warning_are_on_the_first_screen():
    for name in READMES:
        first = "\n".join(read(name).splitlines()[:60])
        assert "sh script/quickstart.sh\nsh script/test.sh\n" in first
        assert "717" in first
        assert "872" in first


# Students of every kind, and what prepares for them.
DISTILL = [
    ["-m", "finetune", "student"],
    *(["-m", f"distill.{name}"] for name in ("augment", "label", "shrink", "vocab")),
]


@pytest.mark.parametrize("program", [["run_classifier.py"], *MODULES, *DISTILL])
def test_help_needs_nothing_else(program):
    done = python(*program, "--help")
    assert done.returncode == 0, done.stderr


def python(*words, **options):
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, cwd=options.pop("cwd", ROOT), **options
    )


def test_every_flag_exists():
    programs = [
        path.name
        for kind in ("run", "infer", "ernie_encoder", "finetune_launch", "pretrain_launch")
        for path in ROOT.glob(f"{kind}*.py")
    ]
    programs += [
        "script/report.py",
        "script/convert_table.py",
        "script/convert_tagged.py",
        "train.py",
        "example/propeller/classifier.py",
    ]
    modules = [*MODULES, *(["-m", f"pretrain.{name}"] for name in PRETRAIN), *DISTILL]
    helps = [python(*words, "--help").stdout for words in [*modules, *([name] for name in programs)]]
    known = {"--all", "--as-cpu", "--dry_run", "--require-hashes"}.union(
        *(re.findall(r"--[\w-]+", text) for text in helps)
    )
    for name in DOCUMENTS:
        missing = set(re.findall(r"(?<![\w-])--[a-z][\w-]*\w", read(name))) - known
        assert not missing, f"{name} names flags that no program has: {sorted(missing)}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_file_and_link_exists(name):
    text = read(name)
    folder = (ROOT / name).parent
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert (folder / target).exists(), f"{name}: link to {target}"
    own = r"(?:script|data|docs|config|ernie|finetune|propeller|reader|tests|benchmark)/[\w./-]*\w"
    for path in re.findall(rf"(?<![\w/$.{{-])({own}\.(?:sh|py|md|tsv|json|txt))\b", text):
        assert (ROOT / path).exists(), f"{name}: {path}"
    for path in re.findall(r"(?<![\w/.-])(requirements[\w-]*\.txt|[a-z_]+\.py)(?![\w/])", text):
        absent = {"distribution.py", "amp.py", "iris.py"}  # named as missing; the program that a page has one write
        assert (
            path in absent or (ROOT / path).exists() or list(ROOT.glob(f"*/{path}")) + list(ROOT.glob(f"*/*/{path}"))
        ), f"{name}: {path}"


@pytest.mark.parametrize("name", READMES)
def test_every_anchor_exists(name):
    anchors = {re.sub(r"[^\w -]", "", line.lower()).strip().replace(" ", "-") for line in headings(name)}
    for target in re.findall(r"\]\(#([^)]+)\)", read(name)):
        assert target in anchors, f"{name}: #{target}"


def headings(name):
    return re.findall(r"^#+ (.+)$", read(name), re.MULTILINE)


def test_released_models_are_those_the_recipes_name():
    for name in READMES:
        named = set(re.findall(r"https://\S+?\.tar\.gz", read(name)))
        assert named == set(re.findall(r"https://\S+?\.tar\.gz", read("script/common.sh")))


def test_recipes_and_their_variables_are_the_readmes():
    recipes = {str(path.relative_to(ROOT)) for path in ROOT.glob("script/*_*/**/*.sh")}
    variables = set(re.findall(r"^  ([A-Z_0-9]+)  ", read("script/common.sh"), re.MULTILINE))
    assert len(variables) == 9
    for name in READMES:
        named = re.findall(r"script/(?:en_glue|zh_task)/[\w/{},-]+\.sh", read(name))
        named = {path.replace("{base,large}", size) for path in named for size in ("base", "large")}
        assert {path for path in recipes if path.removeprefix("script/") in PUBLISHED} <= named <= recipes
        assert variables == set(re.findall(r"^\| `([A-Z_0-9]+)` \|", read(name), re.MULTILINE))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home folder with tiny models under the names of the released ones, and tiny data in GLUE's own columns."""
    home = tmp_path_factory.mktemp("home")
    models = home / "models"
    for name in ("ERNIE_Base_en_stable-2.0.0", "ERNIE_1.0_max-len-512"):
        make_model(models / name, characters(ROOT / "data"), max_position_embeddings=512)
    shutil.copytree(FIXTURES / "peers/bert", models / "bert-base-uncased")
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
    return clone


@pytest.mark.slow
def test_every_command_runs_as_printed(clone, home):
    """In one shell, as a reader would; SEEDS=1 saves four repeats, DEVICES=cpu stands for a machine without a GPU."""
    printed = [command for command in commands("README.md") if kind(command) == "run"]
    script = "set -e\n" + "".join(f"echo '== {number}' >&2\n{line}\n" for number, line in enumerate(printed))
    env = clean_environment(HOME=home, SEEDS=1, DEVICES="cpu")
    done = subprocess.run(
        ["sh", "-c", script], cwd=clone, env=env, capture_output=True, text=True, check=False, timeout=900
    )
    reached = int(re.findall(r"^== (\d+)$", done.stderr, re.MULTILINE)[-1])
    assert done.returncode == 0, f"{printed[reached]}\n{done.stderr[-3000:]}"
    assert reached == len(printed) - 1
    (code,) = blocks("README.md", "python")
    assert code == blocks("README.zh.md", "python")[0]
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=clone, env=env, capture_output=True, text=True, check=True, timeout=300
    )
    assert re.search(r"^[01] \{'0': 0\.\d+, '1': 0\.\d+\}$", shown.stdout, re.MULTILINE)
    assert "(1, 32)" in shown.stdout
    check_what_is_left(clone, home)


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
    assert header == "text_a\ttext_b\tlabel\tprob_0\tprob_1"
    assert len(rows) == 2
    assert (clone / "output/saved/best_inference_model/bundle.json").is_file()
    assert np.load(clone / "output/mean/cls_emb.npy").shape == (2, 32)
    assert (clone / "output/embeddings/top_layer_emb.npy").is_file()
    assert (clone / "output/more_embeddings/embeddings.json").is_file()
    assert np.load(clone / "output/vectors.npy").shape == (2, 32)
    table = (clone / "output/results.md").read_text(encoding="utf8")
    assert "| en_glue/ernie_base/SST-2 | dev.tsv | acc |" in table
    assert "| zh_task/ernie_base/ChnSentiCorp | test.tsv | acc |" in table
    assert zipfile.ZipFile(clone / "output/glue.zip").namelist() == ["SST-2.tsv"]
    log = (clone / "output/zh_task/ernie_base/ChnSentiCorp/seed_1/train.log").read_text(encoding="utf8")
    assert "[dev evaluation]" in log
    assert "[test evaluation]" in log  # its test set has labels
    assert "[test evaluation]" not in (clone / "output/trial/en_glue/ernie_base/SST-2/seed_1/train.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "data").glob("*/train.tsv")), ids=lambda path: path.parent.name)
def test_every_sample_trains(path, tmp_path):
    """The samples of data/, each with the flags that data/README.md gives."""
    model = make_model(tmp_path / "model", characters(path.parent), max_position_embeddings=512)
    flags = ["--num_labels", "2"]
    if path.parent.name == "STS-B":
        flags = ["--is_regression", "true", "--num_labels", "1", "--metric", "pearson_and_spearman"]
        assert " ".join(flags) in read("data/README.md")
    label_map = path.with_name("label_map.json")
    if label_map.exists():
        number = str(len(json.loads(label_map.read_text())))
        flags = ["--num_labels", number, "--label_map_config", f"data/{path.parent.name}/label_map.json"]
        assert " ".join(flags) in read("data/README.md")
    flags += ["--ernie_config_path", str(model / "ernie_config.json")]
    files = {name: path.with_name(f"{name}.tsv") for name in ("train", "dev", "test")}
    for name, file in files.items():
        flags += [f"--{name}_set", str(file)] if file.exists() else []
    script = "run_sequence_labeling.py" if path.parent.name == "msra_ner" else "run_classifier.py"
    done = python(
        script, *flags, "--vocab_path", str(model / "vocab.txt"), "--checkpoints", str(tmp_path / "out"),
        "--test_save", str(tmp_path / "test"), "--epoch", "1", "--max_seq_len", "64", "--use_cuda", "false",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "[dev evaluation]" in done.stderr
