"""train.py as its user starts it, on tiny shards: log, files, continuing, tests, several processes."""

import json
import re
import shutil
import signal
import time
from contextlib import redirect_stderr
from io import StringIO
from itertools import islice

import numpy as np
import pytest

from ernie.checkpoint import read_params, write_params
from ernie.config import ErnieConfig
from pretrain.tasks.knowledge_masking import KnowledgeMasking
from pretrain.training.args import IGNORED, parse
from pretrain.training.reading import open_reader
from pretrain.training.runner import main
from propeller.errors import UserError
from propeller.train.saver import Saver, read_training_state
from tests.helpers.common import GOLDEN, ROOT, files_that_others_cannot_read
from tests.helpers.pretraining import STEPS, instances, make_shards, pretrain_flags, write_shard
from tests.helpers.runs import in_processes, log_of, messages_of, read_records
from tests.helpers.tiny import VOCABULARY, flags
from tests.helpers.train_process import start
from tests.helpers.weights import assert_close_weights, assert_same_weights
from tokenization import FullTokenizer

NUMBER = r"-?\d+\.\d{6}"


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return make_shards(tmp_path_factory.mktemp("shards") / "shards")


def train(model, shards, folder, **changes):
    """The messages of the log of a run in this process."""
    return log_of(main, "train.py", pretrain_flags(model, shards, folder, **changes))


