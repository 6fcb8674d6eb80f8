"""docs/pretraining.md tells the truth: its commands are run as they are printed, with the task it adds.

python -m pytest tests/docs/test_pretraining_docs.py          # the example tasks, one of them trained, and the lists
python -m pytest tests/docs/test_pretraining_docs.py -m slow    # every command, in a copy of the repository
"""

from __future__ import annotations

import gzip
import json
import random
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

import pretrain
from pretrain.classes import ClassTask
from pretrain.corpus.builder import Plan, Text
from pretrain.corpus.pieces import PieceMaker
from pretrain.corpus.segment import build_segmenter
from pretrain.training.schedule import StepPlan
from pretrain.training.task_list import read_task_list
from reader.pretraining.shards import Limits, parse_lines
from tests.helpers.common import ROOT
from tests.helpers.pretrain_text import write_vocab
from tests.helpers.runs import read_records
from tests.helpers.shell import clean_environment
from tokenization import build_tokenizer

TEXT = (ROOT / "docs" / "pretraining.md").read_text(encoding="utf-8")
PEOPLE = ("Anna", "Peter", "Maria", "John", "Lucy", "Victor")
PLACES = ("Paris", "London", "the market", "the old harbour", "Vienna", "a small village")
THINGS = ("bread", "books", "red apples", "a bicycle", "letters", "warm tea")


def blocks(language):
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


FILE, LINE, PLACE_FILE, PLACE_LINE = blocks("python")
STAGED_LIST, ELECTRA_LIST, LIST, PLACE_LIST = blocks("json")


def question_class():
    """The class of the example file."""
    space = {"__name__": "pretrain.tasks.question"}
    exec(compile(FILE, "question.py", "exec"), space)
    return space["Question"]


def test_blocks_are_those_that_are_looked_at():
    assert set(re.findall(r"^```(\w*)$", TEXT, re.MULTILINE)) == {"", "sh", "python", "json", "text"}
    assert "`pretrain/tasks/question.py`:\n\n```python\n" in TEXT
    assert "`my_tasks.json`:\n\n```json\n" in TEXT
    assert f"`pretrain/tasks/sentence_place.py`:\n\n```python\n{PLACE_FILE}" in TEXT
    assert "`place_tasks.json`" in TEXT
    assert f"`electra_tasks.json`:\n\n```json\n{ELECTRA_LIST}" in TEXT
    assert len(PLACE_FILE.splitlines()) <= 100


def document(number, paragraphs, segmenter, maker):
    """A ``Text`` of paragraphs."""
    found = [(place, part) for place, text in enumerate(segmenter.paragraphs(paragraphs)) for part in text]
    return Text(
        number=number,
        title="",
        sentences=[maker.tokens(part) for _, part in found],
        words=[part for _, part in found],
        paragraphs=[place for place, _ in found],
    )


def test_the_instances_of_the_example(tmp_path):
    vocab = write_vocab(tmp_path / "vocab.txt")
    plan = Plan(vocab, segmenter="char", max_seq_len=32)
    tokenizer = build_tokenizer("FullTokenizer", vocab, True, False, None)
    segmenter, maker = build_segmenter("char"), PieceMaker(tokenizer)
    documents = [
        document(0, ["他很忙？天气好。我们走了！说", "北京好。上海好？"], segmenter, maker),
        document(1, ["天气好。公园很好。"], segmenter, maker),
        document(2, ["他说好？"], segmenter, maker),
    ]
    task = question_class()(plan, tokenizer)
    assert issubclass(type(task), ClassTask)
    lines, stats = task.lines(documents, lambda place: random.Random(place))
    rows, problems = parse_lines(lines, Limits(vocab_size=len(tokenizer.vocab), classes=2))
    assert not problems
    texts = ["".join(tokenizer.convert_ids_to_tokens(rows.slice(i, i + 1).ids.tolist())) for i in range(len(rows))]
    assert rows.labels.tolist() == [1, 0, 1, 0, 1]
    assert [texts[0], texts[2], texts[4]] == ["[CLS]他很忙[SEP]", "[CLS]上海好[SEP]", "[CLS]他说好[SEP]"]
    assert {texts[1], texts[3]} < {"[CLS]天气好[SEP]", "[CLS]我们走了[SEP]", "[CLS]北京好[SEP]"}
    assert texts[1] != texts[3]
    assert (stats["instances"], stats["class_0"], stats["class_1"]) == (5, 2, 3)
    assert stats["tokens"] == sum(rows.lengths) == sum(n * count for n, count in stats.items() if isinstance(n, int))


