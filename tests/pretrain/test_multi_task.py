"""train.py --task_list: several tasks over one encoder: log, moments, continuing, adding a task, errors."""

import json
import re
import shutil
from contextlib import redirect_stderr
from io import StringIO

import numpy as np
import pytest

from ernie.checkpoint import read_params
from pretrain.training.args import parse
from pretrain.training.growth import load_grown
from pretrain.training.runner import Pretrainer, main
from propeller.errors import UserError
from propeller.train.saver import read_training_state
from tests.helpers.class_shards import PLACES, TASKS, make_task_shards, sentence_lines, task_flags, write_list
from tests.helpers.common import ROOT
from tests.helpers.pretraining import write_shard
from tests.helpers.runs import in_processes, log_of, read_records
from tests.helpers.tiny import flags, make_model
from tests.helpers.weights import assert_close_weights, assert_same_weights

MASKING, DISTANCE, CAPITAL = (task["name"] for task in TASKS)
NUMBER = r"\d+\.\d+"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model") / "tiny", use_task_id=True, task_type_vocab_size=4)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return make_task_shards(tmp_path_factory.mktemp("shards") / "shards")


def train(model, shards, folder, **changes):
    """The messages of the log of a run in this process."""
    return log_of(main, "train.py", task_flags(model, shards, folder, **changes))


