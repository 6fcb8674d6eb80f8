"""One script of Wikipedia's text: of the variants that LanguageConverter's markup gives, one stays.

    one_variant("-{zh-hans:计算机;zh-hant:電腦}-和-{干}-燥机")     # 计算机和干燥机

The markup (mediawiki.org, "Writing systems/Syntax") is -{text}- or -{flags|rules}-, where rules are variant:text,
separated by semicolons. WikiExtractor 3.1.0 leaves it in the text.
"""

from __future__ import annotations

import re

MARKUP = re.compile(r"-\{([^{}]*)\}-")
FLAGS = re.compile(r"[A-Z+-](\s*;\s*[A-Z+-])*")
VARIANTS = re.compile(r"[a-z]{2,3}(-[a-z]+)*(\s*;\s*[a-z]{2,3}(-[a-z]+)*)*")  # where text is shown as it is
RULE = re.compile(r"\s*(?:[^;:]*=>)?\s*([a-z]{2,3}(?:-[a-z]+)*)\s*:([^;]*)(?:;|$)")
HIDDEN = set("HT-")  # rules for other places of the article, which show nothing where they stand
PREFERRED = ("zh-cn", "zh-hans", "zh", "zh-sg", "zh-my")  # simplified characters, as ERNIE's vocabularies have
DEEPEST = 4  # markup inside of markup


def one_variant(text: str) -> str:
    """The text with simplified Chinese, or else the first variant, in place of each markup; other text as it is."""
    for _ in range(DEEPEST):
        if "-{" not in text:
            break
        text = MARKUP.sub(_shown, text)
    return text


def _shown(markup):
    inner = markup[1]
    before, bar, after = inner.partition("|")
    flags = before.strip()
    if bar and FLAGS.fullmatch(flags):
        if HIDDEN & set(flags):
            return ""
        inner = after
        if "R" in flags:
            return inner
    elif bar and VARIANTS.fullmatch(flags):
        return after
    rules = {name: text.strip() for name, text in RULE.findall(inner)}
    if not rules or RULE.sub("", inner).strip():
        return inner
    return next((rules[name] for name in PREFERRED if name in rules), next(iter(rules.values())))