def test_the_list_of_the_example_changes_nothing_before_its_stage(tmp_path, monkeypatch):
    name, place = re.fullmatch(r'    "(\w+)": "([\w.:]+)",\n', LINE).groups()
    assert (name, place) == ("question", "pretrain.tasks.question:Question")
    monkeypatch.setitem(pretrain.TASKS, name, place)
    path = tmp_path / "list.json"
    path.write_text(LIST, encoding="utf-8")
    old = StepPlan(read_task_list(ROOT / "config" / "task_list_paper.json", scale=0.001), seed=3)
    new = StepPlan(read_task_list(path, scale=0.001), seed=3)
    assert [new.task(step) for step in range(old.total)] == [old.task(step) for step in range(old.total)]
    last = [new.task(step) for step in range(old.total, new.total)]
    assert last.count("question") == 50
    assert all(last.count(name) == 10 for name in old.names)
    heads = {task["name"]: task.get("head") for task in json.loads(LIST)["tasks"]}
    assert heads["question"] == {"classes": len(question_class().class_names(SimpleNamespace()))}


def test_the_list_with_a_filelist_per_stage_is_read(tmp_path):
    path = tmp_path / "list.json"
    path.write_text(STAGED_LIST, encoding="utf-8")
    (entry,) = read_task_list(path)
    assert len(entry.filelists) == len(entry.steps) == 2


def test_the_schedule_it_shows_is_that_of_the_list():
    rows = re.findall(r"^\| ([a-z -]+) \|([\d |]+)\|$", TEXT, re.MULTILINE)
    shown = {
        name.replace("-", " "): [int(cell.strip() or 0) * 1000 for cell in cells.split("|")] for name, cells in rows
    }
    entries = read_task_list(ROOT / "config" / "task_list_paper.json")
    assert shown == {
        entry.name.replace("_", " "): [0] * (entry.start_stage - 1) + list(entry.steps) for entry in entries
    }


def test_the_tasks_it_names_are_all_there_are():
    shown = re.findall(r"^\| (\d) \| `(\w+)` \|", TEXT, re.MULTILINE)
    assert shown == [(str(number), name) for number, name in enumerate(pretrain.TASKS)]


def paragraph(draw):
    """A few sentences about a person, in an order that can be told; a question among them now and then."""
    person, place, thing = draw.choice(PEOPLE), draw.choice(PLACES), draw.choice(THINGS)
    sentences = [
        f"In the morning {person} went to {place}.",
        f"First {person} bought {thing} and looked around.",
        f"Then {person} met {draw.choice(PEOPLE)} near the bridge.",
        f"Finally they sat down with {thing} and went home.",
    ]
    if draw.random() < 0.7:
        sentences.insert(2, draw.choice([f"What did {person} want there?", f"Why would {person} buy {thing}?"]))
    return " ".join(sentences)


def write_corpus(folder, documents, seed):
    """One text file of documents with two or three paragraphs."""
    draw = random.Random(seed)
    texts = ["\n".join(paragraph(draw) for _ in range(draw.choice([2, 3]))) for _ in range(documents)]
    folder.mkdir(parents=True)
    (folder / "stories.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")


def copied(folder):
    """A copy of the repository with a corpus."""
    clone = folder / "repository"
    unwanted = shutil.ignore_patterns(".*", "output", "checkpoints", "__pycache__", "tests", "results")
    shutil.copytree(ROOT, clone, ignore=unwanted)
    write_corpus(clone / "corpus" / "train", 60, 1)
    write_corpus(clone / "corpus" / "valid", 4, 2)
    return clone


