"""Texts longer than --max_seq_len in classification and regression: read in windows whose logits are pooled.

    python run_classifier.py --long_text window --window_pooling mean --max_seq_len 256 ...

While training and evaluating, the pooling is in the Program, and the loss is that of the texts. A network that predicts
gives logits of windows, which ``by_example`` pools.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from finetune.task import FinetuneTask
from propeller.errors import UserError
from propeller.flags import check_least
from propeller.train.model import Input, RunMode
from reader.task_reader import TaskReader
from reader.windows import WindowReader, Windows, pool

if TYPE_CHECKING:
    from ernie.config import ErnieConfig
    from finetune.spec import ModelSpec, Reading
    from reader.batch_reader import BatchReader
    from reader.tokenizer import Tokenizer

FLAGS = ("window_stride", "window_pooling", "max_windows")
NOTHING = -10000.0  # below every logit


def windows_of(spec: ModelSpec) -> Windows | None:
    """How long texts are read; None: they are cut."""
    settings = spec.settings
    if getattr(settings, "long_text", "cut") != "window":
        return None
    return Windows(settings.window_stride, settings.max_windows, settings.window_pooling)


def check_windows(spec: ModelSpec) -> None:
    """Raise UserError for flags of windows that are cut off, or that leave no window."""
    settings = spec.settings
    if settings.long_text != "window":
        for name in FLAGS:
            if getattr(settings, name) != type(settings).__dataclass_fields__[name].default:
                raise UserError(f"--{name} is for texts in windows: give --long_text window, or leave it out")
        return
    if settings.window_stride < 0 or settings.window_stride > spec.max_seq_len - 2:
        raise UserError(
            f"--window_stride {settings.window_stride}: windows of --max_seq_len {spec.max_seq_len} have room for "
            f"{spec.max_seq_len - 2} tokens: give at most that, or 0 for half of it"
        )
    check_least(settings, max_windows=1)


class InWindows(FinetuneTask):
    """What a task of texts with one vector of logits each gains by windows."""

    handler = "finetune.classification.handler:WindowHandler"
    former_flags: Mapping[str, Any] = {
        "long_text": "cut",
        "window_stride": 0,
        "window_pooling": "mean",
        "max_windows": 16,
    }

    def __init__(self, config: ErnieConfig, spec: ModelSpec, mode: RunMode, optimizer: Any = None) -> None:
        super().__init__(config, spec, mode, optimizer)
        self.windows = windows_of(spec)
        if self.windows:
            self.inputs = (*self.inputs, Input("window_weights", [None, None], "float32", label=True))

    def text_logits(self, predictions: Mapping[str, Any], label: Mapping[str, Any]) -> Any:
        """The logits of texts, float32 [batch, outputs], of those of windows where there are windows."""
        logits = predictions["logits"]
        if not self.windows:
            return logits
        weights = label["window_weights"]  # [batch, windows]
        with paddle.amp.auto_cast(enable=False):
            logits = logits.astype("float32")
            if self.windows.pooling != "max":
                return paddle.matmul(weights, logits)
            apart = (1.0 - weights).unsqueeze(-1) * NOTHING  # [batch, windows, 1]
            return (logits.unsqueeze(0) + apart).max(axis=1)

    @classmethod
    def memory_line(cls, config: Any, spec: ModelSpec, **setting: Any) -> str | None:
        windows = windows_of(spec)
        return super().memory_line(config, spec, **setting, most_windows=windows.most if windows else 1)

    @classmethod
    def outputs_of(cls, logits: np.ndarray) -> dict[str, np.ndarray]:
        """What ``forward`` gives for logits, float32 [..., outputs]."""
        return {"logits": logits}

    @classmethod
    def reader_class(cls, spec: ModelSpec) -> type[TaskReader]:
        return WindowReader if windows_of(spec) else TaskReader

    @classmethod
    def reader_options(cls, spec: ModelSpec, reading: Reading, tokenizer: Tokenizer) -> dict[str, Any]:
        windows = windows_of(spec)
        return {**super().reader_options(spec, reading, tokenizer), **({"windows": windows} if windows else {})}

    @classmethod
    def by_example(
        cls, outputs: Mapping[str, np.ndarray], batch: Mapping[str, np.ndarray], reader: BatchReader
    ) -> Mapping[str, np.ndarray]:
        if not isinstance(reader, WindowReader):
            return outputs
        counts = batch["window_counts"].ravel()
        return cls.outputs_of(pool(outputs["logits"], counts, reader.windows_of_texts.pooling))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """The probability of each label, float32 [..., labels]."""
    return (1.0 / (1.0 + np.exp(-logits.astype(np.float64)))).astype(np.float32)
