"""Several tasks over one encoder: the order of steps, a run, its checkpoints, what is refused.

python -m pytest tests/finetune/test_multitask.py            # what takes seconds
python -m pytest tests/finetune/test_multitask.py -m slow    # the runs
"""

import json
import logging
import re
import subprocess
import sys

import numpy as np
import pytest

import finetune
from ernie.checkpoint import read_params
from finetune.multitask import runner as multitask
from finetune.multitask.args import parse, read_list
from finetune.multitask.main import main
from finetune.multitask.mixture import Endless, shares, step_order
from finetune.prediction import main as prediction
from finetune.spec import stored_task
from propeller import log as log_setup
from propeller.errors import UserError
from propeller.variables import write_variable
from reader.pretraining.mixture import Mixture
from reader.task_reader import TaskReader
from tests.helpers.common import ROOT
from tests.helpers.predicting import words
from tests.helpers.tiny import VOCABULARY, flags, make_data, make_model, sentences, write_tsv
from tokenization import build_tokenizer

RUN = {"learning_rate": 4e-3, "warmup_proportion": 0, "epoch": 25, "batch_size": 8, "validation_steps": 30,
       "save_steps": 0, "skip_steps": 10, "test_set": None, "test_save": None, "train_set": None,
       "dev_set": None}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, two classification tasks with opposite labels and one of tags, and a list of them."""
    folder = tmp_path_factory.mktemp("many")
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # so small a network learns surely
    make_model(folder / "model", num_hidden_layers=1, **dropout)
    make_data(folder / "data")
    for name, count, seed in (("train", 40, 1), ("dev", 13, 2), ("test", 7, 3)):
        rows = sentences(count, seed)
        write_tsv(folder / "data" / f"other_{name}.tsv", [("no" if label else "yes", text) for label, text in rows])
        tags = [" ".join("B-A" if word in ("good", "bad") else "O" for word in text.split()) for _, text in rows]
        write_tsv(folder / "data" / f"tags_{name}.tsv", [(tag, text) for tag, (_, text) in zip(tags, rows)])
    (folder / "tags.json").write_text(json.dumps({"B-A": 0, "I-A": 1, "O": 2}))
    write_list(folder / "tasks.json", entries())
    return folder


def entries(**changes):
    """The three tasks; files count from the list's folder."""
    found = []
    for name, task, stem in (
        ("one", "classify", ""),
        ("two", "classify", "other_"),
        ("tags", "sequence_label", "tags_"),
    ):
        files = {f"{kind}_set": f"data/{stem}{kind}.tsv" for kind in ("train", "dev", "test")}
        found.append({"name": name, "task": task, **files, **changes})
    found[2]["label_map_config"] = "tags.json"
    return found


def write_list(path, tasks):
    path.write_text(json.dumps({"tasks": tasks}))
    return path


def given(folder, out, tasks="tasks.json", **changes):
    return ["--tasks", str(folder / tasks), *flags(folder / "model", folder / "data", out, **{**RUN, **changes})]


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


# ---------------------------------------------------------------- the order of steps


@pytest.mark.parametrize(
    ("weights", "total", "wanted"),
    [
        (None, 8, {"a": 6, "b": 2}),
        ({"a": 1.0, "b": 1.0}, 8, {"a": 4, "b": 4}),
        ({"a": 1000.0, "b": 1.0}, 8, {"a": 7, "b": 1}),
        ({"a": 1.0, "b": 1.0}, 3, {"a": 2, "b": 1}),
    ],
)
def test_steps_are_shared_by_weight(weights, total, wanted):
    assert shares({"a": 30, "b": 10}, weights, total) == wanted


def test_the_order_depends_on_the_seed_alone():
    counts = {"a": 30, "b": 10}
    order = step_order(counts, seed=1)
    turns = [order(step) for step in range(40)]
    assert {name: turns.count(name) for name in counts} == counts
    again = step_order(counts, seed=1)
    assert [again(step) for step in reversed(range(40))] == turns[::-1]
    assert [step_order(counts, seed=2)(step) for step in range(40)] != turns
    assert order(41) == turns[-1]


