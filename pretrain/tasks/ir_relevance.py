"""IR relevance: how relevant a title is to a query.

    python -m pretrain.build_data --tasks ir_relevance --input titled.jsonl ...
    python -m pretrain.click_log --input clicks.tsv --output OUT/ir_relevance --vocab_path vocab.txt

ERNIE 2.0 (arXiv 1907.12412, section 4.2.3): three classes of (query, title): 0, strongly relevant, the title was
clicked; 1, weakly, it was shown and not clicked; 2, irrelevant, a random one. Query logs are not public; with one of
your own see pretrain/click_log.py. Without, documents with titles (JSON lines with `title`) stand in for it:

    query       the first sentence of the document, after its title, that has QUERY_WORDS words
    0           its own title
    1           the near title: of all other titles of the block (--block_chars) the one with the best BM25 score for
                the query (pretrain/corpus/bm25.py; terms are word pieces, since titles are not cut into words)
    2           a random other title of the block, not the near one

A document gives one instance of each class. Without a near title (none shares a piece) or a random one the class is
left out; documents without title or without such a sentence give nothing and are counted as `left_over`. A title that
reads like the own one is neither near nor random.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from typing import TYPE_CHECKING, Callable

from pretrain.classes import ClassTask
from pretrain.corpus.bm25 import Bm25
from pretrain.corpus.instances import count, head, line_of
from pretrain.corpus.pieces import Tokens
from pretrain.corpus.presegmented import PreSegmented
from pretrain.declaration import Lines, RngOf
from propeller.errors import UserError

if TYPE_CHECKING:
    from pretrain.corpus.builder import Plan, Text
    from tokenization_base import BaseTokenizer

QUERY_WORDS = 5
CLICKED, SHOWN, RANDOM = range(3)
CLASSES = ("strong", "weak", "irrelevant")
TRIES = 8  # to draw a title that is another one


class IrRelevance(ClassTask):
    """Query and title, three classes."""

    name = "ir_relevance"
    level = "sentence"
    default_classes = 3

    @classmethod
    def class_names(cls, plan: Plan) -> tuple[str, ...]:
        return CLASSES

    def __init__(self, plan: Plan, tokenizer: BaseTokenizer) -> None:
        super().__init__(plan, tokenizer)
        self.most = plan.max_seq_len - 3
        self.unknown = b"%d" % tokenizer.unk_id
        self.marked = PreSegmented() if plan.segmenter == "pre-segmented" else None

    def lines(self, documents: Sequence[Text], rng_of: RngOf) -> tuple[Lines, Counter]:
        titles = self.tokenized([self._plain(document.title) for document in documents])
        found = []
        stats: Counter = Counter()
        for place, (document, title) in enumerate(zip(documents, titles)):
            query = title.count and lead(document.sentences, title)
            if query:
                found.append((place, query, title))
            else:
                stats["left_over"] += 1
        titles = [title for _, _, title in found]
        index = Bm25([self._terms(title) for title in titles])
        lines = []
        for own, (place, query, title) in enumerate(found):
            near = self._near(index, titles, own, query)
            other = drawn_other(titles, {title.text, near and near.text}, rng_of(place).random)
            for label, chosen in enumerate((title, near, other)):
                if chosen:
                    lines.append(self.line(query, chosen, label, stats))
        return lines, stats

    def _plain(self, title):
        """Without the tags and brackets of pre-segmented text."""
        if self.marked and ("/" in title or "[" in title):
            with contextlib.suppress(UserError):  # tags at some words only: they are text
                return "".join(self.marked.segment(title).words)
        return title

    def tokenized(self, texts: Iterable[str]) -> list:
        """Tokens of texts, every piece a word of its own: nothing is masked here, so words do not matter."""
        found = self.tokenizer.encode_batch(list(texts))
        return [Tokens(" ".join(map(str, ids)).encode(), len(ids), 0, []) for ids in found]

    def line(self, query: Tokens, title: Tokens, label: int, stats: Counter) -> bytes:
        """A line of a shard; the longer of both is cut where they do not fit."""
        query, title = fitted(query, title, self.most)
        length = query.count + title.count + 3
        count(stats, length, label)
        return line_of([[query], [title]], label, self.tokenizer.cls_id, self.tokenizer.sep_id)

    def _terms(self, tokens):
        return [piece for piece in tokens.text.replace(b",", b" ").split() if piece != self.unknown]

    def _near(self, index, titles, own, query):
        """The best other title; None if none has a piece of the query."""
        scores = index.scores(self._terms(query))
        while scores[best := int(scores.argmax())] > 0:
            if titles[best].text != titles[own].text:
                return titles[best]
            scores[best] = 0
        return None


def lead(sentences: Sequence[Tokens], title: Tokens) -> Tokens | None:
    """The first sentence of QUERY_WORDS words after those that are the title; None: there is none."""
    rest = title.text
    for tokens in sentences:
        pieces = tokens.text.replace(b",", b" ")
        if rest and (rest + b" ").startswith(pieces + b" "):
            rest = rest[len(pieces) + 1 :]
            continue
        rest = b""
        if tokens.text.count(b" ") + 1 >= QUERY_WORDS and pieces != title.text:
            return Tokens(tokens.text, tokens.count, 0, [])
    return None


def drawn_other(
    titles: Sequence[Tokens], not_these: Container[bytes | None], draw: Callable[[], float]
) -> Tokens | None:
    """A title whose text is none of these; None after so many tries."""
    for _ in range(TRIES):
        chosen = titles[int(draw() * len(titles))]
        if chosen.text not in not_these:
            return chosen
    return None


def fitted(first: Tokens, second: Tokens, most: int) -> tuple[Tokens, Tokens]:
    """Both texts, the longer one cut where they have more than `most` tokens together."""
    if first.count + second.count <= most:
        return first, second
    half = most // 2
    if second.count > half:
        second = head(second, max(half, most - first.count))
    return head(first, most - second.count), second
