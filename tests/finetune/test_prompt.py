"""Classification by a word at a mask: rows, scores beside a hand computation, zero-shot prediction and a run.

python -m pytest tests/finetune/test_prompt.py            # what takes seconds
python -m pytest tests/finetune/test_prompt.py -m slow    # the runs
"""

import json
import shutil

import numpy as np
import paddle
import pytest

import finetune
from ernie.config import ErnieConfig
from finetune.prediction import main as prediction
from finetune.prompt.task import PromptClassifier
from finetune.prompt.words import Verbalizer, label_words
from finetune.serving.handler import open_handler
from finetune.spec import ModelSpec
from finetune.training.args import from_keywords
from finetune.training.main import main
from finetune.training.settled import settle_run
from propeller.errors import UserError
from propeller.service.errors import BadRequest
from propeller.service.limits import Limits
from propeller.train.model import RunMode
from propeller.variables import write_variable
from reader.prompts import Prompt, PromptReader, check_template
from tests.helpers.predicting import table, words
from tests.helpers.runs import in_processes, read_records
from tests.helpers.served import make_bundle
from tests.helpers.tiny import CONFIG, VOCABULARY, flags, make_data, make_model, write_tsv
from tokenization import build_tokenizer

WORDS = "0=bad,1=good"
LONGER = "0=bad,1=good story"
TEMPLATE = "{text_a} it was {mask} ."
FAST = {"learning_rate": 4e-3, "warmup_proportion": 0, "epoch": 4, "batch_size": 8, "validation_steps": 10,
        "eval_strategy": "steps", "save_steps": 0, "skip_steps": 60, "template": TEMPLATE, "label_words": WORDS,
        "label_map_config": None}  # fmt: skip


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """A model with the head of masked words, and a task."""
    folder = tmp_path_factory.mktemp("prompt")
    make_model(folder / "model", num_hidden_layers=1)
    random, hidden, size = np.random.RandomState(6), CONFIG["hidden_size"], len(VOCABULARY)
    head = {
        "mask_lm_trans_fc.w_0": (random.randn(hidden, hidden) * 0.1).astype("float32"),
        "mask_lm_trans_fc.b_0": np.zeros(hidden, "float32"),
        "mask_lm_trans_layer_norm_scale": np.ones(hidden, "float32"),
        "mask_lm_trans_layer_norm_bias": np.zeros(hidden, "float32"),
        "mask_lm_out_fc.b_0": (random.randn(size) * 0.1).astype("float32"),
    }
    for name, array in head.items():
        write_variable(folder / "model" / "params" / name, array)
    make_data(folder / "data")
    (folder / "labels.json").write_text(json.dumps({"0": 0, "1": 1}))
    return folder


@pytest.fixture(scope="module")
def tokenizer(task):
    return build_tokenizer("FullTokenizer", str(task / "model" / "vocab.txt"), True, False)


def spec_of(tokenizer, words=LONGER, template=TEMPLATE, **changes):
    settings = PromptClassifier.flags(template, words)
    spec = ModelSpec(task="prompt", label_map={"0": 0, "1": 1}, settings=settings, max_seq_len=24, for_cn=False)
    return PromptClassifier.with_vocabulary(spec.replace(**changes), tokenizer)


# ---------------------------------------------------------------- rows and words


def pieces(ids):
    return " ".join(VOCABULARY[number] for number in ids)


def test_rows_stand_in_the_template(tokenizer, tmp_path):
    """A row for each number of pieces; the texts are cut, the template is not."""
    prompt = Prompt.of(TEMPLATE, tokenizer, (1, 2))
    path = write_tsv(tmp_path / "rows.tsv", [(0, "a film"), (1, "the story was very bright and fine")])
    reader = PromptReader(path, tokenizer, prompt=prompt, num_labels=2, max_seq_len=10, batch_size=2)
    batch, _ = next(reader.batches())
    assert next(iter(batch)) == "prompt_rows"
    assert batch["prompt_rows"].tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]
    found = [pieces(row[mask > 0]) for row, mask in zip(batch["src_ids"], batch["input_mask"])]
    unknown = "[UNK]"  # "it" is not in the vocabulary
    assert found == [
        f"[CLS] a film {unknown} was [MASK] . [SEP]",
        f"[CLS] a film {unknown} was [MASK] [MASK] . [SEP]",
        f"[CLS] the story was {unknown} was [MASK] . [SEP]",
        f"[CLS] the story was {unknown} was [MASK] [MASK] . [SEP]",
    ]
    assert reader.stats["truncated"] == 1
    assert not batch["sent_ids"].any()


