"""Exact match and F1 of reading comprehension, Chinese and English.

score("zh", {"Q1": ["北京"]}, {"Q1": "北京"})     # {"em": 100.0, "f1": 100.0, "avg": 100.0, "question_num": 1}

Chinese: the evaluation of CMRC 2018 (Cui et al. 2019, cmrc2018_evaluate.py), as the 2019 code had it: a segment is a
CJK character or a word of what stands between; F1 is over the longest common run of segments. The words are those of
nltk's word_tokenize, by the Penn Treebank rules as nltk 3.8 has them (later versions cut otherwise, and a score should
not depend on what is installed). Its sentence splitter, which needs a model to be downloaded, is left out: a difference
only where a run of text without CJK characters holds more than one sentence.
English: the evaluation of SQuAD 1.1 (Rajpurkar et al. 2016, evaluate-v1.1.py).
DuReader: the evaluation that comes with DuReader-robust (Tang et al. 2021, evaluate.py). It differs from CMRC's in what
is no punctuation to it (- * ^ / \\ ~ + = stay) and what is (brackets, comma and | of ASCII), in keeping blanks, and in
its segments: any CJK character or = is one, what stands between is another, uncut. Where an answer holds no such sign,
nor a blank at an end, both agree on exact match.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Callable

# What the CMRC 2018 script calls punctuation; one entry has two characters and so never matches any, as there.
PUNCTUATION = frozenset(
    [
        "-",
        ":",
        "_",
        "*",
        "^",
        "/",
        "\\",
        "~",
        "`",
        "+",
        "=",
        "，",
        "。",
        "：",
        "？",
        "！",
        "“",
        "”",
        "；",
        "’",
        "《",
        "》",
    ]
    + ["……", "·", "、", "「", "」", "（", "）", "－", "～", "『", "』"]
)
DUREADER_PUNCTUATION = frozenset(":_`，。：？！()“”；’《》·、,「」（）－～『』|")
# Of CJK characters DuReader's script has more than CMRC's: the extensions and the compatibility forms.
DUREADER_SEGMENT = re.compile(
    "[=\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002ceaf\U0002f800-\U0002fa1f]"
)
SCRIPTS = {"zh": "Chinese, CMRC 2018", "en": "English, SQuAD 1.1", "dureader": "Chinese, DuReader's own script"}
CJK = re.compile("[\u4e00-\u9fa5]")  # the range of the CMRC 2018 script
ENGLISH_ARTICLES = re.compile(r"\b(a|an|the)\b")
ENGLISH_PUNCTUATION = str.maketrans("", "", string.punctuation)


def language_of(questions: Sequence[str]) -> str:
    """`zh` if at least half of the texts hold a CJK character, else `en`. Args: questions: list of str."""
    chinese = sum(1 for text in questions if CJK.search(text))
    return "zh" if 2 * chinese >= len(questions) else "en"


def _rules(*pairs):
    return [(re.compile(pattern, re.IGNORECASE), text) for pattern, text in pairs]


# nltk 3.8's rules in its order, but for those about characters that never come here, being PUNCTUATION.
WORD_RULES = _rules(
    # opening quotes
    (r"([«‘„])", r" \1 "),
    (r'^"', " `` "),
    (r"""([ (\[{<])("|'')""", r"\1 `` "),
    (r"'(?!re|ve|ll|m|t|s|d|n)(\w)\b", r"' \1"),
    # punctuation; a period only at the end
    (r"""([^.])\.([\])}>"'» ]*)\s*$""", r"\1 . \2 "),
    (r",(\D)", r" , \1"),
    (r",$", " , "),
    (r"(\.{2,})", r" \1 "),
    (r"([;@#$%&])", r" \1 "),
    (r"""([^.])\.([\])}>"']*)\s*$""", r"\1 .\2 "),
    (r"([?!])", r" \1 "),
    (r"([^'])' ", r"\1 ' "),
    (r"([\]\[(){}<>])", r" \1 "),
    # closing quotes, and what an apostrophe begins
    (r"^|$", " "),
    (r"»", " » "),
    (r"\"|''", " '' "),
    (r"([^' ])((?-i:'[smd])|') ", r"\1 \2 "),
    (r"([^' ])('ll|'re|'ve|n't) ", r"\1 \2 "),
    # two words in one
    (r"\b(can)(not)\b", r" \1 \2 "),
    (r"\b(d)('ye)\b", r" \1 \2 "),
    (r"\b(gim|lem)(me)\b", r" \1 \2 "),
    (r"\b(gon)(na)\b", r" \1 \2 "),
    (r"\b(got)(ta)\b", r" \1 \2 "),
    (r"\b(more)('n)\b", r" \1 \2 "),
    (r"\b(wan)(na)(?=\s)", r" \1 \2 "),
    (r" ('t)(is)\b", r" \1 \2 "),
    (r" ('t)(was)\b", r" \1 \2 "),
)


def words(text: str) -> list[str]:
    """The words of a text that is in lower case and holds no PUNCTUATION."""
    for pattern, replacement in WORD_RULES:
        text = pattern.sub(replacement, text)
    return text.split()


def mixed_segmentation(text: str, remove_punctuation: bool = False) -> list[str]:
    """The segments of a text in lower case: CJK characters, punctuation, and words between them."""
    segments: list[str] = []
    run: list[str] = []

    def close_run():
        if run:
            segments.extend(words("".join(run)))
            run.clear()

    for char in text.lower().strip():
        if char in PUNCTUATION:
            if not remove_punctuation:  # removed, it does not part the run: "a-b" is one word, as in the script
                close_run()
                segments.append(char)
        elif CJK.match(char):
            close_run()
            segments.append(char)
        else:
            run.append(char)
    close_run()
    return segments


def remove_punctuation(text: str) -> str:
    """The text in lower case without punctuation."""
    return "".join(char for char in text.lower().strip() if char not in PUNCTUATION)


def longest_common_run(a: Sequence[str], b: Sequence[str]) -> tuple[Sequence[str], int]:
    """(the longest run of items that both sequences hold, its length); the first in `a` of equal ones."""
    best, end = 0, 0
    lengths = [0] * (len(b) + 1)  # of the common runs that end at the item before and at b's items
    for i, item in enumerate(a):
        row = [0] * (len(b) + 1)
        for j, other in enumerate(b):
            if item == other:
                row[j + 1] = lengths[j] + 1
                if row[j + 1] > best:
                    best, end = row[j + 1], i + 1
        lengths = row
    return a[end - best : end], best


def chinese_em(answers: Iterable[str], prediction: str) -> int:
    """1 if an answer equals the prediction, punctuation and case aside."""
    return int(any(remove_punctuation(answer) == remove_punctuation(prediction) for answer in answers))


def chinese_f1(answers: Iterable[str], prediction: str) -> float:
    """The best F1 over the answers; 0 where nothing is common."""
    predicted = mixed_segmentation(prediction, remove_punctuation=True)
    best = 0.0
    for answer in answers:
        wanted = mixed_segmentation(answer, remove_punctuation=True)
        common = longest_common_run(wanted, predicted)[1]
        best = max(best, _f1(common, len(predicted), len(wanted)))
    return best


def normalise_english(text: str) -> str:
    """SQuAD's normal form: lower case, no punctuation, no articles, single blanks."""
    return " ".join(ENGLISH_ARTICLES.sub(" ", text.lower().translate(ENGLISH_PUNCTUATION)).split())


def english_em(answers: Iterable[str], prediction: str) -> int:
    """1 if an answer equals the prediction in SQuAD's normal form."""
    return int(any(normalise_english(answer) == normalise_english(prediction) for answer in answers))


def english_f1(answers: Iterable[str], prediction: str) -> float:
    """The best F1 over the answers, over bags of words in SQuAD's normal form."""
    predicted = normalise_english(prediction).split()
    best = 0.0
    for answer in answers:
        wanted = normalise_english(answer).split()
        common = sum((Counter(wanted) & Counter(predicted)).values())
        best = max(best, _f1(common, len(predicted), len(wanted)))
    return best


def normalise_dureader(text: str) -> str:
    """DuReader's normal form: lower case, without its punctuation; blanks stay."""
    return "".join(char for char in text.lower() if char not in DUREADER_PUNCTUATION)


def dureader_segments(text: str) -> list[str]:
    """The segments of a text in normal form: CJK characters and =, and what stands between them, blanks included."""
    return [part for part in re.split(f"({DUREADER_SEGMENT.pattern})", text) if part]


def dureader_em(answers: Iterable[str], prediction: str) -> int:
    """1 if an answer equals the prediction in DuReader's normal form."""
    return int(any(normalise_dureader(answer) == normalise_dureader(prediction) for answer in answers))


def dureader_f1(answers: Iterable[str], prediction: str) -> float:
    """The best F1 over the answers, over the longest common run of segments; 0 where nothing is common."""
    predicted = dureader_segments(normalise_dureader(prediction))
    best = 0.0
    for answer in answers:
        wanted = dureader_segments(normalise_dureader(answer))
        best = max(best, _f1(longest_common_run(wanted, predicted)[1], len(predicted), len(wanted)))
    return best


def _f1(common, predicted, wanted):
    if not common:
        return 0.0
    precision, recall = common / predicted, common / wanted
    return 2 * precision * recall / (precision + recall)


METRICS: Mapping[str, tuple[Callable[[Iterable[str], str], int], Callable[[Iterable[str], str], float]]] = {
    "zh": (chinese_em, chinese_f1),
    "en": (english_em, english_f1),
    "dureader": (dureader_em, dureader_f1),
}


def segments_of(language: str) -> Callable[[str], list[str]]:
    """What cuts a text into the segments that F1 is over."""
    return {
        "zh": lambda text: mixed_segmentation(text, remove_punctuation=True),
        "en": lambda text: normalise_english(text).split(),
        "dureader": lambda text: dureader_segments(normalise_dureader(text)),
    }[language]


def score(language: str, answers: Mapping[str, Iterable[str]], predictions: Mapping[str, str]) -> dict:
    """`em`, `f1` and their mean `avg`, in percent of all questions, and `question_num`.

    Args:
        language: "zh", "en" or "dureader".
        answers: question id -> texts of its answers.
        predictions: question id -> text; a question without prediction scores 0.
    """
    exact, overlap = METRICS[language]
    em = f1 = 0.0
    for name, texts in answers.items():
        if name in predictions:
            em += exact(texts, predictions[name])
            f1 += overlap(texts, predictions[name])
    em, f1 = (100.0 * total / len(answers) for total in (em, f1))
    return {"em": em, "f1": f1, "avg": (em + f1) * 0.5, "question_num": len(answers)}
