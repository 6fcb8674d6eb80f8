"""A Hugging Face directory as ``--model``: trained, predicted with and embedded as it is, as its conversion would be.

pytest -q -x tests/finetune/test_hugging_face_folder.py
"""

import json
import logging
import shutil
import tempfile

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import finetune
from ernie.checkpoint import read_params
from ernie.convert import to_hf, to_params
from ernie.foreign_folder import place_of, ready
from finetune.classification.classifier import Classifier
from finetune.embedding.main import main as embed
from finetune.embedding.server import main as serve_vectors
from finetune.multitask.args import from_python
from finetune.prediction import main as prediction
from finetune.training.args import from_keywords
from finetune.training.heads import with_stored_head
from finetune.training.main import main
from finetune.training.runner import run
from finetune.training.settled import settle_run
from pretrain.training.args import parse as pretraining_flags
from pretrain.training.runner import Pretrainer
from propeller.errors import UserError
from propeller.train.hooks import RunHook
from tests.helpers.foreign_models import write_classifier
from tests.helpers.predicting import words
from tests.helpers.pretraining import make_shards, pretrain_flags
from tests.helpers.tiny import make_model, sentences, write_tsv

SHORT = {"for_cn": "false", "max_seq_len": 24, "batch_size": 8, "epoch": 1, "do_test": "false", "use_cuda": "false",
         "save_steps": 2, "fused_encoder": "false"}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """encoder: a Hugging Face encoder; converted: what the converter makes of it; labelled: a classifier on it, with
    the labels bad and good; rows.tsv: rows with these."""
    folder = tmp_path_factory.mktemp("foreign")
    make_model(folder / "model", num_hidden_layers=1, use_task_id=False)
    to_hf(folder / "model", folder / "encoder")
    to_params("hf", folder / "encoder", folder / "converted")
    write_classifier(folder / "labelled", folder / "encoder")
    rows = [("good" if label else "bad", text) for label, text in sentences(40, 1)]
    write_tsv(folder / "rows.tsv", rows)
    write_tsv(folder / "numbers.tsv", sentences(40, 1))
    return folder


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """The folder for temporary files; nothing of a conversion is left in it."""
    path = tmp_path / "scratch"
    path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    yield path
    assert [left.name for left in path.iterdir() if left.name.startswith("ernie-model-")] == []


def given(folder, model, checkpoints, rows="numbers.tsv", **changes):
    files = {"train_set": folder / rows, "dev_set": folder / rows, "checkpoints": checkpoints, "model": folder / model}
    return {**SHORT, **files, **changes}


def record(run):
    return json.loads((run / "run.json").read_text())["fingerprint"]


class Interrupted(RunHook):
    """Ends a run as a kill does."""

    def after_step(self, learner, state):
        if state.step == 3:
            raise KeyboardInterrupt