def test_pairs_and_segments(tokenizer, tmp_path):
    prompt = Prompt.of("{text_a} {mask} {sep} {text_b}", tokenizer, (1,))
    path = write_tsv(tmp_path / "rows.tsv", [("a film", "the cast")], ("text_a", "text_b"))
    batch, _ = next(
        PromptReader(path, tokenizer, prompt=prompt, label_kind=None, max_seq_len=24, batch_size=1).batches()
    )
    assert pieces(batch["src_ids"][0]) == "[CLS] a film [MASK] [SEP] the cast [SEP]"
    assert batch["sent_ids"][0].tolist() == [0] * 5 + [1] * 3
    for template, header, message in (
        ("{text_a} {mask}", ("text_a", "text_b"), "has a column text_b, and --template no place"),
        ("{text_a} {mask} {text_b}", ("text_a",), "has no column text_b"),
    ):
        rows = write_tsv(tmp_path / "other.tsv", [("a film", "the cast")[: len(header)]], header)
        with pytest.raises(UserError, match=message):
            PromptReader(rows, tokenizer, prompt=Prompt.of(template, tokenizer, (1,)), label_kind=None, max_seq_len=24,
                         batch_size=1)  # fmt: skip


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{text_a}", "has {mask} 0 times"),
        ("{mask}", "has {text_a} 0 times"),
        ("{text_a} {mask} {mask}", "has {mask} 2 times"),
        ("{text_a} {text} {mask}", "{text} is no place"),
    ],
)
def test_a_template_without_its_places(template, message):
    with pytest.raises(UserError) as error:
        check_template(template)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("0=bad", "the label '1' has no word"),
        ("0=bad,1=", "'1=' is no LABEL=WORD"),
        ("0=bad,2=good", "'2' is no label of the model"),
        ("0=bad,0=good", "'0' has two words"),
        ("0=bad,1=bad", "the labels '0' and '1' have the same word"),
        ("0=bad,1=xyz", "the word 'xyz' of the label '1' has pieces that the vocabulary lacks"),
    ],
)
def test_words_that_tell_no_labels(given, message, tokenizer):
    with pytest.raises(UserError) as error:
        spec_of(tokenizer, given)
    assert message in str(error.value)


def test_labels_are_their_own_words():
    assert label_words(None, ["good", "bad"]) == ["good", "bad"]
    assert label_words(" bad = dull , good=fine", ["good", "bad"]) == ["fine", "dull"]


def test_a_template_that_leaves_no_room(tokenizer):
    with pytest.raises(UserError, match="--template takes 7 tokens of --max_seq_len 7"):
        spec_of(tokenizer, max_seq_len=7)


# ---------------------------------------------------------------- the network


def test_scores_are_the_means_of_log_probabilities(task, tokenizer, tmp_path):
    """Of each piece at its own mask, in the row with as many masks."""
    paddle.disable_static()
    spec = spec_of(tokenizer)
    assert Verbalizer.stored(spec).counts == (1, 2)
    model = PromptClassifier(ErnieConfig({**CONFIG, "num_hidden_layers": 1}), spec, RunMode.EVAL)
    model.eval()
    path = write_tsv(tmp_path / "rows.tsv", [(0, "a film"), (1, "the story was fine")])
    reader = PromptClassifier.open_reader(path, tokenizer, spec, reading())
    batch, _ = next(reader.batches())
    features = {
        name: paddle.to_tensor(batch[name]) for name in ("src_ids", "sent_ids", "pos_ids", "task_ids", "input_mask")
    }
    outputs = model(features)["scores"].numpy()
    states = model.encoder(features)
    size, wanted = batch["src_ids"].shape[1], np.zeros((2, 2))
    for text in range(2):
        for label, ids in enumerate(spec.facts["label_pieces"]):
            row = 2 * text + len(ids) - 1
            places = np.flatnonzero(batch["src_ids"][row] == tokenizer.mask_id)
            assert len(places) == len(ids)
            logits = model.lm(states, paddle.to_tensor(row * size + places)).numpy()
            logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
            wanted[text, label] = np.mean([logs[k, piece] for k, piece in enumerate(ids)])
    found = PromptClassifier.by_example({"scores": outputs}, batch, reader)["scores"]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    label = {name: paddle.to_tensor(batch[name]) for name in ("prompt_rows", "labels")}
    probs = np.exp(wanted) / np.exp(wanted).sum(axis=1, keepdims=True)
    loss = model.loss({"scores": paddle.to_tensor(outputs)}, label)
    assert float(loss) == pytest.approx(-np.log(probs[[0, 1], [0, 1]]).mean(), rel=1e-4)


def reading(**changes):
    from reader.reading import Reading

    return Reading(batch_size=8, **changes)


# ---------------------------------------------------------------- runs


def train(task, folder, **changes):
    main("python -m finetune prompt", "prompt", flags(task / "model", task / "data", folder, **{**FAST, **changes}))
    return folder


