"""The libraries that can run a bundle: Paddle, ONNX Runtime and OpenVINO, and the choice among them.

    choice = choose_engine(read_bundle("saved/step_100_inference_model"), "auto")
    choice.name, choice.why                     # "openvino", "the fastest here of those installed"
    engine = open_engine(choice.name, bundle, "fp32", threads=2)
    engine.run([src_ids, sent_ids, pos_ids, input_mask])        # the outputs, in the bundle's order

Paddle runs ``model.json``; the others run the bundle's ``model.onnx``, on a CPU, and need no Paddle.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from propeller import runtime
from propeller.bundle import MODEL, ONNX, ONNX_INT8, WEIGHTS
from propeller.errors import UserError

if TYPE_CHECKING:
    from propeller.bundle import Bundle


AUTO = "auto"
ENGINES = (AUTO, "paddle", "onnxruntime", "openvino")
PRECISIONS = ("fp32", "bf16", "int8")
# Which engines compute in a precision, the fastest first, as benchmark/inference.py measured (docs/results.md).
FASTEST_FIRST = {
    "fp32": ("openvino", "onnxruntime", "paddle"),
    "bf16": ("openvino", "paddle"),
    "int8": ("onnxruntime",),  # OpenVINO is slower with numbers whose range is found while it runs than in fp32
}
FILES = {"fp32": ONNX, "bf16": ONNX, "int8": ONNX_INT8}  # what the others than Paddle run
ENGINE_HELP = (
    "the inference engine: onnxruntime and openvino run the model.onnx that --onnx true adds; auto: the fastest "
    "installed one; Paddle without model.onnx or on a GPU [auto]"
)
PACKAGE = {"paddle": "paddlepaddle", "onnxruntime": "onnxruntime", "openvino": "openvino"}
INSTALL = "python -m pip install -r requirements-engines.txt"
EXPORT = "export the checkpoint again, with --save_inference_model_path PATH "
FLAGS = {ONNX: "--onnx true", ONNX_INT8: "--precision int8 --calibration_set ROWS"}
NO_BF16 = "--precision bf16: this processor has no AVX-512 instructions for it: give fp32"
# oneDNN keeps what it made for a shape of batch: some 12 MiB each in a model of 6 layers, hidden 384.
KEPT_SHAPES = 16
GPU_MEMORY_MB = 256  # to start with; it grows


class Choice(NamedTuple):
    """An engine and the reason it was chosen, which ends a line of the log."""

    name: str
    why: str


class Engine(Protocol):
    """What runs a bundle. It serves one thread."""

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs for a batch, in the bundle's order, floats as float32.

        Args:
            arrays: one per input, in the bundle's order, contiguous and of the bundle's types.
        """


def check_engine(engine: str, precision: str = "fp32") -> None:
    """Refuse what no bundle could be run with.

    Raises:
        UserError: an unknown engine or precision, one that does not go with the other, or an engine that is not
            installed.
    """
    if engine not in ENGINES:
        raise UserError(f"--engine {engine}: unknown; choose one of {', '.join(ENGINES)}")
    if precision not in PRECISIONS:
        raise UserError(f"--precision {precision}: unknown; choose one of {', '.join(PRECISIONS)}")
    if engine == AUTO:
        return
    able = FASTEST_FIRST[precision]
    if engine not in able:
        raise UserError(f"--engine {engine}: does not compute in {precision}: give --engine {' or '.join(able)}")
    if not is_installed(engine):
        raise UserError(f"--engine {engine}: {PACKAGE[engine]} is not installed: {INSTALL}, or leave --engine out")


def is_installed(engine: str) -> bool:
    """Whether the package of an engine can be imported."""
    return importlib.util.find_spec("paddle" if engine == "paddle" else engine) is not None


def runs_onnx(engine: str) -> bool:
    """Whether it is an engine that runs a bundle's ``model.onnx``, and nothing else."""
    return engine not in (AUTO, "paddle")


