"""Checkpoints with just the files that the 2019 code wrote for each task: every command takes those of its task.

fixtures/checkpoints_2019.json has the names of the files, moments left out. A task over tokens has no pooler there.
"""

import io
import json
from contextlib import redirect_stderr

import numpy as np
import pytest

import finetune
from ernie.checkpoint import list_params, read_params
from ernie.config import ErnieConfig
from ernie.foreign import encoder_shapes
from ernie.optimization import AdamW, OptimizationConfig
from finetune import task_class
from finetune.classification.classifier import RankingClassifier
from finetune.prediction import main as prediction
from finetune.spec import ModelSpec, settings_of
from finetune.training.main import main
from propeller.errors import UserError
from propeller.train.model import RunMode
from propeller.train.trainer import Learner, RunConfig
from propeller.variables import write_variable
from tests.helpers.common import FIXTURES
from tests.helpers.embedding import embed
from tests.helpers.predicting import train, words
from tests.helpers.squad import squad
from tests.helpers.tagged import IOB, tagged, write_tagged
from tests.helpers.tiny import CONFIG, flags, make_data, make_model, write_tsv

NAMES = json.loads((FIXTURES / "checkpoints_2019.json").read_text(encoding="utf8"))
NETWORK = {**CONFIG, "num_hidden_layers": 1, "use_task_id": False}
POOLER = {"pooled_fc.w_0", "pooled_fc.b_0"}
OVER_TOKENS = ("sequence_label", "mrc")
HEADS = {  # parameter -> its shape, beside the encoder's
    "_cls_out_w": [32, 2], "_cls_out_b": [2], "cls_seq_label_out_w": [32, 5], "cls_seq_label_out_b": [5],
    "cls_mrc_out_w": [32, 2], "cls_mrc_out_b": [2],
}  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A model with the network of the fixture."""
    return make_model(tmp_path_factory.mktemp("model") / "small", num_hidden_layers=1, use_task_id=False)


def write_checkpoint(folder, case, without=()):
    """A folder with the files of a task's checkpoint: parameters, moments and what else 2019 left there."""
    folder.mkdir(parents=True)
    shapes = {**encoder_shapes(ErnieConfig(NETWORK)), **HEADS}
    if case == "regression":
        shapes.update(_cls_out_w=[32, 1], _cls_out_b=[1])
    random = np.random.RandomState(3)
    for name in NAMES[case]:
        if name not in shapes:
            write_variable(folder / name, np.zeros(1, "float32"))
        elif name not in without:
            array = (random.randn(*shapes[name]) * 0.1).astype("float32")
            write_variable(folder / name, array)
            write_variable(folder / f"{name}_moment1_0", array)
            write_variable(folder / f"{name}_beta1_pow_acc_0", np.ones(1, "float32"))
    return folder