@pytest.mark.slow
def test_it_learns_from_few_rows_and_answers_agree(task, tmp_path, capsys):
    run = train(task, tmp_path / "run", label_words=LONGER, epoch=25, skip_steps=10)
    assert max(record["acc"] for record in read_records(run) if record["event"] == "dev") > 0.9
    stored = json.loads((run / "best" / "checkpoint.json").read_text())
    assert stored["label_pieces"] == [[10], [5, 17]]
    out = tmp_path / "out.tsv"
    prediction.main("python -m finetune.prediction", (), words(
        init_checkpoint=run / "best", predict_set=task / "data" / "test.tsv", output=out, batch_size=3,
        save_inference_model_path=tmp_path / "saved"))  # fmt: skip
    said = capsys.readouterr().err
    header, rows = table(out.read_text(encoding="utf8"))
    assert header == ["gold_label", "text_a", "label", "prob_0", "prob_1"]
    rows = [row[1:] for row in rows]
    predictor = finetune.load(run / "best", use_cuda="false")
    for place in (run / "best", tmp_path / "saved"):
        predictor = finetune.load(place, use_cuda="false")
        for answer, row in zip(predictor([row[0] for row in rows], batch_size=2), rows):
            assert answer["label"] == row[1]
            np.testing.assert_allclose(list(answer["probabilities"].values()), list(map(float, row[2:])), atol=1e-5)
    test = next(
        record for record in read_records(run) if record["event"] == "test" and record["step"] == stored["step"]
    )
    gold = [line.split("\t")[0] for line in (task / "data" / "test.tsv").read_text().splitlines()[1:]]
    assert f"scores of {len(gold)} labelled rows: acc: {test['acc']:f}" in said
    assert test["acc"] == pytest.approx(np.mean([row[1] == label for row, label in zip(rows, gold)]))


@pytest.mark.slow
def test_without_training(task, tmp_path):
    """Scored by the training command, predicted by batch prediction, both straight from a pre-trained model."""
    given = {"do_train": "false", "init_checkpoint": task / "model" / "params", "init_pretraining_params": None,
             "label_map_config": task / "labels.json", "test_save": tmp_path / "zero.tsv"}  # fmt: skip
    train(task, tmp_path / "unused", **given)
    _, wanted = table((tmp_path / "zero.tsv").read_text(encoding="utf8"))
    out = tmp_path / "out.tsv"
    prediction.main("python -m finetune.prediction", (), words(
        task="prompt", init_checkpoint=task / "model", template=TEMPLATE, label_words=WORDS, for_cn="false",
        max_seq_len=24, label_map_config=task / "labels.json", predict_set=task / "data" / "test.tsv", output=out,
        save_inference_model_path=tmp_path / "saved"))  # fmt: skip
    for (_, *row), other in zip(table(out.read_text(encoding="utf8"))[1], wanted):
        assert row[:2] == other[:2]
        np.testing.assert_allclose(list(map(float, row[2:])), list(map(float, other[2:])), atol=1e-5)
    answers = finetune.load(tmp_path / "saved", use_cuda="false")([row[0] for row in wanted])
    assert [answer["label"] for answer in answers] == [row[1] for row in wanted]
    run = tmp_path / "pretraining"
    shutil.copytree(task / "model" / "params", run / "step_3")
    record = {"task": "knowledge_masking", "tasks": {}, "ernie_config": {**CONFIG, "num_hidden_layers": 1}}
    (run / "step_3" / "checkpoint.json").write_text(json.dumps(record))
    (run / "run.json").touch()
    shutil.copy(task / "model" / "vocab.txt", run)
    given.update(init_checkpoint=None, ernie_config_path=None, vocab_path=None, test_save=tmp_path / "again.tsv")
    model = ["--model", str(run / "step_3")]
    main("x", "prompt", [*flags(task / "model", task / "data", tmp_path / "unused", **{**FAST, **given}), *model])
    assert (tmp_path / "again.tsv").read_bytes() == (tmp_path / "zero.tsv").read_bytes()
    lines = tmp_path / "lines.txt"
    lines.write_text("".join(f"{row[0]}\n" for row in wanted), encoding="utf8")
    for model in (task / "model", run / "step_3"):
        prediction.main("python -m finetune.prediction", (), words(
            task="prompt", model=model, template=TEMPLATE, label_words=WORDS, for_cn="false", max_seq_len=24,
            label_map_config=task / "labels.json", predict_set=lines, output=out))  # fmt: skip
        assert [row[:2] for row in table(out.read_text(encoding="utf8"))[1]] == [row[:2] for row in wanted]


