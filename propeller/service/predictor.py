"""Prediction from a bundle, by the engine that suits: see ``propeller.service.engines``.

    predictor = Predictor(read_bundle("saved/step_100_inference_model"), precision="bf16")
    outputs = predictor.run({"src_ids": ..., "sent_ids": ..., ...})     # name -> array

``propeller.runtime.prepare()`` comes first where Paddle is the engine, as before any import of Paddle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from propeller.errors import UserError
from propeller.service.engines import PRECISIONS, choose_engine, open_engine

if TYPE_CHECKING:
    from propeller.bundle import Bundle

__all__ = ["PRECISIONS", "Predictor"]


class Predictor:
    """A bundle, ready to run. It serves one thread: make one for each.

    Args:
        bundle: ``propeller.bundle.Bundle``.
        precision: ``fp32``; or ``bf16``: matrix products in bfloat16, outputs come as float32.
        threads: of the CPU kernels; None: ``OMP_NUM_THREADS``, else all cores this process may use.
        use_gpu: whether to run on the first visible GPU, with Paddle.
        engine: one of ``propeller.service.engines.ENGINES``.

    Attributes:
        choice: ``propeller.service.engines.Choice``: the engine that runs, and why.
        input_names, output_names: tuples, in the order of the bundle.

    Raises:
        UserError: an unknown precision or engine, one that is not installed or that the bundle has no file for, or
            bf16 where the processor cannot.
    """

    def __init__(
        self,
        bundle: Bundle,
        precision: str = "fp32",
        threads: int | None = None,
        use_gpu: bool = False,
        engine: str = "paddle",
    ) -> None:
        self._dtypes = {entry["name"]: np.dtype(entry["dtype"]) for entry in bundle.inputs}
        self._dims = {entry["name"]: len(entry["shape"]) for entry in bundle.inputs}
        self.input_names = tuple(self._dtypes)
        self.output_names = tuple(bundle.outputs)
        self._source = bundle.folder
        self.choice = choose_engine(bundle, engine, precision, use_gpu)
        self._engine = open_engine(self.choice.name, bundle, precision, threads, use_gpu)

    def run(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run one batch.

        Args:
            batch: name -> array; what the model does not take is left aside.

        Returns:
            dict of output name -> array, first axis the batch.

        Raises:
            UserError: an input is missing, or has another number of axes than the model takes.
        """
        arrays = []
        for name, dtype in self._dtypes.items():
            if name not in batch:
                raise UserError(f"{self._source}: the model takes {name}, which the batch lacks")
            array = np.ascontiguousarray(batch[name], dtype=dtype)
            if array.ndim != self._dims[name]:
                raise UserError(f"{self._source}: {name} has {array.ndim} axes, the model takes {self._dims[name]}")
            arrays.append(array)
        return dict(zip(self.output_names, self._engine.run(arrays)))
