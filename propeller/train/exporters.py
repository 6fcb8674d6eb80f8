"""What is done with a model after each evaluation: keep the best weights, or the best as a model for inference.

    better = lambda old, new: new["dev"]["f1"] > old["dev"]["f1"]
    train_and_eval(..., exporters=[BestExporter("best", better), BestInferenceModelExporter("export", better)])

The best results are written beside what they belong to (``best.json``), so a run that continues knows them.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Callable

import paddle

from propeller.bundle import write_bundle
from propeller.errors import UserError
from propeller.files import write_file
from propeller.train.contract import InferenceSpec, ModelSpec
from propeller.train.parameter_saver import Saver
from propeller.train.program import Graph
from propeller.train.run_hooks import RunState

log = logging.getLogger("propeller.train")

RESULTS = "best.json"


class Exporter:
    """Base."""

    def export(self, exe: Any, program: Any, eval_model_spec: ModelSpec, eval_results: dict, state: RunState) -> Any:
        """Called after each evaluation, on the master; variables are those of ``paddle.static.global_scope()``.

        Args:
            exe: the Executor.
            program: the Program of the evaluation.
            eval_model_spec: what the model gave in EVAL.
            eval_results: data set -> metric -> value.
            state: where the run is.
        """
        raise NotImplementedError


class _Best(Exporter):
    """Exports when the results are better than the best so far; the first always are.

    Args:
        export_dir: where to.
        cmp_fn: called with ``old`` and ``new`` results; whether new is better.
    """

    def __init__(self, export_dir: str | Path, cmp_fn: Callable[..., bool]) -> None:
        self.export_dir, self.cmp_fn = Path(export_dir), cmp_fn
        self._stored: dict | None = None

    @property
    def best(self) -> dict | None:
        """The best results, data set -> metric -> value; None before the first."""
        return (self._read() or {}).get("results")

    @property
    def best_step(self) -> int | None:
        """The step of the best results."""
        return (self._read() or {}).get("step")

    def _read(self):
        path = self.export_dir / RESULTS
        if self._stored is None and path.is_file():
            try:
                self._stored = json.loads(path.read_text(encoding="utf8"))
            except (OSError, ValueError) as error:
                raise UserError(f"{path}: damaged: remove it to begin afresh") from error
        return self._stored

    def export(self, exe: Any, program: Any, eval_model_spec: ModelSpec, eval_results: dict, state: RunState) -> bool:
        old = self._read()
        if old is not None and (old["step"] == state.gstep or not self.cmp_fn(old=old["results"], new=eval_results)):
            return False
        self._export(exe, program, eval_model_spec, state)
        self._stored = {"step": state.gstep, "results": eval_results}
        write_file(self.export_dir / RESULTS, (json.dumps(self._stored, indent=1, sort_keys=True) + "\n").encode())
        log.info("%s: the best so far, of step %d", self.export_dir, state.gstep)
        return True

    def _export(self, exe, program, eval_model_spec, state):
        raise NotImplementedError


class BestExporter(_Best):
    """Keeps the weights of the best evaluation in ``export_dir/model_<step>``, one file per variable."""

    def _export(self, exe, program, eval_model_spec, state):
        Saver(self.export_dir, exe, program, max_ckpt_to_keep=1).save(state)


class BestInferenceModelExporter(_Best):
    """Keeps the best evaluation's model in ``export_dir/inference``, or ``export_dir/<name>`` per named spec.

    Each is a folder that ``propeller.service`` and ``paddle.inference`` read: ``model.json``, ``model.pdiparams`` and
    ``bundle.json`` with the names of inputs and outputs.
    """

    def _export(self, exe, program, eval_model_spec, state):
        specs = eval_model_spec.inference_specs()
        if not specs:
            raise UserError("the model has no inference_spec: give one in the ModelSpec of EVAL, or no such exporter")
        for name, spec in specs.items():
            export_inference(self.export_dir / name, exe, program, spec, {"step": state.gstep})


def export_inference(folder: Path, exe: Any, program: Any, spec: InferenceSpec, meta: dict) -> None:
    """Write a bundle of an ``InferenceSpec``; inputs that no output depends on are left out.

    Raises:
        UserError: the folder cannot be written.
    """
    used = _depends_on(spec.outputs)
    graph = Graph(program, None, fetches={f"output_{i}": value for i, value in enumerate(spec.outputs)})
    inputs = [value for value in spec.inputs if any(value.is_same(other) for other in used)]
    scope = paddle.static.global_scope()
    write_bundle(folder, graph, scope, exe.place, "inference", meta, overwrite=True, inputs=inputs)


def _depends_on(values):
    """The data layers that values are computed from."""
    found, seen, waiting = [], set(), list(values)
    while waiting:
        op = waiting.pop().get_defining_op()
        if op is None or op.id() in seen:
            continue
        seen.add(op.id())
        if op.name() == "pd_op.data":
            found.append(op.result(0))
        waiting.extend(op.operands_source())
    return found
