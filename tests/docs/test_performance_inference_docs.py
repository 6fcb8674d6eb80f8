"""docs/performance.md, the part on inference: its predictions run as printed, over a tiny model; other flags exist.

pytest -q -x tests/docs/test_performance_inference_docs.py
"""

import re
import shlex
import subprocess
import sys

import pytest

from propeller import runtime
from tests.helpers.common import ROOT
from tests.helpers.predicting import train
from tests.helpers.tiny import sentences, write_tsv

SECTION = (ROOT / "docs/performance.md").read_text(encoding="utf8").partition("## Inference\n")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"```text\n(.*?)```", SECTION, re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.replace("\\\n", " ").splitlines() if "python " in line]
PREDICTIONS = [line for line in COMMANDS if "infer_classifyer.py" in line]


def test_there_are_commands():
    assert len(PREDICTIONS) >= 6
    assert len(COMMANDS) >= 12


@pytest.mark.parametrize(
    "program", ["propeller.tools.start_server", "benchmark/inference.py", "benchmark/load.py"], ids=lambda name: name
)
def test_flags_of_the_others_exist(program):
    lines = [line for line in COMMANDS if program in line]
    assert lines
    start = [program] if program.endswith(".py") else ["-m", program]
    said = subprocess.run(
        [sys.executable, *start, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for line in lines:
        for flag in re.findall(r"(?<!\S)--?[a-z_]+", line.partition(program)[2]):
            assert re.search(rf"(?<!\S){flag}\b", said), (line, flag)


@pytest.mark.slow
def test_predictions_run_as_printed(model, data, tmp_path):
    """The folders of the page are those of this run; the rows are labelled ones of ours."""
    for package in ("paddle2onnx", "onnxruntime", "openvino", "ml_dtypes"):
        pytest.importorskip(package)
    checkpoint = train("run_classifier.py", "classify", model, data, tmp_path / "run")
    rows = write_tsv(tmp_path / "rows.tsv", sentences(9, seed=7))
    for line in PREDICTIONS:
        words = shlex.split(line)
        words = words[words.index("infer_classifyer.py") :]
        if "bf16" in words and not runtime.cpu_has_bf16():
            continue
        named = {"output/pairs/best": str(checkpoint), "data/RTE/test.tsv": rows, "data/RTE/dev.tsv": rows}
        words = [named.get(word, word) for word in words]
        words = [str(tmp_path / word) if word.startswith(("output/", "predictions")) else word for word in words]
        if "0.02" in words:
            words[words.index("0.02")] = "1"  # a tiny model of two epochs is no measure
        command = [sys.executable, str(ROOT / words[0]), *words[1:], "--use_cuda", "false"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, (line, done.stderr[-2000:])
        if "--save_inference_model_path" not in words:
            assert re.search(r"engine: (openvino|onnxruntime) ", done.stderr), line
