"""What a user of train.py can get wrong: one line that names it, and exit status 2; --on_bad skip counts."""

import gzip
import json
import re
import subprocess
import sys

import pytest

from pretrain.training import runner
from pretrain.training.runner import main
from propeller.errors import UserError
from tests.helpers.common import ROOT
from tests.helpers.pretraining import instances, make_shards, pretrain_flags, write_shard

GOOD_LINE = instances(1, 0)[0]
FIELDS = GOOD_LINE.split(";")


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return make_shards(tmp_path_factory.mktemp("shards") / "shards")


def refused(model, shards, folder, **changes):
    """The message of a run that is refused."""
    with pytest.raises(UserError) as caught:
        main("train.py", pretrain_flags(model, shards, folder / "run", **changes))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (";".join(FIELDS[:4]), "4 fields separated by ';', not token_ids;"),
        (";".join([FIELDS[0] + " 4", *FIELDS[1:]]), "token_ids but"),
        (";".join(["999" + FIELDS[0][1:], *FIELDS[1:]]), "token id 999, but the vocabulary has"),
        (";".join([*FIELDS[:4], "2"]), "next_sentence_label is '2': give 1"),
        (";".join([*FIELDS[:4], "1", "0-2-x"]), "units is '0-2-x': give start-end-kind"),
        (";".join([*FIELDS[:1], FIELDS[1].replace("1", "7"), *FIELDS[2:]]), "sentence type 7, but there are 2"),
    ],
)
def test_bad_lines(model, shards, tmp_path, line, what):
    path = write_shard(tmp_path / "bad.gz", [*instances(20, 1), line, *instances(20, 2)])
    (tmp_path / "list").write_text(f"{path}\t1\n")
    message = refused(model, shards, tmp_path, train_filelist=tmp_path / "list")
    assert message.startswith(f"{path}, line 21: ")
    assert what in message


def test_a_bad_line_of_the_validation_shards_is_told_before_the_first_step(model, shards, tmp_path):
    path = write_shard(tmp_path / "bad.gz", [*instances(20, 1), ";".join(FIELDS[:4])])
    (tmp_path / "list").write_text(f"{path}\t1\n")
    message = refused(model, shards, tmp_path, valid_filelist=tmp_path / "list", validation_steps=1000)
    assert message.startswith(f"{path}, line 21: 4 fields")
    assert "--on_bad skip" in message
    assert not list(tmp_path.rglob("step_*"))


def test_a_shard_cut_short(model, shards, tmp_path):
    whole = write_shard(tmp_path / "whole.gz", instances(400, 1)).read_bytes()
    (tmp_path / "cut.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "list").write_text(f"{tmp_path}/cut.gz\t1\n")
    message = refused(model, shards, tmp_path, train_filelist=tmp_path / "list", num_train_steps=60)
    assert re.search(r"cut\.gz, after line \d+: the file is cut short; make the shard again", message)


def test_lists_without_anything_to_train_on(model, shards, tmp_path):
    (tmp_path / "list").write_text(f"{tmp_path}/none.gz\t1\n")
    assert f"there is no file {tmp_path}/none.gz" in refused(
        model, shards, tmp_path, train_filelist=tmp_path / "list", shuffle="false"
    )
    with gzip.open(tmp_path / "none.gz", "wb"):
        pass
    assert "not one instance" in refused(model, shards, tmp_path, train_filelist=tmp_path / "list")
    long = refused(model, shards, tmp_path, max_seq_len=5, batch_size=8)
    assert "longer than max_seq_len 5" in long
    (tmp_path / "list").write_text("\n")
    assert "the list names no shard" in refused(model, shards, tmp_path, train_filelist=tmp_path / "list")
    assert "cannot be read as a list of shards" in refused(model, shards, tmp_path, train_filelist=tmp_path / "x")


def test_validation_shards_are_checked_too(model, shards, tmp_path):
    path = write_shard(tmp_path / "bad.gz", ["nothing"])
    (tmp_path / "list").write_text(f"{path}\t1\n")
    assert f"{path}, line 1: 1 field separated" in refused(model, shards, tmp_path, valid_filelist=tmp_path / "list")


def test_mixed_pairs_with_generate_neg_sample(model, shards, tmp_path):
    assert "next_sentence_label is 0, but generate_neg_sample" in refused(
        model, shards, tmp_path, generate_neg_sample="true"
    )


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"train_filelist": None}, "training needs --train_filelist"),
        ({"do_test": "true"}, "--do_test true needs --init_checkpoint"),
        ({"predict_mask": "[MASK]"}, "--predict_mask needs --init_checkpoint"),
        ({"do_test": "true", "predict_mask": "[MASK]"}, "give one of them"),
        ({"do_test": "true", "init_checkpoint": "x"}, "--do_test true needs --test_filelist"),
        ({"max_seq_len": 41}, "--max_seq_len 41 is above the 40 positions"),
        ({"task_id": 3}, "--task_id 3 is outside the 3 task embeddings"),
        ({"in_tokens": "true"}, "in_tokens with batch_size 8 tokens, less than max_seq_len 24"),
        ({"mask_units": "sentence"}, "mask schedule 'sentence'"),
        ({"num_train_steps": 0}, "--num_train_steps must be 1 or more, not 0"),
        ({"weight_decay": -1}, "--weight_decay must be 0 or more"),
        ({"dropout": 1}, "--dropout must be from 0 to below 1, not 1"),
        ({"use_fp16": "true"}, "--use_fp16 true needs a GPU"),
        ({"use_fp16": "true", "use_bf16": "true"}, "give one of them"),
        ({"init_checkpoint": "nowhere"}, "nowhere: cannot be read"),
        ({"init_checkpoint": "a", "init_pretraining_params": "b"}, "give one of them"),
        ({"num_trian_steps": 3}, "did you mean --num_train_steps?"),
    ],
)
def test_flags(model, shards, tmp_path, changes, what):
    assert what in refused(model, shards, tmp_path, **changes)


