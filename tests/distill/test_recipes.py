"""The recipes of distillation: the commands they build, the layouts they read, and whole runs on a tiny model."""

import shlex
import socket
import subprocess
import sys

import pytest

from distill.script import layout
from distill.students.flags import StudentFlags
from finetune.training.args import parse
from propeller.errors import UserError
from tests.helpers.common import ROOT
from tests.helpers.shell import clean_environment, shell
from tests.helpers.students import weights_of
from tests.helpers.tiny import characters, make_model, write_tsv

SCRIPTS = ROOT / "distill" / "script"
OFFLINE, ONLINE = "distill_chnsenticorp.sh", "distill_chnsenticorp_with_propeller_server.sh"


OWN = ("STUDENT", "SEED", "SEGMENTER", "PORT", "USE_CUDA")  # settings that other recipes do not have


def environment(**settings):
    env = clean_environment(**settings)
    return {name: value for name, value in env.items() if name not in OWN or name in settings}


def dry_run(name, *flags, **settings):
    """The words of each command of a recipe."""
    settings = {
        "DRY_RUN": 1,
        "MODEL_PATH": "/m",
        "TASK_DATA_PATH": "/d",
        "PYTHON": "python3",
        "OUTPUT": "/o",
        **settings,
    }
    done = shell(["sh", str(SCRIPTS / name), *flags], env=environment(**settings))
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("name", [OFFLINE, ONLINE])
def test_the_student_has_the_hyper_parameters_of_2019(name):
    words = dry_run(name)[-1]
    args = parse("x", "x", words[words.index("student") + 1 :], StudentFlags)
    assert (args.train.batch_size, args.train.learning_rate, args.train.weight_decay) == (100, 1e-4, 0.0)
    assert (args.train.warmup_proportion, args.train.head_dropout, args.model.max_seq_len) == (0.1, 0.0, 128)
    assert (args.run.validation_steps, args.run.save_steps) == (100, 1000)
    # 9,600 rows and as many of the teacher's, 100 a step, 50 times
    assert args.train.epoch * 2 * 9600 // args.train.batch_size == 9600
    assert args.task.unlabelled_ratio == 1
    assert args.task.temperature == args.task.soft_weight == args.task.gold_weight == 1 or args.task.soft_weight is None
    assert bool(args.task.teacher) == (name == ONLINE)


def test_the_teacher_has_the_hyper_parameters_of_2019():
    commands = dry_run(OFFLINE)
    words = next(words for words in commands if "classify" in words)
    args = parse("x", "x", words[words.index("classify") + 1 :])
    assert (args.train.batch_size, args.train.epoch, args.train.learning_rate) == (32, 10, 5e-5)
    assert (args.train.warmup_proportion, args.train.weight_decay, args.model.max_seq_len) == (0.1, 0.01, 128)
    assert (args.run.validation_steps, args.run.save_steps, args.run.keep_checkpoints) == (100, 100, 1)


def test_flags_and_settings_win():
    words = dry_run(OFFLINE, "--epoch", "2", STUDENT="cnn", SEED=7)[-1]
    assert words[-2:] == ["--epoch", "2"]
    assert "config/student/cnn.json" in words
    assert words[words.index("--random_seed") + 1] == "7"
    assert any("-p 9000" in " ".join(words) for words in dry_run(ONLINE, PORT=9000))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"MODEL_PATH": ""}, "MODEL_PATH is not set"),
        ({"TASK_DATA_PATH": ""}, "TASK_DATA_PATH is not set"),
        ({"STUDENT": "gru"}, "STUDENT=gru"),
    ],
    ids=["model", "data", "student"],
)
def test_settings_that_are_missing_are_told(settings, told):
    given = {"MODEL_PATH": "/m", "TASK_DATA_PATH": "/d", "PYTHON": "python3", **settings}
    done = shell(["sh", str(SCRIPTS / OFFLINE)], env=environment(**given))
    assert done.returncode == 2
    assert told in done.stderr


def test_a_wrong_model_or_flag_is_told_before_the_teacher_is_trained(tmp_path):
    model = make_model(tmp_path / "models" / "zh")
    data = tmp_path / "data" / "chnsenticorp"
    data.mkdir(parents=True)
    given = {"TASK_DATA_PATH": data.parent, "PYTHON": sys.executable, "OUTPUT": tmp_path / "out"}
    done = shell(["sh", str(SCRIPTS / OFFLINE)], env=environment(MODEL_PATH=model / "params", **given))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert done.stderr.endswith(f"did you mean MODEL_PATH={model}?\n")
    done = shell(["sh", str(SCRIPTS / OFFLINE), "--lr", "1"], env=environment(MODEL_PATH=model, **given))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert done.stderr.startswith("error: unknown argument --lr: did you mean --learning_rate?")
    assert not (tmp_path / "out").exists()


