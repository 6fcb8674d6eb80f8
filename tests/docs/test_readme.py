"""What the documents name is there: every flag, file, link and anchor. The READMEs say the same; the samples train.

python -m pytest tests/docs/test_readme.py            # without the samples
python -m pytest tests/docs/test_readme.py -m slow    # those: on tiny models
"""

from __future__ import annotations

import json
import posixpath
import re
import subprocess
import sys

import pytest

from tests.helpers.common import FIXTURES, ROOT
from tests.helpers.pages import DOCUMENTS, PAGES, READMES, anchors, blocks, commands, read
from tests.helpers.tiny import characters, make_model

PUBLISHED = set(json.loads((FIXTURES / "recipes.json").read_text(encoding="utf-8"))["rows"])
# Flags of pip, of ray, of our shell scripts, and of the task that docs/finetuning.md adds.
KNOWN = {
    "--address",
    "--all",
    "--as-cpu",
    "--dry_run",
    "--full",
    "--head",
    "--require-hashes",
    "--model_only",
    "--zh",
    "--no-index",
    "--find-links",
    "--rm",
    "--strict",
    "--threshold",
}
# Files that docs/finetuning.md adds.
ADDED = {"finetune/multi_label.py", "script/zh_task/ernie_base/run_topics.sh"}
PRETRAIN = ("build_data", "build_vocab", "inspect", "connectives", "click_log")
MODULES = tuple(
    ["-m", name]
    for name in (
        "ernie.convert",
        "ernie.memory",
        "finetune.prediction",
        "finetune.report",
        "finetune.score",
        "finetune.split",
        "finetune.embedding.server",
        "finetune.embedding.client",
        "finetune.embedding.resize",
        "finetune.embedding.sts",
        "finetune.embedding.whiten",
        "propeller.tools.ckpt_inspector",
        "propeller.tools.start_server",
    )
)


def test_both_readmes_hold_the_same_commands():
    assert commands("README.md") == commands("README.zh.md")
    assert blocks("README.md", "python") == blocks("README.zh.md", "python")
    assert blocks("README.md", "text") == blocks("README.zh.md", "text")


def test_both_readmes_name_the_same_pages():
    english, chinese = (re.findall(r"\]\((?!README)([^)#]+)[^)]*\)", read(name)) for name in READMES)
    assert english == chinese


@pytest.mark.parametrize("name", READMES)
def test_a_readme_is_short(name):
    assert len(read(name).splitlines()) <= 150


@pytest.mark.parametrize("name", READMES)
def test_commands_stand_in_blocks_that_are_looked_at(name):
    assert set(re.findall(r"^```(\w*)$", read(name), re.MULTILINE)) - {""} <= {"sh", "text", "python"}
    assert len(blocks(name)) == read(name).count("```sh\n")


def test_the_two_commands_and_the_warning_are_on_the_first_screen():
    for name in READMES:
        first = "\n".join(read(name).splitlines()[:60])
        assert "sh script/quickstart.sh\nsh script/test.sh\n" in first
        assert "717" in first
        assert "872" in first


# Students of every kind, and what prepares for them.
DISTILL = [
    ["-m", "finetune", "student"],
    *(["-m", f"distill.{name}"] for name in ("augment", "label", "shrink", "vectors", "vocab")),
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
    modules = [
        *MODULES,
        ["-m", "finetune.sweep", "classify"],
        ["-m", "finetune", "sentence_vectors"],
        *(["-m", "finetune.search", command] for command in ("build", "query")),
        *(["-m", "finetune", name] for name in ("multiple_choice", "prompt", "multitask")),
        *(["-m", f"pretrain.{name}"] for name in PRETRAIN),
        *DISTILL,
    ]
    helps = [python(*words, "--help").stdout for words in [*modules, *([name] for name in programs)]]
    known = KNOWN.union(*(re.findall(r"--[\w-]+", text) for text in helps))
    others = [
        path.read_text(encoding="utf-8") for place in ("benchmark", "script") for path in (ROOT / place).rglob("*.py")
    ]
    known.update(flag for text in others for flag in re.findall(r'add_argument\("(--[a-z][\w-]*)"', text))
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
        assert path in ADDED or (ROOT / path).exists(), f"{name}: {path}"
    for path in re.findall(r"(?<![\w/.-])(requirements[\w-]*\.txt|[a-z_]+\.py)(?![\w/])", text):
        absent = {"distribution.py", "amp.py", "iris.py"}  # named as missing; the program that a page has one write
        assert (
            path in absent or (ROOT / path).exists() or list(ROOT.glob(f"*/{path}")) + list(ROOT.glob(f"*/*/{path}"))
        ), f"{name}: {path}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_anchor_exists(name):
    for path, anchor in re.findall(r"\]\(([^):#]*)#([^)]+)\)", read(name)):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) if path else name
        assert anchor in anchors(target), f"{name}: {path}#{anchor}"


