#!/bin/sh
# `to_csv` of datasets 5.2.0 writes a column of lists as numpy prints arrays: without commas, and with "..." in place of all
# but six numbers where there are over 1,000. Vectors of 1,024 numbers are lost, those of 768 are not. `from_csv` reads such
# lists, tokens or sets of labels, as text. Neither says a word; `to_json` and `to_parquet` keep them.
# Output seen (Python 3.11, pyarrow 26.0.1, pandas 3.1.1):
#   ["New York", "is"] comes back as "['New York' 'is']"
#   of 768 numbers the file has 768
#   of 1024 numbers the file has 6
. "$(dirname "$0")/common.sh"
in_venv datasets==5.2.0 pyarrow==26.0.1 pandas==3.1.1
cat >lists.py <<'PYTHON'
import json
import re

from datasets import Dataset, disable_progress_bars

disable_progress_bars()
tokens = ["New York", "is"]
Dataset.from_dict({"tokens": [tokens]}).to_csv("tokens.csv")
print(json.dumps(tokens), "comes back as", json.dumps(Dataset.from_csv("tokens.csv")[0]["tokens"]))
for size in (768, 1024):
    Dataset.from_dict({"vector": [[number / size for number in range(size)]]}).to_csv("vectors.csv")
    with open("vectors.csv") as file:
        print(f"of {size} numbers the file has {len(re.findall('[0-9]+[.][0-9]*', file.read()))}")
PYTHON
HF_HOME=$FOLDER/home HF_HUB_OFFLINE=1 python lists.py >seen 2>log || { cat log; exit 1; }
expect seen
