#!/bin/sh
# paddle.nn.functional.cross_entropy of paddlepaddle 3.3.1 leaves labels of ignore_index out of the sum and counts them in
# the mean, if ignore_index is below 0, as its default of -100 is. The more of a batch is padding, the smaller are the loss
# and its gradient. If ignore_index is a class, or if classes have weights, even weights of 1, or in nll_loss, they are not
# counted. The documentation says that a negative value ignores nothing.
# Output seen (Python 3.11, numpy 2.4.6):
#   the loss of each label is 1.0986; two of four labels are to be ignored
#   cross_entropy, ignore_index=-100: 0.5493
#   cross_entropy, ignore_index=-100, weights of 1: 1.0986
#   cross_entropy, ignore_index=2: 1.0986
#   nll_loss, ignore_index=-100: 1.0986
. "$(dirname "$0")/common.sh"
in_venv paddlepaddle==3.3.1 numpy==2.4.6 setuptools==80.9.0
cat >mean.py <<'PYTHON'
import paddle
import paddle.nn.functional as F

logits = paddle.zeros([4, 3])
classes, padded = paddle.to_tensor([0, 1, 2, 2]), paddle.to_tensor([0, 1, -100, -100])
each = float(F.cross_entropy(logits[:1], classes[:1]))
with open("seen", "w") as file:
    print(f"the loss of each label is {each:.4f}; two of four labels are to be ignored", file=file)
    for what, loss in (
        ("cross_entropy, ignore_index=-100", F.cross_entropy(logits, padded, ignore_index=-100)),
        ("cross_entropy, ignore_index=-100, weights of 1", F.cross_entropy(logits, padded, weight=paddle.ones([3]))),
        ("cross_entropy, ignore_index=2", F.cross_entropy(logits, classes, ignore_index=2)),
        ("nll_loss, ignore_index=-100", F.nll_loss(F.log_softmax(logits), padded, ignore_index=-100)),
    ):
        print(f"{what}: {float(loss):.4f}", file=file)
PYTHON
python mean.py >log 2>&1 || { cat log; exit 1; }
expect seen
