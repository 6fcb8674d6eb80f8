"""The confusion matrix as a picture.

key = draw(report.matrix, Path("confusion.png"))        # what numbers in it stand for: {} where it has the names
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np

from finetune.reporting.parts import Matrix

SHOWN_CLASSES = 30  # of the matrix in the text, on the page and in the picture
LONGEST = 20  # characters of a name in the picture


def chosen_classes(matrix: Matrix) -> list[int]:
    """The classes that are shown, in their order."""
    wrong = matrix.counts.sum(axis=0) + matrix.counts.sum(axis=1) - 2 * np.diag(matrix.counts)
    return sorted(np.argsort(-wrong, kind="stable")[:SHOWN_CLASSES].tolist())


def draw(matrix: Matrix, path: Path) -> dict[int, str]:
    """The confusion matrix as a picture: the share of each label's rows, the number in each field.

    Where no installed font has the characters of the labels, the picture has their numbers.

    Returns:
        label by number where the picture has numbers, otherwise nothing.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties

    chosen = chosen_classes(matrix)
    counts = matrix.counts[np.ix_(chosen, chosen)]
    names = [matrix.labels[number] for number in chosen]
    font = font_of(set("".join(names))) if all(map(str.isprintable, names)) else None
    key = {} if font else dict(zip(chosen, names))
    names = [str(number) for number in chosen] if key else names
    names = [(name if len(name) <= LONGEST else name[: LONGEST - 1] + "~").replace("$", r"\$") for name in names]
    shares = counts / np.maximum(matrix.counts[chosen].sum(axis=1, keepdims=True), 1)
    side = 3.0 + 0.45 * len(chosen)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    if font:
        for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
            text.set_fontproperties(FontProperties(fname=font))
    axes.set_xlabel("predicted")
    axes.set_ylabel("label (numbers: see report.html)" if key else "label")
    for row, column in zip(*np.nonzero(counts)):
        colour = "white" if shares[row, column] > 0.6 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8)
    figure.colorbar(image, label="share of the label's rows")
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=110)
    return key


def font_of(characters: Collection[str], paths: Iterable[str] | None = None) -> Path | None:
    """The first font that has all of these characters, or None.

    Args:
        characters: one by one.
        paths: files of fonts; None: matplotlib's own, then those that are installed, regular ones first.
    """
    from matplotlib import font_manager

    if paths is None:
        installed = sorted(font_manager.findSystemFonts(), key=lambda path: ("regular" not in path.lower(), path))
        paths = [font_manager.findfont("DejaVu Sans"), *installed]
    for path in paths:
        with contextlib.suppress(OSError, RuntimeError):  # a font that FreeType cannot read
            if all(map(font_manager.get_font(path).get_char_index, map(ord, characters))):
                return Path(path)
    return None
