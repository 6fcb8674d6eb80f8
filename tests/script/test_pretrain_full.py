"""script/zh_task/pretrain.sh --full and script/*/continue.sh: their commands, and both for real on tiny models."""

import json
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ernie.checkpoint import read_params
from ernie.convert import main as convert
from pretrain.training.args import parse
from tests.helpers.common import ROOT
from tests.helpers.shell import SCRIPT, clean_environment, executable, shell
from tests.helpers.tiny import make_data, make_model, sentences

FULL = SCRIPT / "zh_task" / "pretrain.sh"
CONTINUE = [SCRIPT / "en" / "continue.sh", SCRIPT / "zh_task" / "continue.sh"]
TINY = {
    "hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1, "hidden_act": "gelu", "vocab_size": 200,
    "max_position_embeddings": 128, "sent_type_vocab_size": 2, "initializer_range": 0.02, "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
}  # fmt: skip
NEWS = "江/nr  泽民/nr  在/p  北京/ns  会见/v  了/u  记者/n  。/w\n我们/r  去/v  公园/n  看/v  花/n  。/w\n"
REVIEW = "房间很干净，服务也很好。\n"


def run(recipe, *flags, **settings):
    words, environment = ["sh", str(recipe), *flags], clean_environment(**settings)
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=600)


def commands(recipe, *flags, **settings):
    """The words of every command of a dry run."""
    done = run(recipe, "--dry_run", *flags, PYTHON="python3", DEVICES="cpu", **settings)
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()]


def parsed(words):
    """The flags as train.py understands them."""
    at = next(i for i, word in enumerate(words) if word.endswith("train.py"))
    return parse("train.py", "", words[at + 1 :])


# ---------------------------------------------------------------- the Chinese encoder


def test_the_command_of_the_whole_encoder(tmp_path):
    (words,) = commands(FULL, "--full", "--minutes", "90", "--learning_rate", "5e-4", OUTPUT=tmp_path, FULL_STEPS=600)
    args = parsed(words)
    assert args.tasks.task_list == str(tmp_path / "zh_encoder" / "tasks.json")
    assert args.run.checkpoints == str(tmp_path / "zh_encoder" / "model")
    assert args.model.ernie_config_path == str(ROOT / "config" / "ernie_small_zh.json")
    assert (args.data.mask_units, args.train.warmup_steps, args.run.validation_steps) == ("basic:0,word:300", 20, 60)
    assert (args.train.learning_rate, args.train.dropout) == (5e-4, 0)
    assert list(tmp_path.iterdir()) == []


def test_its_weights_are_small_enough():
    """In half precision, with the head for masks."""
    config = json.loads((ROOT / "config" / "ernie_small_zh.json").read_text())
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    rows = config["vocab_size"] + config["max_position_embeddings"] + config["sent_type_vocab_size"]
    count = rows * hidden + layers * (12 * hidden * hidden + 13 * hidden) + 2 * hidden * hidden + config["vocab_size"]
    assert 2 * count < 25e6
    assert 4 <= layers <= 6
    assert 256 <= hidden <= 384


@pytest.mark.parametrize(
    ("recipe", "flags", "said"),
    [
        (FULL, ("--full", "--minutes", "half"), "--minutes half: give a whole number of minutes from 1"),
        (SCRIPT / "en" / "pretrain.sh", ("--full",), "--full makes a Chinese encoder: sh script/zh_task/pretrain.sh"),
    ],
    ids=["minutes", "english"],
)
def test_what_it_refuses(recipe, flags, said):
    done = run(recipe, "--dry_run", *flags, PYTHON="python3")
    assert done.returncode == 2
    assert said in done.stderr


def stand_in(folder):
    """A Python that writes the texts which the packages of the registry would give, and runs all else."""
    text = folder / "made"
    text.mkdir()
    news, reviews = "\n".join([NEWS] * 30), "\n".join([REVIEW] * 30)
    for name, content in (("news", news), ("reviews", reviews), ("news_valid", NEWS), ("reviews_valid", REVIEW)):
        (text / f"{name}.txt").write_text(content, encoding="utf-8")
    (text / "dictionary.txt").write_text("晨风：清晨的风。\n晨光：阳光。\n", encoding="utf-8")
    script = f"""case $1 in
*/demo_data.py) exit ;;
*/pretrain_corpus.py) mkdir -p "$3" && cp {text}/news*.txt {text}/reviews*.txt "$3" ;;
*/pretrain_corpus_more.py) mkdir -p "$3" && cp {text}/dictionary.txt "$3" ;;
*) exec {sys.executable} "$@" ;;
esac
"""
    return executable(folder / "python", script)