def test_a_run_is_that_of_the_converted_directory_and_goes_on(folder, scratch, tmp_path, capfd):
    main("p", "classify", words(**given(folder, "converted", tmp_path / "converted")))
    args = from_keywords(
        {**given(folder, "encoder", tmp_path / "foreign"), "for_cn": False, "do_test": False}, Classifier.flags
    )
    with pytest.raises(KeyboardInterrupt):
        run(Classifier, args, hooks=[Interrupted()])
    assert not list(scratch.glob("ernie-model-*"))
    capfd.readouterr()
    main("p", "classify", words(**given(folder, "encoder", tmp_path / "foreign")))
    said = capfd.readouterr().err + (tmp_path / "foreign" / "train.log").read_text()
    assert f"{folder / 'encoder'}: a Hugging Face model, converted" in said
    assert "step 2" in said
    assert str(scratch) not in said
    assert record(tmp_path / "foreign") == record(tmp_path / "converted")
    one, other = (read_params(tmp_path / name / "last") for name in ("foreign", "converted"))
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("rows", "changes", "said"),
    [
        ("rows.tsv", {}, "labelled is trained further (add --init_pretraining_params {model} for its encoder alone)"),
        ("numbers.tsv", {}, "labelled is not used: it has the labels bad, good, not 0 to 1"),
        ("rows.tsv", {"num_labels": 3}, "labelled is not used: it has the labels bad, good, not bad, good"),
        ("rows.tsv", {"label_map_config": {"good": 0, "bad": 1}}, "numbers its labels in another way"),
    ],
)
def test_a_head_is_used_where_it_fits(folder, tmp_path, caplog, rows, changes, said):
    if "label_map_config" in changes:
        changes = {"label_map_config": tmp_path / "map.json"}
        (tmp_path / "map.json").write_text('{"good": 0, "bad": 1}')
    flags = {**given(folder, "labelled", tmp_path / "run", rows, **changes), "for_cn": False, "do_test": False}
    args = from_keywords(flags, Classifier.flags)
    with ready(args.model.model), caplog.at_level(logging.INFO):
        found = with_stored_head(Classifier, args)[0].model
    assert said.format(model=folder / "labelled") in caplog.text
    source = str(place_of(folder / "labelled") / "params")
    weights = (source, None) if "further" in said else (None, source)
    assert (found.init_checkpoint, found.init_pretraining_params) == weights


@pytest.mark.parametrize("model", ["labelled", "labelled_converted"])
def test_the_encoder_or_the_head_of_a_directory_is_asked_for(folder, tmp_path, model):
    """Beside --model, a flag of weights may name the same directory."""
    if model == "labelled_converted":
        to_params("hf", folder / "labelled", folder / model)
    for place in (folder / model, folder / model / "params")[: 1 if model == "labelled" else 2]:
        for name, other in (
            ("init_pretraining_params", "init_checkpoint"), ("init_checkpoint", "init_pretraining_params"),
        ):  # fmt: skip
            flags = {**given(folder, model, tmp_path / "run", "rows.tsv"), "for_cn": False, "do_test": False}
            args = from_keywords({**flags, name: place}, Classifier.flags)
            with ready(args.model.model):
                found = with_stored_head(Classifier, args)[0].model
            source = place_of(folder / model) if model == "labelled" else folder / model
            assert (getattr(found, name), getattr(found, other)) == (str(source / "params"), None)


def test_the_training_file_is_looked_through_for_labels_once(folder, tmp_path, caplog, monkeypatch):
    """Whether the head fits or not."""
    looked = []
    words_of = Classifier.label_words.__func__
    monkeypatch.setattr(
        Classifier, "label_words", classmethod(lambda cls, *args: looked.append(args[0]) or words_of(cls, *args))
    )
    alike = write_tsv(tmp_path / "alike.tsv", [("good", "good film"), ("bad", "dull film"), ("Good", "fine film")] * 2)
    for rows, warned in ((folder / "rows.tsv", 0), (alike, 1)):
        flags = {**given(folder, "labelled", tmp_path / "run", rows), "for_cn": False, "do_test": False}
        args = from_keywords(flags, Classifier.flags)
        looked.clear()
        caplog.clear()
        with ready(args.model.model), caplog.at_level(logging.INFO):
            settle_run(Classifier, *with_stored_head(Classifier, args))
        assert looked == [str(rows)]
        assert caplog.text.count("are classes of their own") == warned
        assert caplog.text.count("labels found in") == warned


def test_a_head_of_another_task_is_not_used(folder, tmp_path, caplog):
    flags = {**given(folder, "labelled", tmp_path / "run"), "for_cn": False, "do_test": False, "is_regression": True}
    args = from_keywords(flags, Classifier.flags)
    with ready(args.model.model), caplog.at_level(logging.INFO):
        assert with_stored_head(Classifier, args)[0].model.init_checkpoint is None
    assert "it is for the task classify, not regression" in caplog.text


