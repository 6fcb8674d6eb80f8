"""``--model DIR``: the flags that it stands for in every program, what wins over it, and what a directory may lack."""

import json

import numpy as np
import pytest

import finetune
from ernie.config import ErnieConfig
from ernie.foreign_folder import place_of
from ernie.model_folder import look_into
from finetune.classification.classifier import Classifier
from finetune.embedding.args import parse as embedding_flags
from finetune.prediction import main as prediction
from finetune.prediction.args import parse as prediction_flags
from finetune.training.args import from_keywords
from finetune.training.args import parse as training_flags
from finetune.training.main import main
from finetune.training.result import result_of
from finetune.training.settled import settle_run
from pretrain.training.args import parse as pretraining_flags
from propeller.errors import UserError
from tests.helpers.predicting import TASKS, words
from tests.helpers.tiny import CONFIG

FLAGS = ("ernie_config_path", "vocab_path", "init_checkpoint", "init_pretraining_params")
PROGRAMS = {
    "train": lambda *argv: training_flags("p", "", ["--train_set", "t", *argv]),
    "evaluate": lambda *argv: training_flags("p", "", ["--do_train", "false", "--dev_set", "d", *argv]),
    "predict": lambda *argv: prediction_flags("p", "", ["--predict_set", "t", *argv]),
    "embed": lambda *argv: embedding_flags("p", "", ["--data_set", "t", *argv]),
    "pretrain": lambda *argv: pretraining_flags("p", "", ["--train_filelist", "t", *argv]),
    "fill": lambda *argv: pretraining_flags("p", "", ["--predict_mask", "t", *argv]),
}


@pytest.fixture
def places(tmp_path):
    """name -> directory of each kind of model; the files are empty where flags do not read them."""
    folders = {name: tmp_path / name for name in ("released", "best", "step_3", "bundle", "foreign", "run", "empty")}
    folders["step_3"] = tmp_path / "pretraining" / "step_3"
    for folder in folders.values():
        folder.mkdir(parents=True)
    released = folders["released"]
    (released / "params").mkdir()
    for path in (released / "vocab.txt", folders["best"] / "vocab.txt", tmp_path / "pretraining" / "vocab.txt"):
        path.touch()
    (released / "ernie_config.json").write_text(json.dumps(CONFIG))
    records = {"best": {"task": "classify"}, "step_3": {"task": "knowledge_masking", "tasks": {}}}
    for name, record in records.items():
        (folders[name] / "checkpoint.json").write_text(json.dumps({**record, "ernie_config": CONFIG}))
    (folders["bundle"] / "bundle.json").touch()
    (folders["foreign"] / "config.json").touch()
    for folder in (folders["run"], tmp_path / "pretraining"):
        (folder / "run.json").touch()
    folders["file"] = released / "weights.bin"
    folders["file"].touch()
    (folders["run"] / "last").mkdir()
    folders["run/best"] = folders["run"] / "best"
    return folders


def parts(folder, weights, config="ernie_config.json", vocab="vocab.txt", params="params"):
    return {"ernie_config_path": folder / config, "vocab_path": folder / vocab, weights: folder / params}


def expected(program, name, folder):
    """flag -> path that a program takes from a directory."""
    if program == "predict":
        beside = {"vocab_path": folder / "../vocab.txt"} if name == "step_3" else {}
        return {"init_checkpoint": folder / "params" if name == "released" else folder, **beside}
    if name == "released":
        of_encoder = "init_checkpoint" if program in ("evaluate", "fill") else "init_pretraining_params"
        return parts(folder, of_encoder)
    taken = {
        "train": "init_checkpoint" if name == "best" else "init_pretraining_params",
        "pretrain": "init_pretraining_params",
    }
    vocab = "vocab.txt" if name == "best" else "../vocab.txt"
    return parts(folder, taken.get(program, "init_checkpoint"), "checkpoint.json", vocab, ".")


@pytest.mark.parametrize("name", ["released", "best", "step_3"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_it_stands_for_the_flags_of_its_parts(program, name, places):
    model = PROGRAMS[program]("--model", str(places[name])).model
    found = {flag: value for flag in FLAGS if (value := getattr(model, flag, None))}
    wanted = {flag: path.resolve() for flag, path in expected(program, name, places[name]).items()}
    assert {flag: type(places[name])(value).resolve() for flag, value in found.items()} == wanted


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_flag_that_is_given_wins(program, places):
    folder = str(places["released"])
    given = {"ernie_config_path": "mine.json", "vocab_path": "mine.txt", "init_checkpoint": "mine"}
    model = PROGRAMS[program]("--model", folder, *words(use_cuda="false", **given)).model
    assert {flag: getattr(model, flag) for flag in given} == given
    assert not getattr(model, "init_pretraining_params", None)


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_is_missing_is_named_unless_it_is_given(program, places):
    folder = places["released"]
    (folder / "vocab.txt").unlink()
    with pytest.raises(UserError, match="has no vocab.txt: give --vocab_path, or a directory containing params/"):
        PROGRAMS[program]("--model", str(folder))
    PROGRAMS[program]("--model", str(folder), "--vocab_path", "mine.txt")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "no such directory; give that of a model or a checkpoint; no model is downloaded by its name"),
        ("file", "weights.bin: is a file; give the directory that it is in"),
        ("empty", "has no ernie_config.json and no vocab.txt and no params/"),
        ("run", "is the directory of a run; name a checkpoint of the run, such as .*run/last"),
        ("run/best", "run/best: no such directory; name a checkpoint of the run, such as .*run/last"),
    ],
)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_directory_that_is_no_model(program, name, message, places):
    with pytest.raises(UserError, match=message):
        PROGRAMS[program]("--model", str(places.get(name, name)))


