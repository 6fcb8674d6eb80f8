"""What ckpt_inspector shows and dumps: variable files of 2019, our checkpoints, .pdparams, .safetensors."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from propeller.errors import UserError
from propeller.tools.ckpt_inspector import find_variables, main
from propeller.variables import write_variable
from tests.helpers.common import GOLDEN, ROOT

ARRAYS = {
    "fc_0.w_0": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fc_0.b_0": np.array([1.0, np.nan, np.inf], np.float32),
    "half": np.array([1.5, -2], np.float16),
    "bits": (np.array([1.5, -2], np.float32).view(np.uint32) >> 16).astype(np.uint16),
    "steps": np.array([7], np.int64),
    "flag": np.array([True, False]),
    "none": np.zeros((0, 3), np.float32),
}


@pytest.fixture
def checkpoint(tmp_path):
    """A folder like one of our checkpoints."""
    folder = tmp_path / "step_7"
    (folder / "training_state").mkdir(parents=True)
    for name, array in ARRAYS.items():
        write_variable(folder / name, array)
    write_variable(folder / "training_state" / "fc_0.w_0_moment1_0", np.zeros(2, np.float32))
    (folder / "checkpoint.json").write_text(json.dumps({"step": 7}))
    (folder / "vocab.txt").write_text("[PAD]\n")
    return folder


def shown(capsys, *words):
    assert main(["show", *map(str, words)]) == 0
    return capsys.readouterr().out.splitlines()


def test_a_line_per_variable(checkpoint, capsys):
    lines = shown(capsys, checkpoint)
    rows = {line.split()[0]: line for line in lines[:-2]}
    assert sorted(rows) == sorted([*ARRAYS, "training_state/fc_0.w_0_moment1_0"])
    assert rows["fc_0.w_0"].split() == (
        ["fc_0.w_0", "float32", "[2,", "3]", "mean", "2.5", "std", "1.70783", "min", "0", "max", "5"]
    )  # fmt: skip
    assert rows["fc_0.b_0"].endswith("mean 1  std 0  min 1  max 1  2 not finite")
    assert rows["bits"].split()[1:] == ["bfloat16", "[2]", "mean", "-0.25", "std", "1.75", "min", "-2", "max", "1.5"]
    assert rows["none"].endswith("empty")
    assert rows["flag"].split()[1:3] == ["bool", "[2]"]
    assert lines[-2] == "8 variables, 18 numbers"
    assert lines[-1] == "2 files that hold no variable: checkpoint.json, vocab.txt"


def test_one_file_a_pattern_and_the_numbers(checkpoint, capsys):
    assert shown(capsys, checkpoint / "steps")[0].split()[:3] == ["steps", "int64", "[1]"]
    lines = shown(capsys, checkpoint, "--name", "fc_0.?_0", "-v")
    assert [line.split()[0] for line in lines if "float32" in line] == ["fc_0.b_0", "fc_0.w_0"]
    assert "[ 1. nan inf]" in lines


@pytest.mark.parametrize("suffix", [".pdparams", ".safetensors"])
def test_files_of_many_variables(tmp_path, capsys, suffix):
    path = tmp_path / f"model{suffix}"
    arrays = {"a.w": ARRAYS["fc_0.w_0"], "a.h": ARRAYS["half"]}
    if suffix == ".pdparams":
        path.write_bytes(pickle.dumps(arrays, 4))
    else:
        save_file(arrays, path)
    lines = shown(capsys, path)
    assert sorted(line.split()[0] for line in lines[:-1]) == ["a.h", "a.w"]
    assert any(line.split()[:4] == ["a.w", "float32", "[2,", "3]"] for line in lines)
    assert main(["dump", str(path), "--to", str(tmp_path / "out")]) == 0
    for name, array in arrays.items():
        np.testing.assert_array_equal(np.load(tmp_path / "out" / f"{name}.npy", allow_pickle=False), array)


def test_bfloat16_of_safetensors(tmp_path, capsys):
    header = json.dumps({"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    path = tmp_path / "m.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + ARRAYS["bits"].tobytes())
    assert shown(capsys, path)[0].split() == [
        "w",
        "bfloat16",
        "[2]",
        "mean",
        "-0.25",
        "std",
        "1.75",
        "min",
        "-2",
        "max",
        "1.5",
    ]


def test_dump_and_read_again(checkpoint, tmp_path, capsys):
    assert main(["dump", str(checkpoint), "-t", str(tmp_path / "out")]) == 0
    for name, array in ARRAYS.items():
        wanted = np.array([1.5, -2], np.float32) if name == "bits" else array
        found = np.load(tmp_path / "out" / f"{name}.npy", allow_pickle=False)
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)
    assert (tmp_path / "out" / "training_state" / "fc_0.w_0_moment1_0.npy").is_file()
    with pytest.raises(UserError, match="exists already"):
        main(["dump", str(checkpoint), "-t", str(tmp_path / "out")])


def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path):
    path = tmp_path / "m.pdparams"
    path.write_bytes(pickle.dumps({"../out": ARRAYS["half"]}, 4))
    with pytest.raises(UserError, match="cannot be a file's name"):
        main(["dump", str(path), "--to", str(tmp_path / "arrays")])
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["m.pdparams"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "{folder}/nothing"], "cannot be read"),
        (["show", "{folder}/vocab.txt"], "holds no variable: give"),
        (["show", "{folder}", "--name", "x*"], "holds no variable with a name like 'x\\*'"),
        (["show", "{folder}", "--to", "x"], "--to goes with dump"),
        (["dump", "{folder}"], "dump needs --to DIR"),
        (["list", "{folder}"], "invalid choice"),
        (["show", "{folder}", "--nam", "x"], "--name"),
    ],
)
def test_wrong_words(checkpoint, words, message):
    with pytest.raises(UserError, match=message):
        main([word.format(folder=checkpoint) for word in words])


def test_a_damaged_variable_is_named(checkpoint):
    path = checkpoint / "fc_0.w_0"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"fc_0\.w_0: \d+ bytes, cut short"):
        list(find_variables(checkpoint))


@pytest.mark.parametrize("model", ["v1_relu", "v2_gelu"])
def test_a_folder_of_2019_as_a_command(model, tmp_path):
    params = GOLDEN / "3_model" / model / "params"
    command = [sys.executable, "-m", "propeller.tools.ckpt_inspector", "show", str(params)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    names = [line.split()[0] for line in done.stdout.splitlines() if "  float32  " in line]
    assert names == sorted(path.name for path in params.iterdir())


def test_an_error_is_one_line_and_status_2(tmp_path):
    command = [sys.executable, "-m", "propeller.tools.ckpt_inspector", "show", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"error: {tmp_path}: holds no variable")