def add_task(clone, name, file, line, listed, entries):
    """What the page adds for a task: its file, its line in TASKS, its task list."""
    (clone / "pretrain" / "tasks" / f"{name}.py").write_text(file, encoding="utf-8")
    names = (clone / "pretrain" / "__init__.py").read_text(encoding="utf-8")
    assert names.count("TASKS = {\n") == 1
    end = names.index("}\n", names.index("TASKS = {\n"))
    (clone / "pretrain" / "__init__.py").write_text(names[:end] + line + names[end:], encoding="utf-8")
    (clone / listed).write_text(entries, encoding="utf-8")


QUESTION = ("question", FILE, LINE, "my_tasks.json", LIST)
PLACE = ("sentence_place", PLACE_FILE, PLACE_LINE, "place_tasks.json", PLACE_LIST)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of the repository with a corpus, an interpreter, and with what the page adds to it."""
    clone = copied(tmp_path_factory.mktemp("clone"))
    scripts = clone / ".venv" / "bin"
    scripts.mkdir(parents=True)
    (scripts / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (scripts / "python").chmod(0o755)
    for task in (QUESTION, PLACE):
        add_task(clone, *task)
    (clone / "electra_tasks.json").write_text(ELECTRA_LIST, encoding="utf-8")
    return clone


def changed(clone):
    """Files of the copy's code, configuration and root that the repository lacks or has otherwise."""
    found = [path for path in clone.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    names = [path.relative_to(clone) for path in found]
    return {
        str(name)
        for name in names
        if name.parts[0] not in ("corpus", "output")
        if not (ROOT / name).is_file() or (ROOT / name).read_bytes() != (clone / name).read_bytes()
    }


def run_in(clone, *command):
    """Standard output of a Python command in the copy."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=clone,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout + done.stderr


def test_a_head_that_predicts_no_classes_is_a_file_a_line_and_an_entry(tmp_path):
    """Nothing else of the project is changed; shards are built, the task is trained, and its loss falls."""
    clone = copied(tmp_path)
    add_task(clone, *PLACE)
    assert changed(clone) == {"pretrain/__init__.py", "pretrain/tasks/sentence_place.py", "place_tasks.json"}
    own = clone / "output" / "own"
    run_in(
        clone, "-m", "pretrain.build_vocab", "--input", "corpus/train/*.txt", "--size", 300, "--output", own / "v.txt"
    )
    for part in ("train", "valid"):
        flags = ["--segmenter", "english", "--max_seq_len", 64, "--tasks", "sentence_place", "--num_workers", 0]
        paths = ["--input", f"corpus/{part}/*.txt", "--output", own / part, "--vocab_path", own / "v.txt"]
        run_in(clone, "-m", "pretrain.build_data", *paths, *flags)
    check_places(own, run_in(clone, "-m", "pretrain.inspect", shard_of(own), "--vocab_path", own / "v.txt"))
    config = {**json.loads((clone / "config" / "ernie2_mini_en.json").read_text()), "hidden_size": 32}
    config.update(num_hidden_layers=1, num_attention_heads=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    (own / "tiny.json").write_text(json.dumps(config))
    flags = {
        "task_list": "place_tasks.json", "task_data": own, "scale_steps": 0.005, "checkpoints": own / "run",
        "ernie_config_path": own / "tiny.json", "vocab_path": own / "v.txt", "max_seq_len": 64, "batch_size": 16,
        "learning_rate": 3e-3, "warmup_steps": 10, "skip_steps": 10, "validation_steps": 25, "save_steps": 100,
        "use_cuda": "false",
    }  # fmt: skip
    log = run_in(clone, "train.py", *(word for name, value in flags.items() for word in (f"--{name}", value)))
    validated, trained = records(own / "run", "dev"), records(own / "run", "train")
    assert [record["step"] for record in validated] == [25, 50, 75, 100]
    assert validated[-1]["loss"] < 0.03 < 0.08 < trained[0]["loss"]  # the variance of the places is about 0.13
    assert validated[-1]["explained"] > 0.75
    assert re.search(r"task: sentence_place, step: 100, loss: 0\.0\d+, explained: 0\.\d+, speed: ", log)
    described = json.loads((own / "run" / "last" / "checkpoint.json").read_text())
    assert described["tasks"] == {"sentence_place": {"task_id": 12, "head": {}}}
    assert (own / "run" / "last" / "sentence_place_fc.w_0").is_file()


def shard_of(own):
    return own / "train" / "sentence_place" / "shards" / "stories-00000.gz"


def check_places(own, shown):
    """Every paragraph gives its sentences from place 0 to 1; stats.json counts them; inspect shows the numbers."""
    lines = gzip.decompress(shard_of(own).read_bytes()).decode().splitlines()
    places = [float(line.split(";")[4]) for line in lines]
    begins = [number for number, place in enumerate(places) if place == 0.0]
    for begin, end in zip(begins, [*begins[1:], len(places)]):
        assert places[begin:end] == [number / (end - begin - 1) for number in range(end - begin)]
    assert {end - begin for begin, end in zip(begins, begins[1:])} == {4, 5}
    stats = json.loads((own / "train" / "sentence_place" / "stats.json").read_text())
    assert stats["instances"] == len(lines) == sum(stats["lengths"].values())
    assert "classes" not in stats
    assert re.search(r"^line 1: \d+ tokens, number 0\n  \[CLS\] ", shown, re.MULTILINE)


@pytest.mark.slow
def test_every_command_runs_as_printed(clone):
    """In one shell, as a reader would."""
    environment = clean_environment(PATH=f"{clone / '.venv/bin'}:/usr/bin:/bin")
    script = "set -ex\n" + "".join(blocks("sh"))
    done = subprocess.run(
        ["sh", "-c", script], cwd=clone, env=environment, capture_output=True, text=True, check=False, timeout=1500
    )
    assert done.returncode == 0, done.stderr[-4000:]
    own = clone / "output" / "own"
    check_training(own / "trial", own / "with_questions")
    stats = json.loads((own / "train/question/stats.json").read_text())
    assert list(stats["classes"]) == ["statement", "question"]
    assert all(stats["classes"].values())
    electra = records(own / "electra", "dev")[-1]
    assert (electra["task"], electra["step"]) == ("replaced_token_detection", 20)
    assert 0 < electra["replaced"] < 0.2
    places = records(own / "places", "dev")
    assert {record["task"] for record in places} == {"sentence_place"}
    assert places[-1]["step"] == 100
    assert places[-1]["loss"] < places[0]["loss"]
    for how in ("with", "without"):
        log = own / how / "en_glue/ernie_base/SST-2/seed_1/train.log"
        assert "[dev evaluation]" in log.read_text(encoding="utf-8")
    assert "--task_list" in done.stdout  # of the dry run


def records(run, event):
    """The records of an event in metrics.jsonl."""
    found = read_records(run)
    return [record for record in found if record["event"] == event]


def check_training(first, second):
    """Both runs trained and validated their tasks; the second went on where the first ended and tells its accuracy."""
    old = {"knowledge_masking", "capitalization", "token_document_relation", "sentence_reordering"}
    assert {record["task"] for record in records(first, "dev")} == old
    validated = records(second, "dev")
    assert {record["task"] for record in validated} == {*old, "question"}
    assert all(0 <= record["acc"] <= 1 for record in validated if record["task"] == "question")
    assert min(record["step"] for record in records(second, "train")) > 20
    for run, steps in ((first, 20), (second, 29)):
        assert (run / "last").resolve().name == f"step_{steps}"
        assert (run / "params").exists()
    assert (second / "last" / "question_fc.w_0").is_file()
    assert not (first / "last" / "question_fc.w_0").exists()