def test_the_mixture_goes_on_where_it_was(folder):
    """Through several passes over the files, with batches accumulated, and in two processes."""
    tokenizer = build_tokenizer("FullTokenizer", str(folder / "model" / "vocab.txt"), True, False)

    def mixture(rank=0, size=1):
        given = {"max_seq_len": 24, "batch_size": 8, "shuffle": True, "seed": 1, "epochs": 99, "num_labels": 2,
                 "rank": rank, "world_size": size, "even": True}  # fmt: skip
        files = {"one": "train.tsv", "two": "test.tsv"}
        readers = {
            name: Endless(TaskReader(folder / "data" / file, tokenizer, **given)) for name, file in files.items()
        }
        return Mixture(readers, step_order({"one": 8, "two": 4}, 3), batches_per_step=2, total_steps=12)

    whole = list(mixture().batches())
    assert len(whole) == 24
    for place in (1, 7, 16):
        start = json.loads(json.dumps(whole[place - 1][1].to_dict()))
        rest = list(mixture().batches(start))
        assert [position for _, position in rest] == [position for _, position in whole[place:]]
        assert all(
            np.array_equal(one["src_ids"], other["src_ids"]) for (one, _), (other, _) in zip(rest, whole[place:])
        )
    ranks = [list(mixture(rank, 2).batches()) for rank in range(2)]
    assert [position.to_dict() for _, position in ranks[0]] == [position.to_dict() for _, position in ranks[1]]


# ---------------------------------------------------------------- a run


@pytest.mark.parametrize(("given_file", "wanted"), [(None, "out/train.log"), ("own.log", "own.log"), ("off", None)],
                         ids=["auto", "own", "off"])  # fmt: skip
def test_where_the_log_goes(given_file, wanted, folder, tmp_path, monkeypatch):
    def run(*_):
        logging.getLogger("ernie.finetune").info("trained")
        log_setup.write_held()

    monkeypatch.setattr(multitask, "run", run)
    monkeypatch.chdir(folder)  # where "auto" was once a file
    before = set(folder.rglob("*"))
    own = {} if given_file is None else {"log_file": given_file if given_file == "off" else tmp_path / given_file}
    main("python -m finetune multitask", given(folder, tmp_path / "out", **own))
    assert set(folder.rglob("*")) == before
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert found == ([tmp_path / wanted] if wanted else [])
    assert all("trained" in path.read_text() for path in found)


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "many"
    assert main("python -m finetune multitask", given(folder, out)) == 0
    return out


@pytest.mark.slow
def test_every_task_is_learnt_and_has_a_checkpoint(run, folder, tmp_path):
    """Two heads of one kind do not meet, though their labels are opposite."""
    dev = [record for record in records(run) if record["event"] == "dev"]
    assert {record["task"] for record in dev} == {"one", "two", "tags"}
    best = max(sum(r["score"] for r in dev if r["step"] == step) for step in {r["step"] for r in dev})
    step = json.loads((run / "best" / "checkpoint.json").read_text())["step"]
    assert sum(r["score"] for r in dev if r["step"] == step) == pytest.approx(best)
    assert all(r["acc"] > 0.9 for r in dev if r["step"] == step and r["task"] != "tags")
    predictors = {name: finetune.load(run / name / "best", use_cuda="false") for name in ("one", "two", "tags")}
    assert [predictors[name].describe().get("pairs") for name in ("one", "tags")] == [False, None]
    answers = {name: predictor(["the film was good", "a bad cast"]) for name, predictor in predictors.items()}
    assert [answer["label"] for answer in answers["one"]] == ["1", "0"]
    assert [answer["label"] for answer in answers["two"]] == ["no", "yes"]
    assert [answer["entities"][0]["text"] for answer in answers["tags"]] == ["good", "bad"]
    whole, one, two = (read_params(run / place) for place in ("best", "one/best", "two/best"))
    assert np.array_equal(whole["one@_cls_out_w"], one["_cls_out_w"])
    assert np.array_equal(whole["word_embedding"], two["word_embedding"])
    assert not np.array_equal(one["_cls_out_w"], two["_cls_out_w"])
    assert len((run / "two_test.tsv").read_text(encoding="utf8").splitlines()) == 7  # the lines of 2019
    out = tmp_path / "out.tsv"
    prediction.main(
        "python -m finetune.prediction",
        (),
        words(init_checkpoint=run / "one/best", predict_set=folder / "data/test.tsv", output=out),
    )
    assert len(out.read_text(encoding="utf8").splitlines()) == 8


