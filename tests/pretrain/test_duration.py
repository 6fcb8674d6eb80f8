"""The warning before pre-training that a CPU would take days for."""

import pytest

from ernie.config import ErnieConfig
from ernie.duration import in_words, product_speed, training_flops, training_seconds
from pretrain.training.args import parse
from pretrain.training.duration import warn_of_duration
from tests.helpers.common import ROOT

BASE = ROOT / "config" / "ernie_config_en_base.json"
MINI = ROOT / "config" / "ernie_mini_en.json"


def test_operations_of_a_step_are_six_per_weight_and_token_and_those_of_attention():
    config, tokens = ErnieConfig(BASE), 8192
    weights = config.num_hidden_layers * (4 * 768 * 768 + 2 * 768 * 3072)
    attention = config.num_hidden_layers * 3 * 4 * 768 * 512 * tokens
    assert training_flops(config, tokens, 512) == pytest.approx(6 * weights * tokens + attention)
    head = training_flops(config, tokens, 512, 0.15) - training_flops(config, tokens, 512)
    assert head == pytest.approx(0.15 * tokens * 6 * 768 * (768 + config.vocab_size))


def test_the_speed_is_that_of_this_machine():
    assert 1e8 < product_speed() < 1e15
    config, of_steps = ErnieConfig(MINI), {"tokens": 1024, "max_seq_len": 64, "speed": 1e11}
    assert training_seconds(config, steps=20, **of_steps) == 20 * training_seconds(config, steps=1, **of_steps)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(20, "about 1 minutes"), (7200, "about 2 hours"), (86400, "about 24 hours"), (3e6, "about 35 days"),
     (1e9, "about 32 years")],
)  # fmt: skip
def test_durations_in_words(seconds, words):
    assert in_words(seconds) == words


def args_of(**flags):
    given = {"ernie_config_path": BASE, "vocab_path": "v", "train_filelist": "t", **flags}
    return parse("train.py", "", [word for name, value in given.items() for word in (f"--{name}", str(value))])


def test_a_million_steps_of_a_base_network_are_warned_of(caplog):
    caplog.set_level("INFO", "ernie.pretrain")
    args = args_of(batch_size=8192, in_tokens="true")
    warn_of_duration(args, ErnieConfig(BASE), args.train.num_train_steps, masks=True)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("1,000,000 steps of a network with ")
    assert " on this processor, if instances have 512 tokens: use a GPU, a smaller network (config/ernie_mini_" in line
    assert "(--model) needs fewer steps" in line


def test_a_short_run_is_not(caplog):
    caplog.set_level("INFO", "ernie.pretrain")
    warn_of_duration(args_of(batch_size=4, max_seq_len=64), ErnieConfig(MINI), 10, masks=True)
    assert not caplog.records
