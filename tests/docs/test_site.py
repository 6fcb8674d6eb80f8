"""The documents as a site: every page is listed, links out of docs/ are carried along, and it builds without a warning.

python -m pytest tests/docs/test_site.py -m slow    # needs requirements-docs.txt
"""

import os
import re
import subprocess
import sys

import pytest

from script.docs_site import place_in_repository, place_on_site, rewritten, targets
from tests.helpers.common import ROOT

PAGES = sorted(path.name for path in (ROOT / "docs").glob("*.md"))
NAVIGATION = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_in_the_navigation_and_in_the_index(page):
    assert re.findall(r"[\w./]+\.md", NAVIGATION).count(page) == 1
    assert page == "index.md" or f"]({page})" in (ROOT / "docs/index.md").read_text(encoding="utf-8")


def test_places():
    for page, place in (("data.md", "docs/data.md"), ("repository/data/README.md", "data/README.md")):
        assert place_in_repository(page) == place
        assert place_on_site(place) == page


def test_links_out_of_docs_are_carried_along():
    text = "[a](../data/README.md#x), [b](runs.md), [c](../data), [d](https://example.org/x.md)\n```sh\n[e](../data/README.md)\n```\n"
    assert targets(text, "install.md") == {"data/README.md", "docs/runs.md"}
    new = rewritten(text, "install.md")
    assert new.startswith("[a](repository/data/README.md#x), [b](runs.md), c, [d](https://example.org/x.md)\n")
    assert new.endswith("```sh\n[e](../data/README.md)\n```\n")
    assert rewritten("[f](../docs/runs.md)", "repository/data/README.md") == "[f](../../runs.md)"


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    for package in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(package)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path / "site")]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert {path.stem for path in (tmp_path / "site").glob("*.html")} == {page[:-3] for page in PAGES} | {"404"}
    reference = (tmp_path / "site/api.html").read_text(encoding="utf-8")
    for name in (
        "finetune.api.load",
        "finetune.api.train",
        "finetune.predictor.Predictor.embed",
        "finetune.client.ErnieClient.similarity",
    ):
        assert f'id="{name}"' in reference
    assert (tmp_path / "site/repository/CONTRIBUTING.html").is_file()
    for page in PAGES:  # a block of code that the builder does not see takes the headings after it with it
        source = re.sub(r"^```.*?^```$", "", (ROOT / "docs" / page).read_text(encoding="utf-8"), flags=re.M | re.S)
        built = (tmp_path / "site" / f"{page[:-3]}.html").read_text(encoding="utf-8")
        assert len(re.findall("<h2", built)) >= len(re.findall("^## ", source, re.M)), page
        assert "```" not in built, page
