#!/bin/sh
# paddlepaddle 3.3.1, CPU: a static Program with two or more random operators that do not depend on each other gives other
# results each time it runs, with the same seed set before each run. All draw from one generator, and the executor, which
# has several threads by default, runs operators in the order in which they become ready. Operators in a chain draw in
# its order, and repeat. Setting a seed therefore makes a training repeatable only if its network has one way from the
# first dropout to the last. Shown: 100 runs of four branches with a dropout each, and of the four dropouts one after
# the other.
# Output seen (Python 3.11, 2 cores; the number of different results varies):
#   branches: several results
#   a chain: one result
. "$(dirname "$0")/common.sh"
in_venv paddlepaddle==3.3.1 setuptools
cat >draws.py <<'PYTHON'
import numpy as np
import paddle

paddle.enable_static()


def deep(x):
    for _ in range(3):
        x = paddle.tanh(paddle.matmul(x, paddle.full([256, 256], 0.01)))
    return x


def results(chained):
    main = paddle.static.Program()
    with paddle.static.program_guard(main, paddle.static.Program()):
        x = paddle.static.data("x", [None, 256], "float32")
        outputs = []
        for _ in range(4):
            start = outputs[-1] if chained and outputs else x
            outputs.append(paddle.nn.functional.dropout(deep(start), 0.5))
    executor, seen = paddle.static.Executor(paddle.CPUPlace()), set()
    for _ in range(100):
        paddle.seed(7)
        found = executor.run(main, feed={"x": np.ones((64, 256), "float32")}, fetch_list=outputs)
        seen.add(b"".join(array.tobytes() for array in found))
    return "one result" if len(seen) == 1 else "several results"


lines = [f"branches: {results(False)}", f"a chain: {results(True)}"]
with open("seen", "w") as file:
    file.write("\n".join(lines) + "\n")
PYTHON
OMP_NUM_THREADS=2 python draws.py >log 2>&1 || { cat log; exit 1; }
expect seen
