#!/bin/sh
# safetensors 0.8.0: `save_file` and `save` for numpy write the memory of an array in the order in which it lies there, with
# the shape of the view. A transposed matrix, or every array in Fortran's order, comes back with its numbers in other
# places, without an error or a warning. That is what a conversion between frameworks saves, as Paddle and PyTorch store
# the weight of a linear layer transposed, and a model of square matrices loads everywhere. 0.7.0 wrote the numbers of
# the view. The same package refuses such tensors of Paddle and PyTorch; for numpy it only asks for contiguous ones in a
# docstring.
# Output seen (Python 3.11, numpy 2.4.6):
#   safetensors 0.7.0: [[0, 3], [1, 4], [2, 5]] comes back as [[0, 3], [1, 4], [2, 5]]
#   safetensors 0.8.0: [[0, 3], [1, 4], [2, 5]] comes back as [[0, 1], [2, 3], [4, 5]]
. "$(dirname "$0")/common.sh"
in_venv safetensors==0.7.0 numpy==2.4.6
cat >transposed.py <<'PYTHON'
import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

weight = np.arange(6, dtype="float32").reshape(2, 3).T
save_file({"weight": weight}, "model.safetensors")
back = load_file("model.safetensors")["weight"]
print(f"safetensors {safetensors.__version__}: {weight.astype(int).tolist()} comes back as {back.astype(int).tolist()}")
PYTHON
python transposed.py >seen
python -m pip install --quiet --disable-pip-version-check safetensors==0.8.0
python transposed.py >>seen
expect seen