@pytest.fixture(scope="module")
def whole(model, shards, tmp_path_factory):
    """A run from beginning to end, as a process of its own: its folder and its output."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    process = start(pretrain_flags(model, shards, folder))
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return folder, output


def test_the_log_has_the_lines_of_2019(whole, shards):
    folder, output = whole
    text = messages_of(output)
    assert "pretraining start" in text
    assert re.search(r"^Device count 1$", text, re.M)
    assert re.search(r"^Theoretical memory usage in training: \d+\.\d{3} - \d+\.\d{3} MB$", text, re.M)
    assert re.search(
        rf"^feed_queue size \d+\ncurrent learning_rate:0\.002500\nepoch: 1, progress: [12]/2, step: 2, loss: {NUMBER}, "
        rf"ppl: {NUMBER}, next_sent_acc: {NUMBER}, speed: {NUMBER} steps/s, "
        rf"file: {re.escape(str(shards))}/part-[01]\.gz, mask_type: mask_(word|char)$",
        text,
        re.M,
    )
    # 40 instances in batches of 8: 5 an epoch, whose third begins in the second file
    assert re.search(r"^epoch: 1, progress: 1/2, step: 2, ", text, re.M)
    assert re.search(r"^epoch: 1, progress: 2/2, step: 4, ", text, re.M)
    assert re.search(r"^epoch: 2, progress: 2/2, step: 8, ", text, re.M)
    assert re.search(
        rf"^\[validation_set\] epoch: 1, step: 4, loss: {NUMBER}, global ppl: {NUMBER}, batch-averged ppl: {NUMBER}, "
        rf"next_sent_acc: {NUMBER}, speed: {NUMBER} steps/s$",
        text,
        re.M,
    )


def test_what_a_run_leaves(whole, model):
    folder, _ = whole
    found = {entry.name for entry in folder.iterdir()}
    assert {"step_4", "step_8", "last", "best", "params", "ernie_config.json", "vocab.txt", "metrics.jsonl"} <= found
    described = json.loads((folder / "last" / "checkpoint.json").read_text())
    assert (described["task"], described["step"]) == ("knowledge_masking", STEPS)
    names = read_params(folder / "params")
    assert {"word_embedding", "pooled_fc.w_0", "mask_lm_trans_fc.w_0", "mask_lm_out_fc.b_0", "next_sent_fc.w_0"} <= {
        *names
    }
    assert "mask_lm_out_fc.w_0" not in names  # tied
    assert (folder / "vocab.txt").read_bytes() == (model / "vocab.txt").read_bytes()
    records = read_records(folder)
    assert [(r["event"], r["step"]) for r in records] == [
        ("train", 2), ("train", 4), ("dev", 4), ("train", 6), ("train", 8), ("dev", 8)
    ]  # fmt: skip
    for record in records:
        assert record["loss"] == pytest.approx(record["mask_lm_loss"] + record["next_sent_loss"], rel=1e-2)
        assert record["ppl"] > 1
    best = min((r["loss"], r["step"]) for r in records if r["event"] == "dev")[1]
    assert (folder / "best").resolve().name == f"step_{best}"


def test_a_finished_run_says_so_and_another_one_is_refused(whole, model, shards):
    folder, _ = whole
    assert "this run is finished" in train(model, shards, folder)
    process = start(pretrain_flags(model, shards, folder, learning_rate=1e-3))
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "holds another run: --learning_rate was 0.005, now 0.001" in output.splitlines()[-1]


def test_validation_and_checkpoints_at_the_end_of_each_pass(model, shards, tmp_path):
    changes = {"skip_steps": 1, "keep_checkpoints": 0, "eval_strategy": "epoch", "save_strategy": "epoch"}
    train(model, shards, tmp_path / "run", best_metric="acc", num_train_steps=2 * STEPS, **changes)
    records = read_records(tmp_path / "run")
    trained = [record for record in records if record["event"] == "train"]
    ends = [one["step"] for one, other in zip(trained, trained[1:]) if one["epoch"] != other["epoch"]]
    assert len(ends) > 1
    dev = [record for record in records if record["event"] == "dev"]
    assert [record["step"] for record in dev] == [*ends, 2 * STEPS]
    saved = {int(path.name[5:]) for path in (tmp_path / "run").glob("step_*")}
    assert saved == {*ends, 2 * STEPS}
    best = json.loads((tmp_path / "run" / "run.json").read_text())["best_step"]
    assert best == max(dev, key=lambda record: record["acc"])["step"]


def test_a_best_metric_that_no_validation_has(model, shards, tmp_path):
    with pytest.raises(UserError, match=r"--best_metric f1: .* has no score of that name; give one of loss, .*ppl"):
        train(model, shards, tmp_path / "run", best_metric="f1")


def test_a_run_begun_before_there_were_strategies_is_known(model, shards, tmp_path):
    train(model, shards, tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    record = json.loads(path.read_text())
    for name in ("--eval_strategy", "--best_metric"):
        del record["fingerprint"]["flag"][name]
    path.write_text(json.dumps(record))
    assert "this run is finished" in train(model, shards, tmp_path / "run")
    with pytest.raises(UserError, match="run: --eval_strategy was 'steps', now 'both'"):
        train(model, shards, tmp_path / "run", eval_strategy="both")


@pytest.mark.slow
def test_killed_and_continued_ends_with_the_same_weights(whole, model, shards, tmp_path):
    """Killed somewhere after its first checkpoint, twice; other log and save intervals do not matter."""
    arguments = pretrain_flags(model, shards, tmp_path / "run", save_steps=1)
    for after in (2, 5):
        process = start(arguments)
        deadline = time.monotonic() + 240
        while not (tmp_path / "run" / f"step_{after}").is_dir() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    process = start(arguments)  # not in this process, which may have other matrix kernels
    text, _ = process.communicate(timeout=300)
    assert re.search(r"continue from step \d, epoch [01]", text) or "this run is finished" in text
    assert_same_weights(whole[0], tmp_path / "run")
    lines = [(tmp / "metrics.jsonl").read_text().splitlines() for tmp in (whole[0], tmp_path / "run")]
    shown = [[{**json.loads(line), "speed": 0, "elapsed": 0, "queue_size": 0} for line in found] for found in lines]
    assert shown[0] == shown[1]


def test_killed_before_it_could_say_finished(whole, model, shards, tmp_path):
    """All steps are done: no more are made. Nor does it matter that the folder was copied with links followed."""
    shutil.copytree(whole[0], tmp_path / "run", symlinks=False)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**record, "finished": False}))
    assert f"continue from step {STEPS}" in train(model, shards, tmp_path / "run")
    for name in ("last", "best", "params"):
        assert (tmp_path / "run" / name).readlink() == (whole[0] / name).readlink()
    assert_same_weights(whole[0], tmp_path / "run")


def test_a_run_is_called_finished_when_its_folder_is_a_model(whole, model, shards, tmp_path, monkeypatch):
    """Killed before params/, configuration or vocabulary were there: the same command brings them, then says so."""
    run, parts = tmp_path / "run", ("params", "ernie_config.json", "vocab.txt")
    shutil.copytree(whole[0], run, symlinks=True)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "finished": False}))
    for name in parts:
        (run / name).unlink()
    there, finish = [], Saver.finish
    monkeypatch.setattr(
        Saver,
        "finish",
        lambda *args, **facts: [there.extend((run / p).exists() for p in parts), finish(*args, **facts)],
    )
    train(model, shards, run)
    assert there == [True, True, True]
    (run / "params").unlink()  # as a run of an earlier version may have ended
    assert "this run is finished" in train(model, shards, run)
    assert (run / "params").resolve() == (run / "last").resolve()


@pytest.mark.slow
def test_init_checkpoint_goes_on_with_moments_and_step(whole, model, shards, tmp_path):
    folder, _ = whole
    text = train(model, shards, tmp_path / "on", init_checkpoint=folder / "step_4")
    assert "go on from step 4" in text
    # 5e-3 * (1 - 5/8)
    assert re.search(r"current learning_rate:0\.001875\nepoch: 1, progress: [12]/2, step: 6, ", text)
    state, described = read_training_state(tmp_path / "on" / "last")
    assert (described["step"], described["batches"]) == (8, 8)
    powers = {float(value.ravel()[0]) for name, value in state.items() if "beta2_pow" in name}
    assert list(powers) == [pytest.approx(0.999**9, rel=1e-5)]
    # The first update moves by the moments that were stored: without them the weights after it differ.
    alone = train(model, shards, tmp_path / "anew", init_pretraining_params=folder / "step_4", num_train_steps=2)
    assert "step: 2" in alone
    assert "go on from" not in alone
    state, described = read_training_state(tmp_path / "anew" / "last")
    assert (described["step"], described["batches"]) == (2, 2)


def test_a_released_model_is_where_to_begin_from(model, shards, tmp_path):
    """params/ without heads, with 2019's leftovers beside them, and with its heads."""
    text = train(model, shards, tmp_path / "run", init_checkpoint=model / "params", num_train_steps=1)
    assert "has no training_state: a new run from its weights, from step 0" in text
    assert "not there, initialised: mask_lm_out_fc.b_0, mask_lm_trans_fc.b_0" in text
    assert f"{model}/params has no head for masked words: the new one begins at random" in text
    arrays = {**read_params(tmp_path / "run" / "last"), "word_embedding_moment1_0": np.zeros(3, "float32")}
    write_params(tmp_path / "params", arrays)
    text = train(model, shards, tmp_path / "on", init_checkpoint=tmp_path / "params", num_train_steps=1)
    assert f"{tmp_path}/params: {len(arrays) - 1} parameters loaded; 1 files of old training state skipped" in text
    assert "no head for masked words" not in text