def test_a_run_that_began_with_the_encoder_alone_goes_on_so(folder, tmp_path):
    began = tmp_path / "run"
    (began / "step_2").mkdir(parents=True)
    kind = {"initial_weights": {"kind": "init_pretraining_params"}}
    (began / "run.json").write_text(json.dumps({"fingerprint": kind, "finished": False}))
    flags = {**given(folder, "labelled", began, "rows.tsv"), "for_cn": False, "do_test": False}
    for overwrite in (False, True):
        args = from_keywords({**flags, "overwrite": overwrite}, Classifier.flags)
        with ready(args.model.model):
            assert (with_stored_head(Classifier, args)[0].model.init_checkpoint is not None) is overwrite


def test_a_fine_tuned_one_is_evaluated_predicted_with_and_trained_further(folder, tmp_path, capfd, scratch):
    """Its labels, and before training its head, are those of ``finetune.load``."""
    rows, out = tmp_path / "new.tsv", tmp_path / "out.tsv"
    texts = [text for _, text in sentences(5, 7)]
    write_tsv(rows, [(text,) for text in texts], ("text_a",))
    with finetune.load(folder / "labelled", use_cuda=False) as loaded:
        wanted = [answer["label"] for answer in loaded(texts)]
    prediction.main("p", (), words(model=folder / "labelled", predict_set=rows, output=out, use_cuda="false"))
    header, *lines = (line.split("\t") for line in out.read_text(encoding="utf8").splitlines())
    assert [line[header.index("label")] for line in lines] == wanted
    capfd.readouterr()
    flags = given(folder, "labelled", tmp_path / "run", "rows.tsv")
    main("p", "classify", words(**flags))
    assert record(tmp_path / "run")["initial_weights"]["kind"] == "init_checkpoint"
    assert record(tmp_path / "run")["label_map"] == {"bad": 0, "good": 1}
    said = capfd.readouterr().err
    assert "trained further" in said
    assert str(scratch) not in said


def test_vectors_of_an_encoder_without_a_pooler_are_means(folder, tmp_path, scratch, capfd):
    """Fine-tuning draws a pooler; there is none to make vectors of."""
    bare = shutil.copytree(folder / "encoder", tmp_path / "bare")
    weights = {name: each for name, each in load_file(bare / "model.safetensors").items() if "pooler" not in name}
    save_file(weights, bare / "model.safetensors", metadata={"format": "pt"})
    rows = write_tsv(tmp_path / "rows.tsv", [("good film",), ("bad",)], ("text_a",))
    embed("p", words(model=bare, data_set=rows, output_dir=tmp_path / "out", use_cuda="false", no_top_layer="true"))
    described = json.loads((tmp_path / "out" / "embeddings.json").read_text())
    assert (described["pooling"], described["model"]) == ("mean", str(bare))
    assert str(scratch) not in capfd.readouterr().err
    with finetune.load(bare, use_cuda=False) as loaded, pytest.raises(ValueError, match="one of mean, max, first$"):
        loaded.embed(["good film"], pooling="cls")
    with pytest.raises(UserError, match=rf"^{bare}: has no pooled \[CLS\]: give --encode_layer layer1 to layer1"):
        serve_vectors(["--model", str(bare), "--use_cuda", "false"])
    with ready(bare):
        assert "pooled_fc.w_0" in read_params(place_of(bare) / "params")


def test_pre_training_and_several_tasks_take_it(folder, tmp_path):
    shards = make_shards(tmp_path / "shards")
    model = folder / "encoder"
    flags = pretrain_flags(model, shards, tmp_path / "run", ernie_config_path=None, vocab_path=None)
    args = pretraining_flags("train.py", "", ["--model", str(model), *flags])
    with ready(model):
        assert Pretrainer(args).config.num_hidden_layers == 1
    assert args.model.init_pretraining_params == str(place_of(model) / "params")
    task = {"name": "one", "task": "classify", "train_set": str(folder / "rows.tsv")}
    (entry,) = from_python({"model": str(model), "tasks": [task], "do_val": False, "do_test": False}).entries
    assert entry.args.model.init_pretraining_params == str(place_of(model) / "params")


