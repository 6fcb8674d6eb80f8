"""A hook of mkdocs (mkdocs.yml): files of the repository that pages link to become part of the site.

The pages are written to be read in the repository, so they link to ``../CONTRIBUTING.md`` or ``../example/…``. On the
site such a file is ``repository/CONTRIBUTING.md``: a page if it is Markdown, otherwise the file itself. A link to a
directory becomes plain text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\[([^\]]*)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
PREFIX = "repository"


def place_in_repository(page: str) -> str:
    """Where a page of the site lies in the repository: ``docs/data.md`` for ``data.md``."""
    return page[len(PREFIX) + 1 :] if page.startswith(f"{PREFIX}/") else f"docs/{page}"


def place_on_site(path: str) -> str:
    """Where a file of the repository lies on the site."""
    return path[len("docs/") :] if path.startswith("docs/") else f"{PREFIX}/{path}"


def targets(text: str, page: str) -> set[str]:
    """The files of the repository that a page links to, as paths from its root."""
    folder = posixpath.dirname(place_in_repository(page))
    found = {posixpath.normpath(posixpath.join(folder, match[2])) for match in LINK.finditer(FENCE.sub("", text))}
    return {path for path in found if (ROOT / path).is_file()}


def rewritten(text: str, page: str) -> str:
    """The text of a page with links as they are on the site; code is left as it is."""
    folder = posixpath.dirname(place_in_repository(page))

    def link(match):
        path = posixpath.normpath(posixpath.join(folder, match[2]))
        if (ROOT / path).is_dir():
            return match[1]
        return f"[{match[1]}]({posixpath.relpath(place_on_site(path), posixpath.dirname(page) or '.')}{match[3] or ''})"

    fences = FENCE.findall(text)
    parts = [LINK.sub(link, part) for part in FENCE.split(text)]
    return "".join(part + fence for part, fence in zip(parts, [*fences, ""]))


def on_files(files: Any, config: Any) -> Any:
    """Add the files that pages link to, and those that the added pages link to."""
    from mkdocs.structure.files import File

    waiting = [file.src_uri for file in files.documentation_pages()]
    while waiting:
        page = waiting.pop()
        text = (ROOT / place_in_repository(page)).read_text(encoding="utf-8")
        for path in sorted(targets(text, page)):
            name = place_on_site(path)
            if files.get_file_from_path(name) is None:
                files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
                if name.endswith(".md"):
                    waiting.append(name)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """The page's links as they are on the site."""
    return rewritten(markdown, page.file.src_uri)