def test_do_test_scores_as_validation_does(whole, model, shards, tmp_path):
    changes = {"do_test": "true", "test_filelist": shards / "valid_filelist", "skip_steps": 1}
    text = train(model, shards, tmp_path / "none", init_checkpoint=whole[0] / "last", train_filelist=None, **changes)
    assert "test begin\n[test_set] steps: 1\n[test_set] steps: 2\n" in text
    shown = re.search(rf"^\[test_set\] (loss: .*), speed: {NUMBER} steps/s$", text, re.M).group(1)
    validated = re.findall(r"\[validation_set\] epoch: 2, step: 8, (.*), speed", whole[1])[0]
    expected = re.sub(r"batch-averged ppl: [^,]*, ", "", validated)
    assert re.sub(NUMBER, "#", shown) == re.sub(NUMBER, "#", expected)
    scores = [list(map(float, re.findall(NUMBER, line))) for line in (shown, expected)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-6)  # another process may add in another order
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_it_learns(model, shards, tmp_path):
    """On forty instances seen again and again the perplexity falls, and more with the whole words told."""
    train(model, shards, tmp_path / "run", num_train_steps=60, epoch=20, learning_rate=1e-2, validation_steps=0)
    records = read_records(tmp_path / "run")
    ppl = [record["ppl"] for record in records if record["event"] == "train"]
    assert np.mean(ppl[-5:]) < 0.75 * ppl[0]


