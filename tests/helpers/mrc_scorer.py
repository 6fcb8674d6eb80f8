"""Shared with tests/finetune/test_mrc_scores.py: a second scorer of answers."""

import re

from hypothesis import strategies as st

from finetune.mrc import scores as mrc_scores

ZH_PUNCTUATION = "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』"


def second_zh_segments(text):
    """Another way to the same segments: one regular expression over the text without punctuation."""
    text = "".join(char for char in text.lower().strip() if char not in ZH_PUNCTUATION)
    return [
        word
        for part in re.findall("[\u4e00-\u9fa5]|[^\u4e00-\u9fa5]+", text)
        for word in ([part] if "\u4e00" <= part <= "\u9fa5" else mrc_scores.words(part))
    ]


def second_scorer(answers, predictions):
    """em, f1 and avg of Chinese, by trying every run of the prediction, longest first."""
    em = f1 = 0
    for name, texts in answers.items():
        predicted, best = second_zh_segments(predictions[name]), 0
        strip = [text.lower().strip().translate({ord(c): None for c in ZH_PUNCTUATION}) for text in texts]
        em += predictions[name].lower().strip().translate({ord(c): None for c in ZH_PUNCTUATION}) in strip
        for text in texts:
            wanted = second_zh_segments(text)
            for size in range(min(len(wanted), len(predicted)), 0, -1):
                runs = {tuple(wanted[i : i + size]) for i in range(len(wanted) - size + 1)}
                if any(tuple(predicted[i : i + size]) in runs for i in range(len(predicted) - size + 1)):
                    best = max(best, 2 * size / (len(wanted) + len(predicted)))
                    break
        f1 += best
    em, f1 = 100 * em / len(answers), 100 * f1 / len(answers)
    return {"em": em, "f1": f1, "avg": (em + f1) / 2}


texts = st.text(st.sampled_from("北京市大学abc1. ,'-，。“”（）·é"), max_size=12)
