#!/bin/sh
# jieba 0.42.1: `add_word` and user dictionaries take any word and give it a frequency, but a word with a blank, a middle
# dot, a slash or a wide letter is never found: text is cut at such characters before the dictionary is asked. There is no
# error and no warning, and `get_FREQ` knows the word.
# Output seen (Python 3.11):
#   New York: frequency 1; 他 住 在 New   York 市
#   人工·智能: frequency 1; 人工 · 智能 公司
#   ＡＢＣ银行: frequency 1; Ａ Ｂ Ｃ 银行
#   云计算所: frequency 1; 云计算所 成立
. "$(dirname "$0")/common.sh"
in_venv jieba==0.42.1 setuptools
cat >words.py <<'PYTHON'
import logging

import jieba

jieba.setLogLevel(logging.WARNING)
for word, text in (
    ("New York", "他住在New York市"),
    ("人工·智能", "人工·智能公司"),
    ("ＡＢＣ银行", "ＡＢＣ银行"),
    ("云计算所", "云计算所成立"),
):
    jieba.add_word(word)
    print(f"{word}: frequency {jieba.get_FREQ(word)}; {' '.join(jieba.lcut(text))}")
PYTHON
TMPDIR=$FOLDER python -W ignore words.py >seen
expect seen
