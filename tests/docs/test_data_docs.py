"""docs/data.md: every example is read by the reader it is for, every command runs, and the conversions are right."""

import functools
import json
import os
import re
import shlex
import subprocess
import sys

import pytest

from pretrain.corpus.documents import detect, documents
from propeller.errors import UserError
from reader.pretraining.shard_files import read_filelist
from reader.row_encoder import LabelRule, load_label_map
from reader.squad.file import SquadFile
from reader.tables.form import PLAIN, TableForm
from reader.tables.opening import open_table
from reader.tsv import TsvFile
from script import tagged_exports
from script.conversion_check import check_table, check_tagged
from tests.helpers.common import ROOT
from tokenization import build_tokenizer

TEXT = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r'^```text title="(\S+)"\n(.*?)^```$', TEXT, re.MULTILINE | re.DOTALL))
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.M | re.S)
COMMANDS = [line for block in BLOCKS for line in block.replace("\\\n", " ").splitlines()]
CHOSEN = TableForm(text_a="review", label="stars")
CANAL = ["运河", "运河连接两座城市。今天仍然通航。"]


@pytest.fixture
def place(tmp_path):
    """The examples as files."""
    for name, content in EXAMPLES.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path


def texts_of(path, form=CHOSEN, lists=False):
    """text_a of each row."""
    table = open_table(path, ("text_a", "label"), form=form, lists=lists)
    place = table.columns.index("text_a")
    return [table.layout.fields(record)[place] for _, record in table.records()]


def tagged_in(path):
    """The tags of each text of an export."""
    return [" ".join(each.tags) for each in tagged_exports.sentences(path) if each.problem is None]


TOKENS = functools.partial(build_tokenizer, "FullTokenizer")
READ = {
    "train.tsv": lambda path: check_table(path, LabelRule("class")) == 2,
    "reviews.csv": lambda path: texts_of(path) == ["good, and cheap", "cold soup"],
    "reviews.jsonl": lambda path: texts_of(path) == ["good, and cheap", "cold soup"],
    "tagged.jsonl": lambda path: texts_of(path, PLAIN, lists=True) == ["New York\x02is\x02far", "far"],
    "tagging.tsv": lambda path: check_tagged(path, {"B-LOC": 0, "I-LOC": 1, "O": 2}, "IOB") == 2,
    "train.bio": lambda path: pytest.raises(UserError, TsvFile, path).match("looks like tagged text"),
    "studio.json": lambda path: tagged_in(path) == ["B-PER O B-LOC O"],
    "doccano.jsonl": lambda path: tagged_in(path) == ["B-PER O B-LOC O", "B-PER O O"],
    "squad.json": lambda path: [each.answer for each in SquadFile(path, "train").questions] == ["1850"],
    "rows.jsonl": lambda path: [each.answer for each in SquadFile(path, "train").questions] == ["1850", "The mill"],
    "first_release.json": lambda path: SquadFile(path, "train").questions[0].answers == ("1850年", "1850"),
    "corpus.txt": lambda path: [len(each.paragraphs) for each in documents(path)] == [2, 1],
    "wiki_00": lambda path: detect(path) == "jsonl" and next(documents(path)).paragraphs[:2] == CANAL,
    "wiki_text_00": lambda path: detect(path) == "doc" and [each.paragraphs for each in documents(path)] == [CANAL],
    "table.csv": lambda path: detect(path) == "csv" and next(documents(path)).paragraphs == CANAL,
    "vocab.txt": lambda path: build_tokenizer("FullTokenizer", path).pad_id == 0,
    "added_tokens.json": lambda path: TOKENS(path.with_name("vocab.txt")).tokenize("河<e1>河") == ["河", "<e1>", "河"],
    "label_map.json": lambda path: load_label_map(path) == {"B-LOC": 0, "I-LOC": 1, "O": 2},
    "filelist": lambda path: [shard.mask_word_prob for shard in read_filelist(path)] == [1.0, 0.5],
}


def test_every_example_has_its_reader():
    assert list(EXAMPLES) == list(READ)


@pytest.mark.parametrize("name", READ)
def test_an_example_is_read(place, name):
    assert READ[name](place / name)


def test_the_commands_convert_the_examples(place):
    (place / "dev.bio").write_text(EXAMPLES["train.bio"], encoding="utf-8")
    before = {path.name for path in place.iterdir()}
    for command in COMMANDS:
        script, *words = shlex.split(command)[1:]
        called = ["-m", words.pop(0)] if script == "-m" else [str(ROOT / script)]
        done = subprocess.run(
            [sys.executable, *called, *words], cwd=place, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert {path.name for path in place.iterdir()} - before == {"output"}, "git ignores output/"

    def made(name):
        return (place / "output" / name).read_text(encoding="utf-8").replace("\x02", " ")

    parts = [made(f"entities_data/{part}.tsv") for part in ("train", "test")]
    assert sum(text.count("B-PER") for text in parts) == 2
    assert not (place / "output/entities_data/dev.tsv").exists()
    assert sorted(path.name for path in (place / "output/reviews_data").iterdir()) == ["test.csv", "train.csv"]
    assert made("table/train.tsv") == "text_a\tlabel\ngood, and cheap\t5\ncold soup\t1\n"
    assert made("tagged/train.tsv") == "text_a\tlabel\nAnna visited Riga\tB-PER O B-LOC\n"
    assert json.loads(made("tagged_iobes/label_map.json")) == {"S-LOC": 0, "S-PER": 1, "O": 2}


def test_it_is_linked():
    for name in ("README.md", "README.zh.md"):
        assert "(docs/data.md)" in (ROOT / name).read_text(encoding="utf-8")
