"""The benchmark of continual pre-training: the same steps for every way, and figures told as they are."""

import gzip
import json
import math
from types import SimpleNamespace

import pytest

from benchmark import continual
from benchmark.parts import continual_plan, continual_report, continual_scale
from benchmark.parts.continual_plan import (
    ALONE,
    CONTINUAL,
    IDS,
    MIXED,
    PIECES,
    SCHEDULES,
    SEQUENTIAL,
    UNITS,
    WORDS,
    Plan,
)
from benchmark.parts.pretraining_cells import TASKS
from pretrain import TASKS as PRETRAINING_TASKS
from pretrain.training.schedule import StepPlan
from pretrain.training.task_list import read_task_list
from propeller.errors import UserError

MASKING = "knowledge_masking"
PLANS = [Plan(learnt, 480) for learnt in continual.LEARNT.values()]
PLANS.append(Plan((*PLANS[0].learnt, "sentence_distance"), 480))
PLAN = PLANS[0]
FIGURES = {MASKING: 250.25, "token_document_relation": 0.5}


def entries(tmp_path, method, plan):
    pretraining = object.__new__(continual.Pretraining)
    pretraining.plan = plan
    pretraining.lists = {(name, part): tmp_path / f"{name}{part}" for name in plan.learnt for part in ("", "_valid")}
    path = tmp_path / "list.json"
    path.write_text(json.dumps({"tasks": pretraining.entries(method)}))
    return read_task_list(path)