def choose_engine(bundle: Bundle, engine: str = AUTO, precision: str = "fp32", use_gpu: bool = False) -> Choice:
    """The engine that will run a bundle.

    Args:
        bundle: what is to be run.
        engine: one of ``ENGINES``; ``auto`` takes the fastest that is installed, and Paddle where the bundle has no
            ``model.onnx`` or a GPU computes.
        precision: one of ``PRECISIONS``.
        use_gpu: whether a GPU is to compute, which Paddle alone does here.

    Raises:
        UserError: see ``check_engine``; the bundle has no ``model.onnx`` and the engine needs it.
    """
    check_engine(engine, precision)
    file, able = FILES[precision], FASTEST_FIRST[precision]
    has_file = file in bundle.files
    if engine != AUTO:
        if runs_onnx(engine) and not has_file:
            raise _no_file(bundle, file, f"--engine {engine}")
        return Choice(engine, f"--engine {engine}")
    if use_gpu and "paddle" in able:
        return Choice("paddle", "the one that runs on a GPU")
    if not has_file and "paddle" not in able:
        raise _no_file(bundle, file, f"--precision {precision}")
    if not has_file:
        return Choice("paddle", f"no {ONNX}, which an inference model saved with --onnx true has")
    installed = [name for name in able if is_installed(name)]
    if not installed:
        raise UserError(f"no engine for --precision {precision} is installed: {INSTALL}")
    if installed[0] == able[0]:
        return Choice(installed[0], "the fastest")
    return Choice(installed[0], f"the fastest that is installed; {able[0]} is faster: {INSTALL}")


def _no_file(bundle, file, flag_given):
    name = flag_given.split()[0]
    return UserError(
        f"{bundle.folder}: has no {file}, which {flag_given} runs: {EXPORT}{FLAGS[file]}, or leave {name} out"
    )


def uses_gpu(engine: str, use_cuda: str | bool) -> bool:
    """Whether a GPU computes.

    Args:
        engine: one of ``ENGINES``; Paddle is imported for ``auto`` and ``paddle``.
        use_cuda: see ``propeller.runtime.on_gpu``.

    Raises:
        UserError: see there; a GPU is asked for with an engine that runs on a CPU.
    """
    if engine in (AUTO, "paddle"):
        return runtime.on_gpu(use_cuda)
    if runtime.device_asked(use_cuda) == "true":
        raise UserError(f"--engine {engine}: runs on a CPU here: give --use_cuda false, or --engine paddle for a GPU")
    return False


def seems_on_gpu(engine: str, use_cuda: str | bool) -> bool:
    """``uses_gpu`` as far as it can be told without loading Paddle."""
    asked = runtime.device_asked(use_cuda)
    return not runs_onnx(engine) and (asked == "true" or (asked == "auto" and Path("/dev/nvidia0").exists()))


def describe(choice: Choice, precision: str, threads: int | None) -> str:
    """The line of the log about an engine."""
    version = importlib.metadata.version(PACKAGE[choice.name]) if choice.name != "paddle" else _paddle_version()
    count = threads or runtime.threads()
    threads_said = f"{count} thread{'s' if count > 1 else ''}"
    slow = "; int8 gains little here: this processor has no VNNI" * (precision == "int8" and not runtime.cpu_has_vnni())
    return f"engine: {choice.name} {version}, {precision}, {threads_said} ({choice.why}{slow})"


def _paddle_version():
    """Of whichever package is there: the one for GPUs has another name."""
    for package in ("paddlepaddle", "paddlepaddle-gpu"):
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def open_engine(
    name: str, bundle: Bundle, precision: str = "fp32", threads: int | None = None, use_gpu: bool = False
) -> Engine:
    """Load a bundle.

    Args:
        name: of the engine, not ``auto``.
        bundle: what is to be run.
        precision: one of ``PRECISIONS``.
        threads: of the CPU kernels; None: ``OMP_NUM_THREADS``, else all cores this process may use.
        use_gpu: whether to run on the first visible GPU; of Paddle alone.

    Raises:
        UserError: see ``choose_engine``; bf16 on a processor without instructions for it.
    """
    choose_engine(bundle, name, precision, use_gpu)
    threads = threads or runtime.threads()
    if name == "paddle":
        return PaddleEngine(bundle, precision, threads, use_gpu)
    if name == "onnxruntime":
        return OnnxRuntimeEngine(bundle, precision, threads)
    return OpenVinoEngine(bundle, precision, threads)


