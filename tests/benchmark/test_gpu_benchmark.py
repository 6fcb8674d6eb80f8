"""benchmark/gpu.sh without a GPU: it parses, says what it would run and refuses to run it; gpu.py runs on a CPU."""

import json
import subprocess
import sys
from pathlib import Path

import paddle
import pytest

from benchmark.gpu import main
from propeller import runtime
from propeller.errors import UserError
from tests.helpers.tiny import CONFIG

ROOT = Path(__file__).resolve().parents[2]


def gpu(*arguments):
    command = ["sh", str(ROOT / "benchmark" / "gpu.sh"), *arguments]
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": sys.executable}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_the_plan_covers_both_models_all_precisions_and_attention():
    done = gpu("--dry_run")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for model in ("base", "large"):
        own = [line for line in lines if f"ernie_config_en_{model}.json" in line]
        training = [line for line in own if " training " in line]
        assert {line.split("--precision ")[1].split()[0] for line in training} == {"fp32", "fp16", "bf16"}
        assert any(" attention " in line for line in own)
        assert any(" packed " in line for line in own)
    assert lines[-1].endswith("gpu.py report")


def test_the_plan_can_be_cut():
    done = gpu("--dry_run", "--models", "base", "--precisions", "fp32", "--steps", "20")
    assert [line.split("--precision ")[1] for line in done.stdout.splitlines()[:-1]] == ["fp32 --steps 20"] * 2


@pytest.mark.parametrize("arguments", [["--models", "huge"], ["--precisions", "fp8"], ["--steps", "x"], ["--fast"]])
def test_wrong_arguments(arguments):
    done = gpu("--dry_run", *arguments)
    assert done.returncode == 2
    assert arguments[0] in done.stderr


@pytest.mark.skipif(paddle.is_compiled_with_cuda(), reason="this Paddle knows GPUs")
def test_without_a_gpu_it_says_so():
    done = gpu()
    assert done.returncode == 2
    assert "needs a GPU" in done.stderr


def test_the_encoder_without_padding_has_the_states_of_the_padded_one(tmp_path, capsys):
    """With each row's attention by itself in the place of the GPU's kernel."""
    path, results = tmp_path / "config.json", tmp_path / "gpu.jsonl"
    path.write_text(json.dumps(CONFIG))
    given = ["--config", str(path), "--batch_size", "3", "--max_seq_len", "16", "--steps", "11", "--device", "cpu"]
    assert main(["packed", *given, "--results", str(results)]) == 0
    record = json.loads(results.read_text())
    assert record["largest_difference"] < 1e-5
    assert record["packed_tokens_per_second"] > 0
    capsys.readouterr()
    assert main(["report", "--results", str(results)]) == 0
    assert "without padding" in capsys.readouterr().out


def test_measurements_and_report_on_a_cpu(tmp_path, capsys):
    """In bf16 too where the processor can; where it cannot, one line says so and nothing is noted."""
    path, results = tmp_path / "config.json", tmp_path / "gpu.jsonl"
    path.write_text(json.dumps(CONFIG))
    given = ["--config", str(path), "--batch_size", "2", "--max_seq_len", "16", "--steps", "12", "--device", "cpu"]
    half = [*given, "--precision", "bf16", "--results", str(results)]
    assert main(["training", *given, "--precision", "fp32", "--results", str(results)]) == 0
    able = runtime.cpu_has_bf16()
    if able:
        assert main(["training", *half]) == 0
    else:
        for part in ("training", "attention"):
            with pytest.raises(UserError, match="this CPU lacks AVX-512"):
                main([part, *half])
    assert main(["attention", *given, "--results", str(results)]) == 0
    records = [json.loads(line) for line in results.read_text().splitlines()]
    assert [record["precision"] for record in records] == (["fp32", "bf16", "fp32"] if able else ["fp32", "fp32"])
    assert len(records[0]["losses"]) == 12
    if able:
        assert records[1]["losses"] != records[0]["losses"]
        assert records[1]["losses"] == pytest.approx(records[0]["losses"], abs=0.02)
    capsys.readouterr()
    assert main(["report", "--results", str(results)]) == 0
    table = capsys.readouterr().out
    assert ("bf16" in table) == able
    assert "fused" in table
