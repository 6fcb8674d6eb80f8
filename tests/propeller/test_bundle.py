"""Bundles: what is written, that damage is found, that paddle.inference and ONNX compute what the Executor does.

pytest -q -x tests/propeller/test_bundle.py
"""

import json
import shutil

import numpy as np
import pytest

from ernie.export import export_bundle
from finetune import TASKS
from finetune.prediction.model import InferenceModel
from propeller import runtime
from propeller.bundle import MANIFEST, find_bundle, read_bundle
from propeller.errors import UserError
from propeller.service.predictor import Predictor
from tests.helpers.bundle import batch_of, export, learner_of


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, model):
    return export(tmp_path_factory.mktemp("bundle") / "step_7_inference_model", model)[1]


@pytest.fixture
def copy(bundle, tmp_path):
    return shutil.copytree(bundle, tmp_path / "copy")


def test_holds_what_prediction_needs(bundle):
    read = read_bundle(bundle)
    assert sorted(read.files) == ["ernie_config.json", "model.json", "model.pdiparams", "vocab.txt"]
    assert read.task == "classify"
    assert read.outputs == ["logits", "probs"]
    assert read.inputs[0] == {"name": "src_ids", "shape": [None, None], "dtype": "int64"}
    assert [entry["name"] for entry in read.inputs] == ["src_ids", "sent_ids", "pos_ids", "task_ids", "input_mask"]
    assert read.meta["max_seq_len"] == 24


def test_an_input_that_nothing_uses_is_not_asked_for(tmp_path, model):
    _, folder = export(tmp_path / "b", model, use_task_id=False)
    assert "task_ids" not in [entry["name"] for entry in read_bundle(folder).inputs]
    batch = batch_of(2, 5)
    outputs = Predictor(read_bundle(folder)).run(batch)  # with task_ids in the batch
    assert outputs["probs"].shape == (2, 3)


@pytest.mark.parametrize("task", TASKS)
def test_equals_the_executor(task, tmp_path, model):
    learner, folder = export(tmp_path / "b", model, task)
    predictor = Predictor(read_bundle(folder))
    for rows, length in ((1, 2), (3, 3), (5, 24), (2, 24)):
        batch = batch_of(rows, length)
        expected, _ = next(learner.predict([(batch, None)]))
        found = predictor.run(batch)
        assert list(found) == list(expected)
        real = batch["input_mask"].astype(bool)
        for name, array in found.items():
            here, there = array, expected[name]
            if (
                array.shape[:2] == real.shape
                and array.ndim > 1
                and task in ("sequence_label", "sequence_label_crf", "student_sequence_label", "mrc")
            ):
                here, there = here[real], there[real]  # padded places attend everywhere, float32 keeps 1e-3 there
            np.testing.assert_allclose(here, there, atol=1e-5)  # the project's bound against 2019


def test_bf16_is_near_and_comes_as_float32(bundle):
    if not runtime.cpu_has_bf16():
        pytest.skip("this processor has no AVX-512 for bfloat16")
    batch = batch_of(8, 24)
    exact = Predictor(read_bundle(bundle)).run(batch)["logits"]
    found = Predictor(read_bundle(bundle), "bf16").run(batch)["logits"]
    assert found.dtype == np.float32
    assert not np.array_equal(found, exact)  # it is another arithmetic
    np.testing.assert_allclose(found, exact, atol=0.05 * np.abs(exact).max())


def test_onnx_file_computes_the_same(tmp_path, model):
    pytest.importorskip("paddle2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    learner, folder = export(tmp_path / "b", model, onnx=True)
    assert "model.onnx" in read_bundle(folder).files
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    assert [entry.name for entry in session.get_outputs()] == ["logits", "probs"]
    for rows, length in ((1, 3), (4, 24)):
        batch = batch_of(rows, length)
        expected, _ = next(learner.predict([(batch, None)]))
        found = session.run(["logits"], {entry.name: batch[entry.name] for entry in session.get_inputs()})[0]
        np.testing.assert_allclose(found, expected["logits"], atol=1e-5)


def test_an_onnx_file_that_computes_something_else_is_refused(tmp_path, model):
    """paddle2onnx 2.1.0 reads the slope of leaky ReLU, a 64-bit attribute of Paddle 3.3, as 0 (its issue 1646)."""
    pytest.importorskip("paddle2onnx")
    pytest.importorskip("onnxruntime")
    with pytest.raises(UserError, match=r"'leaky_relu'\): ONNX Runtime computes \w+ otherwise, by .*leave out --onnx"):
        export(tmp_path / "b", model, onnx=True, hidden_act="leaky_relu")
    assert not (tmp_path / "b").exists()


def test_the_onnx_file_is_made_without_installing_anything(tmp_path, model, monkeypatch):
    """Neither pip nor the tool that calls it is touched: both leave a mark here."""
    pytest.importorskip("paddle2onnx")
    pytest.importorskip("onnxruntime")
    for name in ("pip", "polygraphy"):
        (tmp_path / "traps" / name).mkdir(parents=True)
        mark = f"open({str(tmp_path / 'touched')!r}, 'a').write({name!r})\nraise ImportError\n"
        for file in ("__init__.py", "__main__.py"):
            (tmp_path / "traps" / name / file).write_text(mark)
    monkeypatch.syspath_prepend(str(tmp_path / "traps"))
    _, folder = export(tmp_path / "b", model, onnx=True)
    assert (folder / "model.onnx").is_file()
    assert not (tmp_path / "touched").exists()


def test_a_flipped_byte_is_found_in_every_file(copy):
    for path in sorted(copy.iterdir()):
        whole = path.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 2):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(UserError, match=f"{path.name}: .*(damaged|format)"):
                read_bundle(copy)
        path.write_bytes(whole)
    read_bundle(copy)


