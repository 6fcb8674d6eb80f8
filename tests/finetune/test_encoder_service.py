"""The encoder server and the client of 2019: what is served is what ernie_encoder.py writes.

pytest -q -x tests/finetune/test_encoder_service.py
"""

import contextlib
import io
import subprocess
import sys

import numpy as np
import pytest

from finetune.embedding.client import ErnieClient, read_texts
from finetune.embedding.server import _number
from finetune.prediction.model import InferenceModel
from finetune.serving.handler import open_handler
from finetune.training.main import main as train
from propeller.errors import UserError
from propeller.service.client import ServiceClient
from propeller.service.limits import Limits
from propeller.service.server import InferenceServer
from tests.helpers.common import ROOT
from tests.helpers.embedding import embed
from tests.helpers.served import LABELS, make_bundle, respond
from tests.helpers.service_toys import wait_until
from tests.helpers.tiny import VOCABULARY, flags, sentences, write_tsv

PAIRS = list(zip((text for _, text in sentences(21, seed=3)), (text for _, text in sentences(21, seed=4))))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_tsv(tmp_path_factory.mktemp("rows") / "rows.tsv", PAIRS, ("text_a", "text_b"))


@contextlib.contextmanager
def serving(folder, said, *more):
    """The port of an encoder server in a process of its own."""
    flags = ["-m", str(folder), "-p", "0", "--workers", "1", "--threads", "1", "--use_cuda", "false", *more]
    with open(said, "w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "finetune.embedding.server", *flags], cwd=ROOT, stderr=file, stdout=file
        )
    try:
        wait_until(lambda: process.poll() is not None or " at http://" in said.read_text(), 120)
        assert process.poll() is None, said.read_text()
        yield int(said.read_text().partition(" at ")[2].split()[0].rpartition(":")[2])
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def command(*words):
    return subprocess.run(
        [sys.executable, "-m", "finetune.embedding.client", *map(str, words)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.mark.slow
def test_the_pooler_over_the_command(model, rows, tmp_path):
    """TSV in, .npy out; the log of -v has the requests; what is wrong is one line."""
    wanted = embed(model, rows, tmp_path / "wanted", for_cn=None).vectors
    bare = tmp_path / "bare.tsv"
    bare.write_text("".join(f"{one}\t{two}\n" for one, two in PAIRS), encoding="utf8")
    vocab = ["--vocab_file", model / "vocab.txt", "--max_seqlen", 24]
    with serving(model, tmp_path / "log", "-v") as port:
        for source in (rows, bare):
            done = command("-i", source, "-o", tmp_path / "out" / "v.npy", "-p", port, "--batch_size", 4, *vocab)
            assert done.returncode == 0, done.stderr
            assert "wrote float32 [21, 32]" in done.stderr
            np.testing.assert_allclose(np.load(tmp_path / "out" / "v.npy"), wanted, atol=2e-5)
        done = command("-i", rows, "-o", tmp_path / "cut.npy", "-p", port, *vocab, "--max_seqlen", 5)
        assert "21 of 21 rows were longer than --max_seqlen tokens and were cut" in done.stderr
        other = tmp_path / "vocab.txt"
        other.write_text("\n".join((*VOCABULARY[:5], *VOCABULARY[:4:-1])), encoding="utf8")
        done = command("-i", rows, "-o", tmp_path / "no.npy", "-p", port, "--vocab_file", other)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "not the vocabulary of the served model" in done.stderr
    assert "POST /arrays: 200 in " in (tmp_path / "log").read_text()
    done = command("-i", rows, "-o", tmp_path / "no.npy", "-p", port, *vocab)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "is python -m finetune.embedding.server at --host and -p?" in done.stderr
    assert not (tmp_path / "no.npy").exists()


def test_the_states_of_a_layer(model, rows, tmp_path):
    """layer1: every token's states, 0 after a row's last token, in the order of the file."""
    wanted = embed(model, rows, tmp_path / "wanted", for_cn=None, layer=1)
    texts = read_texts(rows)
    with (
        serving(model, tmp_path / "log", "--encode_layer", "layer1") as port,
        ErnieClient(str(model / "vocab.txt"), "localhost", port, 4, 2, 30.0, 24) as client,
    ):
        found = client(*texts)
        assert found.shape == (21, wanted.counts.max(), 32)
        for own, states in zip(found, wanted.states):
            np.testing.assert_allclose(own[: len(states)], states, atol=2e-5)
            assert not own[len(states) :].any()
        with pytest.raises(ValueError, match="21 texts and 1 second texts"):
            client(texts[0], ["good"])
        with ServiceClient(f"http://localhost:{port}") as plain:  # texts are taken as well
            vectors = plain.post("/predict", {"texts": [list(pair) for pair in PAIRS[:3]]})["embeddings"]
    np.testing.assert_allclose(vectors, [states[0] for states in wanted.states[:3]], atol=2e-5)


@pytest.mark.slow
def test_the_encoder_of_a_fine_tuned_checkpoint(model, data, rows, tmp_path):
    given = {"epoch": 1, "do_val": "false", "do_test": "false"}
    with contextlib.redirect_stderr(io.StringIO()):
        train("run_classifier.py", "classify", flags(model, data, tmp_path / "run", **given))
    checkpoint = tmp_path / "run" / "last"
    own = {"init_pretraining_params": None, "init_checkpoint": checkpoint, "ernie_config_path": None, "for_cn": None}
    wanted = embed(model, rows, tmp_path / "wanted", **own).vectors
    with (
        serving(checkpoint, tmp_path / "log") as port,
        ErnieClient(str(checkpoint / "vocab.txt"), "localhost", port, timeout=30.0, max_seqlen=24) as client,
    ):
        np.testing.assert_allclose(client(*read_texts(rows)), wanted, atol=2e-5)


def test_probabilities_of_a_classifier(model, tmp_path):
    """The client of 2019 takes what any model of texts gives: [rows, labels] of a classifier."""
    folder = make_bundle(tmp_path / "classify", model, "classify")
    server = InferenceServer(folder, handlers="finetune.serving", use_cuda="false")
    with server.listen(0, wait=False) as running:
        port = int(running.url.rpartition(":")[2])
        with ErnieClient(str(model / "vocab.txt"), "127.0.0.1", port, max_seqlen=24) as client:
            found = client([one for one, _ in PAIRS])
        predictor = InferenceModel.open(folder, use_cuda="false").predictor
        answer = respond(open_handler(folder), predictor, {"texts": [one for one, _ in PAIRS]}, Limits())
    wanted = [[each["probabilities"][label] for label in LABELS] for each in answer["predictions"]]
    np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_encode_layer():
    assert [_number(text) for text in (None, "pooler", "layer1", "layer12")] == [None, None, 1, 12]
    for wrong in ("layer0", "layer", "12", "cls"):
        with pytest.raises(UserError, match=f"--encode_layer {wrong}: give pooler, or layer1"):
            _number(wrong)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--encode_layer", "layer3"], "--encode_layer layer3: the model has 2 layers: give layer1 to layer2"),
        (["--encode_layer", "top"], "--encode_layer top: give pooler"),
        (["--encode_layr", "pooler"], "did you mean --encode_layer?"),
    ],
    ids=str,
)
def test_a_server_that_cannot_start_says_why(flags, words, model):
    done = subprocess.run(
        [sys.executable, "-m", "finetune.embedding.server", "-m", str(model), "--use_cuda", "false", *flags],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert words in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no rows"),
        ("text_a\tlabel\n", "no rows"),
        ("good\tbad\nfine\n", "line 2: 1 columns, the first line has 2"),
        ("good\tbad\tdull\n", "line 1: 3 columns"),
        ("label\ttext_a\n1\tgood\n0\t \n", "line 3: the text is empty"),
    ],
)
def test_rows_that_are_wrong(content, words, tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text(content, encoding="utf8")
    with pytest.raises(UserError, match=f"rows.tsv.*{words}"):
        read_texts(str(path))


def test_columns_are_found_by_a_header(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_bytes(b"\xef\xbb\xbflabel\ttext_b\ttext_a\r\n1\tsecond\tfirst\r\n")
    assert read_texts(str(path)) == (["first"], ["second"])
    path.write_text("one alone\nanother", encoding="utf8")
    assert read_texts(str(path)) == (["one alone", "another"], None)
