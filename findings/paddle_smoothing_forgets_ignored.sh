#!/bin/sh
# paddlepaddle 3.3.1: `cross_entropy` with `label_smoothing` makes probabilities of the labels first and compares these with
# `ignore_index`. No place is left out any more: padding that has a class of its own is learned like every other label. The
# sum is then divided by the number of places times that of classes, as these numbers are counted in place of labels: with
# a vocabulary of 20,000 the loss and its gradients are 20,000 times too small. Nothing is said. (A label of -100 is
# refused with smoothing.) Shown: four places, of which two have the ignored label, and three classes.
# Output seen (Python 3.11, numpy 2.4.6):
#   label_smoothing=0.0: losses 1.24, 1.68, 0.00, 0.00; mean 1.457, of the two that count 1.457
#   label_smoothing=0.1: losses 1.23, 1.63, 2.49, 0.65; mean 0.499, of the two that count 1.427
. "$(dirname "$0")/common.sh"
in_venv paddlepaddle==3.3.1 numpy==2.4.6 setuptools==80.9.0
cat >smoothing.py <<'PYTHON'
import numpy as np
import paddle
import paddle.nn.functional as F

PADDING = 2
logits = paddle.to_tensor(np.random.default_rng(0).normal(size=(4, 3)).astype("float32"))
labels = paddle.to_tensor([0, 1, PADDING, PADDING])
with open("seen", "w") as file:
    for smoothing in (0.0, 0.1):
        flags = {"ignore_index": PADDING, "label_smoothing": smoothing}
        losses = F.cross_entropy(logits, labels, reduction="none", **flags).flatten().tolist()
        mean, counted = F.cross_entropy(logits, labels, **flags).item(), sum(losses[:2]) / 2
        each = ", ".join(f"{loss:.2f}" for loss in losses)
        print(f"label_smoothing={smoothing}: losses {each}; mean {mean:.3f}, of the two that count {counted:.3f}", file=file)
PYTHON
python smoothing.py >log 2>&1 || { cat log; exit 1; }
expect seen