def test_checkpoints_of_another_kind(model, shards, tmp_path):
    main("train.py", pretrain_flags(model, shards, tmp_path / "one", num_train_steps=1, valid_filelist=None))
    source = tmp_path / "one" / "last"
    assert "is at step 1, --num_train_steps is 1: raise that" in refused(
        model, shards, tmp_path, init_checkpoint=source, num_train_steps=1
    )
    assert "weight_sharing is True, this run's False: give its --weight_sharing" in refused(
        model, shards, tmp_path, init_checkpoint=source, weight_sharing="false"
    )
    assert "tokenizer_fingerprint is" in refused(
        model, shards, tmp_path, init_pretraining_params=source, tokenizer="CharTokenizer"
    )
    assert "mask_lm_out_fc.b_0" in refused(
        model, shards, tmp_path, init_checkpoint=model / "params", predict_mask="the [MASK]"
    )


def test_one_line_and_exit_status_2(model, shards, tmp_path):
    given = pretrain_flags(model, shards, tmp_path / "run", train_filelist=tmp_path / "none")
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *given], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: {tmp_path}/none: cannot be read as a list")
    assert "Traceback" not in done.stderr


def test_on_bad_skip_counts_and_goes_on(model, shards, tmp_path, capsys):
    path = write_shard(tmp_path / "bad.gz", [*instances(10, 1), "nothing", *instances(10, 2)])
    (tmp_path / "list").write_text(f"{path}\t1\n{tmp_path}/none.gz\t1\n")
    changes = {"train_filelist": tmp_path / "list", "on_bad": "skip", "num_train_steps": 3, "valid_filelist": None}
    main("train.py", pretrain_flags(model, shards, tmp_path / "run", **changes))
    text = capsys.readouterr().err
    assert f"{path}, line 11: 1 field separated by ';'" in text
    assert re.search(r"left out: \d+ bad_lines, \d+ bad_files", text)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["finished"] is True


@pytest.mark.slow
def test_a_run_that_a_bad_line_stopped_goes_on_without_it(model, shards, tmp_path, capsys):
    good = write_shard(tmp_path / "good.gz", instances(40, 1))
    path = write_shard(tmp_path / "bad.gz", [*instances(10, 3), "nothing", *instances(30, 2)])
    (tmp_path / "list").write_text(f"{good}\t1\n{path}\t1\n")
    changes = {"train_filelist": tmp_path / "list", "shuffle": "false", "shuffle_buffer": 8, "batch_size": 8}
    changes.update(num_train_steps=9, valid_filelist=None, save_steps=1000)
    folder = tmp_path / "run"
    assert f"{path}, line 11: 1 field separated by" in refused(model, shards, tmp_path, **changes)
    (saved,) = [entry.name for entry in folder.glob("step_*")]
    assert saved != "step_0", "the steps before it are kept"
    message = refused(model, shards, tmp_path, **{**changes, "learning_rate": 0.5})
    assert f"choose another --checkpoints, with --init_checkpoint {folder}/last to go on with its weights" in message
    capsys.readouterr()
    main("train.py", pretrain_flags(model, shards, folder, **changes, on_bad="skip"))
    text = capsys.readouterr().err
    assert f"continue from step {saved[5:]}, " in text
    assert "left out: 1 bad_lines" in text


def test_a_run_that_bad_validation_shards_stopped_keeps_its_steps(model, shards, tmp_path, monkeypatch):
    """Shards that turn bad after they were looked at."""
    monkeypatch.setattr(runner.Pretrainer, "_read_validation", lambda self: None)
    path = write_shard(tmp_path / "bad.gz", [*instances(4, 1), "nothing"])
    (tmp_path / "list").write_text(f"{path}\t1\n")
    changes = {"valid_filelist": tmp_path / "list", "validation_steps": 3, "save_steps": 1000}
    assert f"{path}, line 5: 1 field separated by" in refused(model, shards, tmp_path, **changes)
    assert [entry.name for entry in (tmp_path / "run").glob("step_*")] == ["step_3"]
