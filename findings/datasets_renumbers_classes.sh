#!/bin/sh
# `class_encode_column` of datasets 5.2.0 turns labels into text before it sorts them, so whole numbers that were classes
# get other numbers as soon as there are more than ten: 10 comes before 2. A DatasetDict encodes each of its parts alone: if
# a label is missing in one of them, the same word has different numbers in train and test. A stratified split demands such
# a column, so this function is often the next call. Nothing is reported.
# Output seen (Python 3.11, pyarrow 26.0.1, pandas 3.1.1):
#   labels 0 to 11 are now 0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 2, 3
#   train: bad 0, fine 1, good 2
#   test: fine 0, good 1
. "$(dirname "$0")/common.sh"
in_venv datasets==5.2.0 pyarrow==26.0.1 pandas==3.1.1
cat >encode.py <<'PYTHON'
from datasets import Dataset, DatasetDict, disable_progress_bars

disable_progress_bars()
numbers = Dataset.from_dict({"label": list(range(12))})
print("labels 0 to 11 are now", ", ".join(map(str, numbers.class_encode_column("label")["label"])))
parts = DatasetDict(
    train=Dataset.from_dict({"label": ["bad", "fine", "good"]}), test=Dataset.from_dict({"label": ["fine", "good"]})
)
for name, part in parts.class_encode_column("label").items():
    words = part.features["label"].names
    print(f"{name}:", ", ".join(f"{words[number]} {number}" for number in part["label"]))
PYTHON
HF_HOME=$FOLDER/home HF_HUB_OFFLINE=1 python encode.py >seen
expect seen
