#!/bin/sh
# seqeval 1.2.2: `f1_score`, `precision_score` and `recall_score` with mode="strict" and no scheme are not strict, and with a
# scheme and no mode they do not look at the scheme. Neither is said, and both give the lenient score, in which an I- may
# begin an entity. `classification_report` is strict with the mode alone, as it guesses the scheme: the F1 under its table
# and that of `f1_score` with the same arguments differ, and a checkpoint may be chosen by one and reported by the other.
# Output seen (Python 3.11, numpy 2.4.6, scikit-learn 1.9.1):
#   no arguments: f1_score 1.00, report 1.00
#   mode="strict": f1_score 1.00, report 0.67
#   scheme=IOB2: f1_score 1.00, report 1.00
#   mode="strict", scheme=IOB2: f1_score 0.67, report 0.67
. "$(dirname "$0")/common.sh"
in_venv seqeval==1.2.2 numpy==2.4.6 scikit-learn==1.9.1
cat >strict.py <<'PYTHON'
from seqeval.metrics import classification_report, f1_score
from seqeval.scheme import IOB2

gold = [["B-PER", "O", "O", "B-PER"]]
predicted = [["B-PER", "O", "O", "I-PER"]]
for text, arguments in (
    ("no arguments", {}),
    ('mode="strict"', {"mode": "strict"}),
    ("scheme=IOB2", {"scheme": IOB2}),
    ('mode="strict", scheme=IOB2', {"mode": "strict", "scheme": IOB2}),
):
    report = classification_report(gold, predicted, output_dict=True, **arguments)["micro avg"]["f1-score"]
    print(f"{text}: f1_score {f1_score(gold, predicted, **arguments):.2f}, report {report:.2f}")
PYTHON
python strict.py >seen
expect seen
