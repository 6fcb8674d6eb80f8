"""Every public signature of the packages states its types: mypy checks the types, this test that none is missing."""

import ast

import pytest

from tests.helpers.common import ROOT

PACKAGES = ("ernie", "finetune", "pretrain", "propeller", "reader")
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in (*(f"{package}/**/*.py" for package in PACKAGES), "tokenization*.py")
    for path in ROOT.glob(pattern)
)


def is_public(name):
    """Whether others call a function of this name; special methods count, as operators call them."""
    return not name.startswith("_") or (name.startswith("__") and name.endswith("__"))


def untyped(tree, prefix="", in_class=False):
    """Map the dotted name of each public function or method to its arguments ("return": its result) without a type."""
    lacking = {}
    for node in tree.body:
        if not isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) or not is_public(node.name):
            continue
        if isinstance(node, ast.ClassDef):
            lacking.update(untyped(node, f"{prefix}{node.name}.", in_class=True))
            continue
        given = node.args
        static = any(getattr(decorator, "id", "") == "staticmethod" for decorator in node.decorator_list)
        arguments = [*given.posonlyargs, *given.args][in_class and not static :]
        arguments += [*given.kwonlyargs, *(part for part in (given.vararg, given.kwarg) if part)]
        names = [argument.arg for argument in arguments if argument.annotation is None]
        names += [] if node.returns else ["return"]
        if names:
            lacking[prefix + node.name] = names
    return lacking


@pytest.mark.parametrize("path", FILES)
def test_public_signatures_are_typed(path):
    assert untyped(ast.parse((ROOT / path).read_text(encoding="utf-8"))) == {}


def test_every_package_is_checked():
    assert {path.partition("/")[0] for path in FILES if "/" in path} == set(PACKAGES)
    assert {"tokenization.py", "tokenization_basic.py"} <= set(FILES)


def test_untyped_signatures_are_found():
    text = """
def bare(x, *rest, y=1, **more): pass
def typed(x: int, *rest: str) -> int: pass
def _private(x): pass
async def later(x): pass
class Model:
    def __init__(self, size): pass
    def method(self) -> int: pass
    @staticmethod
    def static(x) -> int: pass
    @classmethod
    def of(cls, x: int): pass
    def _private(self, x): pass
    class Inner:
        def method(self, x) -> int: pass
class _Private:
    def method(self, x): pass
"""
    assert untyped(ast.parse(text)) == {
        "bare": ["x", "y", "rest", "more", "return"],
        "later": ["x", "return"],
        "Model.__init__": ["size", "return"],
        "Model.static": ["x"],
        "Model.of": ["return"],
        "Model.Inner.method": ["x"],
    }
