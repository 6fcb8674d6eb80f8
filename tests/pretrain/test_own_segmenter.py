"""A segmenter of one's own, --segmenter MODULE:CLASS: what is wrong with it is one line, and never in a shard.

python -m pytest -q tests/pretrain/test_own_segmenter.py
"""

import itertools
import re

import numpy as np
import pytest

from pretrain.corpus.presegmented import PreSegmented
from pretrain.corpus.segment import SEGMENTERS, Char, Checked, Segmenter, Sentence, build_segmenter
from propeller.errors import UserError
from tests.helpers.build_data import build
from tests.helpers.pretrain_text import DOCUMENTS, shard_lines, write_text, write_vocab


@pytest.fixture(scope="module")
def vocab(tmp_path_factory):
    return write_vocab(tmp_path_factory.mktemp("vocab") / "vocab.txt")


def own(name):
    return f"{__name__}:{name}"


# ---------------------------------------------------------------- classes that are none

a_number = 7


def a_function():
    return Char()


class NoMethod:
    pass


class NoSegment(Segmenter):
    pass


class Arguments(Segmenter):
    def __init__(self, path):
        self.path = path


class NotInstalled(Segmenter):
    def __init__(self):
        raise UserError("needs a package; install it")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "nothing",
            "cannot be loaded (AttributeError: ... has no attribute 'nothing'); give module:class",
        ),
        ("a_number", "it is no class (int); give module:class"),
        ("a_function", "it is no class (function); give module:class"),
        ("NoMethod", "it has no method `paragraphs`; make it a subclass of pretrain.corpus.segment.Segmenter"),
        ("NoSegment", "it has no method `segment` of its own; write segment(text) -> Sentence"),
        ("Arguments", "Arguments() raised TypeError: ... 'path'; it has to work without arguments"),
    ],
)
def test_what_is_no_segmenter(tmp_path, vocab, name, message):
    message = re.escape(f"--segmenter {own(name)}: " + message).replace(r"\.\.\.", ".*")
    with pytest.raises(UserError, match=f"^{message}$"):
        build(write_text(tmp_path / "a.txt"), tmp_path / "out", vocab, segmenter=own(name))
    assert not (tmp_path / "out").exists()


def test_modules_that_cannot_be_loaded(tmp_path, monkeypatch):
    (tmp_path / "wrong_syntax.py").write_text("class X(:\n")
    (tmp_path / "raises.py").write_text("raise RuntimeError('of\\nits own')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name, why in (
        ("wrong_syntax:X", "SyntaxError: "),
        ("raises:X", r"RuntimeError: of its own\); give module:class$"),
        (":X", "ValueError: "),
        (".here:X", "TypeError: "),
    ):
        with pytest.raises(UserError, match=rf"^--segmenter {name}: cannot be loaded \({why}.*"):
            build_segmenter(name)
    with pytest.raises(UserError, match="^needs a package; install it$"):
        build_segmenter(own("NotInstalled"))


# ---------------------------------------------------------------- what a segmenter may give by mistake


NUMBERS = itertools.count()


class Wrong(Segmenter):
    """As Char, but in sentences with 李."""

    def segment(self, text):
        return self.of(text) if "李" in text else Sentence(list(text))


class WrongParagraphs:
    """As Char, but of paragraphs with 李."""

    def paragraphs(self, texts):
        return [self.of(text) if "李" in text else [Sentence(list(text))] for text in texts]


def made(base, of=None, **more):
    """The name of a new class of this module."""
    name = f"Made{next(NUMBERS)}"
    globals()[name] = type(name, (base,), {"of": lambda self, text: of(text), **more})
    return own(name)


def raised(text):
    raise LookupError(f"no\nword for {text[:2]}")


GIVEN = {  # in place of the Sentence of 李四在上海大学。
    "raises": (raised, "raised LookupError: no word for 李四; mend it, or leave such text out"),
    "none": (lambda text: None, "gave None for a sentence; give a pretrain.corpus.segment.Sentence"),
    "list": (
        list,
        "gave ['李', '四', '在', '上', '海', '大', ...] for a sentence; give a pretrain.corpus.segment.Sentence",
    ),
    "str": (Sentence, "the words are '李四在上海大学。'; give a list of str"),
    "array": (lambda text: Sentence(np.array([[1], [2]])), "the words are array([[1], [2]]); give a list of str"),
    "bytes": (lambda text: Sentence([*text[:5], b"x"]), "a word is b'x'; give words as str, none empty"),
    "empty": (lambda text: Sentence([*text, ""]), "a word is ''; give words as str, none empty"),
    "lost": (
        lambda text: Sentence(list(text[1:])),
        "joined are not the text '李四在上海大学。'; give all of",
    ),
    "more": (lambda text: Sentence([*text, " "]), "joined are not the text '李四在上海大学。'; give all of it"),
    "no list": (lambda text: Sentence(list(text), None), "the entities are None; give a list of (first word, last"),
    "one": (
        lambda text: Sentence(list(text), [3]),
        "3 among the entities of 8 words; give (first word, last word",
    ),
    "three": (lambda text: Sentence(list(text), [], [(1, 2, "p")]), "(1, 2, 'p') among the phrases of 8 words; give"),
    "floats": (lambda text: Sentence(list(text), [(0, 1.5)]), "(0, 1.5) among the entities of 8 words; give"),
    "beyond": (lambda text: Sentence(list(text), [], [(5, 9)]), "(5, 9) among the phrases of 8 words; give"),
    "before": (lambda text: Sentence(list(text), [(-1, 2)]), "(-1, 2) among the entities of 8 words; give"),
    "nothing": (lambda text: Sentence(list(text), [(2, 2)]), "(2, 2) among the entities of 8 words; give"),
    "overlap": (
        lambda text: Sentence(list(text), [(0, 3), (2, 5)]),
        "(2, 5) among the entities of 8 words, behind one that ends at 3; give (first word, last word + 1), in order, "
        "not overlapping",
    ),
    "order": (
        lambda text: Sentence(list(text), [], [(4, 5), (0, 1)]),
        "(0, 1) among the phrases of 8 words, behind",
    ),
}