@pytest.mark.slow
def test_the_encoder_is_made_in_small(tmp_path):
    """Text, shards, three stages, half precision and back again; a second start has nothing to do."""
    pytest.importorskip("jieba")
    (tmp_path / "tiny.json").write_text(json.dumps(TINY))
    settings = {"PYTHON": stand_in(tmp_path), "OUTPUT": tmp_path / "out", "NETWORK": tmp_path / "tiny.json"}
    settings.update(DEVICES="cpu", FULL_STEPS=12, OMP_NUM_THREADS=1)
    done = run(FULL, "--full", "--save_steps", "4", **settings)
    assert done.returncode == 0, done.stderr[-3000:]
    encoder = tmp_path / "out" / "zh_encoder"
    log = (encoder / "model" / "train.log").read_text(encoding="utf-8")
    assert "stage 3/3 from step 6" in log
    assert "in half precision (" in done.stdout
    card = (encoder / "weights" / "README.md").read_text(encoding="utf-8")
    assert "A BERT of 1 layers of 32 with 200 pieces" in card
    figures = re.search(r"step: 12, loss: [\d.]+, .*", log).group()
    ppl, acc = (float(re.search(rf"\b{name}: ([\d.]+)", figures).group(1)) for name in ("ppl", "acc"))
    assert f"is {ppl:.1f}, and {acc:.1%} of the masked pieces are right" in card
    assert convert(["--from", "hf", "--to", "params", str(encoder / "weights"), str(tmp_path / "back")]) == 0
    whole, back = read_params(encoder / "model" / "params"), read_params(tmp_path / "back" / "params")
    assert set(back) == set(whole)
    for name, array in whole.items():
        np.testing.assert_array_equal(back[name], array.astype(np.float16).astype(np.float32), err_msg=name)
    assert run(FULL, "--full", "--save_steps", "4", **settings).returncode == 0
    late = executable(tmp_path / "bin" / "timeout", "exit 124\n").parent
    settings["PATH"] = f"{late}:/usr/bin:/bin"
    done = run(FULL, "--full", "--save_steps", "4", "--minutes", "3", **settings)
    assert done.returncode == 3
    assert "the 3 minutes are used up; the same command goes on from the last checkpoint in" in done.stderr


def test_a_demonstration_starts_from_it_where_it_was_made(tmp_path):
    """Else from random weights."""
    (tmp_path / "out" / "zh_encoder" / "model").mkdir(parents=True)
    fake = executable(tmp_path / "venv" / "bin" / "python", 'echo "$@" >>"$ASKED"\n')
    asked = tmp_path / "asked"
    program = 'set -eu; make_venv() { :; }; install_requirements() { :; }; . "$(dirname -- "$0")/common.sh"; '
    program += "make_venv() { :; }; install_requirements() { :; }; demo reviews random-encoder none.sh none"
    for made in (False, True):
        if made:
            (tmp_path / "out" / "zh_encoder" / "model" / "ernie_config.json").write_text("{}")
        asked.write_text("")
        env = clean_environment(OUTPUT=tmp_path / "out", VENV=fake.parents[1], ASKED=asked)
        done = shell(["sh", "-c", program, str(SCRIPT / "demo" / "reviews.sh")], env=env)
        assert ("demo_data.py random-encoder" in asked.read_text()) == (not made)
        assert (f"starting from the encoder in {tmp_path}" in done.stderr) == made


# ---------------------------------------------------------------- continued pre-training


@pytest.mark.parametrize("recipe", CONTINUE, ids=["en", "zh"])
def test_the_commands_of_continued_pre_training(recipe, tmp_path):
    given = {
        "MODEL_PATH": "/m",
        "TEXT": "a.txt b.txt",
        "TASK_DATA_PATH": "/d",
        "OUTPUT": tmp_path,
        "STEPS": 90,
        "SEEDS": 1,
    }
    build, train, tune = commands(recipe, "--learning_rate", "3e-4", FINETUNE="--epoch 1", **given)
    work = tmp_path / "continued" / recipe.parent.name[:2]
    assert build[build.index("--input") + 1 :][:2] == ["a.txt", "b.txt"]
    assert build[build.index("--tasks") + 1] == "whole_word_masking"
    args = parsed(train)
    assert (args.model.init_pretraining_params, args.model.vocab_path) == ("/m/params", "/m/vocab.txt")
    assert (args.train.learning_rate, args.train.warmup_steps) == (3e-4, 9)
    assert tune[tune.index("--init_pretraining_params") + 1] == str(work / "model" / "params")
    assert tune[-2:] == ["--epoch", "1"]
    assert list(tmp_path.iterdir()) == []
    words = recipe.read_text(encoding="utf-8").splitlines()
    assert len(words) <= 15
    assert words[-1].endswith('"$@"')


