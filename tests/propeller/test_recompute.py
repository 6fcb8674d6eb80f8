"""Recomputation changes no bit of a run, dropout and bf16 included, and takes less memory."""

import numpy as np
import paddle
import pytest

from ernie.checkpoint import read_params
from finetune.training.main import main
from propeller import runtime
from propeller.train import program
from tests.helpers.amp import classifier, losses
from tests.helpers.tiny import flags


@pytest.fixture(autouse=True)
def order_of_operators():
    yield
    paddle.set_flags({"FLAGS_new_executor_serial_run": False})


@pytest.mark.parametrize("given", [{}, {"gradient_accumulation_steps": 2}, {"use_bf16": "true"}])
def test_losses_and_weights_are_the_same_bits(model, data, tmp_path, given):
    if given.get("use_bf16") and not runtime.cpu_has_bf16():
        pytest.skip("this CPU has no bf16")
    for name in ("false", "true"):
        main(
            "run_classifier.py",
            "classify",
            flags(model, data, tmp_path / name, skip_steps=1, use_recompute=name, fused_encoder="false", **given),
        )
    assert losses(tmp_path / "false") == losses(tmp_path / "true")
    plain, recomputed = (read_params(tmp_path / name / "last") for name in ("false", "true"))
    for name in plain:
        np.testing.assert_array_equal(plain[name], recomputed[name], err_msg=name)


def test_the_inside_of_layers_is_there_twice_and_dropout_once():
    paddle.enable_static()
    counts = []
    for recompute in (False, True):
        graph = program.build_train(classifier, recompute=recompute).gradient
        names = [op.name() for op in graph.main.global_block().ops]
        counts.append({name: names.count(f"pd_op.{name}") for name in ("softmax", "gelu", "dropout", "adamw_")})
    plain, recomputed = counts
    layers = 2
    assert recomputed["gelu"] == plain["gelu"] + layers
    assert recomputed["softmax"] == plain["softmax"] + layers
    assert recomputed["dropout"] == plain["dropout"]
    assert recomputed["adamw_"] == plain["adamw_"]


@pytest.mark.slow
def test_memory_falls():
    """6 layers, hidden 128, batch 16 x 128: a process at its fullest, by ``benchmark/memory.py``.

    With 1,000 pieces the vectors outweigh the weights, so that the fall (0.61) is far from the bound on any processor.
    """
    from benchmark.memory import measured

    size = ["--layers", "6", "--hidden", "128", "--vocab_size", "1000"]
    plain, recomputed = (measured("training", [*size, *given]) for given in ([], ["--use_recompute"]))
    assert recomputed < 0.75 * plain