def test_recomputed_layers_lead_to_the_same_weights(model, shards, tmp_path):
    for recompute in ("false", "true"):
        changes = {"num_train_steps": 2, "valid_filelist": None, "use_recompute": recompute, "fused_encoder": "false"}
        train(model, shards, tmp_path / recompute, **changes)
    assert_same_weights(tmp_path / "false", tmp_path / "true")


def test_dropout_is_that_of_the_flag_and_the_model_keeps_its_own(model, shards, tmp_path):
    """--dropout 0 trains as a configuration without dropout does."""
    config = json.loads((model / "ernie_config.json").read_text())
    assert config["hidden_dropout_prob"] > 0
    without = {**config, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (tmp_path / "without.json").write_text(json.dumps(without))
    changes = {"num_train_steps": 2, "valid_filelist": None}
    train(model, shards, tmp_path / "plain", **changes)
    train(model, shards, tmp_path / "flag", dropout=0, **changes)
    train(model, shards, tmp_path / "config", ernie_config_path=tmp_path / "without.json", **changes)
    assert_same_weights(tmp_path / "flag", tmp_path / "config")
    names = ("plain", "flag")
    arrays = [read_params(tmp_path / name / "last")["encoder_layer_0_ffn_fc_0.w_0"] for name in names]
    assert not np.array_equal(*arrays)
    kept = [ErnieConfig(str(tmp_path / name / "ernie_config.json")).to_dict() for name in names]
    assert kept[0] == kept[1] == ErnieConfig(str(model / "ernie_config.json")).to_dict()


def test_the_files_of_a_run_have_the_usual_permissions(whole):
    assert files_that_others_cannot_read(whole[0]) == []


def test_untied_output(model, shards, tmp_path):
    train(model, shards, tmp_path / "run", weight_sharing="false", num_train_steps=2)
    assert read_params(tmp_path / "run" / "last")["mask_lm_out_fc.w_0"].shape == (32, len(VOCABULARY))


@pytest.mark.slow
def test_accumulated_batches_and_processes_make_the_same_step(model, shards, tmp_path):
    """Two processes of a batch each, and one that accumulates two: the same weights but for the order of sums."""
    changes = {"num_train_steps": 4, "epoch": 3, "learning_rate": 1e-3, "valid_filelist": shards / "valid_filelist"}
    train(model, shards, tmp_path / "one", gradient_accumulation_steps=2, **changes)
    words = pretrain_flags(model, shards, tmp_path / "two", **changes)
    in_processes(2, [ROOT / "train.py", *words], cwd=tmp_path)
    assert_close_weights(tmp_path / "one", tmp_path / "two", atol=2e-5)
    losses = []
    for name in ("one", "two"):
        records = read_records(tmp_path / name)
        losses.append([(r["event"], r["step"], r["loss"]) for r in records])
    for (event, step, loss), other in zip(*losses):
        assert other == (event, step, pytest.approx(loss, rel=1e-4))


def test_noam_and_constant_rates(model, shards, tmp_path):
    text = train(model, shards, tmp_path / "noam", lr_scheduler="noam_decay", num_train_steps=6, skip_steps=1)
    rates = [float(rate) for rate in re.findall(r"current learning_rate:(\S+)", text)]
    assert rates == pytest.approx([0.0025, 0.005, 0.004082, 0.003536, 0.003162, 0.002887], abs=1e-6)
    text = train(model, shards, tmp_path / "flat", warmup_steps=0, num_train_steps=2, skip_steps=1)
    assert re.findall(r"current learning_rate:(\S+)", text) == ["0.005000"] * 2


def test_flags_of_data_have_their_effect(model, shards, tmp_path):
    """Each of them leads to another third batch."""
    positive = [line for line in instances(40, 3) if line.endswith(";1")]
    (tmp_path / "list").write_text(f"{write_shard(tmp_path / 'positive.gz', positive)}\t1\n")
    variants = {
        "plain": {},
        "shuffle": {"shuffle": "false"},
        "buffer": {"shuffle_buffer": 40},
        "seed": {"random_seed": 2},
        "tokens": {"in_tokens": "true", "batch_size": 96},
        "task_id": {"task_id": 2},
        "positive": {"train_filelist": tmp_path / "list"},
        "negatives": {"train_filelist": tmp_path / "list", "generate_neg_sample": "true"},
    }
    tokenizer, config = FullTokenizer(str(model / "vocab.txt")), ErnieConfig(str(model / "ernie_config.json"))
    found = {}
    for name, given in variants.items():
        args = parse("train.py", "", pretrain_flags(model, shards, tmp_path, **given))
        reader = open_reader(KnowledgeMasking, args.data.train_filelist, tokenizer, config, args, training=True)
        batch, _ = next(islice(reader.batches(), 2, None))
        found[name] = {key: value.tolist() for key, value in batch.items()}
    names = sorted(found)
    assert [(a, b) for a in names for b in names if a < b and found[a] == found[b]] == []


def test_verbose_shows_both_losses(model, shards, tmp_path):
    text = train(model, shards, tmp_path / "run", verbose="true", num_train_steps=2)
    assert re.search(r"^mask_lm_loss: \d\.\d+, next_sent_loss: \d\.\d+; read so far: \d+ instances, ", text, re.M)


def test_a_checkpoint_is_what_fine_tuning_begins_from(whole, data, tmp_path):
    from finetune.training.main import main as finetune

    shown = StringIO()
    folder = whole[0]
    with redirect_stderr(shown):
        finetune("run_classifier.py", "classify", flags(folder, data, tmp_path / "run", epoch=1))
    # The encoder is taken whole, the heads of pre-training are not.
    text = shown.getvalue()
    assert re.search(
        rf"{folder}/params: \d+ parameters loaded; \d+ not used: mask_lm_out_fc.b_0, mask_lm_trans", text
    ), text
    assert "step_5" in {entry.name for entry in (tmp_path / "run").iterdir()}


def test_a_finished_run_is_named_by_its_directory(whole, shards, tmp_path, capsys):
    """--model DIR: to fill masks with, and to begin another run with at step 0."""
    folder, _ = whole
    given = ["--model", str(folder), "--use_cuda", "false", "--max_seq_len", "24"]
    main("train.py", [*given, "--predict_mask", "the [MASK] film"])
    assert capsys.readouterr().out
    more = {
        "train_filelist": shards / "train_filelist",
        "num_train_steps": 1,
        "batch_size": 8,
        "checkpoints": tmp_path / "run",
    }
    main("train.py", [*given, *(word for name, value in more.items() for word in (f"--{name}", str(value)))])
    assert (tmp_path / "run" / "step_1").is_dir()


def test_every_flag_of_2019_is_taken_with_its_default():
    recorded = (GOLDEN / "6_cli" / "log" / "pretrain_default_batch_size.log").read_text().splitlines()
    command, lines = recorded[0], [line.split("\t", 1)[1] for line in recorded if "args.py" in line and ": " in line]
    values = dict(line.split(": ", 1) for line in lines if not line.startswith("-"))
    given = re.findall(r"--(\w+) (\S+)", command)
    for name, _ in given:
        del values[name]
    ours = parse("train.py", "", [word for name, value in given for word in (f"--{name}", value)]).values()
    for name, value in values.items():
        if name not in IGNORED:
            assert str(ours[name]) == value or float(ours[name]) == float(value), name
    every = [word for name, value in values.items() if value not in ("", "None") for word in (f"--{name}", value)]
    args = parse("train.py", "", [*every, *(word for name, value in given for word in (f"--{name}", value))])
    assert set(args.ignored) == set(IGNORED)