def learner_of(task, flags, **values):
    spec = ModelSpec(task=task.name, settings=settings_of(task.flags, {}, flags), **values)

    def make(mode):
        optimizer = AdamW(OptimizationConfig(learning_rate=0.1, num_train_steps=3))
        return task(ErnieConfig(NETWORK), spec, mode, optimizer if mode is RunMode.TRAIN else None)

    return Learner(make, RunConfig())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "task", "flags", "values"),
    [
        ("classify", task_class("classify"), {}, {}),
        ("ranking", RankingClassifier, {}, {"metric": "acc_and_f1_and_mrr"}),
        ("regression", task_class("regression"), {}, {"num_labels": 1, "metric": "pearson_and_spearman"}),
        ("sequence_label", task_class("sequence_label"), {}, {"num_labels": 5, "label_map": IOB}),
        ("mrc", task_class("mrc"), {}, {}),
    ],
)
def test_what_a_network_uses_is_what_the_checkpoint_has(case, task, flags, values, tmp_path):
    stored = set(list_params(write_checkpoint(tmp_path / "checkpoint", case))[0])
    learner = learner_of(task, flags, **values)
    for mode in (RunMode.TRAIN, RunMode.PREDICT):
        unused = learner.unused_parameters(mode)
        assert unused == (POOLER if case in OVER_TOKENS else set())
        assert set(learner.parameter_shapes(mode)) - unused == stored


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Rows of both tasks over tokens, and of classification."""
    folder = make_data(tmp_path_factory.mktemp("data") / "task")
    write_tagged(folder / "tagged.tsv", tagged(16, 1, 9))
    (folder / "map.json").write_text(json.dumps(IOB))
    paragraphs = [(f"the cast was good {i}", [(f"q{i}", "the cast ?", "good", "good")]) for i in range(8)]
    squad(folder / "squad.json", *paragraphs)
    write_tsv(folder / "rows.tsv", [("good film",), ("a dull story .",)], ("text_a",))
    return folder


SCRIPTS = {
    "sequence_label": ("run_sequence_labeling.py", "infer_sequence_labeling.py", "tagged.tsv"),
    "mrc": ("run_mrc.py", "infer_mrc.py", "squad.json"),
    "classify": ("run_classifier.py", "infer_classifyer.py", "train.tsv"),
}


def options(case, place):
    return {"label_map_config": place / "map.json", "num_labels": 5} if case == "sequence_label" else {}


@pytest.mark.parametrize("case", SCRIPTS)
def test_training_goes_on_from_it(case, small, place, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "step_10", case)
    script, _, rows = SCRIPTS[case]
    given = {
        "train_set": place / rows,
        "dev_set": None,
        "test_set": None,
        "learning_rate": 1e-30,
    }  # changes no float32 weight
    given.update(init_checkpoint=checkpoint, init_pretraining_params=None, **options(case, place))
    last = read_params(train(script, case, small, place, tmp_path / "run", **given))
    for name in list_params(checkpoint)[0]:
        np.testing.assert_array_equal(last[name], read_params(checkpoint, [name])[name], err_msg=name)
    assert set(last) >= POOLER


@pytest.mark.parametrize("case", OVER_TOKENS)
def test_its_encoder_alone_begins_the_same_task(case, small, place, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "step_10", case)
    script, _, rows = SCRIPTS[case]
    given = {"train_set": place / rows, "dev_set": None, "test_set": None, "init_pretraining_params": checkpoint}
    train(script, case, small, place, tmp_path / "run", **given, **options(case, place))
    with pytest.raises(UserError, match=r"pooled_fc\.b_0 \(shape \[32\]\) and 1 more missing"):  # used there
        train("run_classifier.py", "classify", small, place, tmp_path / "other", init_pretraining_params=checkpoint)


@pytest.mark.parametrize("case", SCRIPTS)
def test_evaluation_and_prediction_agree(case, small, place, tmp_path):
    """run_*.py without training, and infer_*.py."""
    checkpoint = write_checkpoint(tmp_path / "step_10", case)
    script, infer, rows = SCRIPTS[case]
    given = {"do_train": "false", "init_checkpoint": checkpoint, "init_pretraining_params": None}
    given.update(train_set=None, dev_set=place / rows, test_set=place / rows, test_save=tmp_path / "saved.tsv")
    shown = io.StringIO()
    with redirect_stderr(shown):
        main(script, case, flags(small, place, tmp_path / "run", **given, **options(case, place)))
    assert "[dev evaluation]" in shown.getvalue()
    model = {"ernie_config_path": small / "ernie_config.json", "vocab_path": small / "vocab.txt", "for_cn": "false"}
    output = tmp_path / "predicted"
    given = {**model, "init_checkpoint": checkpoint, "predict_set": place / rows, "output": output, "max_seq_len": 24}
    prediction.main(infer, ("classify", "regression") if case == "classify" else (case,),
                    words(**given, **options(case, place)))  # fmt: skip
    if case == "sequence_label":
        ours, theirs = (path.read_text().splitlines() for path in (output, tmp_path / "saved.tsv"))
        assert [line.split("\t")[2] for line in ours[1:]] == [line.split("\t")[1] for line in theirs]
    elif case == "mrc":
        name = "predictions.json"
        assert json.loads((output / name).read_text()) == json.loads((tmp_path / "run" / f"dev_{name}").read_text())
    else:
        assert len(output.read_text().splitlines()) == 41


@pytest.mark.parametrize("case", ["sequence_label", "mrc"])
def test_embeddings_without_a_pooler(case, small, place, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "step_10", case)
    given = {"init_pretraining_params": None, "init_checkpoint": checkpoint}
    with pytest.raises(UserError, match=r"no pooled \[CLS\].*: give --pooling mean or max, or a --layer below the top"):
        embed(small, place / "rows.tsv", tmp_path / "cls", pooling="cls", **given)
    saved = {"save_inference_model_path": tmp_path / "saved"}
    found = embed(small, place / "rows.tsv", tmp_path / "mean", **given, **saved)
    assert "pooling mean: the weights have no pooled [CLS]" in found.log
    np.testing.assert_allclose(found.vectors, [states.mean(axis=0) for states in found.states], atol=1e-5)
    below = embed(small, place / "rows.tsv", tmp_path / "below", layer=0, **given)
    np.testing.assert_allclose(below.vectors, [states[0] for states in below.states], atol=1e-6)
    bundle = {**dict.fromkeys(("ernie_config_path", "vocab_path", "init_pretraining_params", "for_cn")),
              "inference_model": tmp_path / "saved" / "step_10_inference_model"}  # fmt: skip
    again = embed(small, place / "rows.tsv", tmp_path / "again", **bundle)
    np.testing.assert_allclose(again.vectors, found.vectors, atol=1e-6)
    with pytest.raises(UserError, match=r"has mean, max, first: give one of these"):
        embed(small, place / "rows.tsv", tmp_path / "no", pooling="cls", **bundle)


def test_embeddings_from_python_without_a_pooler(small, tmp_path):
    model = tmp_path / "model"
    write_checkpoint(model / "params", "mrc")
    for name in ("ernie_config.json", "vocab.txt"):
        (model / name).write_bytes((small / name).read_bytes())
    with finetune.load(model) as predictor:
        vectors = predictor.embed(["good film", "dull"])
        np.testing.assert_array_equal(vectors, predictor.embed(["good film", "dull"], pooling="mean"))
        with pytest.raises(ValueError, match="pooling must be one of mean, max, first"):
            predictor.embed(["good film"], pooling="cls")


@pytest.mark.parametrize("case", OVER_TOKENS)
def test_what_a_network_uses_is_demanded(case, small, place, tmp_path):
    lost = "encoder_layer_0_ffn_fc_1.w_0"
    checkpoint = write_checkpoint(tmp_path / "step_10", case, without=(lost,))
    script, _, rows = SCRIPTS[case]
    given = {"train_set": place / rows, "dev_set": None, "test_set": None, "init_pretraining_params": None}
    with pytest.raises(UserError, match=f"{lost}.* missing"):
        train(script, case, small, place, tmp_path / "run", init_checkpoint=checkpoint, **given, **options(case, place))
