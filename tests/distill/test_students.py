"""Students as tasks of the one registry: their networks, trained alone, exported, predicted, served."""

import json
import subprocess
import sys

import numpy as np
import paddle
import pytest

import finetune
from distill.students.config import StudentConfig, student_config
from distill.students.networks import make_network, word_masks
from ernie.config import ErnieConfig
from finetune.serving.handler import open_handler
from propeller.errors import UserError
from propeller.service.limits import Limits
from tests.helpers.common import ROOT
from tests.helpers.predicting import table
from tests.helpers.served import respond
from tests.helpers.students import SHAPES, stopped_and_whole, train_student, write_shape
from tests.helpers.tiny import VOCABULARY, write_tsv

NETWORKS = sorted(SHAPES)


def batch_of(rows, longest=None):
    """The inputs of rows of ids, as (first text, second text) without special tokens; 1 is [CLS], 2 is [SEP]."""
    ids = [[1, *one, 2, *(([*other, 2]) if other else [])] for one, other in rows]
    seq = longest or max(map(len, ids))
    src, sent, mask = (np.zeros((len(rows), seq), kind) for kind in ("int64", "int64", "float32"))
    for number, (row, (one, _)) in enumerate(zip(ids, rows)):
        src[number, : len(row)] = row
        sent[number, len(one) + 2 : len(row)] = 1
        mask[number, : len(row)] = 1
    return {
        name: paddle.to_tensor(array) for name, array in (("src_ids", src), ("sent_ids", sent), ("input_mask", mask))
    }


def network_of(name, **changes):
    paddle.disable_static()
    paddle.seed(3)
    with (
        paddle.utils.unique_name.guard()
    ):  # the names are fixed, and eager layers of one name may not follow each other
        made = make_network(StudentConfig({**SHAPES[name], "vocab_size": 27, "initializer_range": 0.5, **changes}))
    made.eval()
    return made


def test_words_are_what_is_neither_special_nor_padding():
    words, second = word_masks(batch_of([([5, 6], None), ([7], [8, 9])], longest=8))
    assert words.numpy().tolist() == [[0, 1, 1, 0, 0, 0, 0, 0], [0, 1, 0, 1, 1, 0, 0, 0]]
    assert second.numpy().tolist() == [[0] * 8, [0, 0, 0, 1, 1, 1, 0, 0]]


def test_the_bag_of_words_is_that_of_2019():
    """softsign of the sum of the words' vectors, a dense layer, tanh; computed here by numpy."""
    network = network_of("bow")
    found = network.pooled(batch_of([([5, 6, 6], None), ([9], None)])).numpy()
    vectors = network.table.numpy()
    for row, ids in zip(found, ([5, 6, 6], [9])):
        total = vectors[ids].sum(0)
        hidden = total / (1 + np.abs(total))
        want = np.tanh(hidden @ network.middle.weight.numpy() + network.middle.bias.numpy())
        np.testing.assert_allclose(row, want, atol=1e-6)


def test_a_convolution_sees_its_window():
    """One filter width after another, against a plain loop over places (Kim 2014)."""
    network = network_of("cnn", windows=[2, 3])
    found = network.pooled(batch_of([([5, 6, 7], None)])).numpy()[0]
    words = np.concatenate([np.zeros((2, 16)), network.table.numpy()[[1, 5, 6, 7, 2]], np.zeros((2, 16))])
    want = []
    for width, layer in zip((2, 3), network.filters):
        before = (width - 1) // 2
        places = [words[2 + at - before : 2 + at - before + width].reshape(-1) for at in (1, 2, 3)]
        made = np.maximum(np.stack(places) @ layer.weight.numpy() + layer.bias.numpy(), 0)
        want += made.max(0).tolist()
    np.testing.assert_allclose(found, want, atol=1e-5)


