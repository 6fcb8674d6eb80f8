"""The documents: their blocks of code, their commands, and which of them no test can run."""

import re

from tests.helpers.common import ROOT

READMES = ("README.md", "README.zh.md")
# The pages whose commands tests/docs/test_pages.py runs, in this order, since later ones use what earlier ones made.
PAGES = (
    "README.md",
    "docs/install.md",
    "docs/models.md",
    "docs/finetuning.md",
    "docs/prediction.md",
    "docs/embeddings.md",
    "docs/sentence_vectors.md",
    "docs/search.md",
    "docs/serving.md",
    "docs/api.md",
    "docs/recipes.md",
    "docs/precision.md",
    "docs/pretraining_ernie1.md",
)
DOCUMENTS = (
    *READMES,
    *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md")),
    "distill/README.md",
    "data/README.md",
    "examples/README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
)

NOT_RUN = re.compile(
    r"(PADDLE=gpu )?sh (script/(quickstart|test|demo/\w+|(zh_task|en)/pretrain(_ernie2)?)\.sh)"
    r"( --all| --model_only)?"
    r"|python -m pip install --require-hashes -r requirements\.lock"  # downloads; test_packaging.py looks at the file
)
RUN = re.compile(
    r"(export TASK_DATA_PATH=|\. \.venv/bin/activate"
    r"|python (run_\w+|train|infer_\w+|ernie_encoder|script/report)\.py |python -m ernie\.(convert|memory) "
    r"|python -m (finetune\.score|propeller\.tools\.(start_server|ckpt_inspector)) |until curl |curl |kill \$!"
    r"|python -m finetune\.embedding\.(server|client|sts|whiten|resize) |python -m finetune\.search (build|query) "
    r"|python -m finetune(\.prediction| classify| mrc| sentence_vectors| sequence_label) "
    r"|MODEL_PATH=\S+ (TASK_DATA_PATH=\S+ )?(SEEDS=\d+ )?(OUTPUT=\S+ )?sh script/(en_glue|zh_task)/"
    r"|sh script/(en_glue|zh_task)/preprocess/cvt\.sh )"
)


def read(name):
    return (ROOT / name).read_text(encoding="utf8")


def blocks(name, language="sh"):
    """The fenced blocks of one language, as texts."""
    return re.findall(rf"^```{language}\n(.*?)^```$", read(name), re.MULTILINE | re.DOTALL)


def commands(name):
    """The commands of all sh blocks in order, one a line, lines that end in a backslash joined. A block that begins
    with ``#!`` is a file that the page adds."""
    lines = "".join(block for block in blocks(name) if not block.startswith("#!")).replace("\\\n", " ").splitlines()
    return [re.sub(r"\s+", " ", line).strip() for line in lines if line.strip()]


def kind(command):
    """``not run`` or ``run``; the test fails on a command that is in neither class."""
    if NOT_RUN.fullmatch(command):
        return "not run"
    assert RUN.match(command), f"a command of a page that no test runs: {command}"
    return "run"


def anchors(name):
    """The anchors of a document's headings, as they are made of them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", read(name), flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", line.lower()).strip().replace(" ", "-") for line in headings}
