"""Text at the server: ``python -m propeller.tools.start_server --handlers finetune.serving`` (the default).

``handler.py`` holds the request handlers, ``payload.py`` the checks of a request, ``page/`` the web page.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from propeller.errors import UserError

if TYPE_CHECKING:
    from finetune.serving.handler import Handler


def open_handler(bundle_folder: str | Path, search_index: str | Path | None = None) -> Handler:
    """The request handler of a bundle, see ``finetune.serving.handler.open_handler``.

    Args:
        bundle_folder: the bundle.
        search_index: an index of ``finetune.search`` that requests may search; None: there is none.
    """
    if search_index is not None:
        from finetune.search.handler import open_search_handler

        return open_search_handler(bundle_folder, search_index)
    from finetune.serving.handler import open_handler as opened

    return opened(bundle_folder)


def write_bundle(folder: str | Path, target: str | Path, use_cuda: str = "auto", onnx: bool = False) -> Path:
    """Make a bundle of a checkpoint, a model's directory or a Hugging Face model; returns its directory.

    Args:
        folder: as ``finetune.load`` takes it.
        target: the new directory.
        use_cuda: the device, true, false or auto.
        onnx: whether ``model.onnx`` is added.

    Raises:
        UserError: there are no weights in it, or they are damaged or incomplete.
    """
    from propeller import runtime

    runtime.prepare()  # before Paddle is imported
    from finetune.prediction.export import export_checkpoint
    from finetune.sources import open_weights

    weights = open_weights(Path(folder), None, None)
    if weights is None:
        raise UserError(f"{folder}: an inference model, which is served as it is")
    try:
        return export_checkpoint(target, weights.checkpoint, runtime.place(use_cuda), onnx)
    finally:
        if weights.temporary is not None:
            weights.temporary.cleanup()