@pytest.mark.parametrize("case", GIVEN)
def test_what_a_segmenter_gives_is_looked_at(tmp_path, vocab, case):
    of, message = GIVEN[case]
    name = made(Wrong, of)
    with pytest.raises(UserError) as error:
        build(write_text(tmp_path / "a.txt"), tmp_path / "out", vocab, segmenter=name)
    told = str(error.value)
    assert told.startswith(f"{tmp_path / 'a.txt'}, line 4: document: --segmenter {name}: ")
    assert message in told
    assert told.endswith(", or give --on_bad skip")
    assert "\n" not in told
    assert len(told) < 600
    stats = build(tmp_path / "a.txt", tmp_path / "out", vocab, segmenter=name, on_bad="skip")
    assert (stats["documents"], stats["bad_documents"]) == (3, 1)


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (raised, "raised LookupError: no word for 李四"),
        (lambda text: None, "gave None for a paragraph; give a list of Sentence"),
        (lambda text: "李四", "gave '李四' for a paragraph; give a list of Sentence"),
        (lambda text: [text], "for a sentence; give a pretrain.corpus.segment.Sentence"),
        (lambda text: [Sentence([""])], "a word is ''; give words as str, none empty"),
        (lambda text: [Sentence(["a"], [(0, 2)])], "(0, 2) among the entities of 1 words"),
    ],
)
def test_paragraphs_of_its_own_are_looked_at(tmp_path, vocab, of, message):
    name = made(WrongParagraphs, of)
    with pytest.raises(UserError, match=f"a.txt, line 4: document: --segmenter {name}: .*{re.escape(message)}"):
        build(write_text(tmp_path / "a.txt"), tmp_path / "out", vocab, segmenter=name)


@pytest.mark.parametrize(
    ("method", "gives", "message"),
    [
        (
            "paragraphs",
            lambda self, texts: None,
            "`paragraphs` gave None for 1 texts; give a list of Sentence for each",
        ),
        ("paragraphs", lambda self, texts: [], "`paragraphs` gave 0 results for 1 texts; give a list of Sentence for"),
        ("batch", lambda self, texts: texts[1:], "`batch` gave 2 results for 3 texts; give a Sentence for each"),
        ("batch", lambda self, texts: 7, "`batch` gave 7 for 3 texts; give a Sentence for each"),
    ],
)
@pytest.mark.parametrize("together", [False, True])
def test_too_few_results(tmp_path, vocab, method, gives, message, together):
    name = made(Segmenter, **{method: gives, "together": together})
    with pytest.raises(UserError, match=f"a.txt, line 1: document: --segmenter {name}: {re.escape(message)}"):
        build(write_text(tmp_path / "a.txt", [DOCUMENTS[1]]), tmp_path / "out", vocab, segmenter=name)


class Together(Wrong):
    together = True

    def of(self, text):
        return Sentence(["x"])


def test_in_another_process_and_together(tmp_path, vocab):
    with pytest.raises(UserError, match="a.txt, line 4: document: --segmenter .*:Together: the words .'x'. joined are"):
        build(write_text(tmp_path / "a.txt"), tmp_path / "out", vocab, segmenter=own("Together"), num_workers=1)


# ---------------------------------------------------------------- what is good


class Good(Segmenter):
    """Words of two characters; tuples and NumPy's integers are as good as lists and int."""

    def segment(self, text):
        words = tuple(text[at : at + 2] for at in range(0, len(text), 2))
        return Sentence(words, ((np.int64(0), np.int64(1)),), [[0, 1]] if len(words) > 1 else [])


class Generator:
    """No Segmenter, and lazy."""

    def paragraphs(self, texts):
        return ([Sentence(list(text))] for text in texts)


class Tagged(PreSegmented):
    """What stands in the text decides; an error of its own is a UserError and told as it is."""


def test_segmenters_that_are_good(tmp_path, vocab):
    write_text(tmp_path / "a.txt")
    stats = build(tmp_path / "a.txt", tmp_path / "out", vocab, segmenter=own("Good"))
    assert (stats["documents"], stats["sentences"], stats["entities"]) == (4, 13, 13)
    for name, like in (
        (own("Generator"), None),
        (own("Tagged"), "pre-segmented"),
        ("pretrain.corpus.segment:Char", "char"),
    ):
        build(tmp_path / "a.txt", tmp_path / name, vocab, segmenter=name)
        if like:
            build(tmp_path / "a.txt", tmp_path / like, vocab, segmenter=like)
            assert shard_lines(tmp_path / name) == shard_lines(tmp_path / like)
    (tmp_path / "a.txt").write_text("他/r 走/v 了\n", encoding="utf-8")
    with pytest.raises(UserError, match="a.txt, line 1: document: 2 of 3 words have a tag"):
        build(tmp_path / "a.txt", tmp_path / "tags", vocab, segmenter=own("Tagged"))


def test_segmenters_of_this_project_are_not_looked_at():
    for name in set(SEGMENTERS) - {"lac", "jieba"}:
        assert not isinstance(build_segmenter(name), Checked)
    assert isinstance(build_segmenter(own("Good")), Checked)
