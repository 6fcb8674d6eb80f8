"""What 8-bit products change of a model's answers, found on rows of text before its inference model is written.

Int8("rows.tsv", max_loss=0.02).check(folder, checkpoint)        # raises where more than 2% of the answers change
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from propeller import runtime
from propeller.bundle import ONNX, ONNX_INT8
from propeller.errors import UserError
from propeller.service.engines import import_onnxruntime
from reader.reading import Reading
from reader.tables.form import PLAIN, TableForm

if TYPE_CHECKING:
    from finetune.prediction.export import Checkpoint

log = logging.getLogger("ernie.finetune")

BATCH = 32


@dataclass(frozen=True)
class Int8:
    """The rows that int8 is tried on, and the loss that is allowed.

    Attributes:
        rows: a file that the model's task reads; labels are used where a classifier's rows have them, and not needed.
        form: how they are stored, and which columns count.
        max_loss: of ``FinetuneTask.answers_changed``, the mean over all answers.
    """

    rows: str
    max_loss: float
    form: TableForm = PLAIN

    def check(self, folder: Path, checkpoint: Checkpoint) -> None:
        """Compare the two ONNX files of a directory on the rows, and say what was found.

        Raises:
            UserError: the loss is above ``max_loss``, or the rows cannot be read.
        """
        from finetune.metrics import best_class  # scikit-learn, which --help need not wait for

        task, spec = checkpoint.task, checkpoint.spec
        labelled = task.answer_outputs == ("probs",) and task.label_kind == "class"
        labelled = labelled and task.is_labelled(self.rows, spec, self.form)
        reading = Reading(batch_size=BATCH, labelled=labelled, form=self.form)
        reader = task.open_reader(self.rows, checkpoint.tokenizer, spec, reading)
        exact, rough = _session(folder / ONNX), _session(folder / ONNX_INT8)
        losses, right = [], []
        for batch, _ in reader.batches(None):
            one, other = (task.by_example(_run(session, batch), batch, reader) for session in (exact, rough))
            losses.append(task.answers_changed(one, other, batch, spec))
            if labelled:
                labels = batch["labels"].ravel()
                right.append(np.stack([best_class(outputs["probs"]) == labels for outputs in (one, other)], axis=1))
        loss = float(np.concatenate(losses).mean())
        sizes = [(folder / name).stat().st_size / 1e6 for name in (ONNX, ONNX_INT8)]
        accuracy = (
            ", accuracy {:.4f} in fp32 and {:.4f}".format(*np.concatenate(right).mean(axis=0)) if labelled else ""
        )
        said = f"int8: {100 * loss:.2f}% of {sum(map(len, losses))} answers change{accuracy}"
        if not loss <= self.max_loss:
            raise UserError(
                f"{said}, over --max_loss {self.max_loss:g}: nothing was written; raise it, or give another --precision"
            )
        log.info("%s (--max_loss %g); %.1f MB instead of %.1f", said, self.max_loss, sizes[1], sizes[0])
        if not runtime.cpu_has_vnni():
            log.info("int8 gains little here: this processor has no VNNI")


def _session(path):
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = runtime.threads(), 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _run(session: Any, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = [entry.name for entry in session.get_outputs()]
    return dict(zip(names, session.run(None, {entry.name: batch[entry.name] for entry in session.get_inputs()})))