class PaddleEngine:
    """``paddle.inference``: oneDNN kernels on a CPU, or a GPU. ``propeller.runtime.prepare()`` comes first."""

    def __init__(self, bundle: Bundle, precision: str, threads: int, use_gpu: bool) -> None:
        import paddle.inference

        config = paddle_config(bundle, precision, threads, use_gpu)
        self._predictor = paddle.inference.create_predictor(config)
        names = {name: self._predictor.get_input_handle(name) for name in self._predictor.get_input_names()}
        self._inputs = [names[entry["name"]] for entry in bundle.inputs]
        self._outputs = [self._predictor.get_output_handle(name) for name in self._predictor.get_output_names()]

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        for handle, array in zip(self._inputs, arrays):
            handle.copy_from_cpu(array)
        self._predictor.run()
        return [_as_float32(handle.copy_to_cpu()) for handle in self._outputs]


def paddle_config(bundle: Bundle, precision: str, threads: int, use_gpu: bool) -> Any:
    """The ``paddle.inference.Config`` of a bundle. Raises UserError: bf16 where the processor cannot."""
    import paddle.inference

    config = paddle.inference.Config(str(bundle.path(MODEL)), str(bundle.path(WEIGHTS)))
    config.disable_glog_info()
    if use_gpu:
        kind = paddle.inference.PrecisionType
        config.enable_use_gpu(GPU_MEMORY_MB, 0, kind.Bfloat16 if precision == "bf16" else kind.Float32)
        return config
    config.disable_gpu()
    config.set_cpu_math_library_num_threads(threads)
    config.enable_mkldnn()
    config.set_mkldnn_cache_capacity(KEPT_SHAPES)
    if precision == "bf16":
        if not runtime.cpu_has_bf16():
            raise UserError(NO_BF16)
        config.enable_mkldnn_bfloat16()
    return config


def _as_float32(array):
    """bfloat16 comes as its bits in uint16: widened; the rest as it is."""
    if array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array


def import_onnxruntime() -> Any:
    """The module, told not to report its use to its maker, which it does by default and keeps files in the home for."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def import_openvino() -> Any:
    """The module without its package of telemetry, which reports each import to its maker; there is a stub for that."""
    name = "openvino_telemetry"
    hidden = "openvino" not in sys.modules and name not in sys.modules
    if hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # importing it fails
    try:
        import openvino
    finally:
        if hidden:
            del sys.modules[name]
    return openvino


class OnnxRuntimeEngine:
    """ONNX Runtime's kernels for CPUs."""

    def __init__(self, bundle: Bundle, precision: str, threads: int) -> None:
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.enable_mem_pattern = False  # a plan of memory is made for one shape of batch; ours vary
        options.log_severity_level = 3  # errors: its warnings are about the graph, which no user can change
        self._session = onnxruntime.InferenceSession(
            str(bundle.path(FILES[precision])), options, providers=["CPUExecutionProvider"]
        )
        self._names = [entry["name"] for entry in bundle.inputs]

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return self._session.run(None, dict(zip(self._names, arrays)))


class OpenVinoEngine:
    """OpenVINO's kernels for CPUs."""

    def __init__(self, bundle: Bundle, precision: str, threads: int) -> None:
        openvino = import_openvino()
        core = openvino.Core()
        if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise UserError(NO_BF16)
        options = {
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],  # by itself it takes what is fast
            "EXECUTION_MODE_HINT": "ACCURACY" if precision == "fp32" else "PERFORMANCE",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(threads),
            "ENABLE_HYPER_THREADING": "YES",  # else it takes fewer threads than it was given
            "ENABLE_CPU_PINNING": "NO",  # else all processes of a server pin themselves to the same cores
        }
        compiled = core.compile_model(core.read_model(str(bundle.path(ONNX))), "CPU", options)
        self._request = compiled.create_infer_request()

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        found = self._request.infer(dict(enumerate(arrays)), share_inputs=True)
        return [found[place] for place in range(len(found))]
