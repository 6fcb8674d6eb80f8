"""pip install: what wheel and sdist hold and require, and that what is installed runs."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from script import lock
from tests.helpers.common import ROOT

PACKAGES = ("distill", "ernie", "finetune", "pretrain", "propeller", "reader")
EXTRAS = {"data", "dev", "docs", "engines", "onnx", "peers", "pretrain", "search", "sweep"}


def sources():
    """Python files of the repository that are to be installed, as paths from its root."""
    inner = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    roots = [path for path in ROOT.glob("*.py") if path.name != "setup.py"]
    return {str(path.relative_to(ROOT)) for path in inner + roots}


def requirements(name):
    """A requirements file's lines without comments and options."""
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in (ROOT / name).read_text().splitlines()]
    return [line for line in lines if line and not line.startswith("-")]


def plain(requirement):
    """(name, its version bounds in any order)."""
    name = re.match(r"[\w.-]+(\[\w+\])?", requirement)[0]
    return name.lower(), frozenset(requirement[len(name) :].strip().split(","))


def test_every_root_module_is_named():
    text = (ROOT / "pyproject.toml").read_text()
    modules = re.search(r"py-modules = \[(.*?)\]", text, re.DOTALL)[1]
    assert {f"{name}.py" for name in re.findall(r'"(\w+)"', modules)} == {s for s in sources() if "/" not in s}


def test_the_lock_holds_every_requirement_within_its_bounds_with_a_hash():
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    locked = dict(re.findall(r"^([\w.-]+)==(\S+) \\\n    --hash=sha256:[0-9a-f]{64}$", text, re.MULTILINE))
    assert len(locked) == len([line for line in text.splitlines() if line and line[0] not in "# "])
    for line in requirements("requirements.txt"):
        wanted = Requirement(line)
        assert wanted.specifier.contains(locked[wanted.name.lower()]), line


def test_a_package_without_a_hash_is_not_locked():
    entry = {
        "metadata": {"name": "A_b", "version": "1"},
        "download_info": {"archive_info": {"hashes": {"sha256": "0" * 64}}},
    }
    assert lock.lines({"install": [entry]}) == ["a-b==1 \\\n    --hash=sha256:" + "0" * 64]
    with pytest.raises(ValueError, match=r"^a-b 1: the report has no sha256"):
        lock.lines({"install": [{**entry, "download_info": {"dir_info": {}}}]})


def test_every_folder_of_modules_is_a_package():
    for path in sources():
        for folder in Path(path).parents:
            if str(folder) != ".":
                assert (ROOT / folder / "__init__.py").is_file(), folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run a command of a fresh virtual environment, which sees this one's packages, away from the repository."""
    folder = tmp_path_factory.mktemp("packaging")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    site = next((folder / "venv" / "lib").glob("*/site-packages"))

    def run(*arguments, cwd=folder, check=True):
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [str(folder / "venv" / "bin" / "python"), *map(str, arguments)]
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stderr[-3000:]
        return done

    wanted = re.search(r'requires = \["(setuptools[^"]*)"\]', (ROOT / "pyproject.toml").read_text())[1]
    got = run("-m", "pip", "install", "-q", "--disable-pip-version-check", wanted, "wheel", check=False)
    if got.returncode:
        pytest.skip(f"{wanted} cannot be fetched")
    (site / "present.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return run


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The repository as somebody clones it."""
    clone = tmp_path_factory.mktemp("clone") / "repository"
    unwanted = shutil.ignore_patterns(".*", "output", "checkpoints", "__pycache__", "results", "build", "*.egg-info")
    return shutil.copytree(ROOT, clone, ignore=unwanted)


@pytest.fixture(scope="module")
def built(run, clone, tmp_path_factory):
    """(wheel, sdist)."""
    out = tmp_path_factory.mktemp("dist")
    for kind in ("sdist", "wheel"):
        run("-c", f"from setuptools import build_meta as b; b.build_{kind}({str(out)!r})", cwd=clone)
    return next(out.glob("*.whl")), next(out.glob("*.tar.gz"))


@pytest.mark.slow
def test_wheel_and_sdist_hold_the_code_and_nothing_else(built):
    page = {f"finetune/{path.relative_to(ROOT / 'finetune')}" for path in (ROOT / "finetune").rglob("page/*")}
    config = {
        path.name for pattern in ("connectives_*.json", "stop_words_zh.txt") for path in ROOT.glob(f"config/{pattern}")
    }
    native = {f"ernie/operators/{path.name}" for pattern in ("*.cc", "*.h", "README.md")
              for path in (ROOT / "ernie/operators").glob(pattern)}  # fmt: skip
    assert len(page) >= 5
    assert len(native) >= 7
    assert len(config) >= 5
    wheel, sdist = built
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == sources() | page | native | {f"pretrain/config/{name}" for name in config}
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames() if not archive.getmember(name).isdir()}
    held = {name for name in held if ".egg-info/" not in name}
    assert held == (
        sources()
        | page
        | native
        | {f"config/{name}" for name in config}
        | {path.name for path in ROOT.glob("requirements*.txt")}
        | {"LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "pyproject.toml", "setup.cfg", "setup.py"}
    )


@pytest.mark.slow
def test_the_wheel_asks_for_what_the_requirements_files_name(built):
    archive = zipfile.ZipFile(built[0])
    metadata = archive.read(next(name for name in archive.namelist() if name.endswith("/METADATA"))).decode()
    found = {}
    for line in re.findall(r"^Requires-Dist: (.+)$", metadata, re.MULTILINE):
        requirement, _, marker = line.partition(";")
        extra = re.search(r'extra == "(\w+)"', marker)
        others = re.sub(r'\s*(and\s+)?extra == "\w+"', "", marker).strip()
        text = f"{requirement}; {others}" if others else requirement
        found.setdefault(extra.group(1) if extra else "", set()).add(plain(text))
    files = {"": "requirements.txt", **{extra: f"requirements-{extra}.txt" for extra in EXTRAS}}
    assert found == {extra: {plain(line) for line in requirements(file)} for extra, file in files.items()}
    assert set(re.findall(r"^Provides-Extra: (\w+)$", metadata, re.MULTILINE)) == EXTRAS


RUNS = """
import finetune, ernie, pretrain, propeller, reader, tokenization
from pretrain import connectives
from pretrain.corpus import stop_words
assert len(stop_words.read_stop_words(stop_words.CONFIG / "stop_words_zh.txt")) > 100
assert (stop_words.CONFIG / "connectives_en.json").is_file()
from finetune.serving.handler import PAGE
assert (PAGE / "index.html").is_file()
print(finetune.__file__)
"""


@pytest.mark.slow
@pytest.mark.parametrize("editable", [False, True])
def test_what_is_installed_runs(run, built, clone, editable):
    run("-m", "pip", "uninstall", "-q", "-y", "ernie-paddle3")
    what = ["--no-build-isolation", "-e", clone] if editable else [built[0]]
    run("-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check", *what)
    where = run("-c", RUNS).stdout
    assert where.startswith(str(clone)) is editable
    assert "usage: run_classifier.py" in run("-m", "run_classifier", "--help").stdout
    assert "usage: " in run("-m", "ernie.convert", "--help").stdout
    assert "usage: " in run("-m", "pretrain.build_data", "--help").stdout
