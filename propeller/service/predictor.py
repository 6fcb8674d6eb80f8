"""Prediction from a bundle through ``paddle.inference``: oneDNN kernels on a CPU, in float32 or bfloat16, or a GPU.

    predictor = Predictor(read_bundle("saved/step_100_inference_model"), precision="bf16")
    outputs = predictor.run({"src_ids": ..., "sent_ids": ..., ...})     # name -> array

``propeller.runtime.prepare()`` comes first, as before any import of Paddle.
"""

from __future__ import annotations

import numpy as np

from propeller.bundle import MODEL, WEIGHTS
from propeller.errors import UserError
from propeller.runtime import cores

PRECISIONS = ("fp32", "bf16")
# oneDNN keeps what it made for a shape of batch: some 12 MiB each in a model of 6 layers, hidden 384.
KEPT_SHAPES = 16
GPU_MEMORY_MB = 256  # to start with; it grows


class Predictor:
    """A bundle's Program, ready to run. It serves one thread: make one for each.

    Args:
        bundle: ``propeller.bundle.Bundle``.
        precision: ``fp32``; or ``bf16``: matrix products in bfloat16, outputs come as float32.
        threads: of the CPU kernels; None: all cores this process may use.
        use_gpu: whether to run on the first visible GPU.

    Attributes:
        input_names, output_names: tuples, in the order of the bundle.

    Raises:
        UserError: an unknown precision, or bf16 where the processor cannot.
    """

    def __init__(self, bundle, precision="fp32", threads=None, use_gpu=False):
        self._dtypes = {entry["name"]: np.dtype(entry["dtype"]) for entry in bundle.inputs}
        self._dims = {entry["name"]: len(entry["shape"]) for entry in bundle.inputs}
        self.input_names = tuple(self._dtypes)
        self.output_names = tuple(bundle.outputs)
        self._source = bundle.folder
        config = _config(bundle, precision, threads or cores(), use_gpu)
        import paddle.inference

        self._predictor = paddle.inference.create_predictor(config)
        self._inputs = {name: self._predictor.get_input_handle(name) for name in self._predictor.get_input_names()}
        handles = [self._predictor.get_output_handle(name) for name in self._predictor.get_output_names()]
        self._outputs = dict(zip(self.output_names, handles))

    def run(self, batch):
        """Run one batch.

        Args:
            batch: name -> array; what the model does not take is left aside.

        Returns:
            dict of output name -> array, first axis the batch.

        Raises:
            UserError: an input is missing, or has another number of axes than the model takes.
        """
        for name, dtype in self._dtypes.items():
            if name not in batch:
                raise UserError(f"{self._source}: the model takes {name}, which the batch lacks")
            array = np.ascontiguousarray(batch[name], dtype=dtype)
            if array.ndim != self._dims[name]:
                raise UserError(f"{self._source}: {name} has {array.ndim} axes, the model takes {self._dims[name]}")
            self._inputs[name].copy_from_cpu(array)
        self._predictor.run()
        outputs = {name: handle.copy_to_cpu() for name, handle in self._outputs.items()}
        return {name: _as_float32(array) for name, array in outputs.items()}


def _config(bundle, precision, threads, use_gpu):
    import paddle.inference
    from paddle.base import core

    if precision not in PRECISIONS:
        raise UserError(f"--precision {precision}: unknown; choose one of {', '.join(PRECISIONS)}")
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
        if not core.supports_bfloat16():
            raise UserError("--precision bf16: this processor has no AVX-512 instructions for it: give fp32")
        config.enable_mkldnn_bfloat16()
    return config


def _as_float32(array):
    """bfloat16 comes as its bits in uint16: widened; the rest as it is."""
    if array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array