def test_a_missing_or_cut_file_is_named(copy):
    for name in read_bundle(copy).files:
        path = copy / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        with pytest.raises(UserError, match=rf"{name}: {len(whole) - 1} bytes, {len(whole)} were written"):
            read_bundle(copy)
        path.unlink()
        with pytest.raises(UserError, match=rf"{name}: missing from the bundle"):
            read_bundle(copy)
        path.write_bytes(whole)
    (copy / MANIFEST).unlink()
    with pytest.raises(UserError, match="no bundle.json"):
        read_bundle(copy)


def test_another_version_is_named(copy):
    manifest = json.loads((copy / MANIFEST).read_text(encoding="utf-8"))
    (copy / MANIFEST).write_text(json.dumps({**manifest, "format": 99}), encoding="utf-8")
    with pytest.raises(UserError, match="format 99, this version reads 1"):
        read_bundle(copy)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"format": 1}', '{"format": 1, "sha256": 3}'])
def test_a_manifest_that_is_none(copy, text):
    (copy / MANIFEST).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="bundle.json: "):
        read_bundle(copy)


def test_is_found_one_level_down(bundle, tmp_path):
    assert find_bundle(bundle.parent) == bundle
    for name in "ab":
        shutil.copytree(bundle, tmp_path / name)
    with pytest.raises(UserError, match="several bundles: give one of a, b"):
        find_bundle(tmp_path)
    with pytest.raises(UserError, match="no such directory"):
        find_bundle(tmp_path / "nowhere")


def test_is_not_written_over_unless_told(tmp_path, model):
    _, folder = export(tmp_path / "b", model)
    before = (folder / MANIFEST).read_bytes()
    with pytest.raises(UserError, match="exists already"):
        export(folder, model)
    assert (folder / MANIFEST).read_bytes() == before
    export(folder, model, task="regression", overwrite=True)
    assert read_bundle(folder).task == "regression"


def test_a_failure_leaves_nothing(tmp_path, model):
    learner, _ = learner_of("classify")

    def fail(folder, outputs):
        raise RuntimeError("disk")

    with pytest.raises(RuntimeError):
        learner.export(tmp_path / "b", "classify", {}, {"vocab.txt": model / "vocab.txt"}, extend=fail)
    with pytest.raises(UserError, match="nowhere.txt: cannot be copied"):
        learner.export(tmp_path / "b", "classify", {}, {"vocab.txt": model / "nowhere.txt"})
    assert list(tmp_path.iterdir()) == []


def test_what_the_predictor_refuses(bundle):
    read = read_bundle(bundle)
    with pytest.raises(UserError, match="--precision int4: unknown"):
        Predictor(read, "int4")
    predictor = Predictor(read)
    batch = batch_of(2, 4)
    with pytest.raises(UserError, match="takes pos_ids, which the batch lacks"):
        predictor.run({name: array for name, array in batch.items() if name != "pos_ids"})
    with pytest.raises(UserError, match="src_ids has 1 axes, the model takes 2"):
        predictor.run({**batch, "src_ids": batch["src_ids"][0]})


def test_opened_for_text(bundle, copy, data):
    opened = InferenceModel.open(bundle, use_cuda="false")
    assert opened.labels == ["no", "yes", "maybe"]
    reader = opened.reader(str(data / "test.tsv"), batch_size=4)
    rows = sum(len(opened.run(batch)["probs"]) for batch, _ in reader.batches(None))
    assert rows == reader.num_examples == 7


def test_a_vocabulary_that_is_not_the_models(copy, model, tmp_path):
    words = (model / "vocab.txt").read_text().split("\n")
    words[7], words[8] = words[8], words[7]
    learner, config = learner_of("classify")
    other = tmp_path / "vocab.txt"
    other.write_text("\n".join(words))
    facts = read_bundle(copy).meta
    folder = export_bundle(learner, tmp_path / "b", {**facts, "task": "classify"}, config, other)
    with pytest.raises(UserError, match="vocab.txt: with it the tokenizer is not the one the model was trained with"):
        InferenceModel.open(folder)
    export_bundle(learner, folder, {**facts, "task": "unheard"}, config, other, overwrite=True)
    with pytest.raises(UserError, match="its task 'unheard' is unknown here"):
        InferenceModel.open(folder)