def test_the_lstm_is_that_of_paddle():
    """The operator with our weights against nn.LSTM with the same ones."""
    network = network_of("bilstm")
    batch = batch_of([([5, 6, 7], None), ([8], None)])
    theirs = paddle.nn.LSTM(16, 8, direction="bidirect")
    order = ("weight_ih_l0", "weight_hh_l0", "weight_ih_l0_reverse", "weight_hh_l0_reverse",
             "bias_ih_l0", "bias_hh_l0", "bias_ih_l0_reverse", "bias_hh_l0_reverse")  # fmt: skip
    for name, weight in zip(order, network.weights):
        getattr(theirs, name).set_value(weight)
    want = theirs(network.embed(batch), sequence_length=paddle.to_tensor([5, 3], dtype="int32"))[0]
    np.testing.assert_allclose(network(batch).numpy(), want.numpy(), atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("pairs", [False, True])
def test_a_row_does_not_depend_on_the_rows_beside_it(name, pairs):
    network = network_of(name, pairs=pairs)
    rows = [([5, 6, 7], [8]), ([9], [5, 10, 11, 12, 13])]
    together = network.pooled(batch_of(rows, longest=14)).numpy()
    alone = np.concatenate([network.pooled(batch_of([row])).numpy() for row in rows])
    np.testing.assert_allclose(together, alone, atol=2e-6)
    assert together.shape == (2, network.config.hidden_size)


@pytest.mark.parametrize("name", NETWORKS)
def test_pairs_are_compared(name):
    """The order of the two texts matters with ``pairs``, and so does which text a word is in."""
    network = network_of(name, pairs=True)
    one, other = network.pooled(batch_of([([5, 6], [7]), ([5], [6, 7])])).numpy()
    assert np.abs(one - other).max() > 1e-3


def test_a_text_without_words_gives_numbers():
    for name in NETWORKS:
        assert np.isfinite(network_of(name, pairs=True).pooled(batch_of([([], None)])).numpy()).all()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"network": "gru"}, "'network' is 'gru'"),
        ({**SHAPES["bow"], "windows": [3]}, "'windows' belongs to cnn"),
        ({**SHAPES["bow"], "hiden_size": 3}, "write 'hidden_size'"),
        ({**SHAPES["cnn"], "windows": []}, "'windows' is []"),
        ({**SHAPES["cnn"], "windows": [3, 3]}, "different whole numbers"),
        ({**SHAPES["cnn"], "filters": 0}, "'filters' is 0"),
        ({**SHAPES["bow"], "pairs": 1}, "'pairs' is 1"),
        ({**SHAPES["bow"], "hidden_dropout_prob": 1}, "from 0 to below 1"),
        ({**SHAPES["bow"], "initializer_range": 0}, "above 0"),
        (SHAPES["bow"], "'vocab_size' is missing"),
    ],
    ids=[
        "network",
        "of another",
        "misspelt",
        "no window",
        "window twice",
        "filters",
        "pairs",
        "dropout",
        "range",
        "vocab",
    ],
)
def test_a_wrong_shape_is_told(values, words):
    with pytest.raises(UserError) as caught:
        StudentConfig({"vocab_size": 9, **values} if "missing" not in words else values)
    assert words in str(caught.value)


def test_the_vocabulary_says_its_size_and_other_files_are_those_of_ernie(model, tmp_path):
    path = write_shape(tmp_path, "bow")
    assert student_config(path, vocab_path=str(model / "vocab.txt")).vocab_size == len(VOCABULARY)
    assert isinstance(student_config(model / "ernie_config.json"), ErnieConfig)
    with pytest.raises(UserError, match="--max_seq_len 513 is above the 512"):
        student_config(path, vocab_path=str(model / "vocab.txt")).check_positions(513)


@pytest.fixture(scope="module")
def trained(model, data, tmp_path_factory):
    """network -> folder of its run."""
    found = {}

    def get(name):
        if name not in found:
            folder = tmp_path_factory.mktemp("students")
            train_student(write_shape(folder, name), model, data, folder / "run", epoch=12)
            found[name] = folder / "run"
        return found[name]

    return get


