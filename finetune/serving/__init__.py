"""Text at the server: ``python -m propeller.tools.start_server --handlers finetune.serving`` (the default).

``handler.py`` holds the request handlers, ``payload.py`` the checks of a request, ``page/`` the web page.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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
