#!/bin/sh
# paddlepaddle 3.3.1: `paddle.text.viterbi_decode` reads transitions[i, j] as from tag i to tag j, but takes the score of a
# sentence's end from the *row* of the stop tag, as if from stop to the last tag. A CRF that learned it in the column, where
# the step from the last tag to stop belongs, decodes to other tags; the column is not read. `include_bos_eos_tag` is true
# by default, so of transitions without such tags the last two tags pass for stop and start, and their rows are added to
# every sentence. There is no error; the documentation names the row and the column. Shown: against trying all paths.
# Output seen (Python 3.11, numpy 2.4.6):
#   start in its row, stop in its column: the best path in 25 of 50
#   start in its row, stop in its row: the best path in 50 of 50
#   no start, no stop: the best path in 18 of 50
#   no start, no stop, include_bos_eos_tag=False: the best path in 50 of 50
. "$(dirname "$0")/common.sh"
in_venv paddlepaddle==3.3.1 numpy==2.4.6 setuptools==80.9.0
cat >viterbi.py <<'PYTHON'
import itertools

import numpy as np
import paddle

TAGS, STEPS = 5, 4
random = np.random.default_rng(0)


def best(scores, transitions, end):
    """The path of the highest score among all, by trying them."""

    def score(path):
        steps = sum(transitions[one, other] for one, other in zip(path, path[1:]))
        return sum(scores[range(STEPS), path]) + steps + end(path)

    return list(max(itertools.product(range(TAGS), repeat=STEPS), key=score))


def agree(end, **flags):
    same = 0
    for scores, transitions in drawn:
        tensors = paddle.to_tensor(scores[None]), paddle.to_tensor(transitions), paddle.to_tensor([STEPS])
        found = paddle.text.viterbi_decode(*tensors, **flags)[1].tolist()[0]
        same += found == best(scores, transitions, lambda path: end(transitions, path))
    return f"{same} of {len(drawn)}"


drawn = [[random.normal(size=(rows, TAGS)).astype("float32") for rows in (STEPS, TAGS)] for _ in range(50)]
start, stop = TAGS - 1, TAGS - 2
with open("seen", "w") as file:
    for text, end, flags in (
        ("start in its row, stop in its column", lambda table, path: table[start, path[0]] + table[path[-1], stop], {}),
        ("start in its row, stop in its row", lambda table, path: table[start, path[0]] + table[stop, path[-1]], {}),
        ("no start, no stop", lambda table, path: 0, {}),
        ("no start, no stop, include_bos_eos_tag=False", lambda table, path: 0, {"include_bos_eos_tag": False}),
    ):
        print(f"{text}: the best path in {agree(end, **flags)}", file=file)
PYTHON
python viterbi.py >log 2>&1 || { cat log; exit 1; }
expect seen
