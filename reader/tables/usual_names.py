"""Which columns of a file probably are the texts and the label, so that an error can name the flags that read it.

proposal(["id", "review", "stars"], ("text_a", "label"), ("text_a", "text_b", "label"))
# "--text_column review --label_column stars"

Nothing is read by these names without the flags: that would be a guess about what a model is to learn.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence

NONE: Mapping[str, str] = {}
FLAGS = {"text_a": "--text_column", "text_b": "--text_pair_column", "label": "--label_column"}
OURS = {flag: ours for ours, flag in FLAGS.items()}
PAIRS = (  # those of GLUE, CLUE, SuperGLUE and of question and passage
    ("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("text1", "text2"),
    ("text_1", "text_2"), ("sentence_a", "sentence_b"), ("sent1", "sent2"), ("query", "passage"), ("query", "document"),
    ("query", "doc"), ("query", "title"), ("question", "sentence"), ("question", "passage"), ("question", "answer"),
)  # fmt: skip
TEXTS = (
    "text", "sentence", "review", "comment", "content", "tweet", "tokens", "words", "utterance", "message", "body",
    "document", "query", "question", "title", "文本", "内容", "评论", "句子", "review_body",
)  # fmt: skip
LABELS = (
    "label", "labels", "class", "category", "target", "sentiment", "intent", "ner_tags", "tags", "stars", "rating",
    "score", "label_text", "标签", "类别",
)  # fmt: skip


def proposal(
    names: Sequence[str], required: Iterable[str], known: Collection[str], chosen: Mapping[str, str] = NONE
) -> str | None:
    """The flags that name the columns of a file which no flag names yet, or None where its names do not tell.

    Args:
        names: of the file's columns.
        required: our names of the columns that have to be there.
        known: our names of those that may be.
        chosen: our name -> the file's, of those that flags name.
    """
    found = {**{ours: ours for ours in known if ours in names}, **chosen}
    if "text_a" not in found:
        found.update(_texts(names, "text_b" in known and "text_b" not in found))
    if "label" in known and "label" not in found:
        label = _first(LABELS, [name for name in names if name not in found.values()])
        found.update({"label": label} if label is not None else {})
    twice = any(names.count(name) > 1 for name in found.values())
    if twice or not {"text_a", *required} <= set(found):
        return None
    flags = [ours for ours in FLAGS if ours in found and ours not in chosen and found[ours] != ours]
    return " ".join(f"{FLAGS[ours]} {shlex.quote(found[ours])}" for ours in flags or ["text_a"])


def _texts(names, paired):
    """Our name -> the file's, of one text or two."""
    for pair in PAIRS if paired else ():
        both = [_first((name,), names) for name in pair]
        if None not in both:
            return dict(zip(("text_a", "text_b"), both))
    text = _first(TEXTS, names)
    return {} if text is None else {"text_a": text}


def _first(usual, names):
    """The first of the usual names that a file has, as the file writes it."""
    written = {name.strip().lower(): name for name in reversed(names)}
    return next((written[name] for name in usual if name in written), None)
