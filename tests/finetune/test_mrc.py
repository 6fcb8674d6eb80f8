"""Reading comprehension: the head, and run_mrc.py as its user starts it, on a tiny model."""

import json
import re
import subprocess
import sys

import numpy as np
import paddle
import pytest

from ernie.checkpoint import read_params
from ernie.config import ErnieConfig
from finetune.mrc.task import ReadingComprehension
from finetune.spec import ModelSpec
from finetune.training.main import main
from propeller.errors import UserError
from propeller.train import program
from propeller.train.model import RunMode
from tests.helpers.common import GOLDEN, ROOT, SHARED
from tests.helpers.mrc_scorer import second_scorer
from tests.helpers.runs import read_records
from tests.helpers.squad import squad, write_questions
from tests.helpers.tiny import flags


def start(arguments, status=0):
    """The output of run_mrc.py; its exit status is checked."""
    command = [sys.executable, str(ROOT / "run_mrc.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    """A folder with train.json, dev.json, test.json: the answer is the one telling word; some contexts are long."""
    folder = tmp_path_factory.mktemp("mrc")
    for name, count, seed in (("train", 24, 1), ("dev", 8, 2), ("test", 5, 3)):
        write_questions(folder / f"{name}.json", count, seed)
    return folder


def mrc_flags(model, questions, folder, **changes):
    changes = {
        "train_set": questions / "train.json",
        "dev_set": questions / "dev.json",
        "test_set": questions / "test.json",
        "test_save": folder / "predicted.json",
        "doc_stride": 8,
        "max_answer_length": 4,
        "n_best_size": 5,
        **changes,
    }
    return flags(model, questions, folder, **changes)


@pytest.mark.parametrize("case", ["v1_relu", "v2_gelu"])
@pytest.mark.parametrize("batch", ["b0", "b1"])
def test_the_head_and_its_loss_equal_2019(case, batch):
    folder = GOLDEN / "3_model" / case
    io, config = np.load(folder / "io.npz"), ErnieConfig(str(folder / "ernie_config.json"))
    encoder = ("src_ids", "sent_ids", "pos_ids", "task_ids", "input_mask")
    feed = {name: io[f"{batch}/in_{name}"].squeeze(-1) for name in encoder if f"{batch}/in_{name}" in io}
    feed.setdefault("task_ids", np.zeros_like(feed["src_ids"]))
    feed.update({name: io[f"{batch}/mrc/in_{name}"] for name in ("start", "end")})
    feed["unique_ids"] = io[f"{batch}/mrc/in_unique_id"]
    paddle.enable_static()
    graph = program.build(lambda mode: ReadingComprehension(config, ModelSpec(), mode), RunMode.EVAL)
    scope, executor = paddle.static.Scope(), paddle.static.Executor(paddle.CPUPlace())
    stored = read_params(str(folder / "params"))
    wanted = {name: stored[name] for name in program.parameters(graph.main)}
    assert {"cls_mrc_out_w", "cls_mrc_out_b"} <= set(wanted)
    program.write(scope, paddle.CPUPlace(), wanted)
    fetched = executor.run(graph.main, feed=feed, fetch_list=list(graph.fetches.values()), scope=scope)
    loss, start_logits, end_logits, unique_ids = (
        dict(zip(graph.fetches, fetched))[name] for name in ("loss", "logits/0", "logits/1", "logits/2")
    )
    assert float(loss) == pytest.approx(float(io[f"{batch}/mrc/loss"][0]), abs=1e-5)
    real = feed["input_mask"] > 0
    np.testing.assert_allclose(start_logits[real], io[f"{batch}/mrc/start_logits"][real], atol=1e-5)
    np.testing.assert_allclose(end_logits[real], io[f"{batch}/mrc/end_logits"][real], atol=1e-5)
    np.testing.assert_array_equal(unique_ids, io[f"{batch}/mrc/unique_id"])


@pytest.fixture(scope="module")
def whole(model, questions, tmp_path_factory):
    """A run from beginning to end: its folder and its output."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, start(mrc_flags(model, questions, folder, epoch=6, validation_steps=10))


def read(path):
    return json.loads(path.read_text(encoding="utf8"))


def test_a_run_from_beginning_to_end(whole, questions):
    folder, output = whole
    number = r"-?\d+\.\d{6}"
    windows = re.search(r"Num train examples: (\d+)", output)[1]
    assert int(windows) > 24, "long contexts give several windows"
    assert re.search(
        rf"\tepoch: 0, progress: 16/{windows}, step: 2, ave loss: {number}, speed: {number} steps/s$", output, re.M
    )
    found = re.findall(
        rf"\[dev evaluation\] em: ({number}), f1: {number}, avg: {number}, question_num: 8, elapsed", output
    )
    assert float(found[-1]) > 50, "the answer is the only telling word"
    assert re.search(rf"\[test evaluation\] em: {number}, f1: {number}, avg: {number}, question_num: 5,", output)
    assert "scored as English" in output
    lines = read_records(folder)
    dev = [line for line in lines if line["event"] == "dev"]
    assert {"em", "f1", "avg", "question_num"} <= set(dev[0])
    assert "loss" not in dev[0], "it has no meaning in evaluation"
    best = max(dev, key=lambda line: line["avg"])["step"]
    assert (folder / "best").resolve().name == f"step_{best}"


def test_what_a_run_leaves(whole, questions):
    folder, _ = whole
    last = int((folder / "last").resolve().name[len("step_") :])
    for kind, count in (("dev", 8), ("test", 5)):
        predictions, nbest = read(folder / f"{kind}_predictions.json"), read(folder / f"{kind}_nbest_predictions.json")
        assert list(predictions) == list(nbest) == [f"{kind}{i}" for i in range(count)]
        for name, answers in nbest.items():
            assert predictions[name] == answers[0]["text"]
            assert len(answers) <= 5
            assert sum(answer["probability"] for answer in answers) == pytest.approx(1)
            assert list(answers[0]) == ["text", "probability", "start_logit", "end_logit"]
    assert read(folder / f"{last}_dev_predictions.json") == read(folder / "dev_predictions.json")
    contexts = {
        q["id"]: p["context"] for a in read(questions / "dev.json")["data"] for p in a["paragraphs"] for q in p["qas"]
    }
    assert all(
        text in contexts[name] or text == "empty" for name, text in read(folder / "dev_predictions.json").items()
    )
    saved = sorted(path.name for path in folder.glob("predicted.json.*"))
    assert len(saved) in (2, 4)
    last_saved = folder / f"predicted.json.5.{last}"
    assert read(last_saved) == read(folder / f"{last}_test_predictions.json")
    assert read(folder / f"{last_saved.name}.nbest") == read(folder / f"{last}_test_nbest_predictions.json")
    assert json.loads((folder / "last" / "checkpoint.json").read_text())["task"] == "mrc"


def test_a_checkpoint_evaluates_and_predicts_alone(whole, model, questions, tmp_path):
    """Without training; a test set without answers; answers do not depend on the batch they came in."""
    folder, output = whole
    bare = read(questions / "test.json")
    for paragraph in bare["data"][0]["paragraphs"]:
        del paragraph["qas"][0]["answers"]
    (tmp_path / "bare.json").write_text(json.dumps(bare))
    changes = {
        "do_train": "false",
        "train_set": None,
        "init_pretraining_params": None,
        "init_checkpoint": folder / "last",
        "test_set": tmp_path / "bare.json",
        "batch_size": 3,
    }
    later = start(mrc_flags(model, questions, tmp_path / "run", **changes))
    line = re.compile(r"\[dev evaluation\] (em: \S+, f1: \S+, avg: \S+, question_num: \d+)")
    assert line.findall(later) == line.findall(output)[-1:]
    assert "[test evaluation]" not in later
    last = (folder / "last").resolve().name[len("step_") :]
    assert read(tmp_path / "run" / "predicted.json") == read(folder / f"{last}_test_predictions.json")
    assert read(tmp_path / "run" / "dev_predictions.json") == read(folder / "dev_predictions.json")


def test_the_task_of_a_checkpoint_is_checked(whole, model, data, tmp_path):
    folder, _ = whole
    with pytest.raises(UserError, match="'mrc'.*'classify'"):
        main(
            "run_classifier.py",
            "classify",
            flags(model, data, tmp_path, init_checkpoint=folder / "best", init_pretraining_params=None),
        )


def test_for_cn_leaves_the_blanks(whole, model, questions, tmp_path):
    """for_cn is on by default, and takes no part here: an answer has its place in the text."""
    folder, _ = whole
    changes = {
        "do_train": "false",
        "do_test": "false",
        "init_checkpoint": folder / "last",
        "init_pretraining_params": None,
    }
    main("run_mrc.py", "mrc", mrc_flags(model, questions, tmp_path / "run", for_cn="true", **changes))
    assert read(tmp_path / "run" / "dev_predictions.json") == read(folder / "dev_predictions.json")


def test_several_dev_sets_and_a_language(whole, model, questions, tmp_path):
    folder, _ = whole
    changes = {
        "do_train": "false",
        "do_test": "false",
        "init_checkpoint": folder / "last",
        "init_pretraining_params": None,
        "dev_set": f"{questions / 'dev.json'},{questions / 'test.json'}",
        "mrc_language": "zh",
    }
    output = start(mrc_flags(model, questions, tmp_path / "run", **changes))
    assert output.count("scored as Chinese") == output.count("[dev evaluation]") == 2
    assert len(read(tmp_path / "run" / "dev_predictions.json")) == 8
    assert len(read(tmp_path / "run" / "dev_2_predictions.json")) == 5


def test_dureader_s_own_rules_and_how_far_they_are_from_cmrc_s(whole, model, tmp_path, caplog):
    """The answers of the run on contexts that differ in signs: each script takes other ones out."""
    folder, _ = whole
    squad(
        tmp_path / "dev.json", ("the cast was good", [("1", "the cast ?", ("(good)", 0)), ("2", "the cast ?", "good")])
    )
    changes = {"do_train": "false", "do_test": "false", "init_checkpoint": folder / "last",
               "init_pretraining_params": None, "dev_set": tmp_path / "dev.json",
               "mrc_language": "dureader"}  # fmt: skip
    output = start(mrc_flags(model, folder, tmp_path / "run", **changes))
    assert "scored as Chinese, DuReader's own script" in output
    own = float(re.search(r"\[dev evaluation\] em: ([\d.]+)", output)[1])
    cmrc = float(re.search(r"by the rules of CMRC 2018 \(--mrc_language zh\) em: ([\d.]+)", output)[1])
    answered = read(tmp_path / "run" / "dev_predictions.json") == {"1": "good", "2": "good"}
    assert (own, cmrc) == ((100, 50) if answered else (own, own / 2))


@pytest.mark.slow
def test_squad_2_is_trained_and_scored_without_its_unanswerable_questions(model, questions, tmp_path):
    """SQuAD 2.0: the error tells all of them at once, and doing what it says trains, evaluates and predicts."""
    for name in ("train", "dev"):
        content = read(questions / f"{name}.json")
        for number, paragraph in enumerate(content["data"][0]["paragraphs"]):
            new = {"id": f"none{number}", "question": "who ?", "answers": [], "is_impossible": True}
            paragraph["qas"].append(new)
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    changes = {"train_set": tmp_path / "train.json", "dev_set": tmp_path / "dev.json", "epoch": 1}
    told = start(mrc_flags(model, questions, tmp_path / "run", **changes), status=2)
    assert re.search(r"'none0': it has no answer .*, as with 24 of 48 questions of the file: .*--on_bad skip", told)
    output = start(mrc_flags(model, questions, tmp_path / "run", **changes, on_bad="skip"))
    assert "train.json: 24 questions without an answer left out ('none0', " in output
    assert "dev.json: 8 questions without an answer left out" in output
    assert re.search(r"\[dev evaluation\] em: .*question_num: 8,", output)
    assert len(read(tmp_path / "run" / "dev_predictions.json")) == 8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"doc_stride": 0}, ["--doc_stride"]),
        ({"max_query_length": 0}, ["--max_query_length"]),
        ({"max_answer_length": 0}, ["--max_answer_length"]),
        ({"n_best_size": 0}, ["--n_best_size"]),
        ({"mrc_language": "fr"}, ["--mrc_language"]),
        ({"max_seq_len": 6}, ["'train0'", "--max_seq_len 6", "--max_query_length"]),
    ],
    ids=str,
)
def test_bad_flags(model, questions, tmp_path, changes, words):
    with pytest.raises(UserError) as caught:
        main("run_mrc.py", "mrc", mrc_flags(model, questions, tmp_path / "run", **changes))
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)
    assert not list(tmp_path.glob("run/step_*"))