@pytest.mark.parametrize("name", NETWORKS)
def test_a_student_learns_and_predicts_as_it_serves(name, trained, data, tmp_path):
    """Trained by the entry of every task; batch prediction, Python and the server's handler say the same."""
    last = trained(name) / "last"
    scores = [json.loads(line) for line in (trained(name) / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in scores if line["event"] == "train"]
    assert losses[-1] < 0.5 * losses[0]
    words = ["--init_checkpoint", str(last), "--predict_set", str(data / "test.tsv"), "--use_cuda", "false",
             "--output", str(tmp_path / "out.tsv"), "--save_inference_model_path", str(tmp_path)]  # fmt: skip
    command = [sys.executable, "-m", "finetune.prediction", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    header, rows = table((tmp_path / "out.tsv").read_text())
    assert header == ["gold_label", "text_a", "label", "prob_0", "prob_1"]
    rows = [row[1:] for row in rows]
    texts = [row[0] for row in rows]
    here = finetune.load(last)(texts)
    assert [each["label"] for each in here] == [row[1] for row in rows]
    bundle = tmp_path / "last_inference_model"
    handler = open_handler(bundle)
    served = respond(handler, finetune.load(bundle)._model.predictor, {"texts": texts}, Limits())["predictions"]
    for one, other, row in zip(here, served, rows):
        np.testing.assert_allclose(
            list(one["probabilities"].values()), list(other["probabilities"].values()), atol=1e-6
        )
        np.testing.assert_allclose(list(one["probabilities"].values()), [float(value) for value in row[2:]], atol=1e-5)


def test_an_interrupted_run_ends_with_the_same_weights(model, data, tmp_path):
    shape = write_shape(tmp_path, "cnn", hidden_dropout_prob=0.3)
    cut, whole = stopped_and_whole(shape, model, data, tmp_path, 7, do_test="false", epoch=2)
    assert cut == whole
    assert "conv_3.w_0" in whole


def test_an_encoder_trains_as_a_student(model, data, tmp_path):
    last = train_student(model / "ernie_config.json", model, data, tmp_path / "run", learning_rate=1e-3, epoch=1,
                         init_pretraining_params=model / "params", tokenizer=None)  # fmt: skip
    assert json.loads((last / "checkpoint.json").read_text())["task"] == "student"
    assert finetune.load(last)(["a good film"])[0]["label"] in ("0", "1")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"f1_average": "macro"}, "--f1_average macro: --metric simple_accuracy has no F1"),
        ({"num_labels": 1}, "--num_labels must be at least 2"),
        ({"max_seq_len": 600}, "--max_seq_len 600 is above"),
        ({"metric": "acc_and_f1_and_mrr"}, "invalid choice"),
    ],
    ids=["average", "labels", "length", "ranking"],
)
def test_flags_that_do_not_go_together(changes, words, model, data, tmp_path):
    with pytest.raises(UserError) as caught:
        train_student(write_shape(tmp_path, "bow"), model, data, tmp_path / "run", **changes)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.slow
def test_onnx(name, trained, tmp_path):
    pytest.importorskip("paddle2onnx")
    words = ["--init_checkpoint", str(trained(name) / "last"), "--do_prediction", "false", "--onnx", "true",
             "--save_inference_model_path", str(tmp_path), "--use_cuda", "false"]  # fmt: skip
    command = [sys.executable, "-m", "finetune.prediction", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "last_inference_model" / "model.onnx").is_file()


def test_vectors_of_a_student_are_refused(trained):
    with pytest.raises(UserError, match="no encoder"):
        finetune.load(trained("bow") / "last").embed(["a film"])


def test_pairs_from_files(model, tmp_path):
    """Two texts that are alike or not: the CNN with ``pairs`` learns it from words they share."""
    random = np.random.RandomState(1)
    words = VOCABULARY[5:15]
    rows = []
    for number in range(60):
        one, other = random.choice(words, 2, replace=False)
        rows.append((number % 2, one, one if number % 2 else other))
    for name in ("train", "dev"):
        write_tsv(tmp_path / f"{name}.tsv", rows, ("label", "text_a", "text_b"))
    shape = write_shape(tmp_path, "cnn", pairs=True, embedding_size=32, filters=32)
    last = train_student(shape, model, tmp_path, tmp_path / "run", epoch=30, do_test="false")
    found = finetune.load(last)([(one, other) for _, one, other in rows])
    assert [int(each["label"]) for each in found] == [label for label, _, _ in rows]