@pytest.mark.slow
def test_the_same_command_says_that_it_is_finished(run, folder, caplog):
    with caplog.at_level("INFO"):
        main("python -m finetune multitask", given(folder, run))
    for ask in (finetune.load, stored_task):
        with pytest.raises(
            UserError, match=r"holds several tasks \(one, tags, two\): give the checkpoint of one, as .*one/best"
        ):
            ask(run / "best")
    with pytest.raises(UserError, match="holds another run"):
        main("python -m finetune multitask", given(folder, run, learning_rate=1e-3))


@pytest.mark.slow
def test_the_log_lies_with_the_run(run):
    lines = (run / "train.log").read_text(encoding="utf8")
    for told in ("\ttask one: classify", "max_seq_len: 24", "flags: ", "hidden_act: gelu", "steps of each task: "):
        assert told in lines
    assert re.search(r"best: step \d+, one acc \S+, two acc \S+, tags f1 \S+\n", lines)
    assert not (ROOT / "auto").exists()


def test_no_log_is_left_of_a_run_that_never_began(folder, tmp_path):
    with pytest.raises(UserError, match="max_position_embeddings"):
        main("x", given(folder, tmp_path / "out", max_seq_len=4000))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_directory_gives_the_encoder_to_every_kind_of_task(run, folder, tmp_path):
    """--model, a fine-tuned checkpoint too; options, templates and sentence vectors beside classes."""
    random, data = np.random.RandomState(6), folder / "data"
    prompted = make_model(tmp_path / "model", num_hidden_layers=1)
    for name, shape in {"trans_fc.w_0": (32, 32), "trans_fc.b_0": 32, "trans_layer_norm_scale": 32,
                        "trans_layer_norm_bias": 32, "out_fc.b_0": len(VOCABULARY)}.items():  # fmt: skip
        write_variable(prompted / "params" / f"mask_lm_{name}", random.randn(*np.atleast_1d(shape)).astype("float32"))
    rows = [(number % 2, text, "good|bad") for number, (_, text) in enumerate(sentences(16, 4))]
    write_tsv(data / "choices.tsv", rows, ("label", "text_a", "choices"))
    write_tsv(data / "near.tsv", [(number % 5, "good film", text) for number, (_, text, _) in enumerate(rows)],
              ("label", "text_a", "text_b"))  # fmt: skip
    of_choices, of_texts = ({"train_set": str(data / name), "dev_set": str(data / name)}
                            for name in ("choices.tsv", "train.tsv"))  # fmt: skip
    tasks = [
        {"name": "options", "task": "multiple_choice", **of_choices},
        {"name": "words", "task": "prompt", **of_texts, "label_words": "0=bad,1=good"},
        {"name": "near", "task": "sentence_vectors", "train_set": str(data / "train.tsv"),
         "dev_set": str(data / "near.tsv"), "pooling": "max"},
        {"name": "one", "task": "classify", **of_texts},
    ]  # fmt: skip
    write_list(folder / "kinds.json", tasks)
    parts = {"ernie_config_path": None, "vocab_path": None, "init_pretraining_params": None, "max_steps": 8}
    out = tmp_path / "kinds"
    assert main("x", [*given(folder, out, "kinds.json", **parts), "--model", str(prompted)]) == 0
    wanted = {"options": (False, "cls"), "words": (False, "mean"), "near": (None, "max"), "one": (False, "cls")}
    for name, (pairs, pooling) in wanted.items():
        with finetune.load(out / name / "best", use_cuda="false") as predictor:
            assert predictor.describe().get("pairs") in (pairs, None)
            vector = predictor.embed(["a good film"])
            assert np.array_equal(vector, predictor.embed(["a good film"], pooling=pooling))
    write_list(folder / "again.json", tasks[3:])
    parts.update(max_steps=1, learning_rate=1e-9)
    model = ["--model", str(run / "one" / "best")]
    assert main("x", [*given(folder, tmp_path / "again", "again.json", **parts), *model]) == 0
    one, other = (read_params(tmp_path / "again" / "last"), read_params(run / "one" / "best"))
    assert np.allclose(one["word_embedding"], other["word_embedding"], atol=1e-6)
    assert not np.allclose(one["one@_cls_out_w"], other["_cls_out_w"], atol=1e-6)


