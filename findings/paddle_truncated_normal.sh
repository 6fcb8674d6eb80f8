#!/bin/sh
# paddle.nn.initializer.TruncatedNormal(std=0.02), which BERT-like networks begin with, cut the distribution at two
# deviations in paddlepaddle 2.6.2. In 3.3.1 it has bounds, plain numbers, by default -2 and 2. The same call now cuts
# nothing where std is small, and at one deviation where std is 2; no message says so. Weights of std=0.02 spread wider by
# an eighth. The example in the documentation still shows values of std=2.0 that the function cannot draw any more.
# Output seen (Python 3.11, numpy 1.26.4):
#   paddlepaddle 2.6.2: all weights of std=0.02 lie within 2 deviations, of std=2.0 within 2; spread 0.88 of std=0.02
#   paddlepaddle 3.3.1: all weights of std=0.02 lie within 5 deviations, of std=2.0 within 1; spread 1.00 of std=0.02
. "$(dirname "$0")/common.sh"
in_venv paddlepaddle==2.6.2 numpy==1.26.4 setuptools==80.9.0
cat >draw.py <<'PYTHON'
import math

import paddle

paddle.seed(1)


def drawn(std):
    initializer = paddle.nn.initializer.TruncatedNormal(std=std)
    return paddle.create_parameter([1000, 500], "float32", default_initializer=initializer).numpy() / std


small, large = drawn(0.02), drawn(2.0)
within = [math.ceil(round(float(abs(weights).max()), 2)) for weights in (small, large)]
with open("seen", "a") as file:
    print(f"paddlepaddle {paddle.__version__}: all weights of std=0.02 lie within {within[0]} deviations, of std=2.0 within "
          f"{within[1]}; spread {small.std():.2f} of std=0.02", file=file)
PYTHON
python draw.py >log 2>&1 || { cat log; exit 1; }
python -m pip install --quiet --disable-pip-version-check paddlepaddle==3.3.1
python draw.py >log 2>&1 || { cat log; exit 1; }
expect seen
