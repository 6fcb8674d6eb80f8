"""What a run leaves to be looked at: metrics.jsonl, TensorBoard event files, a picture of the curves.

journal = Journal("checkpoints")
journal.write({"event": "train", "step": 10, "epoch": 0, "loss": 0.61, "learning_rate": 3e-5})
journal.draw()                            # checkpoints/curves.png
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from propeller.train.events import EventFiles
from propeller.train.hooks import RunHook

if TYPE_CHECKING:
    from propeller.train.state import TrainState
    from propeller.train.trainer import Learner


log = logging.getLogger("propeller.train")

NOT_CURVES = ("event", "step", "epoch", "file", "data_num", "batch_num", "queue_size", "elapsed", "speed", "waiting",
              "checkpoint")  # fmt: skip


class Journal(RunHook):
    """Appends records to ``metrics.jsonl`` and to event files under ``events/``.

    A record is a flat dict with ``event`` (``train``, ``dev``, ``test``) and ``step``; its numbers become curves. One
    of an evaluation of one of several tasks has its ``task``.
    A run outlives its journal: what cannot be written, on a full disk say, is missing from it, and said in one line.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.path = self.folder / "metrics.jsonl"
        self._events = EventFiles(self.folder / "events")
        self._failing: set[Path] = set()

    def _cut_back(self, state):
        """Drop what came after the checkpoint that the run continues from; shortening takes no room on the disk.

        The records of the checkpoint's own step become curves again: the run may have ended between the two.
        """
        if not self.path.exists():
            return
        self._events.purge_step = state.step
        end, again = 0, []
        for line, after in self._lines():
            done = line["step"] < state.step or (
                line["step"] == state.step and (line["event"] == "train" or state.evaluated_step == state.step)
            )
            if not done or line["event"] == "test":
                break
            end = after
            again += [line] if line["step"] == state.step else []
        os.truncate(self.path, end)
        for line in again:
            self._show(line)

    def _lines(self):
        """(record, its end in bytes) of the lines of metrics.jsonl."""
        end = 0
        for text in self.path.read_bytes().splitlines(keepends=True) if self.path.exists() else ():
            end += len(text)
            try:
                record = json.loads(text)
            except ValueError:
                return  # the line a kill cut short; nothing follows it
            if text.endswith(b"\n"):
                yield record, end

    def _try(self, path, act, *args):
        """``act(*args)``; a disk that cannot be written is no reason to lose a run."""
        try:
            result = act(*args)
        except OSError as error:
            if path not in self._failing:
                log.warning("%s: not written (%s), and the run goes on: make room", path, error.strerror or error)
            self._failing.add(path)
            return None
        if path in self._failing:
            log.info("%s: written again; what came meanwhile is missing", path)
            self._failing.discard(path)
        return result

    def before_train(self, learner: Learner, state: TrainState) -> None:
        self._try(self.path, self._cut_back, state)

    def on_record(self, learner: Learner, state: TrainState, record: dict[str, Any]) -> None:
        self.write(record)

    def after_train(self, learner: Learner, state: TrainState) -> None:
        self.close()
        self.draw()

    def write(self, record: dict[str, Any]) -> None:
        """Append one record; it is on disk when this returns, unless that was said to fail."""
        self._try(self.path, self._append, record)
        self._show(record)

    def _show(self, record):
        self._try(self._events.folder, self._events.write, record["event"], record["step"], dict(_curves(record)))

    def _append(self, record):
        line = (json.dumps(record, ensure_ascii=False) + "\n").encode()
        with open(self.path, "ab", buffering=0) as file:
            begin = file.seek(0, os.SEEK_END)
            try:
                written = file.write(line)
                if written < len(line):  # a part fitted; the error comes with the next byte
                    file.write(line[written:])
                os.fsync(file.fileno())
            except OSError:
                file.truncate(begin)  # no half a line between others
                raise

    def close(self) -> None:
        """Close the event files."""
        self._events.close()

    def draw(self) -> Path | None:
        """Draw the curves; returns the picture's path, or None when there is nothing to draw, or no room."""
        panels = _panels([record for record, _ in self._lines()])
        path = self.folder / "curves.png"
        return self._try(path, _draw, panels, path) if panels else None


def left_in(folder: str | Path) -> str:
    """What is in a run's folder, in words; a run of few steps without an evaluation leaves checkpoints alone."""
    names = [name for name in ("metrics.jsonl", "events", "curves.png") if (Path(folder) / name).exists()]
    words = ["checkpoints", *(f"{name}/" if name == "events" else name for name in names)]
    return words[0] if not names else f"{', '.join(words[:-1])} and {words[-1]}"


def _curves(record):
    """(name, value) of what is drawn; of one of several tasks ``task/name``, as the training records have it."""
    prefix = f"{record['task']}/" if "task" in record else ""
    for name, value in record.items():
        if name not in NOT_CURVES and isinstance(value, (int, float)) and not isinstance(value, bool):
            yield prefix + name, value


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
    try:
        figure.savefig(temporary, dpi=110)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return path
