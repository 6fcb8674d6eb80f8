#!/bin/sh
# paddle2onnx 2.1.0: the default of export(), optimize_tool="polygraphy", turns on Polygraphy's automatic installation
# (POLYGRAPHY_AUTOINSTALL_DEPS=1), so that an export calls `pip install` in the user's environment without being asked.
# (It also imports packaging, which its metadata do not require.) Here a package named pip that only notes what it is asked for stands first on the path.
# Output seen (Python 3.11, polygraphy 0.53.6):
#   installations asked for: onnx_graphsurgeon onnxruntime
. "$(dirname "$0")/common.sh"
in_venv paddlepaddle==3.3.1 paddle2onnx==2.1.0 polygraphy==0.53.6 setuptools packaging
mkdir -p trap/pip
cat >trap/pip/__main__.py <<'PYTHON'
import sys
from pathlib import Path

with (Path(__file__).parents[2] / "asked").open("a") as file:
    print(*[word for word in sys.argv[1:] if not word.startswith("-") and word != "install"], file=file)
sys.exit(1)
PYTHON
touch trap/pip/__init__.py
cat >export.py <<'PYTHON'
import paddle
import paddle2onnx

paddle.jit.save(paddle.nn.Linear(2, 2), "model", input_spec=[paddle.static.InputSpec([None, 2], "float32")])
paddle2onnx.export("model.json", "model.pdiparams", "model.onnx", opset_version=17)
PYTHON
PYTHONPATH=trap python export.py >log 2>&1 || { cat log; exit 1; }
cat asked
echo "installations asked for: $(sed 's/[=<>].*//' asked | sort -u | tr '\n' ' ' | sed 's/ $//')" >seen
expect seen
