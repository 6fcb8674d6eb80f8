"""script/{zh_task,en}/pretrain_ernie2.sh without training; the task lists of config/ against the paper's numbers."""

import json
from pathlib import Path

import pytest

from ernie.config import ErnieConfig
from pretrain import TASKS, declared
from pretrain.classes import ClassTask
from pretrain.corpus.builder import Plan
from pretrain.training.schedule import StepPlan
from pretrain.training.task_list import check_ids, read_task_list
from script.demo import pretrain_corpus
from tests.helpers.common import ROOT
from tests.helpers.recipes import dry_run_alone as dry_run
from tests.helpers.recipes import parsed
from tests.helpers.shell import SCRIPT, clean_environment, shell

RECIPES = {"zh": SCRIPT / "zh_task" / "pretrain_ernie2.sh", "en": SCRIPT / "en" / "pretrain_ernie2.sh"}
LANGUAGES = list(RECIPES)
LISTS = sorted(path.name for path in (ROOT / "config").glob("task_list_*.json"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_own_shards_take_the_published_hyper_parameters(language):
    words, said = dry_run(RECIPES[language], "--task_data", "d", MODEL_PATH="/m", DEVICES="cpu")
    args = parsed(words)
    train, tasks, model = args.train, args.tasks, args.model
    assert (train.beta2, train.lr_scheduler, train.warmup_steps) == (0.98, "noam_decay", 4000)
    assert train.learning_rate == {"en": 5e-5, "zh": 1.28e-4}[language]
    assert (tasks.warmup_restart, tasks.schedule, tasks.scale_steps) == (True, "continual", 1.0)
    assert (tasks.task_list, tasks.task_data) == (str(ROOT / "config" / f"task_list_{language}.json"), "d")
    assert (train.in_tokens, model.max_seq_len, model.vocab_path) == (True, 512, "/m/vocab.txt")
    assert train.batch_size * train.gradient_accumulation_steps == 393216
    assert "the total batch stays 393216 (48 GPUs x 8192)" in said
    assert Path(model.ernie_config_path) == ROOT / "config" / f"ernie2_base_{language}.json"


@pytest.mark.parametrize("processes", [2, 8, 48, 64])
def test_the_tokens_of_a_step_stay_on_any_number_of_devices(processes):
    words, _ = dry_run(RECIPES["en"], "--task_data", "d", DEVICES=f"cpu:{processes}", MODEL_PATH="/m")
    assert words[words.index("--nproc_per_node") + 1] == str(processes)
    train = parsed(words).train
    assert train.batch_size * train.gradient_accumulation_steps * processes == 393216


@pytest.mark.parametrize("language", LANGUAGES)
def test_without_shards_it_is_a_demonstration(language, tmp_path):
    flags = ("--learning_rate", "2e-3")
    words, said = dry_run(RECIPES[language], *flags, STEPS=100, OUTPUT=tmp_path, DEVICES="cpu")
    args = parsed(words)
    demo = tmp_path / "pretrain_demo" / language
    assert args.tasks.task_list == str(ROOT / "config" / f"task_list_mini_{language}.json")
    assert (args.tasks.task_data, args.tasks.scale_steps) == (str(demo / "tasks"), 0.2)
    assert (args.model.vocab_path, args.run.checkpoints) == (str(demo / "vocab.txt"), str(demo / "ernie2"))
    assert (args.train.warmup_steps, args.run.validation_steps) == (10, 20)
    assert args.train.learning_rate == 2e-3  # the user's flags win
    assert ErnieConfig(args.model.ernie_config_path).use_task_id
    assert (list(tmp_path.iterdir()), said) == ([], "")
    words, _ = dry_run(RECIPES[language], OUTPUT=tmp_path, DEVICES="cpu")
    total = StepPlan(read_task_list(args.tasks.task_list)).total
    assert (parsed(words).tasks.scale_steps, total) == (1.0, 500)  # LIST_STEPS


@pytest.mark.parametrize("language", LANGUAGES)
def test_recipes_are_short_and_pass_flags_on(language):
    lines = RECIPES[language].read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 15
    assert lines[0] == "#!/bin/sh"
    assert lines[-1].endswith('"$@"')


def test_help_names_what_it_takes():
    done = shell(["sh", str(RECIPES["zh"]), "--help"], env=clean_environment(PYTHON="true"))
    assert done.returncode == 0
    for name in ("MODEL_PATH", "OUTPUT", "DEVICES", "KEEP_BATCH", "STEPS", "--task_data", "--task_list"):
        assert name in done.stdout


def test_a_missing_vocabulary_is_explained(tmp_path):
    done = shell(
        ["sh", str(RECIPES["en"]), "--task_data", "d"], env=clean_environment(PYTHON="python3", OUTPUT=tmp_path)
    )
    assert done.returncode == 2
    assert "MODEL_PATH is not set: set it to a folder with the vocab.txt" in done.stderr


def table(name):
    """task -> thousands of steps of each stage, 0 before it enters."""
    entries = read_task_list(ROOT / "config" / name)
    return {entry.name: [0] * (entry.start_stage - 1) + [count / 1000 for count in entry.steps] for entry in entries}


def test_the_schedule_of_the_paper():
    """arXiv 1907.12412, the table on methods of continual pre-training."""
    assert table("task_list_paper.json") == {
        "knowledge_masking": [20, 10, 10, 10],
        "capitalization": [0, 30, 10, 10],
        "token_document_relation": [0, 0, 40, 10],
        "sentence_reordering": [0, 0, 0, 50],
    }
    plan = StepPlan(read_task_list(ROOT / "config" / "task_list_paper.json"), seed=7)
    assert plan.total == 200_000
    assert plan.restarts == (20_000, 60_000, 120_000)
    drawn = [plan.task(step) for step in range(20_000, 60_000)]
    assert {name: drawn.count(name) for name in set(drawn)} == {"knowledge_masking": 10_000, "capitalization": 30_000}


def test_the_lists_of_both_languages_follow_its_rule():
    """50,000 for each task, 10,000 of them in each stage after its first."""
    for language in LANGUAGES:
        rows = list(table(f"task_list_{language}.json").values())
        assert rows == [[10] * 5, [0, 20, 10, 10, 10], [0, 0, 30, 10, 10], [0, 0, 0, 40, 10], [0, 0, 0, 0, 50]]
        mini = list(table(f"task_list_mini_{language}.json").values())
        assert mini == [[count / 500 for count in row] for row in rows]
        names = [list(table(f"task_list{part}_{language}.json")) for part in ("", "_mini")]
        assert names[0] == names[1]
    assert list(table("task_list_en.json")) == [*table("task_list_paper.json"), "discourse_relation"]
    assert set(table("task_list_en.json")) | set(table("task_list_zh.json")) == set(list(TASKS)[:7]), "ERNIE 2.0's"


@pytest.mark.parametrize("name", LISTS)
def test_the_lists_fit_their_tasks_and_networks(name):
    entries = read_task_list(ROOT / "config" / name)
    assert [entry.task_id for entry in entries] == [list(TASKS).index(entry.name) for entry in entries]
    language = "zh" if "zh" in name else "en"
    for size in ("base", "mini"):
        path = ROOT / "config" / f"ernie2_{size}_{language}.json"
        check_ids(entries, ErnieConfig(path), path, name)
        assert ErnieConfig(path).task_type_vocab_size > max(map(list(TASKS).index, TASKS))
    for entry in entries:
        task = declared(entry.name)
        assert entry.filelist == f"train/{entry.name}/filelist"
        assert entry.valid_filelist == f"valid/{entry.name}/filelist"
        if not issubclass(task, ClassTask):
            assert entry.head == {"next_sentence": False}
        elif task.default_classes:
            assert entry.head["classes"] == task.default_classes


@pytest.mark.parametrize("name", LISTS)
def test_discourse_relation_has_a_class_for_every_connective(name):
    text = (ROOT / "config" / name).read_text(encoding="utf-8")
    found = [task for task in json.loads(text)["tasks"] if task["name"] == "discourse_relation"]
    if found:
        path = ROOT / "config" / name.replace("task_list", "connectives")
        plan = Plan("vocab.txt", segmenter="lac" if "zh" in name else "english", connectives=str(path))
        assert found[0]["head"] == {"classes": len(declared("discourse_relation").class_names(plan))}


def test_a_titled_document_of_the_corpus():
    line = pretrain_corpus.titled(["江/nr  泽民/nr  讲话/n", "各位/r  ：/w", "新年/t  好/a  ！/w"])
    assert json.loads(line) == {"title": "江 泽民 讲话", "text": "各位/r  ：/w\n新年/t  好/a  ！/w"}
    assert line.endswith("\n")
