"""ErnieConfig: what it reads, what it refuses."""

import json
from pathlib import Path

import pytest

from ernie.config import ACTIVATIONS, ErnieConfig
from propeller.errors import UserError
from tests.helpers.common import GOLDEN, ROOT
from tests.helpers.config import BASE


def test_defaults_and_2019_indexing():
    config = ErnieConfig(BASE)
    assert (config.use_task_id, config.task_type_vocab_size) == (False, None)
    assert (config.layer_norm_eps, config.initializer_range, config.intermediate_size) == (1e-5, 0.02, 64)
    assert config["hidden_size"] == 16
    assert config["use_task_id"] is None, "2019 gave None for a key the file leaves out"
    assert config.get("layer_norm_eps", 3) == 3
    with pytest.raises(KeyError, match="hiden_size"):
        config["hiden_size"]


def test_type_vocab_size_of_ernie_1_and_which_wins():
    old = {key: value for key, value in BASE.items() if key != "sent_type_vocab_size"}
    assert ErnieConfig({**old, "type_vocab_size": 2}).sent_type_vocab_size == 2
    assert ErnieConfig({**BASE, "type_vocab_size": 2}).sent_type_vocab_size == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hiden_size": 3}, "'hiden_size'.*'hidden_size'"),
        ({"zzz": 3}, "unknown key 'zzz'.*known keys"),
        ({"hidden_size": "16"}, "'hidden_size' is '16'.*whole number"),
        ({"hidden_size": True}, "'hidden_size' is True"),
        ({"hidden_size": 16.0}, "'hidden_size' is 16.0"),
        ({"hidden_size": 18}, "'hidden_size' 18 is not divisible by 'num_attention_heads' 4"),
        ({"num_hidden_layers": 0}, "'num_hidden_layers' is 0"),
        ({"hidden_act": "geluu"}, "'hidden_act' is 'geluu'.*gelu"),
        ({"hidden_dropout_prob": 1.0}, "'hidden_dropout_prob' is 1.0"),
        ({"hidden_dropout_prob": -0.1}, "'hidden_dropout_prob' is -0.1"),
        ({"attention_probs_dropout_prob": float("nan")}, "'attention_probs_dropout_prob' is nan"),
        ({"layer_norm_eps": 0}, "'layer_norm_eps' is 0"),
        ({"use_task_id": 1, "task_type_vocab_size": 3}, "'use_task_id' is 1.*true or false"),
        ({"use_task_id": True}, "'task_type_vocab_size' is missing"),
    ],
)
def test_a_wrong_value_is_named_with_file_key_and_remedy(tmp_path, change, words):
    path = tmp_path / "ernie_config.json"
    path.write_text(json.dumps({**BASE, **change}))
    with pytest.raises(UserError, match=words) as error:
        ErnieConfig(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", sorted(BASE))
def test_a_missing_key_is_named(key):
    with pytest.raises(UserError, match=f"'{key}' missing"):
        ErnieConfig({name: value for name, value in BASE.items() if name != key})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "line 1: not JSON"),
        (b'{"a": 1,\n}', "line 2: not JSON"),
        (b"[1]", "no JSON object"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'{"vocab_size": 1, "vocab_size": 2}', "'vocab_size' is given twice"),
    ],
)
def test_a_file_that_is_no_config(tmp_path, content, words):
    path = tmp_path / "ernie_config.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words):
        ErnieConfig(path)


def test_a_missing_file_and_a_directory(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            ErnieConfig(path)


def test_save_and_read_again(tmp_path):
    config = ErnieConfig({**BASE, "layer_norm_eps": 1e-12})
    config.save(tmp_path / "ernie_config.json")
    again = ErnieConfig(tmp_path / "ernie_config.json")
    assert again == config
    assert again.layer_norm_eps == 1e-12
    assert [path.name for path in tmp_path.iterdir()] == ["ernie_config.json"]


def test_to_dict_is_a_copy():
    config = ErnieConfig(BASE)
    config.to_dict()["hidden_size"] = 1
    assert config.hidden_size == 16


def test_print_config_logs_the_2019_lines(caplog):
    with caplog.at_level("INFO", logger="ernie.config"):
        ErnieConfig(BASE).print_config()
    assert caplog.messages[0] == "attention_probs_dropout_prob: 0.1"
    assert caplog.messages[-1] == "------------------------------------------------"


def test_every_activation_is_one_of_paddle():
    functional = pytest.importorskip("paddle.nn.functional")
    assert [name for name in ACTIVATIONS if not callable(getattr(functional, name, None))] == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("zh_base_1.0", (12, 768, 12, "relu", 18000, 513, 2, False)),
        ("en_base", (12, 768, 12, "gelu", 30522, 512, 4, False)),
        ("en_large", (24, 1024, 16, "gelu", 30522, 512, 4, False)),
    ],
)
def test_the_released_configs(name, expected):
    c = ErnieConfig(ROOT / "config" / f"ernie_config_{name}.json")
    assert expected == (
        c.num_hidden_layers,
        c.hidden_size,
        c.num_attention_heads,
        c.hidden_act,
        c.vocab_size,
        c.max_position_embeddings,
        c.sent_type_vocab_size,
        c.use_task_id,
    )
    assert c.hidden_dropout_prob == c.attention_probs_dropout_prob == 0.1
    assert c.initializer_range == 0.02


@pytest.mark.parametrize(
    "path",
    sorted(GOLDEN.glob("*/**/ernie_config.json")) + sorted(GOLDEN.glob("6_cli/data/cfg*.json")),
    ids=lambda path: str(path.relative_to(GOLDEN)),
)
def test_recorded_configs_load_and_keep_their_content(path):
    assert ErnieConfig(path).to_dict() == json.loads(Path(path).read_text())
