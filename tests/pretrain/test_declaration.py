"""The builder half of a task: what it declares, which network it names, and what is wrong with it."""

import json
import sys
from collections import Counter
from types import SimpleNamespace

import pytest

import pretrain
from pretrain import TASKS, declared, task_class
from pretrain.class_model import SentenceModel, TokenModel
from pretrain.classes import ClassTask
from pretrain.corpus.builder import Plan
from pretrain.corpus.instances import count, line_of
from pretrain.corpus.pieces import Tokens
from pretrain.declaration import Declaration
from pretrain.masking_model import MaskingModel
from pretrain.replaced_model import ReplacedModel
from propeller.errors import UserError
from reader.pretraining.batches import KINDS


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_a_declaration_that_names_its_network(name):
    task = declared(name)
    assert issubclass(task, Declaration)
    assert task.name == name
    assert task.kind in KINDS
    networks = {"masking": MaskingModel, "sentence": SentenceModel, "token": TokenModel}
    own = {"replaced_token_detection": ReplacedModel}
    assert task.network() is own.get(name, networks[task.kind])
    assert issubclass(task_class(name), task.network())
    assert task_class(name) is task_class(name)
    assert (task_class(name).name, task_class(name).declared) == (name, task)


@pytest.mark.parametrize(
    ("name", "stats", "line"),
    [
        ("capitalization", {"classes": {"lower case": 3, "capitalised": 0}}, "lower case: 3; none of capitalised"),
        ("capitalization", {"classes": {"lower case": 0, "b": 0}}, "nothing has a class of lower case, b"),
        ("whole_word_masking", {}, "one text each"),
        ("replaced_token_detection", {}, "one text each"),
    ],
)  # fmt: skip
def test_what_the_build_says_of_a_task(name, stats, line):
    assert declared(name).report(stats) == line


def test_only_knowledge_masking_draws_as_before_there_were_several_tasks():
    assert [name for name in TASKS if not declared(name).named_seeds] == ["knowledge_masking"]


def test_the_settings_of_heads():
    assert declared("knowledge_masking").head_settings({}) == {"next_sentence": True}
    assert declared("knowledge_masking").head_settings({"next_sentence": False}) == {"next_sentence": False}
    assert declared("sentence_distance").head_settings({}) == {"classes": 3}
    assert declared("discourse_relation").head_settings({"classes": 37}) == {"classes": 37}
    for name, given, wanted in (
        ("knowledge_masking", {"next_sentence": 1}, '"next_sentence": true or false'),
        ("knowledge_masking", {"classes": 2}, '"next_sentence": true or false'),
        ("discourse_relation", {}, '"classes": a whole number from 2 on'),
        ("sentence_distance", {"classes": True}, '"classes": a whole number from 2 on'),
        ("capitalization", {"classes": 10}, '"classes": a whole number from 2 to 9'),
        ("capitalization", {"classes": 2, "next_sentence": True}, '"classes": a whole number from 2 to 9'),
    ):
        with pytest.raises(UserError, match=f"task {name}: its head is .*; give {wanted}, nothing else"):
            declared(name).head_settings(given)


class Bare(Declaration):
    """As little as a task may say."""

    name = "bare"


def test_what_a_declaration_says_by_itself():
    assert Bare.class_names(Plan("")) is None
    assert Bare.fingerprints(Plan("")) == {}
    assert Bare.statistics(Counter(instances=2, tokens=9), None) == {"instances": 2, "tokens": 9}
    assert Bare.head_settings({}) == {}
    with pytest.raises(UserError, match="task bare: its head is {'classes': 2}; give {}, nothing else"):
        Bare.head_settings({"classes": 2})
    with pytest.raises(UserError, match='task bare: Bare has no network; give it model = "module:Class"'):
        Bare.network()


def test_a_class_task_takes_the_network_of_its_level_or_its_own():
    class Words(ClassTask):
        level = "token"

    class Own(ClassTask):
        model = "pretrain.masking_model:MaskingModel"

    assert (Words.kind, Words.network()) == ("token", TokenModel)

    class OfTokens(Own):
        level = "token"

    assert (Own.kind, Own.network()) == ("sentence", MaskingModel)
    assert (OfTokens.kind, OfTokens.network()) == ("token", MaskingModel)
    with pytest.raises(TypeError, match="Wrong: level is 'word'; give one of sentence, token"):
        type("Wrong", (ClassTask,), {"level": "word"})


def test_a_line_of_tasks_that_is_wrong(monkeypatch):
    module = SimpleNamespace(Bare=Bare, Network=MaskingModel, function=len)
    monkeypatch.setitem(sys.modules, "own_tasks", module)
    for name, place, problem in (
        ("network", "own_tasks:Network", "task network: own_tasks:Network is not a pretrain.declaration.Declaration"),
        (
            "function",
            "own_tasks:function",
            "task function: own_tasks:function is not a pretrain.declaration.Declaration",
        ),
        ("other", "own_tasks:Bare", "task other: own_tasks:Bare has the name 'bare'; give it that of TASKS"),
    ):
        monkeypatch.setitem(pretrain.TASKS, name, place)
        with pytest.raises(UserError, match=problem):
            declared(name)


def test_settings_of_a_build_have_the_files_of_its_tasks(tmp_path, monkeypatch):
    class Listed(Bare):
        @classmethod
        def fingerprints(cls, plan):
            return {"stop_words": "abc"}

    monkeypatch.setitem(sys.modules, "own_tasks", SimpleNamespace(Listed=Listed))
    monkeypatch.setitem(pretrain.TASKS, "bare", "own_tasks:Listed")
    (tmp_path / "vocab.txt").write_text("[PAD]\n[CLS]\n[SEP]\n[MASK]\n[UNK]\n")
    settings = Plan(str(tmp_path / "vocab.txt"), segmenter="char", tasks=("bare",)).settings()
    assert (settings["stop_words"], settings["connectives"], settings["tasks"]) == ("abc", None, ["bare"])
    json.dumps(settings)


def test_labels_are_classes_or_numbers():
    tokens = Tokens(b"5 6", 2, 0, [])
    for label, written in ((3, b"3"), (True, b"1"), (2.0, b"2"), (0.25, b"0.25"), (-1e-7, b"-1e-07")):
        assert line_of([[tokens]], label, 1, 2).split(b";")[4] == written


def test_an_instance_without_a_class_is_counted_too():
    stats = Counter()
    count(stats, 7)
    count(stats, 7, 1)
    assert stats == {"instances": 2, "tokens": 14, 7: 2, "class_1": 1}
