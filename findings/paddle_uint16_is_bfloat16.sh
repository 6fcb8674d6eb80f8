#!/bin/sh
# paddlepaddle 3.3.1: numpy's 16-bit whole numbers are taken for the bits of bfloat16, and bfloat16 comes back as them.
# Token ids kept in uint16, as language models' .bin files have them, become numbers near 0, and all ids 0; `numpy()` of a
# bfloat16 weight of 1.0 is 16256. Nothing is said in either direction; uint8 and int16 are taken as they are.
# Output seen (Python 3.11):
#   ids 5, 7, 12000 of int16: paddle.int16, as int64 [5, 7, 12000]
#   ids 5, 7, 12000 of uint16: paddle.bfloat16, as int64 [0, 0, 0]
#   weights 1.0, 0.5 of bfloat16: numpy() uint16 [16256, 16128]
. "$(dirname "$0")/common.sh"
in_venv paddlepaddle==3.3.1 setuptools
cat >ids.py <<'PYTHON'
import numpy as np
import paddle

with open("seen", "w") as file:
    for kind in ("int16", "uint16"):
        ids = paddle.to_tensor(np.array([5, 7, 12000], kind))
        print(f"ids 5, 7, 12000 of {kind}: {ids.dtype}, as int64 {ids.astype('int64').tolist()}", file=file)
    weights = paddle.to_tensor([1.0, 0.5]).astype("bfloat16").numpy()
    print(f"weights 1.0, 0.5 of bfloat16: numpy() {weights.dtype} {weights.tolist()}", file=file)
PYTHON
python ids.py >log 2>&1 || { cat log; exit 1; }
expect seen