@pytest.mark.parametrize("which", ["train", "dev"])
def test_a_bad_file_is_one_line_and_status_2(model, questions, tmp_path, which):
    path = tmp_path / "bad.json"
    path.write_text((questions / f"{which}.json").read_text().replace(f'"{which}1"', f'"{which}0"'))
    output = start(mrc_flags(model, questions, tmp_path / "run", **{f"{which}_set": path}), status=2)
    assert output.splitlines()[-1].startswith(f"error: {path}, question '{which}0': the id appears more than once")


@pytest.mark.slow
def test_an_interrupted_run_goes_on(model, questions, tmp_path):
    """kill -9 at the first checkpoint, the same command again: the weights of a run in one go."""
    whole, cut = (tmp_path / name for name in ("whole", "cut"))
    changes = {"epoch": 1, "do_test": "false", "save_steps": 2, "validation_steps": 0, "bucket_window": 16}
    start(mrc_flags(model, questions, whole, **changes))
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "run_mrc.py"), *map(str, mrc_flags(model, questions, cut, **changes))],
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if "saved checkpoint" in line:
            process.kill()
            break
    process.communicate()
    assert "continue from step" in start(mrc_flags(model, questions, cut, **changes))
    one, other = (read_params(folder / "last") for folder in (whole, cut))
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.mark.slow
@pytest.mark.beside("data/zh/cmrc2018", "vocab")
def test_cmrc2018_scored_twice(tmp_path):
    """Train on trial, predict dev: our scores are those of a second scorer that knows the files alone."""
    data, folder = SHARED / "data" / "zh" / "cmrc2018", tmp_path / "run"
    config = read(GOLDEN / "6_cli" / "data" / "cfg.json")
    (tmp_path / "cfg.json").write_text(json.dumps({**config, "max_position_embeddings": 512}))
    output = start([
        *("--use_cuda", "false", "--ernie_config_path", tmp_path / "cfg.json", "--max_seq_len", 256),
        *("--vocab_path", SHARED / "vocab" / "vocab_zh.txt", "--checkpoints", folder, "--epoch", 1, "--batch_size", 16),
        *("--learning_rate", 1e-3, "--train_set", data / "trial.json", "--dev_set", data / "dev.json"),
        *("--validation_steps", 0, "--do_test", "false"),
    ])  # fmt: skip
    assert "5 with a wrong one taken at the nearest place of their text" in output
    assert "left out" not in output
    gold = [q for article in read(data / "dev.json")["data"] for p in article["paragraphs"] for q in p["qas"]]
    answers = {q["id"]: [answer["text"] for answer in q["answers"]] for q in gold}
    second = second_scorer(answers, read(folder / "dev_predictions.json"))
    found = re.search(r"\[dev evaluation\] em: (\S+), f1: (\S+), avg: (\S+), question_num: 3219", output).groups()
    assert [float(value) for value in found] == pytest.approx([second[name] for name in ("em", "f1", "avg")], abs=1e-6)
    assert second["f1"] > 0


def test_overwrite_removes_the_answers_of_the_earlier_run(model, questions, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    old = [folder / f"{name}_predictions.json" for name in ("99_dev", "99_dev_2_nbest", "test", "dev_nbest")]
    kept = folder / "my_predictions.json"
    for path in (*old, kept):
        path.write_text("{}")
    main("run_mrc.py", "mrc", mrc_flags(model, questions, folder, epoch=1, do_test="false", overwrite="true"))
    assert [path.name for path in old if path.exists() and path.read_text() == "{}"] == []
    assert kept.exists()
