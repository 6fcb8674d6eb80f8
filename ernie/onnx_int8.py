"""An ONNX file with its matrix products in 8-bit numbers, by ONNX Runtime's own quantisation.

    write_int8(folder)          # model.onnx -> model.int8.onnx

Weights get a scale per column when the file is written; the range of what they are multiplied with is found while it
runs (dynamic quantisation). Ranges found beforehand on rows of text (static quantisation) were slower in ONNX Runtime
1.32 and changed three times as many labels of SST-2. Embeddings, norms and attention stay in float32.

The work is done in a process of its own (``python -m ernie.onnx_int8 FOLDER``), as in ``ernie.onnx_export``.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path

from ernie.apart import run_apart, told
from ernie.onnx_export import INSTALL, check_installed
from propeller import runtime
from propeller.bundle import ONNX, ONNX_INT8
from propeller.errors import UserError
from propeller.service.engines import import_onnxruntime

PRODUCTS = ["MatMul", "Gemm"]


def check_int8_installed() -> None:
    """Raise UserError where a package that quantisation needs is missing."""
    check_installed()
    if importlib.util.find_spec("ml_dtypes") is None:
        raise UserError(f"--precision int8 needs ml_dtypes to make its file, which is not installed: {INSTALL}")


def write_int8(folder: Path) -> None:
    """Write ``model.int8.onnx`` beside the ``model.onnx`` of a directory.

    Raises:
        UserError: a package is missing, or ONNX Runtime cannot quantise the file.
    """
    check_int8_installed()
    reason = run_apart("ernie.onnx_int8", folder)
    if reason is not None:
        (folder / ONNX_INT8).unlink(missing_ok=True)
        raise UserError(f"no int8 form of this model: {reason}; leave --precision int8 out")


def quantise(folder: Path) -> None:
    """Write the file. Without VNNI weights get 7 bits, since sums of two products may overflow on such processors."""
    onnxruntime = import_onnxruntime()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory(dir=folder, prefix=".int8-") as scratch:
        folded = str(Path(scratch) / ONNX)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # Weights that are put together in the graph become one constant, which can be quantised.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = folded
        onnxruntime.InferenceSession(str(folder / ONNX), options, providers=["CPUExecutionProvider"])
        quantize_dynamic(
            folded,
            str(folder / ONNX_INT8),
            op_types_to_quantize=PRODUCTS,
            per_channel=True,
            weight_type=QuantType.QInt8,
            reduce_range=not runtime.cpu_has_vnni(),
        )


if __name__ == "__main__":
    sys.exit(told(lambda: quantise(Path(sys.argv[1]))))