def test_continued_pre_training_converts_a_hugging_face_model_first(tmp_path):
    """Also one that was saved without a pooler, as those that fill masks are."""
    model = tmp_path / "hf"
    assert (
        convert(["--from", "params", "--to", "hf", str(make_model(tmp_path / "m", use_task_id=False)), str(model)]) == 0
    )
    weights = {name: each for name, each in load_file(model / "model.safetensors").items() if "pooler" not in name}
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    given = {"MODEL_PATH": model, "TEXT": "a.txt", "TASK_DATA_PATH": "/d", "OUTPUT": tmp_path / "out", "SEEDS": 1}
    conversion, build, train, _ = commands(CONTINUE[0], **given)
    start = str(tmp_path / "out/continued/en/start")
    assert conversion[1:3] == ["-m", "ernie.convert"]
    assert convert(conversion[3:]) == 0
    assert "pooled_fc.w_0" in read_params(f"{start}/params")
    assert build[build.index("--vocab_path") + 1] == f"{start}/vocab.txt"
    assert parsed(train).model.init_pretraining_params == f"{start}/params"


@pytest.mark.parametrize("name", ["MODEL_PATH", "TEXT", "TASK_DATA_PATH", "RECIPE"])
def test_what_continued_pre_training_lacks_is_named(name):
    given = {"MODEL_PATH": "/m", "TEXT": "a.txt", "TASK_DATA_PATH": "/d", "PYTHON": "python3"}
    if name == "RECIPE":
        done = run(CONTINUE[0], **given, RECIPE="script/none.sh")
        assert "error: RECIPE=script/none.sh: not in" in done.stderr
    else:
        del given[name]
        done = run(CONTINUE[0], **given)
        assert f"error: {name} is not set: sh " in done.stderr
    assert done.returncode == 2


def test_the_fine_tuning_is_checked_before_the_pre_training(tmp_path):
    """Its data and its flags: what is wrong with them must not show after hours."""
    make_data(tmp_path / "data" / "SST-2")
    (tmp_path / "own.txt").write_text("A text.\n")
    given = {
        "MODEL_PATH": make_model(tmp_path / "model"), "TEXT": tmp_path / "own.txt", "PYTHON": sys.executable,
        "OUTPUT": tmp_path / "out",
    }  # fmt: skip
    done = run(CONTINUE[0], **given, TASK_DATA_PATH=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert done.stderr.endswith(f": set TASK_DATA_PATH={tmp_path / 'data'}\n")
    done = run(CONTINUE[0], **given, TASK_DATA_PATH=tmp_path / "data", FINETUNE="--lr 1e-4")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert done.stderr.startswith("error: unknown argument --lr: did you mean --learning_rate?")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_text_file_becomes_a_fine_tuned_score(tmp_path):
    model = make_model(tmp_path / "model", use_task_id=False)
    make_data(tmp_path / "data" / "SST-2")
    for name, count, seed in (("own", 60, 7), ("held", 20, 8)):
        texts = "\n\n".join(text for _, text in sentences(count, seed))
        (tmp_path / f"{name}.txt").write_text(f"{texts}\n", encoding="utf-8")
    settings = {
        "MODEL_PATH": model, "TEXT": tmp_path / "own.txt", "VALID_TEXT": tmp_path / "held.txt", "STEPS": 6,
        "TASK_DATA_PATH": tmp_path / "data", "OUTPUT": tmp_path / "out", "PYTHON": sys.executable, "DEVICES": "cpu",
        "SEEDS": "1", "LENGTH": 24, "OMP_NUM_THREADS": 1,
        "FINETUNE": "--epoch 1 --batch_size 8 --max_seq_len 24",
    }  # fmt: skip
    done = run(CONTINUE[0], **settings)
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r"seed_1/train\.log: .*\[dev evaluation\].*acc.*: 0\.\d+", done.stdout)
    work = tmp_path / "out" / "continued" / "en"
    log = (work / "model" / "train.log").read_text(encoding="utf-8")
    assert re.search(r"\[validation_set\] task: whole_word_masking, step: 6, loss: ", log)
    before, after = read_params(model / "params"), read_params(work / "model" / "params")
    assert (before["word_embedding"] != after["word_embedding"]).any()
