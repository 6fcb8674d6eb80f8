"""examples/: each program runs as it is, here on the samples of data/ and a tiny model, and prints what it promises.

python -m pytest tests/examples/test_examples.py -m slow
"""

import re
import subprocess
import sys

import pytest

from tests.helpers.common import ROOT
from tests.helpers.tiny import characters, make_model

# program -> (its samples, what its output is)
PROGRAMS = {
    "sentiment": ("SST-2", r"accuracy on held-out sentences: \d\.\d{3}\n((?:posi|nega)tive  [01]\.\d\d  .+\n){3}"),
    "chinese_ner": ("msra_ner", r"F1 on held-out sentences: \d\.\d{3}\n(\w+  \d+-\d+  .+\n)*"),
    "reading_comprehension": ("cmrc2018", r"F1 on held-out questions: [\d.]+\n.+\n.*  \(expected: .+\)\n"),
    "sentence_search": ("SST-2", r"(The .+\n(  -?\d\.\d\d  .+\n){3}){2}"),
    "pretrain_and_finetune": ("chnsenticorp", r"accuracy on held-out reviews: \d\.\d{3}\n\{'label': .+\}\n"),
    "distil_and_serve": ("SST-2", r"accuracy: teacher \d\.\d{3}, student \d\.\d{3}\n\[\{'label': .+\}\]\n"),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model") / "tiny", characters(ROOT / "data"), max_position_embeddings=192)


def test_every_program_is_run_and_listed():
    programs = {path.stem for path in (ROOT / "examples").glob("*.py")} - {"common"}
    assert programs == set(PROGRAMS)
    listed = re.findall(r"^\| `python examples/(\w+)\.py` \|", (ROOT / "examples/README.md").read_text(), re.MULTILINE)
    assert set(listed) == programs


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_runs(name, model, tmp_path):
    samples, shown = PROGRAMS[name]
    command = [sys.executable, f"examples/{name}.py", "--data", f"data/{samples}", "--out", str(tmp_path / "out")]
    command += ["--steps", "20"] if name == "pretrain_and_finetune" else []
    done = subprocess.run(
        [*command, "--model", str(model)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.fullmatch(shown, done.stdout), done.stdout
