"""Documents as the task builders are given them, from plain words, and their shard lines in words again."""

import random

from pretrain.corpus.builder import Plan, Text
from pretrain.corpus.pieces import PieceMaker
from pretrain.corpus.segment import build_segmenter
from tokenization import FullTokenizer

MARKS = ",.!?()'-，。！？、：“”（）"


class Maker:
    """A vocabulary of these words and every Chinese character of them; documents cut by this segmenter."""

    def __init__(self, folder, words, segmenter="english", **changes):
        self.names = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", *dict.fromkeys([*MARKS, *words.split()])]
        path = folder / "vocab.txt"
        path.write_text("".join(f"{name}\n" for name in self.names), encoding="utf-8")
        self.plan = Plan(str(path), segmenter=segmenter, **changes)
        self.tokenizer = FullTokenizer(str(path))
        self.segmenter, self.pieces = build_segmenter(segmenter), PieceMaker(self.tokenizer)

    def document(self, *paragraphs, number=0, title=""):
        """Text of paragraphs; a title is the first of them."""
        cut = self.segmenter.paragraphs([*([title] if title else []), *paragraphs])
        sentences = [sentence for paragraph in cut for sentence in paragraph]
        places = [place for place, paragraph in enumerate(cut) for _ in paragraph]
        return Text(number, title, list(map(self.pieces.tokens, sentences)), sentences, places)

    def lines(self, task, documents, seed=0):
        """(fields of every line, Counter), the task made anew."""
        found, stats = task(self.plan, self.tokenizer).lines(documents, lambda place: random.Random(f"{seed}/{place}"))
        return [line.decode().split(";") for line in found], stats

    def words(self, fields):
        """Pieces of a line, as text with blanks between."""
        return " ".join(self.names[int(number)] for number in fields[0].split())
