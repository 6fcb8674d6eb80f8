#!/bin/sh
# openvino 2026.4.1 on a CPU computes int64 in 32 bits, and says nothing where a number does not fit: its upper half is
# lost, on the way in and out as well. A model that hands on the number of a row, hash or user returns another one, and two
# numbers that differ are equal. The model's inputs and outputs are declared, and returned, as int64.
# Output seen (Python 3.11, onnx 1.17.0, onnxruntime 1.32.0):
#   onnxruntime: 3000000000 is handed on as 3000000000; 4294967301 is 5: False
#   openvino: 3000000000 is handed on as -1294967296; 4294967301 is 5: True
. "$(dirname "$0")/common.sh"
in_venv openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.17.0 numpy==2.4.6
cat >whole.py <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper


def value(name, kind):
    return helper.make_tensor_value_info(name, kind, [1])


nodes = [helper.make_node("Identity", ["row"], ["same"]), helper.make_node("Equal", ["key", "other"], ["equal"])]
inputs = [value(name, TensorProto.INT64) for name in ("row", "key", "other")]
outputs = [value("same", TensorProto.INT64), value("equal", TensorProto.BOOL)]
graph = helper.make_graph(nodes, "numbers", inputs, outputs)
onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), "model.onnx")
batch = {"row": np.array([3_000_000_000]), "key": np.array([2**32 + 5]), "other": np.array([5])}
compiled = openvino.Core().compile_model("model.onnx", "CPU")
found = compiled(batch)
for name, (same, equal) in (
    ("onnxruntime", onnxruntime.InferenceSession("model.onnx").run(["same", "equal"], batch)),
    ("openvino", (found["same"], found["equal"])),
):
    assert same.dtype == np.int64
    print(f"{name}: {batch['row'][0]} is handed on as {same[0]}; {batch['key'][0]} is 5: {bool(equal[0])}")
PYTHON
mkdir home
HOME=$FOLDER/home python whole.py >seen
expect seen
