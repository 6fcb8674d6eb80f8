"""script/{zh_task,en}/pretrain.sh without training: published flags, the demonstration's, devices, messages; corpus."""

import json

import pytest

from script.demo import pretrain_corpus_en
from tests.helpers.common import ROOT
from tests.helpers.recipes import dry_run_alone as dry_run
from tests.helpers.recipes import parsed
from tests.helpers.shell import SCRIPT, clean_environment, shell

RECIPES = [SCRIPT / "zh_task" / "pretrain.sh", SCRIPT / "en" / "pretrain.sh"]
IDS = ["zh", "en"]


@pytest.mark.parametrize("recipe", RECIPES, ids=IDS)
def test_own_shards_take_the_published_hyper_parameters(recipe):
    words, said = dry_run(recipe, "--train_filelist", "t", "--valid_filelist", "v", MODEL_PATH="/m", DEVICES="cpu")
    args = parsed(words)
    train, run = args.train, args.run
    assert (train.batch_size, train.in_tokens, args.model.max_seq_len) == (8192, True, 512)
    assert (train.learning_rate, train.weight_decay, train.warmup_steps) == (1e-4, 0.01, 5000)
    assert (train.num_train_steps, run.validation_steps, run.save_steps, run.skip_steps) == (1000000, 100, 10000, 10)
    assert (args.model.weight_sharing, args.model.vocab_path) == (True, "/m/vocab.txt")
    assert (args.data.train_filelist, args.data.valid_filelist) == ("t", "v")
    assert train.gradient_accumulation_steps == 8
    assert "the total batch stays 65536 (8 GPUs x 8192)" in said
    assert (ROOT / args.model.ernie_config_path).is_file()


@pytest.mark.parametrize("recipe", RECIPES, ids=IDS)
def test_without_shards_it_is_a_demonstration(recipe, tmp_path):
    words, said = dry_run(recipe, "--learning_rate", "2e-3", STEPS=90, OUTPUT=tmp_path, DEVICES="cpu")
    args = parsed(words)
    assert args.model.ernie_config_path == str(ROOT / "config" / f"ernie_mini_{recipe.parent.name[:2]}.json")
    demo = tmp_path / "pretrain_demo" / recipe.parent.name[:2]
    assert (args.tasks.task_list, args.tasks.task_data) == (str(demo / "tasks.json"), str(demo))
    assert (args.model.vocab_path, args.run.checkpoints) == (str(demo / "vocab.txt"), str(demo / "model"))
    assert (args.train.warmup_steps, args.run.validation_steps) == (3, 23)
    assert args.train.learning_rate == 2e-3  # the user's flags win
    assert args.data.shuffle_buffer > 60000  # news and reviews have a shard each: all instances are mixed
    assert list(tmp_path.iterdir()) == []
    assert said == ""


@pytest.mark.parametrize("recipe", RECIPES, ids=IDS)
@pytest.mark.parametrize("pieces", [90, 9000])
def test_the_demonstration_takes_the_vocabulary_of_a_model_and_its_own_network(recipe, pieces, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "vocab.txt").write_text("".join(f"{number}\n" for number in range(pieces)))
    (model / "ernie_config.json").write_text("{}")
    args = parsed(dry_run(recipe, OUTPUT=tmp_path, DEVICES="cpu", MODEL_PATH=model)[0])
    assert args.model.vocab_path == str(model / "vocab.txt")
    mini = ROOT / "config" / f"ernie_mini_{recipe.parent.name[:2]}.json"
    larger = tmp_path / "pretrain_demo" / recipe.parent.name[:2] / "ernie_mini_9000.json"
    assert args.model.ernie_config_path == str(mini if pieces < 8000 else larger)
    (model / "vocab.txt").unlink()
    args = parsed(dry_run(recipe, OUTPUT=tmp_path, DEVICES="cpu", MODEL_PATH=model)[0])
    assert args.model.vocab_path == str(larger.parent / "vocab.txt"), "nothing is written into the model"
    assert args.model.ernie_config_path == str(mini)


def test_the_network_of_the_demonstration_grows_with_the_vocabulary(tmp_path):
    (tmp_path / "vocab.txt").write_text("".join(f"{number}\n" for number in range(9000)))
    script = (
        'LANGUAGE=zh CONFIG=x GPUS=8 FP16=false; . "$(dirname -- "$0")/../pretrain_common.sh"; demo_start ernie_mini; '
    )
    env = clean_environment(PYTHON="python3", OUTPUT=tmp_path, MODEL_PATH=tmp_path)
    done = shell(["sh", "-c", f'{script} cat "$CONFIG_PATH"', str(RECIPES[0])], env=env)
    mini = json.loads((ROOT / "config/ernie_mini_zh.json").read_text())
    assert json.loads(done.stdout) == {**mini, "vocab_size": 9000}


def test_processes_share_the_batch():
    words, said = dry_run(RECIPES[0], DEVICES="cpu:2")
    assert words[words.index("--nproc_per_node") + 1] == "2"
    assert parsed(words).train.batch_size == 512
    words, said = dry_run(RECIPES[0], "--train_filelist", "t", DEVICES="cpu:2", MODEL_PATH="/m")
    assert parsed(words).train.gradient_accumulation_steps == 4


@pytest.mark.parametrize("recipe", RECIPES, ids=IDS)
def test_recipes_are_short_and_pass_flags_on(recipe):
    lines = recipe.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 15
    assert lines[0] == "#!/bin/sh"
    assert lines[-1].endswith('"$@"')


@pytest.mark.parametrize("recipe", RECIPES, ids=IDS)
def test_a_missing_vocabulary_is_explained(recipe, tmp_path):
    """The vocabulary of a demonstration that was made before is none for other shards."""
    demo = tmp_path / "pretrain_demo" / recipe.parent.name[:2]
    demo.mkdir(parents=True)
    (demo / "vocab.txt").write_text("[PAD]\n")
    words = ["sh", str(recipe), "--train_filelist", "t"]
    for settings, problem in (({}, "MODEL_PATH is not set"), ({"MODEL_PATH": "/m"}, "/m/vocab.txt is not there")):
        done = shell(words, env=clean_environment(PYTHON="python3", OUTPUT=tmp_path, **settings))
        assert done.returncode == 2
        assert f"error: {problem}: set " in done.stderr
        assert "to a folder with the vocab.txt that the shards were made with, or give --vocab_path" in done.stderr
    words, _ = dry_run(recipe, "--train_filelist", "t", "--vocab_path", "/v", DEVICES="cpu", OUTPUT=tmp_path)
    assert parsed(words).model.vocab_path == "/v"


@pytest.mark.parametrize("recipe", RECIPES, ids=IDS)
def test_the_demonstration_fills_eight_sentences(recipe):
    lines = (SCRIPT / "demo" / f"masks_{recipe.parent.name[:2]}.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 8
    assert all("[MASK]" in line for line in lines)


def test_help_names_what_it_takes():
    done = shell(["sh", str(RECIPES[0]), "--help"], env=clean_environment(PYTHON="true"))
    assert done.returncode == 0
    for name in ("MODEL_PATH", "OUTPUT", "DEVICES", "KEEP_BATCH", "STEPS", "REVIEWS", "--train_filelist"):
        assert name in done.stdout


def test_english_documents():
    content = b"1_1\t0.4\tOne.\r\n1_2\t0.1\tTwo  words.\r\n2_1\t0\tAlone.\r\n3_1\t1\tA.\r\n3_2\t1\tB.\r\n"
    assert pretrain_corpus_en.documents(content) == [["One.", "Two words."], ["A.", "B."]]
