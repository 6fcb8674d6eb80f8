"""The memory table beside a process that makes real steps, and beside counted parameters."""

import json
import math

import pytest

from benchmark.memory import TARGET, compare
from ernie.config import ErnieConfig
from ernie.memory import MIB, SPREAD, Setting, estimate, main, parameters, training_line
from propeller.errors import UserError
from tests.helpers.tiny import CONFIG

BASE = {**CONFIG, "hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 12, "vocab_size": 30522,
        "max_position_embeddings": 512, "task_type_vocab_size": 16, "sent_type_vocab_size": 4}  # fmt: skip


@pytest.mark.slow
def test_a_real_run_takes_what_the_table_says():
    """4 layers, hidden 256, batch 16 x 128: resident memory of a process at its fullest."""
    for part, (measured, estimated) in compare([]).items():
        assert estimated == pytest.approx(measured, rel=TARGET), part


def test_parameters_of_ernie_base():
    hidden, inner = 768, 3072
    layer = 4 * (hidden * hidden + hidden) + 2 * hidden * inner + hidden + inner + 4 * hidden
    expected = (30522 + 512 + 4 + 16) * hidden + 2 * hidden + 12 * layer + hidden * hidden + hidden
    assert parameters(ErnieConfig(BASE)) == expected


def test_the_rows_of_the_table():
    config = ErnieConfig(BASE)
    rows = estimate(config, Setting(32, 128))
    weights = parameters(config) * 4
    assert rows["parameters"] == (weights, weights)
    assert rows["gradients"] == (weights, 0)
    assert rows["optimiser state"] == (2 * weights, 0)
    assert rows["total"][0] == 3 * weights + rows["activations"][0], (
        "activations outweigh gradients in so large a batch"
    )
    small = estimate(config, Setting(1, 8))
    assert small["total"][0] > 3 * weights + small["activations"][0], "in a small batch gradients outweigh activations"
    assert estimate(config, Setting(32, 128, optimizer="none"))["optimiser state"] == (0, 0)
    assert estimate(config, Setting(32, 128, accumulate=True))["gradients"] == (2 * weights, 0)


def test_what_activations_depend_on():
    config = ErnieConfig(BASE)
    plain = estimate(config, Setting(32, 128))["activations"][0]
    assert estimate(config, Setting(64, 128))["activations"][0] > 1.9 * plain
    assert estimate(config, Setting(8, 512))["activations"][0] > plain, "scores grow with the square of the length"
    half = estimate(config, Setting(32, 128, half=True, on_gpu=True))
    assert half["activations"][0] < 0.75 * plain
    assert half["parameters"] == estimate(config, Setting(32, 128))["parameters"], "weights stay fp32"


def test_the_command(tmp_path, capsys):
    path = tmp_path / "ernie_config.json"
    path.write_text(json.dumps(BASE))
    given = ["--ernie_config_path", str(path), "--batch_size", "32", "--max_seq_len", "128"]
    assert main(given) == 0
    fp32 = capsys.readouterr().out
    for name in ("parameters", "gradients", "optimiser state", "activations", "total", "MiB"):
        assert name in fp32
    weights = parameters(ErnieConfig(BASE)) * 4 / 2**20
    assert f"{weights:,.1f}" in fp32
    assert main([*given, "--use_fp16"]) == 0
    assert capsys.readouterr().out != fp32
    assert math.isclose(weights, 416, rel_tol=0.02)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--batch_size", "0"], "--batch_size must be at least 1"),
        (["--max_seq_len", "513"], "--max_seq_len 513 is above the 512 positions"),
        (["--optimizer", "lamb"], "invalid choice: 'lamb'"),
        (["--batchsize", "4"], "did you mean --batch_size"),
    ],
)
def test_wrong_flags(tmp_path, flags, words):
    path = tmp_path / "ernie_config.json"
    path.write_text(json.dumps(BASE))
    with pytest.raises(UserError, match=words):
        main(["--ernie_config_path", str(path), *flags])


@pytest.mark.parametrize(("positions", "length"), [(64, 64), (512, 128)])
def test_without_a_length_it_is_128_or_the_models_positions(tmp_path, capsys, positions, length):
    path = tmp_path / "ernie_config.json"
    path.write_text(json.dumps({**BASE, "max_position_embeddings": positions}))
    assert main(["--ernie_config_path", str(path)]) == 0
    by_default = capsys.readouterr().out
    assert main(["--ernie_config_path", str(path), "--max_seq_len", str(length)]) == 0
    assert capsys.readouterr().out == by_default
    with pytest.raises(UserError, match="--max_seq_len must be at least 1, not 0"):
        main(["--ernie_config_path", str(path), "--max_seq_len", "0"])


def test_the_line_at_the_start_of_training():
    config = ErnieConfig(BASE)
    total = estimate(config, Setting(32, 128))["total"][0] / MIB
    line = training_line(config, batch_size=32, max_seq_len=128)
    words = f"{total * (1 - SPREAD):.3f} - {total * (1 + SPREAD):.3f} MB"
    assert line == f"Theoretical memory usage in training: {words}"
    assert training_line(config, batch_size=32 * 128 + 7, max_seq_len=128, in_tokens=True) == line
    assert training_line(config, batch_size=16, max_seq_len=128, in_tokens=True) == training_line(
        config, batch_size=1, max_seq_len=128
    )
    assert training_line(config, batch_size=32, max_seq_len=128, half=True, on_gpu=True) < line
    masked = estimate(config, Setting(32, 128, masked=614))["total"][0] - estimate(config, Setting(32, 128))["total"][0]
    assert masked == 614 * (3 * 30522 + 6 * 768) * 4
