#!/bin/sh
# paddle2onnx 2.1.0 with paddlepaddle 3.3.1: the slope of leaky ReLU is lost. Paddle writes it as a 64-bit attribute,
# which the converter does not read (Paddle2ONNX issue 1646); the file passes onnx.checker and gives 0 for -1.
# Output seen (Python 3.11, onnxruntime 1.32.0):
#   Paddle -0.01
#   ONNX Runtime 0.00
. "$(dirname "$0")/common.sh"
in_venv paddlepaddle==3.3.1 paddle2onnx==2.1.0 onnxruntime==1.32.0 setuptools
cat >slope.py <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
import paddle
import paddle2onnx

layer = paddle.nn.LeakyReLU()
value = np.array([[-1.0]], "float32")
paddle.jit.save(layer, "model", input_spec=[paddle.static.InputSpec([None, 1], "float32")])
paddle2onnx.export("model.json", "", "model.onnx", opset_version=17, optimize_tool="none")
onnx.checker.check_model("model.onnx")
session = onnxruntime.InferenceSession("model.onnx")
with open("seen", "w") as file:
    print(f"Paddle {layer(paddle.to_tensor(value)).item():.2f}", file=file)
    print(f"ONNX Runtime {abs(session.run(None, {session.get_inputs()[0].name: value})[0].item()):.2f}", file=file)
PYTHON
python slope.py >log 2>&1 || { cat log; exit 1; }
expect seen