@pytest.mark.parametrize("program", PROGRAMS)
def test_of_a_hugging_face_model_flags_name_the_parts_that_its_conversion_will_have(program, places):
    model = PROGRAMS[program]("--model", str(places["foreign"])).model
    place = place_of(places["foreign"], pooler=program in ("train", "pretrain", "fill"))
    found = {flag: value for flag in FLAGS if (value := getattr(model, flag, None))}
    assert found == {flag: str(path) for flag, path in expected(program, "released", place).items()}
    assert not place.exists()


def test_an_inference_model_predicts_and_trains_nothing(places):
    folder = str(places["bundle"])
    for program in ("predict", "embed"):
        assert PROGRAMS[program]("--model", folder).model.inference_model == folder
    for program in ("train", "evaluate", "pretrain"):
        with pytest.raises(UserError, match="an inference model, which only predicts: give the checkpoint"):
            PROGRAMS[program]("--model", folder)


def test_its_params_mean_the_directory_around_them(places):
    folder = places["released"]
    assert look_into(str(folder / "params")).parts == look_into(str(folder)).parts


def test_python_takes_params_too(model):
    with finetune.load(model / "params", use_cuda=False) as one, finetune.load(model, use_cuda=False) as other:
        assert np.array_equal(one.embed(["good"]), other.embed(["good"]))


def test_python_says_that_a_directory_is_of_a_run(places):
    with pytest.raises(
        UserError, match=r"run: is the directory of a run; name a checkpoint of the run, such as .*last"
    ):
        finetune.load(places["run"])


def test_prediction_says_that_a_directory_is_of_a_run(places):
    with pytest.raises(
        UserError, match=r"run: is the directory of a run; name a checkpoint of the run, such as .*last"
    ):
        prediction.main("p", (), words(model=places["run"], predict_set="t"))


def test_a_checkpoint_of_another_task_is_told_before_its_labels_are_taken(places):
    record = {"task": "sentence_vectors", "num_labels": 1, "ernie_config": CONFIG}
    (places["best"] / "checkpoint.json").write_text(json.dumps(record))
    args = from_keywords({"model": places["best"], "train_set": "t"}, Classifier.flags)
    with pytest.raises(
        UserError, match="task is 'sentence_vectors', this run's 'classify': .*encoder alone with --init_pretraining"
    ):
        settle_run(Classifier, args)


def test_keywords_take_it_too(places):
    args = from_keywords({"model": places["best"], "train_set": "t"})
    assert args.model.init_checkpoint == str(places["best"])


def test_a_network_is_read_from_a_checkpoint(places):
    assert ErnieConfig(places["best"] / "checkpoint.json").to_dict() == CONFIG
    (places["best"] / "checkpoint.json").write_text("{}")
    with pytest.raises(UserError, match="does not say what network it is of"):
        ErnieConfig(places["best"] / "checkpoint.json")
    with pytest.raises(UserError, match="has no ernie_config.json"):
        training_flags("p", "", ["--train_set", "t", "--model", str(places["best"])])


def test_from_a_model_to_predictions(model, data, tmp_path):
    """Train, train on from the checkpoint with its head, evaluate it and predict with it, by the one flag."""
    short = {"for_cn": "false", "max_seq_len": 24, "batch_size": 8, "epoch": 1, "do_test": "false"}
    files = {"train_set": data / "train.tsv", "dev_set": data / "dev.tsv"}
    first, second = tmp_path / "first", tmp_path / "second"
    main("p", "classify", words(**short, **files, model=model, checkpoints=first))
    main("p", "classify", words(**short, **files, model=first / "best", checkpoints=second))
    record = json.loads((second / "run.json").read_text())["fingerprint"]
    assert record["initial_weights"]["kind"] == "init_checkpoint"
    assert "--model" not in record["flag"]
    assert result_of(second).step == 5
    main("p", "classify", words(max_seq_len=24, dev_set=data / "dev.tsv", do_train="false", model=second / "best"))
    out = tmp_path / "out.tsv"
    given = {"model": second / "best", "predict_set": data / "test.tsv", "output": out}
    prediction.main("p", TASKS["infer_classifyer.py"], words(**given))
    assert len(out.read_text(encoding="utf8").splitlines()) == 1 + 7
