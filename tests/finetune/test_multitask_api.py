"""``finetune.train("multitask", tasks=[...])``, and where the paths of a list count from.

python -m pytest tests/finetune/test_multitask_api.py
"""

import json

import pytest

import finetune
from finetune.multitask.args import from_python, parse
from finetune.multitask.main import main
from finetune.training.result import dev_scores
from propeller.errors import UserError
from tests.helpers.tiny import make_data, make_model, sentences, write_tsv

SHARED = {"for_cn": False, "max_seq_len": 24, "batch_size": 8, "use_cuda": "false", "skip_steps": 100}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, and a task of classes and one of tags."""
    folder = tmp_path_factory.mktemp("many")
    make_model(folder / "model", num_hidden_layers=1)
    make_data(folder / "data")
    for name, count, seed in (("train", 40, 1), ("dev", 13, 2)):
        rows = [text for _, text in sentences(count, seed)]
        tags = [" ".join("B-A" if word in ("good", "bad") else "O" for word in text.split()) for text in rows]
        write_tsv(folder / "data" / f"tags_{name}.tsv", list(zip(tags, rows)))
    (folder / "data/tags.json").write_text(json.dumps({"B-A": 0, "I-A": 1, "O": 2}))
    (folder / "tasks.json").write_text(json.dumps({"tasks": tasks()}))
    return folder


def tasks(place=lambda name: name):
    """The two tasks, with the places of their files."""
    one = {"name": "one", "task": "classify", "train_set": place("train.tsv"), "dev_set": place("dev.tsv")}
    other = {"name": "tags", "task": "sequence_label", "train_set": place("tags_train.tsv"),
             "dev_set": place("tags_dev.tsv"), "label_map_config": place("tags.json")}  # fmt: skip
    return [one, other]


def words(flags):
    return [word for name, value in flags.items() for word in (f"--{name}", str(value))]


def test_the_same_flags_as_those_of_the_command(folder, monkeypatch):
    """From dicts with paths, from dicts with a directory, from a list's file, and from the command."""
    shared = {**SHARED, "learning_rate": 1e-3, "checkpoints": "out"}
    data = folder / "data"
    made = [
        from_python({"tasks": tasks(lambda name: data / name), "model": folder / "model", **shared}),
        from_python({"tasks": tasks(), "data_dir": data, "model": str(folder / "model"), **shared}),
        from_python({"tasks": folder / "tasks.json", "data_dir": str(data), "model": folder / "model", **shared}),
    ]
    given = {"tasks": folder / "tasks.json", "data_dir": data, "model": folder / "model", **shared}
    wanted = parse("t", words(given)).entries
    assert [(entry.name, entry.task) for entry in wanted] == [("one", "classify"), ("tags", "sequence_label")]
    for found in made:
        assert found.entries == wanted
    assert wanted[1].args.data.train_set == str(data / "tags_train.tsv")
    monkeypatch.chdir(data)
    near = from_python({"tasks": tasks(), "model": folder / "model", **shared})
    assert near.entries[0].args.data.train_set == "train.tsv"
    assert near.path == "tasks"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": None}, "tasks is missing: give the tasks as dicts, or the path of a JSON file"),
        ({"tasks": []}, "tasks: there is none: give one task or more"),
        ({"tasks": ["one"]}, "tasks, task 1: give an object such as"),
        ({"tasks": [{"name": "one"}]}, 'tasks, task 1: "task" is missing'),
        ({"learning_rat": 1}, "unknown argument learning_rat: did you mean learning_rate"),
        ({"dev_set": "dev.tsv"}, "--dev_set is of one task: give it in tasks"),
        ({"do_train": False}, "--do_train false: evaluate the checkpoint of one task"),
        ({"learning_rate": "high"}, r"tasks, task 1 \(one\): learning_rate is 'high': give a number"),
        (
            {"data_dir": "/no/such"},
            "--data_dir /no/such: no such directory; give the one that the paths of tasks count",
        ),
    ],
    ids=["none", "empty", "text", "task", "misspelt", "of one", "do_train", "type", "data_dir"],
)
def test_mistakes_are_one_line(changes, message, folder):
    given = {"tasks": tasks(), "data_dir": folder / "data", "model": folder / "model", **SHARED, **changes}
    with pytest.raises(UserError, match=message):
        finetune.train("multitask", **given)


def test_an_unknown_task_hears_of_several():
    with pytest.raises(UserError, match="task 'multi' is unknown: give one of classify, .*, or multitask"):
        finetune.train("multi")


def test_scores_of_one_task(tmp_path):
    records = [
        {"event": "dev", "step": 4, "task": "one", "acc": 0.5}, {"event": "dev", "step": 4, "task": "tags", "f1": 0.75},
        {"event": "dev", "step": 8, "task": "one", "acc": 0.25},
    ]  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert dev_scores(tmp_path, 4, "tags") == {"f1": 0.75}
    assert dev_scores(tmp_path, 8, "one") == {"acc": 0.25}
    assert dev_scores(tmp_path, 8, "tags") == {}


@pytest.mark.slow
def test_a_run_gives_scores_and_checkpoints_of_each_task(folder, tmp_path):
    """And it is the run of the command, which finds it finished."""
    given = {"data_dir": folder / "data", "model": folder / "model", **SHARED, "max_steps": 8, "validation_steps": 4,
             "learning_rate": 4e-3, "checkpoints": tmp_path / "run"}  # fmt: skip
    result = finetune.train("multitask", tasks=tasks(), **given)
    assert (result.folder, result.step) == (tmp_path / "run", 8)
    assert set(result.scores) == {"one", "tags"}
    records = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    best = {record["task"]: record for record in records
            if record["event"] == "dev" and record["step"] == result.best_step}  # fmt: skip
    assert result.scores["one"]["acc"] == best["one"]["acc"]
    assert result.scores["tags"]["f1"] == best["tags"]["f1"]
    with finetune.load(result.folder / "tags/best", use_cuda=False) as predictor:
        assert predictor.spec.task == "sequence_label"
    before = (tmp_path / "run/run.json").read_bytes()
    main("t", words({"tasks": folder / "tasks.json", **given}))
    assert (tmp_path / "run/run.json").read_bytes() == before
    assert finetune.train("multitask", tasks=tasks(), **given) == result
