#!/bin/sh
# An optimizer of paddlepaddle 3.3.1 that gets its parameters in groups, such as those with and those without weight decay,
# applies `ClipGradByGlobalNorm` to each group alone. The norm over all of them may then be larger than asked for, by the
# root of the number of groups, and the direction of the step changes. The documentation says that the norm is that of all
# parameters of the optimizer; for one list, and with `paddle.nn.utils.clip_grad_norm_` before the step, it is.
# Output seen (Python 3.11, numpy 2.4.6):
#   gradients 3 and 4, norm 1 asked for
#   one list: 0.60 and 0.80, norm 1.00
#   two groups: 1.00 and 1.00, norm 1.41
#   two groups, clip_grad_norm_: 0.60 and 0.80, norm 1.00
. "$(dirname "$0")/common.sh"
in_venv paddlepaddle==3.3.1 numpy==2.4.6 setuptools==80.9.0
cat >clip.py <<'PYTHON'
import math

import paddle


def step(in_groups, before=False):
    zero = paddle.nn.initializer.Constant(0.0)
    weights = [paddle.create_parameter([1], "float32", default_initializer=zero) for _ in range(2)]
    clip = None if before else paddle.nn.ClipGradByGlobalNorm(1.0)
    parameters = [{"params": [weight]} for weight in weights] if in_groups else weights
    optimizer = paddle.optimizer.SGD(learning_rate=1.0, parameters=parameters, grad_clip=clip)
    (3 * weights[0] + 4 * weights[1]).sum().backward()
    if before:
        paddle.nn.utils.clip_grad_norm_(weights, 1.0)
    optimizer.step()
    steps = [-weight.item() for weight in weights]
    return f"{steps[0]:.2f} and {steps[1]:.2f}, norm {math.hypot(*steps):.2f}"


with open("seen", "w") as file:
    print("gradients 3 and 4, norm 1 asked for", file=file)
    print("one list:", step(False), file=file)
    print("two groups:", step(True), file=file)
    print("two groups, clip_grad_norm_:", step(True, before=True), file=file)
PYTHON
python clip.py >log 2>&1 || { cat log; exit 1; }
expect seen