@pytest.fixture(scope="module")
def whole(model, shards, tmp_path_factory):
    """A run of 18 steps in three stages: its folder and its log."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, train(model, shards, folder, keep_checkpoints=0, validation_steps=6)


def test_the_log_speaks_of_every_task(whole):
    _, text = whole
    assert "stage 2/3 from step 4: knowledge_masking 2, sentence_distance 4" in text
    assert re.search(
        rf"^step: 4/18, stage: 1/3, loss: {NUMBER}, speed: {NUMBER} steps/s\n"
        rf"task: knowledge_masking, loss: {NUMBER}, ppl: {NUMBER}$",
        text,
        re.M,
    )
    assert re.search(rf"^task: capitalization, loss: {NUMBER}, acc: {NUMBER}$", text, re.M)
    assert re.search(
        rf"^\[validation_set\] task: sentence_distance, step: 18, loss: {NUMBER}, acc: {NUMBER}, balanced acc: ",
        text,
        re.M,
    )
    assert "next_sent" not in re.sub(r"^.*parameters.*$", "", text, flags=re.M), "the list leaves it out"


def test_the_records_have_every_task(whole):
    folder, _ = whole
    found = read_records(folder)
    last = [record for record in found if record["event"] == "dev" and record["step"] == 18]
    assert [record["task"] for record in last] == [MASKING, DISTANCE, CAPITAL]
    scored = {record["task"]: record for record in last}
    assert scored[DISTANCE]["data_num"] == 24
    assert scored[DISTANCE]["acc"] * 24 == pytest.approx(round(scored[DISTANCE]["acc"] * 24))
    shown = {name.split("/")[0] for record in found if record["event"] == "train" for name in record if "/" in name}
    assert shown == {MASKING, DISTANCE, CAPITAL}
    # A line's loss is the mean over the examples of all its tasks, and those have their own.
    line = next(r for r in found if r["event"] == "train" and f"{MASKING}/loss" in r and f"{DISTANCE}/loss" in r)
    assert line["loss"] == pytest.approx((line[f"{MASKING}/loss"] + line[f"{DISTANCE}/loss"]) / 2, rel=1e-6)
    best = {}
    for record in found:
        if record["event"] == "dev":
            weight = 0.5 if record["task"] == CAPITAL else 1.0
            best[record["step"]] = best.get(record["step"], 0.0) + weight * record["loss"]
    assert (folder / "best").resolve().name == f"step_{min(best, key=best.get)}", "the lowest weighted sum"
    assert (folder / "curves.png").stat().st_size > 10_000


def test_the_encoder_has_one_set_of_moments_and_a_head_its_own(whole):
    """By name: a step power counts the updates of its parameter, of all tasks or of one; none decays unseen."""
    folder, _ = whole
    state, _ = read_training_state(folder / "last")
    params = read_params(folder / "last")
    for name in params:
        kept = [key for key in state if key.startswith(f"{name}_") and not key.startswith(f"{name}_fc")]
        assert sorted(key[len(name) :] for key in kept) == [
            "_beta1_pow_acc_0", "_beta2_pow_acc_0", "_moment1_0", "_moment2_0",
        ], name  # fmt: skip
    updates = {name: round(np.log(state[f"{name}_beta1_pow_acc_0"].item()) / np.log(0.9)) - 1 for name in params}
    own = {"mask_lm": 8, DISTANCE: 6, CAPITAL: 4, "pooled_fc": 6}
    for name, count in updates.items():
        expected = next((count for begin, count in own.items() if name.startswith(begin)), 18)
        assert count == expected, name
    before, after = (read_params(folder / f"step_{step}") for step in (4, 8))
    np.testing.assert_array_equal(before["capitalization_fc.w_0"], after["capitalization_fc.w_0"])
    assert (before["sentence_distance_fc.w_0"] != after["sentence_distance_fc.w_0"]).any()


@pytest.mark.slow
@pytest.mark.parametrize("step", [4, 8, 12])
def test_continued_within_a_stage_or_at_its_end_a_run_ends_alike(whole, model, shards, tmp_path, step):
    run = tmp_path / "run"
    shutil.copytree(whole[0], run, symlinks=True)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "finished": False}))
    for later in (6, 8, 12, 16, 18):
        if later > step:
            shutil.rmtree(run / f"step_{later}", ignore_errors=True)
    text = train(model, shards, run, keep_checkpoints=0, validation_steps=6)
    assert f"continue from step {step}," in text
    assert_same_weights(whole[0], run)
    shown = [
        [{**record, "speed": 0, "elapsed": 0, "queue_size": 0} for record in read_records(folder)]
        for folder in (whole[0], run)
    ]
    assert shown[0] == shown[1]


def test_a_task_may_have_a_filelist_for_each_stage(model, shards, tmp_path):
    """Here other instances from step 4 on; stopped in the second stage, the run ends with the same weights."""
    write_shard(tmp_path / "later.gz", sentence_lines(30, 5))
    (tmp_path / "later").write_text(f"{tmp_path / 'later.gz'}\t1\n")
    first = str(shards / "train" / DISTANCE / "filelist")
    task = {**TASKS[1], "start_stage": 1, "steps": [4, 4], "filelist": [first, str(tmp_path / "later")]}
    listed = write_list(tmp_path / "tasks.json", [task])
    changes = {"task_list": listed, "validation_steps": 0, "save_steps": 6, "keep_checkpoints": 0}
    text = train(model, shards, tmp_path / "whole", **changes)
    assert "stage 2/2 from step 4: sentence_distance 4" in text
    alone = write_list(tmp_path / "alone.json", [{**task, "filelist": first}])
    train(model, shards, tmp_path / "alone", **{**changes, "task_list": alone})
    weights = [read_params(tmp_path / name / "last")["word_embedding"] for name in ("whole", "alone")]
    assert (weights[0] != weights[1]).any()
    run = tmp_path / "run"
    shutil.copytree(tmp_path / "whole", run, symlinks=True)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "finished": False}))
    shutil.rmtree(run / "step_8")
    assert "continue from step 6," in train(model, shards, run, **changes)
    assert_same_weights(tmp_path / "whole", run)


@pytest.mark.slow
def test_schedules_differ_and_end_with_the_same_steps(whole, model, shards, tmp_path):
    for schedule in ("multitask", "sequential"):
        text = train(model, shards, tmp_path / schedule, schedule=schedule, save_steps=0, validation_steps=0)
        assert "step: 18/18" in text
        states = [read_training_state(folder / "last")[0] for folder in (whole[0], tmp_path / schedule)]
        name = "sentence_distance_fc.w_0_beta1_pow_acc_0"
        assert states[0][name] == states[1][name]
        weights = [read_params(folder / "last")["word_embedding"] for folder in (whole[0], tmp_path / schedule)]
        assert (weights[0] != weights[1]).any()


@pytest.mark.slow
def test_steps_are_scaled_and_the_warm_up_restarts(model, shards, tmp_path):
    changes = {"scale_steps": 0.5, "warmup_restart": "true", "skip_steps": 1, "save_steps": 0, "validation_steps": 0}
    text = train(model, shards, tmp_path / "run", lr_scheduler="noam_decay", **changes)
    rates = [float(rate) for rate in re.findall(r"current learning_rate:(\S+)", text)]
    assert len(rates) == 9
    again = rates[2], rates[5]  # the first steps of stages 2 and 3
    assert again == (rates[0], rates[0])


def test_beta2_is_that_of_the_flag(whole):
    state, _ = read_training_state(whole[0] / "last")
    assert state["word_embedding_beta2_pow_acc_0"].item() == pytest.approx(0.98**19, rel=1e-5)


@pytest.mark.slow
def test_a_weight_scales_the_gradients_of_its_task(model, shards, tmp_path):
    """After one update Adam's second moment is that of the scaled gradient; gradients here are below the clip norm."""
    moments = []
    for weight in (1.0, 0.5):
        path = tmp_path / f"{weight}.json"
        alone = {**TASKS[1], "start_stage": 1, "steps": [1], "weight": weight}
        write_list(path, [alone])
        folder = tmp_path / str(weight)
        train(model, shards, folder, task_list=path, warmup_steps=0, init_pretraining_params=model / "params")
        moments.append(read_training_state(folder / "last")[0]["sentence_distance_fc.b_0_moment1_0"])
    assert np.abs(moments[0]).max() > 0
    np.testing.assert_allclose(moments[1], moments[0] * 0.5, rtol=1e-4, atol=1e-9)