def guides(page):
    """A page, and the Chinese guide, which has all of them in one."""
    return (page, "docs/guide_zh.md")


@pytest.mark.parametrize("name", guides("docs/models.md"))
def test_released_models_are_those_the_recipes_name(name):
    named = set(re.findall(r"https://\S+?\.tar\.gz", read(name)))
    assert named == set(re.findall(r"https://\S+?\.tar\.gz", read("script/common.sh")))


@pytest.mark.parametrize("name", guides("docs/recipes.md"))
def test_recipes_and_their_variables_are_the_pages(name):
    recipes = {str(path.relative_to(ROOT)) for path in ROOT.glob("script/*_*/**/*.sh")}
    variables = set(re.findall(r"^  ([A-Z_0-9]+)  ", read("script/common.sh"), re.MULTILINE))
    assert len(variables) == 9
    named = re.findall(r"script/(?:en_glue|zh_task)/[\w/{},-]+\.sh", read(name))
    named = {path.replace("{base,large}", size) for path in named for size in ("base", "large")}
    assert {path for path in recipes if path.removeprefix("script/") in PUBLISHED} <= named <= recipes
    assert variables == set(re.findall(r"^\| `([A-Z_0-9]+)` \|", read(name), re.MULTILINE))


def test_the_chinese_guide_has_no_other_commands_than_the_pages():
    assert set(commands("docs/guide_zh.md")) <= {command for page in PAGES for command in commands(page)}


def published(entries, data, score):
    """The figure of config/published_results.json in a row of the tables; blank where none was published."""
    split, _, part = data.partition(" ")
    (figure,) = [
        entry
        for entry in entries
        if (entry["split"], entry["metric"]) == (split, score) and entry["file"] == (1 if part == "mm" else 0)
    ] or [{}]
    return figure


def test_the_published_results_are_those_of_the_file():
    results = json.loads(read("config/published_results.json"))["results"]
    rows = re.findall(
        r"^\| ([\w-]+) \| ((?:dev|test|diagnostic)[ m]*) \| (\w+) \| (.*) \|$", read("docs/recipes.md"), re.M
    )
    assert len(rows) > 40
    shown = 0
    for task, data, score, cells in rows:
        cells = [cell.strip() for cell in cells.split(" | ")]
        kind = "en_glue" if len(cells) == 2 else "zh_task"
        base, large = (published(results[f"{kind}/ernie_{size}/{task}"], data, score) for size in ("base", "large"))
        figures = [base.get("ernie_1.0"), base.get("ernie_2.0"), large.get("ernie_2.0")][-len(cells) :]
        assert cells == ["" if figure is None else str(figure) for figure in figures], (task, data, score)
        shown += sum(figure is not None for figure in figures)
    known = [
        entry.get(name) for entries in results.values() for entry in entries for name in ("ernie_2.0", "ernie_1.0")
    ]
    twice = [entry["ernie_1.0"] for name, entries in results.items() if "_large/" in name for entry in entries]
    assert shown == sum(figure is not None for figure in known) - sum(figure is not None for figure in twice)


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "data").glob("*/train.tsv")), ids=lambda path: path.parent.name)
def test_every_sample_trains(path, tmp_path):
    """The samples of data/, each with the flags that data/README.md gives."""
    model = make_model(tmp_path / "model", characters(path.parent), max_position_embeddings=512)
    tagged = path.parent.name in ("msra_ner", "ner_en")
    flags = [] if tagged else ["--num_labels", "2"]
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
    script = "run_sequence_labeling.py" if tagged else "run_classifier.py"
    done = python(
        script, *flags, "--vocab_path", str(model / "vocab.txt"), "--checkpoints", str(tmp_path / "out"),
        "--test_save", str(tmp_path / "test"), "--epoch", "1", "--max_seq_len", "64", "--use_cuda", "false",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "[dev evaluation]" in done.stderr