def test_the_place_depends_on_the_files_of_the_model_alone(folder, tmp_path):
    copy = shutil.copytree(folder / "encoder", tmp_path / "copy")
    place = place_of(copy)
    for name in ("run/run.json", "train.log", "predictions.tsv"):
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).touch()
    assert place_of(copy) == place
    assert place_of(copy, pooler=False) != place != place_of(folder / "encoder")
    for name in ("vocab.txt", "1_Pooling/config.json"):
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_text("other")
        assert place_of(copy) != place
        place = place_of(copy)


def test_what_the_converter_refuses_is_named_with_the_command_that_takes_it(folder, tmp_path, scratch):
    odd = shutil.copytree(folder / "encoder", tmp_path / "odd")
    weights = {**load_file(odd / "model.safetensors"), "adapter.weight": np.zeros(3, np.float32)}
    save_file(weights, odd / "model.safetensors", metadata={"format": "pt"})
    command = f"python -m ernie.convert --from hf --to params {odd} NEW, and give --model NEW"
    with pytest.raises(UserError, match=rf"^{odd}: .*adapter.weight.*--ignore_unexpected.*, a flag of {command}$"):
        main("p", "classify", words(**given(folder, odd, tmp_path / "run")))
    weights = load_file(folder / "encoder/model.safetensors")
    theirs = {name.replace("encoder.layer.", "encoder.layers."): each for name, each in weights.items()}
    save_file(theirs, odd / "model.safetensors", metadata={"format": "pt"})
    command = f"python -m ernie.convert --to params {odd} NEW"
    with pytest.raises(UserError, match=rf"give --from paddlenlp, a flag of {command}"):
        main("p", "classify", words(**given(folder, odd, tmp_path / "run")))
    assert not (tmp_path / "run").exists()


def test_a_tagger_without_a_pooler_is_used_without_one(folder, tmp_path, capfd):
    """Such models are saved without it; nothing is drawn that would have to be trained."""
    tagger = shutil.copytree(folder / "encoder", tmp_path / "tagger")
    weights = {
        f"bert.{name.removeprefix('bert.')}": each
        for name, each in load_file(tagger / "model.safetensors").items()
        if "pooler" not in name
    }
    config = json.loads((tagger / "config.json").read_text())
    head = np.linspace(-1, 1, 3 * config["hidden_size"], dtype=np.float32).reshape(3, -1)
    weights.update({"classifier.weight": head, "classifier.bias": np.zeros(3, np.float32)})
    save_file(weights, tagger / "model.safetensors", metadata={"format": "pt"})
    labels = {"B-A": 0, "I-A": 1, "O": 2}
    config.update(architectures=["BertForTokenClassification"], label2id=labels)
    (tagger / "config.json").write_text(
        json.dumps({**config, "id2label": {number: tag for tag, number in labels.items()}})
    )
    rows = write_tsv(tmp_path / "rows.tsv", [("B-A O", "good film"), ("O O", "the story")])
    with finetune.load(tagger, use_cuda=False) as loaded:
        wanted = [" ".join(token["tag"] for token in answer["tokens"]) for answer in loaded(["good film", "the story"])]
    prediction.main("p", (), words(model=tagger, predict_set=rows, output=tmp_path / "out.tsv", use_cuda="false"))
    header, *lines = (line.split("\t") for line in (tmp_path / "out.tsv").read_text().splitlines())
    assert [line[header.index("tags")] for line in lines] == wanted
    given = {"dev_set": rows, "do_train": "false", "do_test": "false", "max_seq_len": 24, "use_cuda": "false"}
    main("p", "sequence_label", words(model=tagger, **given))
    said = capfd.readouterr().err
    assert "dev evaluation" in said
    assert "drawn anew" not in said
