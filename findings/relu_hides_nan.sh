#!/bin/sh
# relu of a number that is none: ONNX Runtime 1.32.0 hands NaN on, openvino 2026.4.1 and paddlepaddle 3.3.1 make it 0 on a
# CPU. openvino's softmax gives NaN to the class that has it and finite numbers to the others, and its largest number is
# that of the rest. A network with a spoilt weight then gives plain probabilities, and its loss says nothing.
# Output seen (Python 3.11, onnx 1.17.0, numpy 2.4.6):
#   relu of 1, nan, 3: onnxruntime [1.0, nan, 3.0], openvino [1.0, 0.0, 3.0], paddle [1.0, 0.0, 3.0]
#   softmax of 1, nan, 3: onnxruntime [nan, nan, nan], openvino [0.0, nan, 0.0], paddle [nan, nan, nan]
#   max of nan, 1, 3: onnxruntime nan, openvino 3.0, paddle nan
. "$(dirname "$0")/common.sh"
in_venv openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.17.0 numpy==2.4.6 paddlepaddle==3.3.1 setuptools
cat >nan.py <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
import openvino
import paddle
from onnx import TensorProto, helper


def of_onnx(operator, numbers, **settings):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"], **settings)], "one", [x], [y])
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), "model.onnx")
    session = onnxruntime.InferenceSession("model.onnx")
    compiled = openvino.Core().compile_model("model.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = session.run(None, {"x": numbers})[0], compiled([numbers])[0]
    return f"onnxruntime {found[0].tolist()}, openvino {found[1].tolist()}"


nan = float("nan")
middle, first = np.array([1, nan, 3], "float32"), np.array([nan, 1, 3], "float32")
with open("seen", "w") as file:
    for text, numbers, theirs, paddles in (
        ("relu of 1, nan, 3", middle, ("Relu", {}), paddle.nn.functional.relu),
        ("softmax of 1, nan, 3", middle, ("Softmax", {}), paddle.nn.functional.softmax),
        ("max of nan, 1, 3", first, ("ReduceMax", {"keepdims": 0}), paddle.max),
    ):
        found = paddles(paddle.to_tensor(numbers)).tolist()
        print(f"{text}: {of_onnx(theirs[0], numbers, **theirs[1])}, paddle {found}", file=file)
PYTHON
mkdir home
HOME=$FOLDER/home python nan.py >log 2>&1 || { cat log; exit 1; }
expect seen
