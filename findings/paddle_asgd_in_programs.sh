#!/bin/sh
# `ASGD(batch_num=n)` of paddlepaddle 3.3.1 steps by the mean of the last gradient of each of n batches, as its documentation
# says, but in a static Program it forgets them: whatever `batch_num` is, each step is that of plain SGD. There is no error,
# only a line of the log, "Paddle static graph(PIR) not support input out tensor for now", which names no optimizer. The
# documentation makes no exception for the static graph, which it has in mind where it explains `parameters`.
# Output seen (Python 3.11, numpy 2.4.6):
#   gradients 1, 2, 4, 8; the means of two are 1, 1.5, 3, 6, those of three 1, 1.5, 2.33, 4.67
#   eager, batch_num=2: 1.00 1.50 3.00 6.00
#   eager, batch_num=3: 1.00 1.50 2.33 4.67
#   Program, batch_num=2: 1.00 2.00 4.00 8.00
#   Program, batch_num=3: 1.00 2.00 4.00 8.00
. "$(dirname "$0")/common.sh"
in_venv paddlepaddle==3.3.1 numpy==2.4.6 setuptools==80.9.0
cat >asgd.py <<'PYTHON'
import numpy as np
import paddle

GRADIENTS = (1.0, 2.0, 4.0, 8.0)


def parts(batch_num):
    weight = paddle.create_parameter([1], "float32", default_initializer=paddle.nn.initializer.Constant(0.0))
    parameters = [weight] if paddle.in_dynamic_mode() else None
    return weight, paddle.optimizer.ASGD(learning_rate=1.0, batch_num=batch_num, parameters=parameters)


def eager(batch_num):
    weight, optimizer = parts(batch_num)
    for gradient in GRADIENTS:
        (weight * gradient).sum().backward()
        optimizer.step()
        optimizer.clear_grad()
        yield weight.item()


def program(batch_num):
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, startup):
        gradient = paddle.static.data("gradient", [1], "float32")
        weight, optimizer = parts(batch_num)
        optimizer.minimize((weight * gradient).sum())
    executor = paddle.static.Executor()
    executor.run(startup)
    for gradient in GRADIENTS:
        executor.run(main, feed={"gradient": np.array([gradient], "float32")})
        yield np.array(paddle.static.global_scope().find_var(weight.name).get_tensor()).item()


with open("seen", "w") as file:
    print("gradients 1, 2, 4, 8; the means of two are 1, 1.5, 3, 6, those of three 1, 1.5, 2.33, 4.67", file=file)
    for name, run in (("eager", eager), ("Program", program)):
        for batch_num in (2, 3):
            steps = -np.diff([0.0, *run(batch_num)])
            print(f"{name}, batch_num={batch_num}:", " ".join(f"{step:.2f}" for step in steps), file=file)
        paddle.enable_static()
PYTHON
python asgd.py >log 2>&1 || { cat log; exit 1; }
expect seen
