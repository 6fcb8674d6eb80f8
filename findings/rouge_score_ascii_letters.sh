#!/bin/sh
# rouge-score 0.1.2: its tokens are runs of a-z and 0-9, all else is dropped. A Chinese, Russian or Greek text has ROUGE 0
# with itself, and of a German or French one the accented letters are blanks: other words are equal then. A tokenizer of
# one's own (`tokenizer=`) is needed for any text but English.
# Output seen (Python 3.11):
#   今天天气很好 with itself: 0.00
#   добрый день with itself: 0.00
#   für über with f r ber: 1.00
#   the cat with itself: 1.00
. "$(dirname "$0")/common.sh"
in_venv rouge-score==0.1.2
cat >rouge.py <<'PYTHON'
from rouge_score.rouge_scorer import RougeScorer

scorer = RougeScorer(["rougeL"])
for one, other in (("今天天气很好",) * 2, ("добрый день",) * 2, ("für über", "f r ber"), ("the cat",) * 2):
    score = scorer.score(one, other)["rougeL"].fmeasure
    print(f"{one} with {'itself' if one == other else other}: {score:.2f}")
PYTHON
python rouge.py >seen
expect seen