@pytest.mark.slow
def test_an_interrupted_run_ends_as_a_whole_one(folder, tmp_path):
    """Bit for bit; with options of one task's loss, weights of the mixture and batches accumulated."""
    tasks = entries()
    tasks[0].update(weight=2, label_smoothing=0.1, rdrop_alpha=0.5)
    tasks[1].update(weight=1, max_seq_len=16, class_weights="balanced")
    tasks[2].update(weight=1, fgm_epsilon=0.3)
    write_list(folder / "weighted.json", tasks)
    common = {"epoch": 1, "save_steps": 3, "validation_steps": 100, "skip_steps": 1, "gradient_accumulation_steps": 2}

    def run(name, code):
        """In a process of its own, as every run is: threads and libraries are then the same in all three."""
        command = [sys.executable, "-c", code, *given(folder, tmp_path / name, "weighted.json", **common)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    start = "import sys\nfrom finetune.multitask.main import main\nmain('x', sys.argv[1:])\n"
    stop = ("import sys\nfrom propeller.train import hooks\nfrom finetune.multitask.main import main\n"
            "def after(self, learner, state):\n    if state.step == 4: learner.ask_to_stop('SIGTERM')\n"
            "hooks.ProgressBar.after_step = after\nmain('x', sys.argv[1:])\n")  # fmt: skip
    for name, code, status in (("whole", start, 0), ("parts", stop, 143), ("parts", start, 0)):
        done = run(name, code)
        assert done.returncode == status, done.stderr[-2000:]
    one, other = (read_params(tmp_path / name / "last") for name in ("whole", "parts"))
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_two_processes_make_the_run_of_one(folder, tmp_path):
    """The loss of tags is a mean over padding, too, so theirs is another; that of classes is not."""
    write_list(folder / "classes.json", entries()[:2])
    found = []
    for name, size, launch in (("one", 8, ()), ("two", 4, ("finetune_launch.py", "--nproc_per_node", "2"))):
        changes = {"epoch": 1, "batch_size": size, "head_dropout": 0}
        given_words = given(folder, tmp_path / name, "classes.json", **changes)
        command = [sys.executable, *launch, "finetune/__main__.py", "multitask", *given_words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, done.stderr[-3000:]
        found.append([record for record in records(tmp_path / name) if record["event"] == "dev"])
        assert (tmp_path / name / "train.log").read_text(encoding="utf8").count("\tfinished; a checkpoint") == 1
    assert len(found[0]) == len(found[1]) == 2
    for one, other in zip(*found):
        assert one["task"] == other["task"]
        assert one["data_num"] == other["data_num"] == 13
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-4)


def test_a_task_lists_its_dev_and_test_sets(folder, tmp_path):
    tasks = entries()[:1]
    lists = {"dev_set": ["data/dev.tsv", "data/other_dev.tsv"], "test_set": ["data/test.tsv"], "class_weights": [1, 2]}
    tasks[0].update(lists)
    shared = {"checkpoints": "out", "ernie_config_path": "c", "vocab_path": "v"}
    (entry,) = read_list(str(write_list(tmp_path / "tasks.json", tasks)), shared, str(folder))
    assert entry.args.data.dev_set == f"{folder}/data/dev.tsv,{folder}/data/other_dev.tsv"
    assert entry.args.data.test_set == f"{folder}/data/test.tsv"
    assert entry.args.loss.class_weights == "1,2"


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "clasify"}, "task 1 (one): task 'clasify' is unknown: give one of classify"),
        ({"name": "best"}, 'task 1 (best): "name" must be letters, digits'),
        ({"name": "two"}, "two tasks have the name 'two'"),
        ({"weight": 0}, '"weight" must be a number above 0, not 0'),
        ({"weight": 1}, "two has no weight and others have: give every task one, or none"),
        ({"learning_rate": 1e-3}, '"learning_rate" is no flag of the task classify or its files'),
        ({"max_seq_len": "long"}, "task 1 (one): max_seq_len is 'long': give a whole number"),
        ({"train_set": None}, '"train_set" is missing'),
        ({"dev_set": ["dev.tsv", None]}, "task 1 (one): dev_set has None: each member is a text without commas"),
        ({"dev_set": 3}, "task 1 (one): dev_set is 3: give a text or a list of them"),
        ({"tune_threshold": "one", "multi_label": True}, "tune_threshold is for a run of the task alone"),
    ],
)
def test_a_wrong_list(changes, message, folder, tmp_path):
    tasks = entries()
    tasks[0].update(changes)
    path = write_list(tmp_path / "tasks.json", tasks)
    with pytest.raises(UserError) as error:
        read_list(str(path), {"checkpoints": "out", "ernie_config_path": "c", "vocab_path": "v"})
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--train_set", "x"], "--train_set is of one task: give it in"),
        (["--do_train", "false"], "--do_train false: evaluate the checkpoint of one task"),
        (["--ema_decay", "0.9"], "--ema_decay and --swa_start average the weights of one task's steps"),
        (["--init_checkpoint", "x"], "--init_checkpoint is of one task"),
        (["--eval_strategy", "epoch"], "several tasks have no common end of an epoch"),
    ],
)
def test_flags_of_one_task(more, message, folder, tmp_path):
    with pytest.raises(UserError) as error:
        parse("x", [*given(folder, tmp_path / "out"), *more])
    assert message in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", '{"tasks": []}', '{"task": [1]}'])
def test_no_list(text, tmp_path):
    path = tmp_path / "tasks.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"tasks.json: (line 1: not JSON|give an object)"):
        read_list(str(path), {})
    with pytest.raises(UserError, match="cannot be read"):
        read_list(str(tmp_path / "no.json"), {})


def test_what_has_nothing_to_train_is_refused(folder, tmp_path):
    tasks = [{**entries()[0], "task": "embed", "train_set": str(folder / "data" / "train.tsv")}]
    path = write_list(tmp_path / "tasks.json", tasks)
    with pytest.raises(UserError, match="task one: embed has nothing to train: take it out"):
        main("x", [*given(folder, tmp_path / "out"), "--tasks", str(path)])


def test_networks_of_their_own_are_refused(folder, tmp_path):
    tasks = entries()
    tasks[0].update(task="student")
    path = write_list(tmp_path / "tasks.json", [{**tasks[0], "train_set": str(folder / "data" / "train.tsv")}])
    with pytest.raises(UserError, match="task one: "):
        main("x", [*given(folder, tmp_path / "out"), "--tasks", str(path)])
