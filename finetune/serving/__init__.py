"""Text at the server: ``python -m propeller.tools.start_server --handlers finetune.serving`` (the default).

``handler.py`` holds the request handlers, ``payload.py`` the checks of a request, ``page/`` the web page.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finetune.serving.handler import Handler


def open_handler(bundle_folder: str | Path) -> Handler:
    """The request handler of a bundle, see ``finetune.serving.handler.open_handler``."""
    from finetune.serving.handler import open_handler as opened

    return opened(bundle_folder)
