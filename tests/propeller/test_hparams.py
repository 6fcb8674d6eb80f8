"""Hyper-parameters and the run's configuration: access, joining, files, literals, the environment."""

import copy
import pickle
import subprocess
import sys

import pytest

from propeller.errors import UserError
from propeller.hparams import ArgumentParser, HParams, RunConfig, parse_file, parse_hparam, parse_runconfig
from tests.helpers.common import ROOT


def parsed(*words):
    return ArgumentParser("test").parse_args(list(words))


def test_values_are_attributes_and_items():
    params = HParams(hidden_size=8, dropout=0.1)
    assert params.hidden_size == params["hidden_size"] == 8
    assert "dropout" in params
    assert "other" not in params
    assert params.get("other", 3) == 3
    params["other"] = 4
    params.more = 5
    assert params.to_dict() == {"hidden_size": 8, "dropout": 0.1, "other": 4, "more": 5}
    assert HParams.from_json(params.to_json()) == params == HParams.from_dict(params.to_dict())
    assert copy.deepcopy(params) == pickle.loads(pickle.dumps(params)) == params
    for ask in (lambda: params["missing"], lambda: params.missing, lambda: params["__len__"]):
        with pytest.raises(ValueError, match="is unknown: give one of hidden_size, dropout, other, more"):
            ask()
    assert not hasattr(params, "missing")


def test_joining_takes_the_others_values_and_returns_itself():
    one, other = HParams(a=1, b=2), HParams(b=3, c=4)
    assert one.join(other) is one
    assert one.to_dict() == {"a": 1, "b": 3, "c": 4}
    assert other.to_dict() == {"b": 3, "c": 4}


@pytest.mark.parametrize(("text", "why"), [("[1]", "no JSON object"), ("{", "no JSON")])
def test_json_that_is_no_object_is_an_error(text, why):
    with pytest.raises(UserError, match=why):
        HParams.from_json(text)


LITERAL = """
{
    # a comment, as in the scripts of 2019
    "hidden_size": 8, 'dropout': None,
    "lr": -5e-5, "use": false, "all": [True, null], "nested": {"x": 1,},
}
"""
VALUES = {"hidden_size": 8, "dropout": None, "lr": -5e-5, "use": False, "all": [True, None], "nested": {"x": 1}}


def test_a_literal_of_python_or_json_from_text_or_file(tmp_path):
    (tmp_path / "model.json").write_text(LITERAL)
    assert parse_file(tmp_path / "model.json") == VALUES
    assert parse_hparam(parsed("--hparam", LITERAL)).to_dict() == VALUES
    assert parse_hparam(parsed("--hparam", str(tmp_path / "model.json"))).to_dict() == VALUES


def test_later_values_win(tmp_path):
    (tmp_path / "model.json").write_text('{"a": 1, "b": 1}')
    found = parse_hparam(parsed("--hparam", str(tmp_path / "model.json"), "{'b': 2, 'c': 2}", "--hparam", "{'c': 3}"))
    assert found.to_dict() == {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize(
    "text", ["__import__('os').getcwd()", "{'a': open('x')}", "{'a': b}", "nowhere.json", "{" * 500]
)
def test_nothing_is_run(text, tmp_path):
    with pytest.raises(UserError, match="--hparam: .* is neither a file nor a dict"):
        parse_hparam(parsed("--hparam", text))
    (tmp_path / "file").write_text(text)
    with pytest.raises(UserError, match="file: .* is neither a file nor a dict"):
        parse_file(tmp_path / "file")


def test_run_config(monkeypatch):
    assert RunConfig() == (None,) * 11
    found = parse_runconfig(parsed("--run_config", "{'model_dir': 'out', 'max_steps': 9, 'skip_steps': 0}"))
    assert found == RunConfig(model_dir="out", max_steps=9, skip_steps=0)
    monkeypatch.setenv("PROPELLER_RUNCONFIG", "{'model_dir': 'there'}")
    monkeypatch.setenv("PROPELLER_HPARAMS", "{'a': 1}")
    assert parse_runconfig(parsed()).model_dir == "there"
    assert parse_hparam(parsed()).a == 1
    assert parse_runconfig(parsed("--run_config", "{}")).model_dir is None
    assert parse_hparam(parsed("--hparam", "{'b': 1}")).to_dict() == {"b": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{'modle_dir': 'x'}", "'modle_dir' is unknown: give one of model_dir, run_steps"),
        ("{'max_steps': '9'}", "max_steps is '9': give an integer, 1 or more, or None"),
        ("{'save_steps': 0}", "save_steps is 0"),
        ("{'log_steps': True}", "log_steps is True"),
        ("{'skip_steps': -1}", "skip_steps is -1: give an integer, 0 or more"),
        ("[1]", "is no dict"),
    ],
)
def test_a_wrong_run_config_is_an_error(text, message):
    with pytest.raises(UserError, match=message):
        parse_runconfig(parsed("--run_config", text))


def test_a_misspelt_flag_is_a_user_error():
    with pytest.raises(UserError, match="unknown argument --hparms: did you mean --hparam?"):
        parsed("--hparms", "{}")


def test_the_top_is_light():
    code = (
        "import sys; sys.modules['paddle'] = None\n"
        "import propeller, propeller.paddle\n"
        "propeller.HParams, propeller.ArgumentParser, propeller.parse_hparam, propeller.data.Dataset\n"
        "propeller.paddle.RunConfig, propeller.paddle.data.FeatureColumns, propeller.paddle.metrics.Acc\n"
        "propeller.paddle.utils.data.CharTokenizer, propeller.paddle.status\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
