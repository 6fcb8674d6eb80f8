#!/bin/sh
# scipy 1.17.1: functions of `scipy.spatial.distance` for two vectors count in the type of the vectors. With embeddings of
# 8-bit whole numbers, as quantised ones are kept, what passes 127 begins again at -128: `cosine` is 0 or 2 for vectors at
# right angles, with a warning of overflow at most, or fails with "math domain error"; `euclidean` and `cityblock` are short
# by a quarter without any. `cdist` with the same vectors is right, and so are `sqeuclidean` and `correlation`.
# Output seen (Python 3.11, numpy 2.4.6):
#   cosine: 0.00, cdist 0.96, of the same numbers as floats 0.96
#   euclidean: 1448.00, cdist 2028.55, of the same numbers as floats 2028.55
#   cityblock: 24295.00, cdist 32691.00, of the same numbers as floats 32691.00
#   sqeuclidean: 4114995.00, cdist 4114995.00, of the same numbers as floats 4114995.00
#   cosine of 100 pairs: 0 right, 51 wrong, 49 errors
. "$(dirname "$0")/common.sh"
in_venv scipy==1.17.1 numpy==2.4.6
cat >distances.py <<'PYTHON'
import numpy as np
from scipy.spatial import distance

random = np.random.default_rng(0)
first, second = random.integers(-127, 128, (2, 384)).astype("int8")
for name in ("cosine", "euclidean", "cityblock", "sqeuclidean"):
    pair = getattr(distance, name)
    both, floats = distance.cdist([first], [second], name)[0, 0], pair(first.astype(float), second.astype(float))
    print(f"{name}: {pair(first, second):.2f}, cdist {both:.2f}, of the same numbers as floats {floats:.2f}")

kinds = {"right": 0, "wrong": 0, "errors": 0}
for _ in range(100):
    first, second = random.integers(-127, 128, (2, 384)).astype("int8")
    try:
        wrong = abs(distance.cosine(first, second) - distance.cosine(first.astype(float), second.astype(float))) > 0.1
        kinds["wrong" if wrong else "right"] += 1
    except ValueError:
        kinds["errors"] += 1
print("cosine of 100 pairs:", ", ".join(f"{count} {kind}" for kind, count in kinds.items()))
PYTHON
python -W ignore distances.py >seen
expect seen
