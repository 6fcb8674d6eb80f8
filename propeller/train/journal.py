"""What a run leaves to be looked at: metrics.jsonl, TensorBoard event files, a picture of the curves.

journal = Journal("checkpoints")
journal.write({"event": "train", "step": 10, "epoch": 0, "loss": 0.61, "learning_rate": 3e-5})
journal.draw()                            # checkpoints/curves.png
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from propeller.files import write_file
from propeller.train.hooks import RunHook

NOT_CURVES = ("event", "step", "epoch", "file", "data_num", "queue_size", "elapsed", "speed", "checkpoint")


class Journal(RunHook):
    """Appends records to ``metrics.jsonl`` and to event files under ``events/``.

    A record is a flat dict with ``event`` (``train``, ``dev``, ``test``) and ``step``; its numbers become curves.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.path = self.folder / "metrics.jsonl"
        self._events, self._purge_step = None, None

    def _cut_back(self, step):
        """Drop what came after the checkpoint that the run continues from."""
        if self.path.exists():
            self._purge_step = step + 1
            kept = [line for line in self._lines() if line["step"] <= step and line["event"] != "test"]
            write_file(self.path, "".join(_dump(line) for line in kept).encode())

    def _lines(self):
        if not self.path.exists():
            return []
        lines = []
        for text in self.path.read_text(encoding="utf8").splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                break  # the line a kill cut short; nothing follows it
        return lines

    def before_train(self, learner, state):
        self._cut_back(state.step)

    def on_record(self, learner, state, record):
        self.write(record)

    def after_train(self, learner, state):
        self.close()
        self.draw()

    def write(self, record):
        """Append one record; it is on disk when this returns."""
        with open(self.path, "a", encoding="utf8") as file:
            file.write(_dump(record))
            file.flush()
            os.fsync(file.fileno())
        writer = self._writer()
        for name, value in _curves(record):
            writer.add_scalar(f"{record['event']}/{name}", value, record["step"])

    def _writer(self):
        if self._events is None:
            from tensorboardX import SummaryWriter

            self._events = SummaryWriter(str(self.folder / "events"), purge_step=self._purge_step)
        return self._events

    def close(self):
        """Flush the event files."""
        if self._events is not None:
            self._events.close()
            self._events = None

    def draw(self):
        """Draw the curves; returns the picture's path, or None when there is nothing to draw."""
        lines = self._lines()
        panels = _panels(lines)
        if not panels:
            return None
        return _draw(panels, self.folder / "curves.png")


def _dump(record):
    return json.dumps(record, ensure_ascii=False) + "\n"


def _curves(record):
    for name, value in record.items():
        if name not in NOT_CURVES and isinstance(value, (int, float)) and not isinstance(value, bool):
            yield name, value


def _panels(lines):
    """title -> label -> ([steps], [values]): one panel for the losses, one for each other curve."""
    panels = {}
    for record in lines:
        where = record["event"] if not record.get("file") else f"{record['event']} {Path(record['file']).name}"
        for name, value in _curves(record):
            if record["event"] == "test":
                continue  # scored once, at the end: a point, no curve
            steps, values = panels.setdefault(name, {}).setdefault(where, ([], []))
            steps.append(record["step"])
            values.append(value)
    first_and_last = {"loss": 0, "learning_rate": 2}
    return dict(sorted(panels.items(), key=lambda item: first_and_last.get(item[0], 1)))


def _draw(panels, path):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = (len(panels) + 1) // 2
    figure = Figure(figsize=(11, 3.2 * rows), layout="constrained")
    for i, (title, curves) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, min(len(panels), 2), i + 1)
        for label, (steps, values) in curves.items():
            axes.plot(steps, values, marker="o" if len(steps) < 30 else None, markersize=3, label=label)
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.legend()
    FigureCanvasAgg(figure)
    temporary = path.with_name(".curves.new.png")
    figure.savefig(temporary, dpi=110)
    temporary.replace(path)
    return path
