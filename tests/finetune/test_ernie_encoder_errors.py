"""ernie_encoder.py: every mistake is one line with place and remedy; full disks and kills leave nothing half."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import paddle
import pytest

from finetune.embedding.files import COUNTS, PARTIAL, STATES, VECTORS
from propeller.errors import UserError
from tests.helpers.bundle import export
from tests.helpers.common import ROOT
from tests.helpers.embedding import FILES, assert_near, embed, from_bundle, start, words, write_rows
from tests.helpers.tiny import VOCABULARY, make_model, sentences, write_tsv


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def plain(model, rows, tmp_path_factory):
    return embed(model, rows, tmp_path_factory.mktemp("plain"))


BAD_ROWS = {
    "ragged": (b"text_a\ttext_b\na\tb\none\n", "line 3: 1 fields where the header has 2"),
    "no text column": (b"label\n1\n", "line 1: column 'text_a' is missing"),
    "empty": (b"", "line 1: the file is empty"),
    "no row": (b"text_a\n", "line 1: there is a header but no row"),
    "not utf-8": (b"text_a\ngood\nb\xff\n", "line 3: .*UTF-8"),
    "twice": (b"text_a\ttext_a\na\tb\n", "line 1: column 'text_a' appears more than once"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
@pytest.mark.parametrize("workers", [0, 1])
def test_bad_rows(case, workers, model, tmp_path):
    content, message = BAD_ROWS[case]
    (tmp_path / "rows.tsv").write_bytes(content)
    with pytest.raises(UserError, match=f"rows.tsv, {message}") as caught:
        embed(model, tmp_path / "rows.tsv", tmp_path / "out", num_workers=workers)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").iterdir() if (tmp_path / "out").exists() else ())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer": 3}, r"--layer 3: the model has 2 layers: give 0 .* to 2 .*, or -1 .* to -3"),
        ({"layer": -4}, "--layer -4: the model has 2 layers"),
        ({"pooling": "sum"}, "--pooling.*sum.*cls"),
        ({"max_seq_len": 41}, "--max_seq_len 41 is above the 40 positions"),
        ({"max_seq_len": 2}, "max_seq_len 2 is too small"),
        ({"task_id": 3}, "--task_id 3 is outside the 3 task embeddings"),
        ({"batch_size": 0}, "--batch_size must be at least 1"),
        ({"batch_size": 10, "in_tokens": "true"}, "batch_size 10 tokens"),
        ({"queue_size": 0}, "--queue_size must be at least 1"),
        ({"num_workers": -1}, "--num_workers must be at least 0"),
        ({"data_set": None}, "no --data_set"),
        ({"data_set": "nowhere.tsv"}, "nowhere.tsv: no such file"),
        ({"init_pretraining_params": None}, "no model: give --model, the directory of a model"),
        ({"init_checkpoint": "a"}, "--init_checkpoint and --init_pretraining_params are both given"),
        ({"init_pretraining_params": None, "inference_model": "b"}, "--ernie_config_path with --inference_model"),
        (from_bundle("nowhere"), "nowhere: no such directory"),
        (from_bundle("b", save_inference_model_path="c"), "--save_inference_model_path with --inference_model"),
        ({"ernie_config_path": None}, "params does not say what network it is of: give --ernie_config_path"),
        ({"onnx": "true"}, "--onnx true is of the inference model"),
        ({"overwrite": "true"}, "--overwrite true is of the inference model"),
        ({"use_fp16": "true"}, "--use_fp16 true: not in this version"),
        ({"use_cuda": "true"}, "--use_cuda true needs a GPU"),
        ({"precision": "int4"}, "--precision"),
        ({"output_dri": "x"}, "--output_dri: did you mean --output_dir"),
        ({"tokenizer": "Other"}, "--tokenizer"),
    ],
    ids=str,
)
def test_flags_that_are_wrong(changes, message, model, rows, tmp_path):
    if "use_cuda" in changes and paddle.is_compiled_with_cuda():
        pytest.skip("this Paddle is built for GPUs")
    with pytest.raises(UserError, match=message) as caught:
        embed(model, rows, tmp_path / "out", **changes)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_vocabulary_is_found_beside_the_weights_or_asked_for(model, rows, tmp_path):
    embed(model, rows, tmp_path / "out", vocab_path=None)
    assert (tmp_path / "out" / VECTORS).is_file()
    alone = shutil.copytree(model / "params", tmp_path / "alone" / "params")
    with pytest.raises(
        UserError, match="--init_pretraining_params needs --vocab_path: .*alone/params has no vocab.txt"
    ):
        embed(model, rows, tmp_path / "other", vocab_path=None, init_pretraining_params=alone)


def test_a_vocabulary_or_weights_of_another_model(model, rows, tmp_path):
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("\n".join((*VOCABULARY, "more")), encoding="utf8")
    with pytest.raises(UserError, match="the vocabulary has ids up to"):
        embed(model, rows, tmp_path / "out", vocab_path=vocab)
    other = make_model(tmp_path / "other", hidden_size=16)
    with pytest.raises(UserError, match=r"other/params: [\w.]+ has shape .*, the network wants"):
        embed(model, rows, tmp_path / "out", init_pretraining_params=other / "params")
    assert not (tmp_path / "out").exists()


def test_an_inference_model_of_another_task(model, rows, tmp_path):
    _, bundle = export(tmp_path / "b", model)
    with pytest.raises(UserError, match="of the task 'classify', which gives no embeddings: give --init_checkpoint"):
        embed(model, rows, tmp_path / "out", **from_bundle(bundle))


def test_as_a_program_a_mistake_is_one_line_and_status_2(model, tmp_path):
    (tmp_path / "rows.tsv").write_text("text_a\ngood\nbad\textra\n", encoding="utf8")
    done = start(*words(model, tmp_path / "rows.tsv", tmp_path / "out"))
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"error: {tmp_path}/rows.tsv, line 3: 2 fields")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()  # told before anything is written


def test_a_folder_that_cannot_be_written(model, rows, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=rf"{tmp_path}/file/out: cannot be written \(Not a directory\)"):
        embed(model, rows, tmp_path / "file" / "out")


def test_a_full_disk_leaves_nothing_half(model, plain, tmp_path):
    """A limit on the size of files stands for the disk: 1 MB is enough for the model, not for the states."""
    rows = write_tsv(tmp_path / "rows.tsv", [row[1:] for row in sentences(1500, 3)], ["text_a"])
    shutil.copytree(os.fspath(plain.vectors.filename.parent), tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    script = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-c", script, str(ROOT / "ernie_encoder.py"), *words(model, rows, tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=300)
    assert done.returncode == 2, done.stderr
    assert "out: cannot be written (File too large): make room there" in done.stderr.splitlines()[-1]
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.slow
def test_a_kill_leaves_what_was_there_and_the_next_run_clears_up(model, plain, rows, tmp_path):
    many = write_tsv(tmp_path / "many.tsv", [row[1:] for row in sentences(60000, 3)], ["text_a"])
    out = shutil.copytree(os.fspath(plain.vectors.filename.parent), tmp_path / "out")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    command = [sys.executable, str(ROOT / "ernie_encoder.py"), *words(model, many, out)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as run:
        growing = out / PARTIAL / STATES
        end = time.monotonic() + 120
        while not (growing.exists() and growing.stat().st_size > 100000):
            assert run.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        with pytest.raises(UserError, match="another run writes there"):
            embed(model, rows, out)
        run.send_signal(signal.SIGKILL)
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    for name in (VECTORS, STATES, COUNTS):
        with pytest.raises(ValueError, match=r"magic|pickle|header"):
            np.load(out / PARTIAL / name)
    assert_near(embed(model, rows, out), plain, 0)
    assert {path.name for path in out.iterdir()} == FILES


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(model, tmp_path):
    script = (
        "import resource, sys; sys.path.insert(0, '.'); from propeller import runtime; runtime.prepare()\n"
        "from finetune.embedding.main import main; main('x', sys.argv[1:])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for count in (4000, 40000):
        path = write_tsv(tmp_path / f"{count}.tsv", [row[1:] for row in sentences(count, 3)], ["text_a"])
        command = [sys.executable, "-c", script, *words(model, path, tmp_path / "out")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        peaks.append(int(done.stdout) / 1024)  # MB
    # The states of 36,000 more rows are 37 MB.
    assert peaks[1] < peaks[0] + 20
