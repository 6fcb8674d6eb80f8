"""Cuts running text, Chinese or English, into sentences that joined give the text again.

    split("他说：“好。”然后走了。It costs 3.5 dollars, says Dr. Li. Really?")
    # ["他说：“好。”", "然后走了。", "It costs 3.5 dollars, says Dr. Li. ", "Really?"]

A sentence ends after 。！？ and their half-width forms, with the closing quotes and brackets that follow; but not
where the text visibly goes on: a comma or colon after the quote (“好！”，他说), a lower-case letter after an English
mark or an ellipsis (“wait ... not yet”). An English full stop needs white space or a CJK character after it, so 3.14,
U.S.A and example.com stay whole; after a title (Dr.), an initial (J. Smith) or a number sign (No. 5) it ends nothing;
after what may close a sentence (etc., Inc., p.m., U.S.) it does if the next word is one that often opens one (The,
He, But), the heuristic of Kiss and Strunk (2006) with a fixed list. An ellipsis ends a sentence.
"""

from __future__ import annotations

import re

CLOSING = "\"'”’」』）)》】〉〕］]｝}"
GOES_ON = "，、；：,;:％%）)》】」』”’…—～~"  # after an end mark and its quotes: the sentence is not over


def words_of(text: str) -> frozenset:
    """The words of a list written as text."""
    return frozenset(text.split())


# An end mark: full-width ones as they come, a run of half-width ones, ellipses of either kind; then closing quotes.
ENDS = re.compile(rf"(?:[。！？｡︒]|[.!?…]+)[。！？!?….]*[{re.escape(CLOSING)}]*")
TITLES = words_of(
    "mr mrs ms dr prof st gen rep sen gov capt lt col sgt maj cmdr adm rev hon pres messrs mme mlle fr sr jr mt ft "
    "no nos vol vols pp p fig figs eq sec ch ed eds cf e.g i.e viz vs v al ca approx dept est op art"
)
MAY_END = words_of("etc inc ltd co corp bros llc plc jr sr a.m p.m u.s u.k u.n e.u d.c ph.d b.c a.d")
OPENERS = words_of(
    "the a an this that these those he she it they we you i his her its their our my your there here in on at for from "
    "by with as after before when while if but and or so yet however moreover then now what who why how where"
)
WORD_BEFORE = re.compile(r"[^\W\d_][\w.'’&-]*$")
NEXT_WORD = re.compile(rf"\s*[{re.escape('“‘「『（(《【[')}\"']*([^\W\d_]+)")
CJK_OR_OPEN = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff“‘「『（《【]")


def split(text: str) -> list[str]:
    """The sentences of `text`, white space after one belonging to it; "".join of them is `text`. No text: none."""
    found, begin = [], 0
    for match in ENDS.finditer(text):
        end = match.end()
        if end < len(text) and not _ends(text, match.start(), end):
            continue
        while end < len(text) and text[end].isspace():
            end += 1
        if end > begin:
            found.append(text[begin:end])
            begin = end
    if begin < len(text):
        found.append(text[begin:])
    return found


def _ends(text, start, end):
    """Whether the mark text[start:end], closing quotes included, ends a sentence."""
    mark, after = text[start:end], text[end]
    if after in GOES_ON:
        return False
    if mark[0] in "。！？｡︒":
        return True
    following = NEXT_WORD.match(text, end)
    goes_on = following is not None and following.group(1)[0].islower()
    if mark[0] == "…" or mark.startswith(".."):
        return not goes_on
    if not (after.isspace() or CJK_OR_OPEN.match(after)):
        return False
    if goes_on:  # "no!" he said
        return False
    return mark[0] != "." or _full_stop(text, start, following)


def _full_stop(text, start, following):
    """Whether the full stop at `start` is more than the sign of an abbreviation."""
    before = WORD_BEFORE.search(text, max(start - 24, 0), start)
    if before is None:
        return True
    word = before.group()
    low = word.lower()
    opens = following is not None and following.group(1).lower() in OPENERS
    if low in MAY_END or re.fullmatch(r"(?:[A-Za-z]\.)+[A-Za-z]", word):
        return opens
    if low in TITLES:
        return False
    if len(word) == 1 and word.isupper() and word.isascii():  # an initial; or the pronoun, which rarely ends a sentence
        return opens
    return True
