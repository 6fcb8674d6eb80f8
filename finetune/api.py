"""Prediction and training from Python.

import finetune

predictor = finetune.load("output/sst2/best")       # a checkpoint, an inference model or a Hugging Face directory
predictor(["a fine film", ("a man sings", "somebody makes music")])
predictor.embed(["a fine film", "dull"])             # float32 [2, hidden]
result = finetune.train("classify", model="ERNIE_Base_en", train_set="train.tsv", dev_set="dev.tsv", epoch=3)
result.scores, result.folder
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.predictor import Predictor
from propeller import runtime
from propeller.bundle import holds_bundle
from propeller.errors import UserError
from propeller.service.engines import check_engine

if TYPE_CHECKING:
    from finetune.training.result import RunResult

__all__ = ["Predictor", "load", "train"]


def load(
    folder: str | Path,
    task: str | None = None,
    vocab_path: str | None = None,
    precision: str = "fp32",
    use_cuda: str | bool = "auto",
    threads: int | None = None,
    engine: str = "auto",
) -> Predictor:
    """A model, ready to predict.

    Args:
        folder: a fine-tuned checkpoint (``best``, ``last``, ``step_N``), an inference model (a bundle), a Hugging Face
            directory, or a model directory with ``params/``, ``ernie_config.json`` and ``vocab.txt``.
        task: name in ``finetune.TASKS``; needed only for a checkpoint that does not say it. Weights without a head
            give embeddings, and so does the encoder of any checkpoint with ``embed``.
        vocab_path: ``vocab.txt``, where the folder has none.
        precision: ``fp32``, ``bf16``, or ``int8`` for an inference model that was saved with it.
        use_cuda: a boolean, as such or as text, or ``auto``: a GPU if there is one.
        threads: CPU threads; None: ``OMP_NUM_THREADS``, else all cores this process may use.
        engine: what computes: ``paddle``, ``onnxruntime`` or ``openvino``; ``auto``: for an inference model with
            ``model.onnx`` the fastest that is installed, otherwise Paddle.

    Raises:
        UserError: the folder holds none of these, or is damaged; the engine is not installed, or needs a ``model.onnx``
            that the inference model lacks.
    """
    check_engine(engine, precision)
    if precision == "int8" and not holds_bundle(Path(folder)):
        raise UserError(
            f"{folder}: precision int8 is of inference models that were saved so: --save_inference_model_path PATH "
            "--precision int8 --calibration_set ROWS"
        )
    runtime.prepare()
    from finetune.prediction.model import InferenceModel
    from finetune.sources import open_weights

    settings: dict[str, Any] = {"precision": precision, "use_cuda": use_cuda, "threads": threads, "engine": engine}
    weights = open_weights(Path(folder), task, vocab_path)
    if weights is None:
        return Predictor(InferenceModel.open(folder, **settings), None, settings)
    return Predictor(None, weights.checkpoint, settings, weights.temporary)


def train(task: str, model: str | None = None, **flags: Any) -> RunResult:
    """Fine-tune, evaluate and predict: the same run as ``python -m finetune TASK``.

    ``train("multitask", tasks=[{"name": ..., "task": ..., "train_set": ..., ...}, ...], ...)`` trains several tasks
    over one encoder.

    The log goes to the loggers ``ernie`` and ``propeller``; ``propeller.log.setup()`` shows it as the scripts do.

    Args:
        task: name in ``finetune.TASKS``, or ``multitask``.
        model: the directory of a model, a Hugging Face model or a checkpoint: short for ``ernie_config_path``,
            ``vocab_path`` and ``init_pretraining_params`` (``init_checkpoint`` for a fine-tuned checkpoint, and for a
            head with the task and the labels of this run).
        flags: the flags of the script by name, without dashes: ``learning_rate=1e-5``, ``epoch=3``. Where the script
            takes several files or numbers with commas between, a list: ``dev_set=["a.tsv", "b.tsv"]``. Of several
            tasks ``tasks`` is a list of dicts, or the path of such a list.

    Returns:
        ``scores`` of the best evaluation on the first dev set, ``folder`` of the run (``best`` and ``last`` in it can
        be loaded; of several tasks ``NAME/best``), ``step`` and ``best_step``.

    Raises:
        UserError: an unknown or missing flag, or whatever ends the run.
    """
    runtime.prepare()
    from finetune import SEVERAL, TASKS, task_class
    from finetune.training.args import from_keywords
    from finetune.training.runner import run
    from propeller.train import distribution

    if task == SEVERAL:
        from finetune.multitask.args import from_python
        from finetune.multitask.runner import run as run_several

        return run_several(from_python({"model": model, **flags}), distribution.start())
    if task not in TASKS:
        raise UserError(f"task {task!r} is unknown: give one of {', '.join(TASKS)}, or {SEVERAL}")
    cls = task_class(task)
    if not cls.trains:
        raise UserError(f"the task {task!r} has nothing to train: use finetune.load")
    args = from_keywords({"model": model, **flags}, cls.flags)
    return run(cls, args._replace(ranks=distribution.start()))
