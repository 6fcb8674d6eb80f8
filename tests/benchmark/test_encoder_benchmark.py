"""benchmark/encoder.py without training: what is compared, the table, its targets."""

import numpy as np
import pytest

from benchmark import encoder
from benchmark.encoder import ENCODER, RANDOM
from benchmark.parts.common import arguments
from ernie.checkpoint import write_params
from propeller.errors import UserError


def given(tmp_path, **changes):
    args = arguments("a benchmark").parse_args(["--minutes", "1"])
    values = {"model": str(tmp_path / "model"), "results": str(tmp_path / "results"), "work": str(tmp_path / "work")}
    more = {
        "data": str(tmp_path / "data"),
        "seeds": [1, 2],
        "tasks": ["ChnSentiCorp"],
        "rows": 1,
        "longer": 1,
        "learning_rate": None,
    }
    for name, value in {**values, **more, **changes}.items():
        setattr(args, name, value)
    return args


@pytest.fixture
def files(tmp_path):
    (tmp_path / "model").mkdir()
    write_params(tmp_path / "model" / "params", {"weight": np.zeros(2, "float32")})
    for name in ("ernie_config.json", "vocab.txt"):
        (tmp_path / "model" / name).write_text("x")
    (tmp_path / "data" / "zh" / "chnsenticorp").mkdir(parents=True)
    for part in ("train", "dev"):
        text = "label\ttext_a\n" + "".join(f"{number % 2}\t{part}{number}\n" for number in range(9))
        (tmp_path / "data" / "zh" / "chnsenticorp" / f"{part}.tsv").write_text(text)
    return tmp_path


def tuned(monkeypatch, from_encoder, from_random=0.5):
    """The scores of both starts in place of training; what was asked for."""
    asked = []

    def fine_tune(task, data, start, model, seed, threads, max_seq_len):
        assert (task.epochs, max_seq_len) == (6, 128)
        asked.append((task.name, start.name, seed))
        assert (start.params is None) == (start.name == RANDOM)
        assert (data / "dev.tsv").is_file()
        return {"acc": (from_encoder if start.name == ENCODER else from_random) + 0.01 * seed, "rows": 9}

    monkeypatch.setattr(encoder, "fine_tune", fine_tune)
    return asked


def test_both_starts_with_every_seed(files, monkeypatch, capsys):
    asked = tuned(monkeypatch, 0.8)
    assert encoder.main(given(files)) == 0
    assert sorted(asked) == sorted(("ChnSentiCorp", start, seed) for start in (RANDOM, ENCODER) for seed in (1, 2))
    assert "| ChnSentiCorp, accuracy | 51.50 ± 0.71 | 81.50 ± 0.71 | 80: met | +30.00" in capsys.readouterr().out
    assert encoder.main(given(files)) == 0
    assert len(asked) == 4
    write_params(files / "model" / "params", {"weight": np.ones(2, "float32")}, overwrite=True)
    encoder.main(given(files))
    assert len(asked) == 8


@pytest.mark.parametrize(("one", "other"), [(0.78, 0.5), (0.81, 0.81)], ids=["target", "no better"])
def test_a_target_that_is_missed_is_a_failure(one, other, files, monkeypatch):
    tuned(monkeypatch, one, other)
    assert encoder.main(given(files)) == 1


def test_flags_change_the_recipe(files):
    (task,) = encoder.chosen(given(files))
    plain, other = (
        encoder.settled(task, given(files, **flags)) for flags in ({}, {"longer": 2, "learning_rate": 1e-3})
    )
    assert (plain.epochs, plain.learning_rate) == (6, 2e-4)
    assert (other.epochs, other.learning_rate) == (12, 1e-3)


def test_a_folder_without_an_encoder_is_told(tmp_path):
    with pytest.raises(UserError, match=r"model: holds no params: make it by sh script/zh_task/pretrain.sh --full"):
        encoder.main(given(tmp_path))