def lay_2019(folder):
    """The folders of 2019: no headers; the student's words with blanks."""
    rows = [("酒店 很 好", "1"), ("房间 太 差", "0"), ("服务 很 好", "1"), ("电池 坏 了", "0")] * 3
    for part in ("teacher/train", "teacher/dev", "student/train", "student/dev"):
        (folder / part).mkdir(parents=True)
        own = [(text if "student" in part else text.replace(" ", ""), label) for text, label in rows]
        text = "".join("\t".join(row) + "\n" for row in own)
        (folder / part / "part.0").write_text(text, encoding="utf8")
    (folder / "student/unsup_train_aug").mkdir()
    both = "".join(f"{text}\t{text.replace(' ', '')}\n" for text, _ in rows)
    (folder / "student/unsup_train_aug/part.0").write_text(both, encoding="utf8")
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *sorted({word for text, _ in rows for word in text.split()})]
    (folder / "student/vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf8")


def test_the_layout_of_2019(tmp_path):
    lay_2019(tmp_path / "in")
    assert layout.main([str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    read = {path.name: path.read_text(encoding="utf8").splitlines() for path in (tmp_path / "out").iterdir()}
    assert read["train.tsv"][:2] == ["text_a\tlabel", "酒店 很 好\t1"]
    assert read["teacher_dev.tsv"][:2] == ["text_a\tlabel", "酒店很好\t1"]
    assert read["unlabelled.tsv"][:2] == ["text_a\tteacher_a", "酒店 很 好\t酒店很好"]
    assert read["vocab.txt"][0] == "[PAD]"


@pytest.mark.parametrize("fault", ["nowhere", "neither", "empty", "header", "fields", "bytes"])
def test_layouts_that_cannot_be_read_are_told(fault, tmp_path):
    source = tmp_path / "in"
    if fault != "nowhere":
        lay_2019(source)
    part = source / "student/dev/part.0"
    if fault == "neither":
        part.unlink()
        part.parent.rmdir()
    elif fault == "empty":
        part.unlink()
    elif fault == "header":
        part.write_text("text_a\tlabel\na\t1\n")
    elif fault == "fields":
        part.write_text("a\t1\nb\n")
    elif fault == "bytes":
        part.write_bytes(b"a\t1\n\xff\t1\n")
    told = {
        "nowhere": "no such directory",
        "neither": "has neither train.tsv and dev.tsv nor student/dev",
        "empty": "holds no file",
        "header": "line 1: a header",
        "fields": "line 2: 1 fields, not 2",
        "bytes": "line 2: not UTF-8",
    }
    with pytest.raises(UserError, match=told[fault]):
        layout.main([str(source), str(tmp_path / "out")])


def run(name, folder, data, *flags, **settings):
    model = folder / "model"
    if not model.exists():
        make_model(model, characters(data), max_position_embeddings=128)
    given = {"MODEL_PATH": model, "TASK_DATA_PATH": data, "OUTPUT": folder / "out", "PYTHON": sys.executable,
             "USE_CUDA": "false", "TEACHER_EPOCHS": 2, **settings}  # fmt: skip
    command = ["sh", str(SCRIPTS / name), "--epoch", "2", *flags]
    options = {"capture_output": True, "text": True, "check": False, "timeout": 600}
    done = subprocess.run(command, env=environment(**given), **options)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "out" / "distill", done


@pytest.mark.slow
def test_both_recipes_give_the_same_student_on_the_layout_of_2019(tmp_path):
    """The server is gone afterwards."""
    lay_2019(tmp_path / "data/distill/chnsenticorp")
    write_tsv(tmp_path / "data/characters.tsv", [("酒店很好房间太差服务电池坏了",)], ("text_a",))
    out, done = run(OFFLINE, tmp_path, tmp_path / "data")
    assert "next, label new rows with it" in done.stdout
    run(ONLINE, tmp_path, tmp_path / "data", PORT=18113)
    one = weights_of(out / "distill_chnsenticorp" / "bow" / "seed_1" / "last")
    other = weights_of(out / "distill_chnsenticorp_with_propeller_server" / "bow" / "seed_1" / "last")
    assert one == other
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", 18113), timeout=5)


@pytest.mark.slow
def test_a_recipe_augments_a_task_that_has_no_unlabelled_text(tmp_path):
    pytest.importorskip("jieba")
    (tmp_path / "data/chnsenticorp").mkdir(parents=True)
    rows = [(1, "酒店的位置很好"), (0, "房间实在太差"), (1, "服务非常热情"), (0, "电池很快坏了")] * 3
    for name in ("train", "dev"):
        held = [(label, text + ("！" if name == "dev" else "")) for label, text in rows]
        write_tsv(tmp_path / "data/chnsenticorp" / f"{name}.tsv", held)
    out, _ = run(OFFLINE, tmp_path, tmp_path / "data", STUDENT="cnn")
    assert len((out / "chnsenticorp/unlabelled.tsv").read_text(encoding="utf8").splitlines()) == 121
    assert (out / "distill_chnsenticorp/cnn/seed_1/best/checkpoint.json").is_file()
