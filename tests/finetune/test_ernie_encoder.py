"""ernie_encoder.py: the embeddings of 2019, of every layer and pooling, in the file's order; what its flags change."""

import dataclasses
import io
import json
import re
from contextlib import redirect_stderr
from types import SimpleNamespace

import numpy as np
import pytest

import finetune
from ernie.checkpoint import read_params
from ernie.config import ErnieConfig
from finetune.embedding import args as embed_args
from finetune.embedding.files import COUNTS, STATES, TOKENS, VECTORS
from finetune.embedding.main import main
from finetune.prediction.model import InferenceModel
from finetune.training.main import main as train
from propeller import runtime
from propeller.errors import UserError
from tests.helpers.bundle import batch_of
from tests.helpers.common import FIXTURES, GOLDEN, ROOT
from tests.helpers.embedding import FILES, assert_near, embed, from_bundle, load, start, words, write_rows
from tests.helpers.numpy_ernie import encode
from tests.helpers.tiny import CONFIG, VOCABULARY, flags, make_model, write_tsv
from tokenization import build_tokenizer


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def plain(model, rows, tmp_path_factory):
    return embed(model, rows, tmp_path_factory.mktemp("plain"))


def test_equals_2019(tmp_path):
    recorded = GOLDEN / "6_cli"
    done = start(
        "--use_cuda", "false", "--ernie_config_path", str(recorded / "data/cfg.json"), "--vocab_path",
        str(GOLDEN / "vocab/vocab_zh.txt"), "--init_pretraining_params", str(recorded / "cls_step_15_params"),
        "--data_set", str(recorded / "data/emb.tsv"), "--max_seq_len", "64", "--batch_size", "4",
        "--output_dir", str(tmp_path / "emb"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for line in ("Device count: 1", "Total num examples: 9"):  # as 2019 said
        assert line in done.stderr
    assert re.search(r"rows: 9, seconds: \d+\.\d+, speed: \d+\.\d+ rows/s$", done.stderr.splitlines()[-1])
    assert {path.name for path in (tmp_path / "emb").iterdir()} == FILES
    for name in (VECTORS, STATES):
        found, expected = np.load(tmp_path / "emb" / name), np.load(recorded / "emb" / name)
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        header = [(folder / name).read_bytes()[:128] for folder in (tmp_path / "emb", recorded / "emb")]
        assert header[0] == header[1]
    found = load(tmp_path / "emb")
    assert found.counts.tolist() == [8, 11, 15, 11, 13, 11, 16, 12, 10]
    assert "".join(found.tokens[0]) == "[CLS]服务态度恶劣[SEP]"


@pytest.mark.parametrize("labelled", [False, True])
def test_batches_are_those_of_2019(labelled, tmp_path):
    """Without a flag blanks stay: the recorded batches of the reader, with a label column and without."""
    recorded = json.loads((FIXTURES / "embedding_2019.json").read_text(encoding="utf8"))
    model = make_model(tmp_path / "model", vocab_size=recorded["vocab_size"])
    vocab = "".join(f"{token}\t{number}\n" for token, number in recorded["vocab"].items())
    (model / "vocab.txt").write_text(vocab, encoding="utf8")
    columns = ["text_a", "label"] if labelled else ["text_a"]
    rows = write_tsv(tmp_path / "rows.tsv", [(text, 0)[: len(columns)] for text in recorded["texts"]], columns)
    given = {"for_cn": None, "max_seq_len": recorded["max_seq_len"], "save_inference_model_path": tmp_path / "saved"}
    found = embed(model, rows, tmp_path / "out", **given)
    reader = InferenceModel.open(tmp_path / "saved", use_cuda="false").reader(rows, recorded["batch_size"])
    batches = [batch for batch, _ in reader.batches(None)]
    assert len(batches) == len(recorded["batches"])
    lines = iter(found.tokens)
    for batch, expected in zip(batches, recorded["batches"]):
        lengths = expected.pop("seq_lens")
        assert {name: batch[name].astype(int).tolist() for name in expected} == expected
        for ids, length in zip(expected["src_ids"], lengths):
            assert [recorded["vocab"][token] for token in next(lines)] == ids[:length]


def test_blanks_stay_unless_the_model_says_otherwise(model, data, tmp_path):
    """English from a model that says nothing keeps its words, in the script and in the API."""
    rows = write_tsv(tmp_path / "rows.tsv", [("the film was good",)], ["text_a"])
    whole = ["[CLS]", "the", "film", "was", "good", "[SEP]"]
    found = embed(model, rows, tmp_path / "a", for_cn=None)
    assert found.tokens == [whole]
    with finetune.load(model, use_cuda=False) as predictor:
        np.testing.assert_allclose(predictor.embed(["the film was good"], pooling="cls"), found.vectors, atol=2e-6)
    given = {"epoch": 1, "do_val": "false", "do_test": "false", "for_cn": "true", "allow_unk": "true"}
    with redirect_stderr(io.StringIO()):
        train("run_classifier.py", "classify", flags(model, data, tmp_path / "run", **given))
    trained = {"init_pretraining_params": None, "init_checkpoint": tmp_path / "run/last", "ernie_config_path": None}
    assert embed(model, rows, tmp_path / "b", **trained, for_cn=None, allow_unk="true").tokens != [whole]


def expected_of(model, rows, layer, task_id=0):
    """(pooled, states a row) of float64 numpy, each row alone, without padding."""
    params = read_params(model / "params")
    facts = ErnieConfig(model / "ernie_config.json")
    names = ("layer_norm_eps", "num_attention_heads", "hidden_act", "use_task_id")
    config = SimpleNamespace(num_hidden_layers=layer, **{name: getattr(facts, name) for name in names})
    tokenizer = build_tokenizer("FullTokenizer", str(model / "vocab.txt"), True, False)
    pooled, states = [], []
    with open(rows, encoding="utf8") as file:
        pairs = [line.rstrip("\n").split("\t") for line in file][1:]
    for one, two in pairs:
        ids = [tokenizer.cls_id, *tokenizer.encode(one), tokenizer.sep_id]
        second = [*tokenizer.encode(two), tokenizer.sep_id] if two else []
        batch = {
            "input_ids": np.array([ids + second]),
            "token_type_ids": np.array([[0] * len(ids) + [1] * len(second)]),
            "attention_mask": np.ones((1, len(ids + second))),
        }
        batch["task_type_ids"] = np.full_like(batch["input_ids"], task_id)
        found, top, _ = encode(params, config, batch)
        pooled.append(top[0])
        states.append(found[0])
    return np.array(pooled), states


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_every_layer_and_pooling_equals_numpy(layer, model, rows, tmp_path):
    pooled, states = expected_of(model, rows, layer)
    poolings = {
        "cls": pooled if layer == 2 else np.array([row[0] for row in states]),
        "mean": np.array([row.mean(axis=0) for row in states]),
        "max": np.array([row.max(axis=0) for row in states]),
        "first": np.array([row[0] for row in states]),
        "first_last": np.array(
            [
                (low.mean(axis=0) + top.mean(axis=0)) / 2
                for low, top in zip(expected_of(model, rows, min(1, layer))[1], states)
            ]
        ),
    }
    for pooling, vectors in poolings.items():
        given = layer - 3 if pooling == "mean" else layer  # from the top
        found = embed(model, rows, tmp_path / pooling, layer=given, pooling=pooling, batch_size=16)
        np.testing.assert_allclose(found.vectors, vectors, atol=1e-5)
        for one, other in zip(found.states, states):
            np.testing.assert_allclose(one, other, atol=1e-5)
        assert (found.manifest["layer"], found.manifest["pooling"]) == (layer, pooling)


def test_the_order_is_the_files_whatever_the_batches(model, rows, plain, tmp_path):
    for i, changes in enumerate(
        [{"batch_size": 1}, {"batch_size": 7}, {"batch_size": 100, "in_tokens": "true"}, {"num_workers": 2}]
    ):
        assert_near(embed(model, rows, tmp_path / str(i), queue_size=2, **changes), plain)


def test_a_second_run_replaces_the_first_and_leaves_nothing_of_it(model, rows, plain, tmp_path):
    few = write_tsv(tmp_path / "few.tsv", [("good film",), ("bad",)], ["text_a"])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    embed(model, rows, tmp_path / "out")
    found = embed(model, few, tmp_path / "out", no_top_layer="true")
    assert found.vectors.shape == (2, 32)
    assert found.tokens == [["[CLS]", "good", "film", "[SEP]"], ["[CLS]", "bad", "[SEP]"]]
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES - {STATES} | {"notes.txt"}
    assert found.manifest["files"] == [VECTORS, COUNTS, TOKENS]
    assert (found.manifest["rows"], found.manifest["tokens"]) == (2, 7)


CHANGED = {  # what changes the arrays or the token texts
    "init_pretraining_params": "other",
    "ernie_config_path": "other",
    "vocab_path": "other",
    "data_set": "other",
    "tokenizer": "CharTokenizer",
    "do_lower_case": "false",
    "for_cn": "true",
    "max_seq_len": 5,
    "task_id": 2,
    "layer": 1,
    "pooling": "max",
    "normalize": "true",
}
ELSEWHERE = {
    "sp_model": "test_tokenization_sentencepiece.py",
    "init_checkpoint": "test_a_fine_tuned_checkpoint",
    "inference_model": "test_from_an_inference_model",
    "save_inference_model_path": "test_from_an_inference_model",
    "onnx": "test_an_onnx_file",
    "calibration_set": "test_int8.py: test_the_encoder",
    "max_loss": "test_int8.py: test_the_encoder",
    "overwrite": "test_from_an_inference_model",
    "output_dir": "all",
    "no_top_layer": "test_a_second_run_replaces_the_first_and_leaves_nothing_of_it",
    "batch_size": "test_the_order_is_the_files_whatever_the_batches",
    "in_tokens": "test_the_order_is_the_files_whatever_the_batches",
    "num_workers": "test_the_order_is_the_files_whatever_the_batches",
    "queue_size": "test_the_order_is_the_files_whatever_the_batches",
    "precision": "test_bf16_is_near",
    "engine": "test_engines.py: test_the_encoder_by_another_engine",
    "whitening": "test_whitening.py: test_an_inference_model_stores_the_whitening",
    "use_cuda": "test_flags_that_are_wrong",
    "use_fp16": "test_flags_that_are_wrong",
    "log_file": "test_a_log_file",
    "model": "test_model_folder.py",
    "on_bad": "test_checks.py: test_one_answer_to_one_file_from_prediction_and_embedding",
    "allow_blank": "test_checks.py: test_blank_cells_are_taken_on_request_by_both",
    "format": "test_rows_in_any_form.py",
    "text_column": "test_rows_in_any_form.py",
    "text_pair_column": "test_rows_in_any_form.py",
    "allow_refused": "test_checks.py: test_most_rows_refused_is_no_success",
    "allow_unk": "test_checks.py: test_a_file_in_another_language_is_not_predicted",
}


def test_every_flag_is_in_this_file():
    known = {entry.name for group in embed_args.GROUPS.values() for entry in dataclasses.fields(group)}
    assert known == {*CHANGED, *ELSEWHERE}


@pytest.mark.parametrize("name", CHANGED)
def test_flags_that_change_something(name, model, rows, tmp_path):
    value, given = CHANGED[name], {}
    if name == "data_set":
        value = write_tsv(tmp_path / "other.tsv", [("good", "bad")] * 70, ("text_a", "text_b"))
    elif name == "init_pretraining_params":
        value = make_model(tmp_path / "other", initializer_range=0.5) / "params"
        word = np.fromfile(value / "word_embedding", np.uint8)
        word[-2] ^= 1  # a bit of the last float
        word.tofile(value / "word_embedding")
    elif name == "ernie_config_path":
        value = tmp_path / "config.json"
        value.write_text(json.dumps({**CONFIG, "hidden_act": "relu"}))
    elif name == "vocab_path":
        value = tmp_path / "vocab.txt"
        value.write_text("\n".join((*VOCABULARY[:5], *VOCABULARY[:4:-1])), encoding="utf8")
    elif name == "for_cn":
        given = {"allow_unk": "true"}  # without their blanks the rows are unknown
    elif name in ("tokenizer", "do_lower_case"):
        rows = write_tsv(tmp_path / "own.tsv", [("Good films.",), ("GOOD cast",)], ["text_a"])
    if name == "init_pretraining_params":
        rows = write_tsv(tmp_path / "own.tsv", [(".",)], ["text_a"])
    before = embed(model, rows, tmp_path / "before", **given)
    after = embed(model, rows, tmp_path / "after", **{**given, name: value})
    alike = before.vectors.shape == after.vectors.shape and np.array_equal(before.vectors, after.vectors)
    assert not alike
    if name == "normalize":
        np.testing.assert_allclose(np.linalg.norm(after.vectors, axis=1), 1, atol=1e-6)
    if name == "max_seq_len":
        assert re.search(r"\d+ of 70 rows were longer than --max_seq_len 5 tokens and were cut", after.log)
        assert "were cut" not in before.log


def test_a_label_column_is_neither_needed_nor_read(model, tmp_path):
    texts = [("good film", "x"), ("bad", "")]
    bare = embed(model, write_tsv(tmp_path / "a.tsv", [row[:1] for row in texts], ["text_a"]), tmp_path / "a")
    labelled = embed(model, write_tsv(tmp_path / "b.tsv", texts, ["text_a", "label"]), tmp_path / "b")
    assert_near(labelled, bare, 0)


def test_a_log_file_and_flags_without_effect(model, rows, tmp_path):
    embed(model, rows, tmp_path, log_file=tmp_path / "run.log", use_fast_executor="true")
    text = (tmp_path / "run.log").read_text(encoding="utf8")
    assert "without effect: --use_fast_executor" in text
    assert "rows/s" in text.splitlines()[-1]


def test_bf16_is_near(model, rows, plain, tmp_path):
    if not runtime.cpu_has_bf16():
        pytest.skip("this processor has no AVX-512 for bfloat16")
    found = embed(model, rows, tmp_path, precision="bf16")
    assert found.vectors.dtype == np.float32
    assert not np.array_equal(found.vectors, plain.vectors)
    assert_near(found, plain, 0.05 * np.abs(plain.states[0]).max())


def test_defaults_are_those_of_2019():
    args = embed_args.parse("x", "", words(ROOT, "d", "o", output_dir=None, max_seq_len=None, for_cn=None))
    assert (args.data.output_dir, args.data.batch_size, args.model.do_lower_case) == ("embeddings", 32, None)


@pytest.mark.parametrize(("positions", "length"), [(600, 512), (40, 40)])
def test_without_max_seq_len_rows_have_512_tokens_or_the_models_positions(positions, length, tmp_path):
    model = make_model(tmp_path / "model", max_position_embeddings=positions)
    rows = write_tsv(tmp_path / "rows.tsv", [("good " * 700,), ("bad",)], ["text_a"])
    found = embed(model, rows, tmp_path / "out", max_seq_len=None)
    assert found.counts.tolist() == [length, 3]


def test_a_fine_tuned_checkpoint(model, data, rows, tmp_path):
    given = {"epoch": 1, "do_val": "false", "do_test": "false", "do_lower_case": "false"}
    with redirect_stderr(io.StringIO()):
        train("run_classifier.py", "classify", flags(model, data, tmp_path / "run", **given))
    checkpoint = tmp_path / "run" / "last"
    own = {"init_pretraining_params": None, "init_checkpoint": checkpoint, "ernie_config_path": None}
    found = embed(model, rows, tmp_path / "a", **own, for_cn=None, max_seq_len=None)
    named = embed(model, rows, tmp_path / "b", init_pretraining_params=checkpoint, do_lower_case="false")
    assert_near(found, named, 0)
    assert found.manifest["max_seq_len"] == 24
    with pytest.raises(UserError, match=r"--do_lower_case true: but .*checkpoint.json says false; leave the flag out"):
        embed(model, rows, tmp_path / "c", **own, do_lower_case="true")
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("\n".join((*VOCABULARY[:5], *VOCABULARY[:4:-1])), encoding="utf8")
    with pytest.raises(UserError, match=rf"{vocab}: not the vocabulary"):
        embed(model, rows, tmp_path / "c", **own, vocab_path=vocab)
    assert not (tmp_path / "c").exists()


def test_from_an_inference_model(model, rows, plain, tmp_path):
    saved = {"save_inference_model_path": tmp_path / "saved"}
    first = embed(model, rows, tmp_path / "a", **saved, pooling="mean", normalize="true")
    bundle = tmp_path / "saved" / "params_inference_model"
    for folder in (bundle, tmp_path / "saved"):
        assert_near(embed(model, rows, tmp_path / "b", **from_bundle(folder)), first)
    own = from_bundle(bundle, pooling="cls", normalize="false", layer=-1)
    assert_near(embed(model, rows, tmp_path / "c", **own), plain)
    cut = embed(model, rows, tmp_path / "d", **from_bundle(bundle, max_seq_len=4))
    assert cut.counts.max() == 4
    with pytest.raises(UserError, match="exists already"):
        embed(model, rows, tmp_path / "e", **saved)
    with redirect_stderr(io.StringIO()):  # no rows: only the inference model
        main("x", words(model, None, tmp_path / "f", **saved, overwrite="true", layer=1, no_top_layer="true"))
    assert not (tmp_path / "f").exists()
    assert json.loads((bundle / "bundle.json").read_text())["outputs"] == ["cls", "mean", "max", "first"]
    found = embed(model, rows, tmp_path / "g", **from_bundle(bundle, no_top_layer="true"))
    below, bare = embed(model, rows, tmp_path / "h", layer=1), {"no_top_layer": "true"}
    np.testing.assert_allclose(found.vectors, below.vectors, atol=2e-6)
    for changes, message in (
        ({}, "saved with --no_top_layer, it gives no states"),
        ({"layer": 2, **bare}, "--layer 2: .* was saved with layer 1 of 2"),
        ({"layer": 3, **bare}, "--layer 3: the model has 2 layers"),
        ({"max_seq_len": 41, **bare}, "--max_seq_len 41 is above the 40 positions"),
        ({"task_id": 3, **bare}, "--task_id 3 is outside the 3 task embeddings"),
    ):
        with pytest.raises(UserError, match=message):
            embed(model, rows, tmp_path / "i", **from_bundle(bundle, **changes))
    assert not (tmp_path / "i").exists()


def test_an_onnx_file(model, rows, tmp_path):
    pytest.importorskip("paddle2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    with redirect_stderr(io.StringIO()):
        main("x", words(model, None, tmp_path, save_inference_model_path=tmp_path, onnx="true"))
    folder = tmp_path / "params_inference_model"
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    batch = batch_of(3, 9)
    expected = InferenceModel.open(folder, use_cuda="false").run(batch)
    found = session.run(list(expected), {entry.name: batch[entry.name] for entry in session.get_inputs()})
    for name, array in zip(expected, found):
        np.testing.assert_allclose(array, expected[name], atol=1e-5)