def logits(args, task, batch):
    """What a task's head tells of a batch in a run that is about to begin, and the state it begins from."""
    pretrainer = Pretrainer(args)
    learner = pretrainer._learner(pretrainer._optimization())
    begin = pretrainer._load_initial(learner)
    learner.graphs.initialise()
    return begin, learner._run(learner.graphs.predict(task), batch)


@pytest.mark.slow
def test_adding_a_task_changes_no_logit_of_the_old_heads(model, shards, tmp_path):
    """Two tasks, then a third with a row of its own in the task embedding: one command, from the last checkpoint."""
    small = make_model(tmp_path / "small", use_task_id=True, task_type_vocab_size=2)
    old = write_list(tmp_path / "old.json", [{**TASKS[0], "steps": [2, 2]}, {**TASKS[1], "steps": [2]}])
    train(small, shards, tmp_path / "old", task_list=old, save_steps=0, validation_steps=0)
    new = write_list(
        tmp_path / "new.json",
        [{**TASKS[0], "steps": [2, 2, 1]}, {**TASKS[1], "steps": [2, 1]}, {**TASKS[2], "steps": [4]}],
    )
    source = tmp_path / "old" / "last"
    more = {"task_list": new, "init_checkpoint": source}
    args = [
        parse("train.py", "", task_flags(small, shards, tmp_path / "a", task_list=old, init_pretraining_params=source)),
        parse("train.py", "", task_flags(model, shards, tmp_path / "b", **more)),
    ]
    random = np.random.RandomState(0)
    ids = random.randint(4, 20, (3, 7))
    batch = {"src_ids": ids, "sent_ids": ids * 0, "pos_ids": ids * 0 + np.arange(7), "task_ids": ids * 0 + 1}
    batch["input_mask"] = np.ones((3, 7), "float32")
    (_, before), (begin, after) = (logits(given, DISTANCE, batch) for given in args)
    assert begin.step == 6
    np.testing.assert_array_equal(before["logits"], after["logits"])

    text = train(model, shards, tmp_path / "run", **more, skip_steps=1)
    assert "go on from step 6" in text
    assert "step: 7/12, stage: 3/3" in text
    state, described = read_training_state(tmp_path / "run" / "last")
    assert described["step"] == 12
    assert round(np.log(state["word_embedding_beta1_pow_acc_0"].item()) / np.log(0.9)) == 13, "the moments go on"
    assert read_params(tmp_path / "run" / "last")["task_embedding"].shape == (4, 32)
    assert state["task_embedding_moment1_0"].shape == (4, 32)


def test_a_model_without_task_embeddings_gets_them(model, tmp_path):
    plain = make_model(tmp_path / "plain", use_task_id=False)
    wanted = {name: array.shape for name, array in read_params(model / "params").items()}
    assert "task_embedding" in wanted
    arrays, report, grown = load_grown(plain / "params", wanted, None, 1)
    assert set(wanted) - set(arrays) == {"task_embedding"}
    moments = {"word_embedding_moment1_0": np.ones((27, 32), "float32")}
    assert grown(moments)["word_embedding_moment1_0"] is moments["word_embedding_moment1_0"]


def test_do_test_scores_every_task_as_validation_does(whole, model, shards, tmp_path):
    text = train(model, shards, tmp_path / "x", do_test="true", init_checkpoint=whole[0] / "last")
    for record in read_records(whole[0]):
        if record["event"] == "dev" and record["step"] == 18:
            assert f"[test_set] task: {record['task']}, loss: {record['loss']:f}" in text
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("use_task_id", [True, False])
def test_fine_tuning_takes_the_result(whole, data, tmp_path, use_task_id):
    from finetune.training.main import main as finetune

    folder = tmp_path / "model"
    shutil.copytree(whole[0], folder, symlinks=True)
    config = json.loads((folder / "ernie_config.json").read_text())
    (folder / "ernie_config.json").write_text(json.dumps({**config, "use_task_id": use_task_id}))
    shown = StringIO()
    with redirect_stderr(shown):
        changes = {"task_id": 2} if use_task_id else {}
        finetune("run_classifier.py", "classify", flags(folder, data, tmp_path / "run", epoch=1, **changes))
    assert re.search(r"params: \d+ parameters loaded; \d+ not used: ", shown.getvalue())
    assert "step_5" in {entry.name for entry in (tmp_path / "run").iterdir()}


