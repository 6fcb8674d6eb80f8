"""The benchmark of continual pre-training: the same steps for every way, and figures told as they are."""

import gzip
import json
from types import SimpleNamespace

import pytest

from benchmark import continual
from benchmark.parts.pretraining_cells import TASKS
from pretrain import TASKS as PRETRAINING_TASKS
from pretrain.training.schedule import StepPlan
from pretrain.training.task_list import read_task_list

STEPS = 400
FIGURES = {"knowledge_masking": 250.25, "sentence_distance": 0.5}


def entries(tmp_path, method):
    pretraining = object.__new__(continual.Pretraining)
    pretraining.steps = STEPS
    pretraining.lists = {
        (name, part): tmp_path / f"{name}{part}" for name in continual.LEARNT for part in ("", "_valid")
    }
    path = tmp_path / "list.json"
    path.write_text(json.dumps({"tasks": pretraining.entries(method)}))
    return read_task_list(path)


def test_every_way_begins_with_the_weights_of_the_short_instances(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(continual, "pretrain", lambda corpus, folder, entries, flags, *_: calls.append((folder, flags)))
    pretraining = object.__new__(continual.Pretraining)
    pretraining.corpus, pretraining.steps, pretraining.rate = SimpleNamespace(folder=tmp_path), STEPS, 0.001
    pretraining.lists = {(name, part): tmp_path for name in continual.LEARNT for part in ("", "_valid")}
    pretraining.threads, pretraining.end = 1, 0
    for known in (10, 20):
        pretraining.short = SimpleNamespace(known=known, params=tmp_path / "params")
        for method in continual.SCHEDULES:
            assert pretraining.run(method, 1) is None, "it was stopped"
    assert all(flags["init_pretraining_params"] == tmp_path / "params" for _, flags in calls)
    assert all(flags["learning_rate"] == 0.001 for _, flags in calls)
    assert len({folder for folder, _ in calls}) == 2 * len(continual.SCHEDULES)


@pytest.mark.parametrize("method", continual.SCHEDULES)
def test_every_way_has_the_same_steps_and_is_looked_at_where_its_stages_end(tmp_path, method):
    plan = StepPlan(entries(tmp_path, method), continual.SCHEDULES[method], seed=1)
    assert plan.total == STEPS
    ends = [stage.first for stage in plan.stages[1:]] + [plan.total]
    borders = continual.borders(method, STEPS)
    assert borders[-1] == STEPS
    assert set(ends) <= set(borders)
    assert all(border % continual.check_every(method, STEPS) == 0 for border in borders)
    counts = {name: sum(plan.task(step) == name for step in range(STEPS)) for name in plan.names}
    alone = method == continual.ALONE
    assert counts == ({continual.MASKING: STEPS} if alone else dict.fromkeys(continual.LEARNT, STEPS // 4))


def test_a_task_enters_with_every_stage_of_continual(tmp_path):
    plan = StepPlan(entries(tmp_path, continual.CONTINUAL), "continual")
    assert [stage.enters for stage in plan.stages] == [(name,) for name in continual.LEARNT]
    assert [len(stage.counts) for stage in plan.stages] == [1, 2, 3, 4]
    assert set(continual.LEARNT) <= set(PRETRAINING_TASKS)
    order = list(PRETRAINING_TASKS)
    assert {name: order.index(name) for name in continual.LEARNT} == continual.IDS


def test_held_out_figures_are_those_of_the_dev_records():
    found = [
        {"event": "train", "step": 20, "loss": 1.0},
        {"event": "dev", "task": "knowledge_masking", "step": 20, "loss": 5.0, "ppl": 148.0},
        {"event": "dev", "task": "sentence_distance", "step": 20, "loss": 1.0, "acc": 0.1, "balanced_acc": 0.5},
        {"event": "dev", "task": "sentence_distance", "step": 40, "loss": 1.0, "acc": 0.1, "balanced_acc": 0.75},
    ]
    assert continual.held_out(found) == {
        "knowledge_masking": [[20, 148.0]],
        "sentence_distance": [[20, 0.5], [40, 0.75]],
    }


def test_held_out_text_is_thinned_evenly(tmp_path):
    (tmp_path / "shards").mkdir()
    for number in range(2):
        with gzip.open(tmp_path / f"shards/{number}.gz", "wb") as file:
            file.writelines(b"%d %d\n" % (number, line) for line in range(3 * continual.HELD_OUT // 2))
    (tmp_path / "filelist").write_text("shards/0.gz\t1\nshards/1.gz\t1\n")
    made = continual.thinned(tmp_path / "filelist", tmp_path / "few")
    lines = gzip.decompress((made.parent / made.read_text().split("\t")[0]).read_bytes()).splitlines()
    assert len(lines) == len(set(lines)) == continual.HELD_OUT
    assert sum(line.startswith(b"0") for line in lines) == continual.HELD_OUT // 2
    again = continual.thinned(made, tmp_path / "all")
    assert gzip.decompress((again.parent / "held_out.gz").read_bytes()).splitlines() == lines


def test_seeds_are_averaged_where_all_of_them_have_a_step():
    assert continual.mean_curve([[[20, 0.5], [40, 0.75]], [[20, 0.25], [60, 1.0]]]) == [(20, 0.375)]
    assert continual.mean_curve([]) == []


def test_the_report_leaves_out_what_was_not_measured(tmp_path, capsys):
    learnt = {
        (method, 1): {name: [[STEPS, figure]] for name, figure in FIGURES.items()}
        for method in (continual.MIXED, continual.CONTINUAL)
    }
    curves = continual.curves_of(learnt, [1])
    assert set(curves) == {(m, n) for m in (continual.MIXED, continual.CONTINUAL) for n in FIGURES}
    continual.report_held_out(curves, STEPS)
    assert f"| all from the start, 1 | {STEPS} | 250.2 | 50.00 |  |  |" in capsys.readouterr().out
    tuned = {
        (task.name, method, 1): {task.score: 0.75}
        for task in TASKS
        for method in (continual.SHORT, *continual.SCHEDULES)
    }
    assert continual.report_fine_tuning(tuned, [1])
    assert "| continual | 75.00 | 75.00 | 75.00 |" in capsys.readouterr().out
    assert not continual.report_fine_tuning(tuned, [1, 2])
    del tuned[TASKS[0].name, continual.ALONE, 1]
    assert not continual.report_fine_tuning(tuned, [1])


def test_forgetting_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    curves = {("continual", name): [(20, figure), (STEPS, figure)] for name, figure in FIGURES.items()}
    continual.draw(curves, STEPS, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