def test_every_way_begins_with_the_weights_of_the_short_instances(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(continual, "pretrain", lambda corpus, folder, entries, flags, *_: calls.append((folder, flags)))
    pretraining = object.__new__(continual.Pretraining)
    pretraining.corpus, pretraining.plan, pretraining.rate = SimpleNamespace(folder=tmp_path), PLAN, 0.001
    pretraining.lists = {(name, part): tmp_path for name in PLAN.learnt for part in ("", "_valid")}
    pretraining.threads, pretraining.end = 1, 0
    for known in (10, 20):
        pretraining.short = SimpleNamespace(known=known, params=tmp_path / "params")
        for method in SCHEDULES:
            assert pretraining.run(method, 1) is None, "it was stopped"
    assert all(flags["init_pretraining_params"] == tmp_path / "params" for _, flags in calls)
    assert all((flags["learning_rate"], flags["validation_steps"]) == (0.001, PLAN.unit) for _, flags in calls)
    assert len({folder for folder, _ in calls}) == 2 * len(SCHEDULES)
    units = {folder.name.split("-")[0]: flags["mask_units"] for folder, flags in calls}
    assert units.pop("masking_words_alone") == "word"
    assert units.pop("masking_pieces_alone") == "basic"
    assert set(units.values()) == {"entity"}


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: "-".join(plan.learnt[1:]))
@pytest.mark.parametrize("method", SCHEDULES)
def test_every_way_has_the_same_steps_and_is_looked_at_where_its_stages_end(tmp_path, method, plan):
    plan.check()
    steps = StepPlan(entries(tmp_path, method, plan), SCHEDULES[method], seed=1)
    assert steps.total == plan.steps
    ends = [stage.first for stage in steps.stages[1:]] + [steps.total]
    borders = plan.borders(method)
    assert borders[-1] == plan.steps
    assert set(ends) <= set(borders)
    assert all(border % plan.unit == 0 for border in borders)
    counts = {name: sum(steps.task(step) == name for step in range(plan.steps)) for name in steps.names}
    share = dict.fromkeys(plan.learnt, plan.steps // len(plan.learnt))
    assert counts == ({MASKING: plan.steps} if method in UNITS else share)
    assert [plan.look(part) for part in continual_scale.FRACTIONS] == [120, 240, 480]


def test_a_task_enters_with_every_stage_of_continual(tmp_path):
    steps = StepPlan(entries(tmp_path, CONTINUAL, PLAN), "continual")
    assert [stage.enters for stage in steps.stages] == [(name,) for name in PLAN.learnt]
    assert [len(stage.counts) for stage in steps.stages] == [1, 2, 3]
    order = list(PRETRAINING_TASKS)
    assert {name: order.index(name) for name in IDS} == IDS
    assert set(continual_plan.CHANCE) == set(IDS) - {MASKING}


@pytest.mark.parametrize(
    ("learnt", "steps", "reason"),
    [
        (PLAN.learnt, 4000, "give a multiple of 12"),
        (PLAN.learnt, 0, "give a multiple of 12"),
        ((MASKING,), 480, "at least one other task"),
        (("capitalization", MASKING), 480, "give knowledge_masking and"),
        ((MASKING, "capitalization", "capitalization"), 480, "each once"),
    ],
)
def test_steps_that_the_stages_do_not_divide_and_tasks_without_masking_are_refused(learnt, steps, reason):
    with pytest.raises(UserError, match=reason):
        Plan(learnt, steps).check()


def test_a_language_has_its_own_shards_and_each_text_the_tasks_that_it_can_teach(tmp_path):
    built = []

    def build_text(text, name, part, tasks):
        folder = tmp_path / f"{name}{part}/{text}"
        for task in tasks.split(","):
            (folder / task / "shards").mkdir(parents=True)
            (folder / task / "filelist").write_text("shards/0.gz\t1\n")
            (folder / task / "shards/0.gz").write_bytes(gzip.compress(b"1\n"))
        built.append((text, part, tasks))
        return folder

    corpus = SimpleNamespace(folder=tmp_path, language=continual.LANGUAGES["en"], build_text=build_text)
    learnt = (MASKING, "capitalization", "token_document_relation")
    made = continual.Pretraining(corpus, None, Plan(learnt, 480), 1e-3, 1, 0)
    assert [(text, tasks) for text, part, tasks in built if not part] == [
        ("news", ",".join(learnt)),
        ("reviews", f"{MASKING},token_document_relation"),
        ("films", f"{MASKING},capitalization"),
    ]
    counts = {name: len(made.lists[name, ""].read_text().splitlines()) for name in learnt}
    assert counts == {MASKING: 3, "capitalization": 2, "token_document_relation": 2}
    assert "held_out/films/capitalization/held_out.gz" in made.lists["capitalization", "_valid"].read_text()


def test_held_out_figures_are_those_of_the_dev_records():
    found = [
        {"event": "train", "step": 20, "loss": 1.0},
        {"event": "dev", "task": MASKING, "step": 20, "loss": 5.0, "ppl": 148.0},
        {"event": "dev", "task": "capitalization", "step": 20, "loss": 1.0, "acc": 0.1, "balanced_acc": 0.5},
        {"event": "dev", "task": "capitalization", "step": 40, "loss": 1.0, "acc": 0.1, "balanced_acc": 0.75},
    ]
    assert continual.held_out(found) == {
        MASKING: [[20, 148.0]],
        "capitalization": [[20, 0.5], [40, 0.75]],
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


# ---------------------------------------------------------------- reports


def test_seeds_are_kept_apart_and_masking_is_told_by_its_loss():
    figures = {(MIXED, seed): {MASKING: [[40, math.e**seed]], "capitalization": [[40, 0.5]]} for seed in (1, 2)}
    curves = continual_report.curves_of(figures, Plan((MASKING, "capitalization"), 480), [1, 2, 3])
    assert curves[MIXED, MASKING][40] == pytest.approx({1: 1.0, 2: 2.0})
    assert curves[MIXED, "capitalization"] == {40: {1: 50.0, 2: 50.0}}
    assert continual_report.shown(MASKING, [1.0, 2.0]) == "1.500 ± 0.707 (4)"
    assert continual_report.shown("capitalization", [50.0]) == "50.00"


def learnt_figures(*ways, seeds=(1,)):
    return {
        (way, seed): {name: [[PLAN.steps, figure]] for name, figure in FIGURES.items()}
        for way in ways
        for seed in seeds
    }


def test_the_report_leaves_out_what_was_not_measured(capsys):
    curves = continual_report.curves_of(learnt_figures(MIXED, CONTINUAL), PLAN, [1])
    assert set(curves) == {(way, name) for way in (MIXED, CONTINUAL) for name in FIGURES}
    continual_report.report_held_out(curves, PLAN)
    shown = capsys.readouterr().out
    assert f"| all from the start, 1 | {PLAN.steps} | 5.522 (250) | 50.00 |  |" in shown
    assert "one after another" not in shown
    tuned = {(task.name, way, 1): {task.score: 0.75} for task in TASKS for way in (continual_report.SHORT, *SCHEDULES)}
    assert continual_report.report_fine_tuning(tuned, [1], TASKS)
    assert "| continual | 75.00 | 75.00 | 75.00 |" in capsys.readouterr().out
    assert not continual_report.report_fine_tuning(tuned, [1, 2], TASKS)
    del tuned[TASKS[0].name, ALONE, 1]
    assert not continual_report.report_fine_tuning(tuned, [1], TASKS)


def tuned(task, **ways):
    names = {"continual": CONTINUAL, "mixed": MIXED, "sequential": SEQUENTIAL, "alone": ALONE}
    names.update(words=WORDS, pieces=PIECES)
    return {
        (task.name, names[way], seed): {task.score: score}
        for way, scores in ways.items()
        for seed, score in enumerate(scores, 1)
    }


@pytest.mark.parametrize(
    ("continual_scores", "answer"),
    [
        ((0.80, 0.82, 0.81), "shows"),
        ((0.70, 0.82, 0.71), "undecided"),
        ((0.60, 0.62, 0.61), "contradicted"),
        ((), "not measured"),
    ],
)
def test_the_papers_order_is_told_by_two_standard_errors(capsys, continual_scores, answer):
    task = TASKS[0]
    scores = tuned(task, continual=continual_scores, mixed=(0.7, 0.71, 0.72), sequential=(0.5, 0.52, 0.51))
    found = continual_report.differences(scores, {}, PLAN, [1, 2, 3], [task])
    row = found[f"{task.name}, {task.shown}"]
    assert continual_report.order(row[:2]) == answer
    assert row[2] is None, "masking alone was not measured"
    assert str(row[1]) == "+20.00 (s.e. 0.58)"
    continual_report.report_differences(found)
    assert f"errors in {int(answer == 'shows')} of {len(found)} rows" in capsys.readouterr().out


def test_a_difference_is_positive_where_the_first_is_better_and_says_nothing_of_one_seed():
    falls = continual_report.difference({1: 5.0, 2: 5.5}, {1: 6.0, 2: 6.0, 3: 1.0}, falls=True)
    assert (falls.mean, falls.seeds, falls.sign) == (0.75, 2, 1)
    one = continual_report.difference({1: 60.0}, {1: 50.0})
    assert (str(one), one.sign) == ("+10.00 (one seed)", 0)
    assert continual_report.difference({1: 60.0}, {2: 50.0}) is None


def test_the_mean_of_the_tasks_needs_all_of_them(capsys):
    scores = {}
    for task in TASKS[:2]:
        scores.update(tuned(task, continual=(0.8, 0.9), mixed=(0.7, 0.7)))
    found = continual_report.differences(scores, {}, PLAN, [1, 2], TASKS[:2])
    assert str(found["mean of the 2 tasks"][0]) == "+15.00 (s.e. 5.00)"
    del scores[TASKS[0].name, MIXED, 2]
    found = continual_report.differences(scores, {}, PLAN, [1, 2], TASKS[:2])
    assert str(found["mean of the 2 tasks"][0]) == "+10.00 (one seed)"


def test_maskings_are_told_by_fine_tuning_alone(capsys):
    task = TASKS[0]
    scores = tuned(task, alone=(0.8, 0.9), words=(0.7, 0.7), pieces=(0.6, 0.5))
    continual_report.report_maskings(scores, [1, 2], [task])
    shown = capsys.readouterr().out
    assert "masking alone − masking words alone | masking words alone − masking pieces alone |" in shown
    assert f"| {task.name}, {task.shown} | +15.00 (s.e. 5.00) | +15.00 (s.e. 5.00) | +30.00 (s.e. 10.00) |" in shown
    assert not continual_report.curves_of(learnt_figures(WORDS, PIECES), PLAN, [1]), "perplexities under other masks"


def test_scale_is_told_per_doubling_with_the_step_where_a_gap_would_close(capsys):
    name = "token_document_relation"
    curves = {
        (CONTINUAL, name): {120: {1: 52.0, 2: 52.0}, 240: {1: 54.0, 2: 55.0}, 480: {1: 56.0, 2: 58.0}},
        (MIXED, name): {120: {1: 56.0, 2: 56.0}, 240: {1: 57.0, 2: 58.0}, 480: {1: 58.0, 2: 60.0}},
    }
    continual_scale.report_scale(curves, PLAN)
    shown = capsys.readouterr().out
    assert "| task, way | step 120 | step 240 | step 480 | per doubling | closes at step |" in shown
    assert f"| {name}, continual | 52.00 | 54.50 | 57.00 | +2.50 (s.e. 0.50) |  |" in shown
    assert "continual better than all from the start by | -4.00 | -3.00 | -2.00 | +1.00 (s.e. 0.00) | 1,920 |" in shown
    del curves[MIXED, name][240]
    continual_scale.report_scale(curves, PLAN)
    shown = capsys.readouterr().out
    assert "better than" not in shown
    assert "By its slope" not in shown


def test_scale_says_when_the_continual_way_masks_as_well_as_masking_alone(capsys):
    curves = {
        (CONTINUAL, "knowledge_masking"): {120: {1: 6.5}, 240: {1: 6.25}, 480: {1: 6.0}},
        (ALONE, "knowledge_masking"): {120: {1: 6.0}, 240: {1: 5.75}, 480: {1: 5.5}},
    }
    continual_scale.report_scale(curves, PLAN)
    told = "By its slope, continual has the held-out masking loss of masking alone after 1,920 steps, 4 times as many."
    assert told in capsys.readouterr().out
    curves[ALONE, "knowledge_masking"][480][1] = 6.5
    curves[CONTINUAL, "knowledge_masking"][480][1] = 6.6
    curves[CONTINUAL, "knowledge_masking"][120][1] = 6.1
    continual_scale.report_scale(curves, PLAN)
    assert "masking alone never.\n" in capsys.readouterr().out


def test_forgetting_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    curves = continual_report.curves_of(learnt_figures(CONTINUAL, seeds=(1, 2)), PLAN, [1, 2])
    for number, plan in enumerate(PLANS):
        continual_report.draw(curves, plan, tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").read_bytes().startswith(b"\x89PNG")


# ---------------------------------------------------------------- the whole


class Corpus:
    """Of benchmark.parts.pretraining_corpus, without text."""

    made = []

    def __init__(self, work, dev, cache, config, language, threads):
        self.made.append((config.name, language, threads))
        self.folder, self.model, self.settings, self.language = work, work, {"config": config.name}, language

    def print_counts(self):
        pass


@pytest.mark.parametrize("language", continual.LANGUAGES)
def test_a_benchmark_that_was_stopped_goes_on_and_keeps_its_languages_apart(tmp_path, monkeypatch, capsys, language):
    begun = []

    def learn(self, method, seed):
        begun.append((method, seed))
        if (method, seed) == (MIXED, 2) and len(begun) > 1:
            return None
        return {name: [[self.plan.steps, 0.5 + seed / 100]] for name in self.plan.learnt}

    def tune(task, *_):
        begun.append(task.name)
        return {task.score: 0.5, "rows": 3}

    monkeypatch.setattr(continual, "Corpus", Corpus)
    monkeypatch.setattr(continual, "dev_texts", lambda *_: None)
    short = SimpleNamespace(folder=tmp_path / "short", params=tmp_path, known=1, run=lambda *_: {"steps": 1})
    monkeypatch.setattr(continual, "ShortStage", lambda *_: short)
    monkeypatch.setattr(continual.Pretraining, "_build", lambda *_: None)
    monkeypatch.setattr(continual.Pretraining, "run", learn)
    monkeypatch.setattr(continual, "prepared", lambda corpus, data, tasks: {task.name: tmp_path for task in tasks})
    monkeypatch.setattr(continual, "fine_tune", tune)
    words = ["--language", language, "--seeds", "1", "2", "--steps", "480", "--side_by_side", "1", "--minutes", "1"]
    places = ["--work", str(tmp_path), "--results", str(tmp_path), "--picture", str(tmp_path / "picture.png")]
    args = continual.flags().parse_args([*words, *places])
    args.work = tmp_path
    tasks = len(continual.FINE_TUNING[language])
    assert continual.main(args) == 1, "one way of one seed was stopped"
    assert (tmp_path / f"{continual.STORED[language]}.json").is_file()
    assert len(list(tmp_path.glob("*.json"))) == 1
    assert Corpus.made[-1][:2] == (f"ernie2_mini_{language}.json", continual.LANGUAGES[language])
    assert len(begun) == 8 + 9 * tasks, "of four ways and what they begin with, but of one way that was stopped"
    begun[:] = []
    assert continual.main(args) == 0
    assert len(begun) == 1 + tasks
    shown = capsys.readouterr().out
    assert "| continual, 3 | 480 |" in shown
    assert "The paper's order" in shown
    assert (tmp_path / "picture.png").is_file()
    begun[:] = []
    args.maskings = True
    assert continual.main(args) == 0
    assert len(begun) == 4 * (1 + tasks), "two ways more, two seeds"
    assert "| masking pieces alone | 50.00 ± 0.00 |" in capsys.readouterr().out