def test_embeddings_come_from_the_result(whole, data, tmp_path):
    from finetune.embedding.main import main as embed

    given = {
        "init_pretraining_params": whole[0] / "last",
        "vocab_path": whole[0] / "vocab.txt",
        "data_set": data / "test.tsv",
        "output_dir": tmp_path / "out",
        "use_cuda": "false",
        "task_id": 1,  # the row of any of its tasks
    }
    with redirect_stderr(StringIO()):
        embed("ernie_encoder.py", [word for name, value in given.items() for word in (f"--{name}", str(value))])
    vectors = np.load(tmp_path / "out" / "cls_emb.npy")
    assert vectors.shape[1] == 32
    assert np.isfinite(vectors).all()


def test_masks_are_filled_by_a_checkpoint_of_several_tasks(whole, model, capsys):
    given = {"init_checkpoint": whole[0] / "last", "predict_mask": "good [MASK] film"}
    words = task_flags(model, whole[0], whole[0], **given, task_list=None, task_data=None)
    with redirect_stderr(StringIO()):
        main("train.py", words)
    assert len(capsys.readouterr().out.splitlines()) >= 5


# Mistakes, all before the first step.


# Of three classes too, over the shards of sentence distance.
OTHER_TASK = {"name": "sentence_reordering", "head": {"classes": 3}}
OTHER_TASK.update({key: f"{part}/{DISTANCE}/filelist" for key, part in PLACES.items()})


@pytest.mark.slow
def test_a_task_that_enters_too_early_for_a_checkpoint_is_named(whole, model, shards, tmp_path):
    source = whole[0] / "last"
    more = {**OTHER_TASK, "task_id": 3}
    longer = [{**TASKS[0], "steps": [4, 2, 2, 2]}, {**TASKS[1], "steps": [4, 2, 2]}, {**TASKS[2], "steps": [4, 2]}]
    listed = write_list(tmp_path / "tasks.json", [*longer, {**more, "start_stage": 2, "steps": [3, 1, 5]}])
    with pytest.raises(UserError, match=r"sentence_reordering, which .*last does not know, has 4 of its steps before"):
        train(model, shards, tmp_path / "run", task_list=listed, init_checkpoint=source)
    assert not list((tmp_path / "run").glob("step_*"))


@pytest.mark.slow
def test_ids_of_a_checkpoint_stay(whole, model, shards, tmp_path):
    source = whole[0] / "last"
    longer = [{**TASKS[0], "steps": [4, 2, 3]}, TASKS[1], TASKS[2]]
    other = {**OTHER_TASK, "task_id": 1, "start_stage": 3, "steps": [8]}
    for entries, message in (
        ([longer[0], {**longer[1], "task_id": 2}, {**longer[2], "task_id": 1}], r"has the id 2, but 1 in .*last"),
        ([*longer[:1], *longer[2:], other], r"sentence_reordering has the id 1, that of sentence_distance in"),
    ):
        listed = write_list(tmp_path / "tasks.json", entries)
        with pytest.raises(UserError, match=message):
            train(model, shards, tmp_path / "run", task_list=listed, init_checkpoint=source)


def test_a_finished_list_needs_more_steps(whole, model, shards, tmp_path):
    with pytest.raises(UserError, match=r"is at step 18, the steps of .*tasks.json sum to 18: raise that"):
        train(model, shards, tmp_path / "run", init_checkpoint=whole[0] / "last")


@pytest.mark.slow
def test_two_processes_make_the_steps_of_one(model, shards, tmp_path):
    """A batch each, of the same task at every step, and one process that accumulates two."""
    changes = {"learning_rate": 1e-3, "validation_steps": 0, "save_steps": 0}
    train(model, shards, tmp_path / "one", gradient_accumulation_steps=2, **changes)
    words = task_flags(model, shards, tmp_path / "two", **changes)
    in_processes(2, [ROOT / "train.py", *words], cwd=tmp_path)
    assert_close_weights(tmp_path / "one", tmp_path / "two", atol=1e-4)


@pytest.mark.slow
def test_it_learns_all_of_them(model, shards, tmp_path):
    """What sentences and tokens are made of tells their classes: both heads find it, beside each other."""
    path = write_list(
        tmp_path / "tasks.json",
        [{**TASKS[1], "start_stage": 1, "steps": [150]}, {**TASKS[2], "start_stage": 1, "steps": [150], "weight": 1.0}],
    )
    train(
        model,
        shards,
        tmp_path / "run",
        task_list=path,
        validation_steps=0,
        save_steps=0,
        batch_size=16,
        learning_rate=2e-3,
    )
    found = {record["task"]: record["acc"] for record in read_records(tmp_path / "run") if record["event"] == "dev"}
    assert found[DISTANCE] >= 0.9
    assert found[CAPITAL] >= 0.9
