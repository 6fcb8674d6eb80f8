"""Token-document relation: of every token, whether its word stands in other segments of its document too.

    python -m pretrain.build_data --tasks token_document_relation ...

ERNIE 2.0 (arXiv 1907.12412, section 4.2.1): "predicts whether the token in a segment appears in other segments of the
original document"; words that appear in many parts of a document are common words, or belong to its topic, and by
telling them a model learns to find key words.

A **segment** is an instance: sentences that follow each other, as many as fit into max_seq_len; the other segments are
the rest of the document. A document that is one segment is cut in two at the end of the sentence nearest to its middle;
one of a single sentence gives nothing and is counted as `left_over`.

It is judged by **words**, all pieces of one alike: class 1 if a word of the same pieces is in another segment, else 0.
So that the class tells topics and not grammar, no class (-1) have: stop words (pretrain/corpus/stop_words.py,
--stop_words), words without a letter or digit, words with an unknown piece, and words that are in more than COMMON of
the documents of a block (--block_chars) that has DOCUMENTS or more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pretrain.classes import ClassTask
from pretrain.corpus.instances import count_tokens, fitting, line_of
from pretrain.corpus.pieces import Tokens
from pretrain.corpus.stop_words import fingerprint, stop_words
from pretrain.declaration import Lines, RngOf

if TYPE_CHECKING:
    from pretrain.corpus.builder import Plan, Text
    from tokenization_base import BaseTokenizer

COMMON, DOCUMENTS = 0.5, 8
CACHED_WORDS = 1 << 18


class TokenDocumentRelation(ClassTask):
    """One text; a token's class: 0 only here, 1 in other segments too."""

    name = "token_document_relation"
    level = "token"
    default_classes = 2

    @classmethod
    def class_names(cls, plan: Plan) -> tuple[str, ...]:
        return ("here alone", "in other segments")

    @classmethod
    def fingerprints(cls, plan: Plan) -> dict[str, str]:
        return {"stop_words": fingerprint(plan)}

    def __init__(self, plan: Plan, tokenizer: BaseTokenizer) -> None:
        super().__init__(plan, tokenizer)
        self.most = plan.max_seq_len - 2
        forms = {form for word in stop_words(plan) for form in (word, word.capitalize())}
        stop = {",".join(map(str, ids)).encode() for ids in tokenizer.encode_batch(sorted(forms))}
        self.told = [_Told(tokenizer, stop, label) for label in (b"0", b"1", b"-1")]

    def lines(self, documents: Sequence[Text], rng_of: RngOf) -> tuple[Lines, Counter]:
        lines: Lines = []
        stats: Counter = Counter()
        cut = [self._segments(document.sentences) for document in documents]
        words = [[b" ".join([tokens.text for tokens in part]).split(b" ") for part in parts] for parts in cut]
        common = self._common(words)
        for parts, of_parts in zip(cut, words):
            if len(parts) < 2:
                stats["left_over"] += 1
                continue
            table = self._table(of_parts, common)
            for part, of_part in zip(parts, of_parts):
                labels = b" ".join([table[word] for word in of_part])
                lines.append(line_of([part], 0, self.tokenizer.cls_id, self.tokenizer.sep_id, token_labels=[labels]))
                length, none = 2 + sum([tokens.count for tokens in part]), labels.count(b"-")
                count_tokens(stats, length, labels, none)
        return lines, stats

    def _segments(self, sentences):
        """Lists of Tokens, each of at most `most` tokens."""
        sentences = [part for tokens in sentences for part in fitting(tokens, self.most)]
        found, room = [], 0
        for tokens in sentences:
            if tokens.count > room:
                found.append([])
                room = self.most
            found[-1].append(tokens)
            room -= tokens.count
        return in_halves(found[0]) if len(found) == 1 else found

    def _common(self, documents):
        if len(documents) < DOCUMENTS:
            return set()
        counts = Counter()
        for parts in documents:
            counts.update(set().union(*parts))
        return {word for word, count in counts.items() if count > COMMON * len(documents)}

    def _table(self, parts, common):
        """word -> the classes of its tokens, as text."""
        seen, again = set(), set()
        for part in map(set, parts):
            again |= seen & part
            seen |= part
        table = {}
        for told, words in zip(self.told, (seen, again, common & seen)):
            table.update(zip(words, map(told.__getitem__, words)))
        return table


class _Told(dict):
    """word -> the label, or for a word that never has a class -1, for each of its pieces, as text. Bounded."""

    def __init__(self, tokenizer, stop, label) -> None:
        super().__init__()
        self.tokenizer, self.stop, self.label = tokenizer, stop, label

    def __missing__(self, word):
        if len(self) >= CACHED_WORDS:
            self.clear()
        ids = [int(number) for number in word.split(b",")]
        pieces = "".join(self.tokenizer.convert_ids_to_tokens(ids))
        never = word in self.stop or self.tokenizer.unk_id in ids or not any(map(str.isalnum, pieces))
        found = self[word] = b" ".join([b"-1" if never else self.label] * len(ids))
        return found


def in_halves(sentences: list[Tokens]) -> list[list[Tokens]]:
    """Two lists, cut at the end of a sentence where they are most alike in tokens; one list of a single sentence."""
    if len(sentences) < 2:
        return [sentences]
    total, passed, gaps = sum(tokens.count for tokens in sentences), 0, []
    for tokens in sentences[:-1]:
        passed += tokens.count
        gaps.append(abs(2 * passed - total))
    border = 1 + gaps.index(min(gaps))
    return [sentences[:border], sentences[border:]]