@pytest.mark.slow
@pytest.mark.parametrize("more", [{"rdrop_alpha": 1.0}, {"fgm_epsilon": 0.5}, {"class_weights": "balanced"}])
def test_options_of_training_run(more, task, tmp_path):
    train(task, tmp_path / "run", max_steps=3, do_val="false", do_test="false", label_words=LONGER, **more)
    assert (tmp_path / "run" / "step_3").is_dir()


@pytest.mark.slow
def test_rows_without_padding_train_alike(task, tmp_path):
    config = json.loads((task / "model" / "ernie_config.json").read_text())
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**config, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}))
    losses = []
    for fused in ("true", "false"):
        folder = train(task, tmp_path / fused, max_steps=4, skip_steps=1, do_test="false", do_val="false",
                       fused_encoder=fused, head_dropout=0, ernie_config_path=path, label_words=LONGER)  # fmt: skip
        losses.append([record["loss"] for record in read_records(folder) if record["event"] == "train"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.slow
def test_two_processes_make_the_run_of_one(task, tmp_path):
    """With two rows for each text; a process may have none of the last ones."""
    config = json.loads((task / "model" / "ernie_config.json").read_text())
    path, found = tmp_path / "config.json", []
    path.write_text(json.dumps({**config, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}))
    rows = (task / "data" / "train.tsv").read_text().splitlines()[:35]  # the last step has 2 rows
    (tmp_path / "train.tsv").write_text("\n".join(rows) + "\n")
    for name, size, count in (("one", 8, 1), ("two", 4, 2)):
        given = {**FAST, "epoch": 2, "batch_size": size, "head_dropout": 0, "ernie_config_path": path,
                 "do_test": "false", "label_words": LONGER, "train_set": tmp_path / "train.tsv"}  # fmt: skip
        words_of = flags(task / "model", task / "data", tmp_path / name, **given)
        in_processes(count, ["finetune/__main__.py", "prompt", *words_of])
        found.append([record for record in read_records(tmp_path / name) if record["event"] == "dev"][-1])
    assert found[0]["loss"] == pytest.approx(found[1]["loss"], abs=1e-4)
    assert found[0]["step"] == found[1]["step"] == 10


def test_a_model_without_the_head_is_refused(task, tmp_path):
    bare = make_model(tmp_path / "bare", num_hidden_layers=1)
    with pytest.raises(
        UserError, match="mask_lm_.* missing: give a model with the head that fills masks, or pre-train"
    ):
        train(task, tmp_path / "run", init_pretraining_params=bare / "params")


def test_head_dropout_is_before_the_head(task, tokenizer):
    """While training alone."""
    paddle.disable_static()
    config = ErnieConfig(
        {**CONFIG, "num_hidden_layers": 1, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    )
    model = PromptClassifier(config, spec_of(tokenizer, dropout=0.5), RunMode.TRAIN)
    ids = np.array([[1, 5, 3, 2], [1, 5, 3, 2]])
    features = {name: paddle.to_tensor(ids * 0) for name in ("sent_ids", "pos_ids", "task_ids")}
    features.update(src_ids=paddle.to_tensor(ids), input_mask=paddle.ones([2, 4]))
    model.train()
    one, other = model(features)["scores"].numpy()
    assert not np.allclose(one, other)
    model.eval()
    one, other = model(features)["scores"].numpy()
    assert np.allclose(one, other)


def test_a_pair_without_a_place_is_refused(task, tmp_path):
    handler = open_handler(make_bundle(tmp_path / "b", task / "model", "prompt"))
    with pytest.raises(BadRequest, match=r"texts\[1\] is a pair"):
        handler.parse({"texts": ["good", ["good", "bad"]]}, Limits())


def test_flags_of_the_task_are_settled(task):
    given = {"ernie_config_path": str(task / "model" / "ernie_config.json"), "for_cn": False, "max_seq_len": 24,
             "vocab_path": str(task / "model/vocab.txt"), "train_set": str(task / "data/train.tsv")}  # fmt: skip
    model = settle_run(PromptClassifier, from_keywords({**given, "label_words": WORDS}, PromptClassifier.flags))
    assert model.spec.record()["label_pieces"] == [[10], [5]]
    assert model.spec.record()["flags"]["label_words"] == WORDS


def test_labels_that_are_as_good_as_equal_are_scored_as_they_are_written():
    """Log-probabilities may be further apart than the probabilities that predictions are chosen by."""
    scores = np.array([[-9.0, -9.0 + 3e-6]], "float32").astype("float64")
    spec = ModelSpec(label_map={"no": 0, "yes": 1}, num_labels=2)
    label = PromptClassifier.decode({"scores": scores[0]}, {}, spec)["label_id"]
    assert label == 0
    assert PromptClassifier.score_rows({"scores": scores}, np.array([label]), None, spec) == {"acc": 1.0}
