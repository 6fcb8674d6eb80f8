"""Multiple choice: rows with options, scores beside a hand computation, and a run from its rows to every answer.

python -m pytest tests/finetune/test_multiple_choice.py            # what takes seconds
python -m pytest tests/finetune/test_multiple_choice.py -m slow    # the runs
"""

import json
import subprocess
import sys

import numpy as np
import paddle
import pytest

import finetune
from finetune.client import ErnieClient
from finetune.metrics import softmax
from finetune.multiple_choice.task import MultipleChoice, choices_of
from finetune.prediction import main as prediction
from finetune.score import ScoreArgs, score_file
from finetune.serving.handler import open_handler
from finetune.spec import ModelSpec
from finetune.training.args import from_keywords
from finetune.training.main import main
from finetune.training.settled import settle_run
from propeller.errors import UserError
from propeller.service.errors import BadRequest
from propeller.service.limits import Limits
from reader.batching import encode_rows
from reader.choices import ChoiceReader, Choices
from tests.helpers.common import ROOT
from tests.helpers.predicting import table, words
from tests.helpers.questions import make_task, questions, write_lines
from tests.helpers.runs import in_processes, read_records
from tests.helpers.served import make_bundle
from tests.helpers.tiny import flags
from tokenization import build_tokenizer

FAST = {"learning_rate": 4e-3, "warmup_proportion": 0, "epoch": 10, "batch_size": 8, "validation_steps": 40,
        "eval_strategy": "steps", "save_steps": 0, "skip_steps": 60}  # fmt: skip


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return make_task(tmp_path_factory.mktemp("choices") / "task")


@pytest.fixture(scope="module")
def tokenizer(task):
    return build_tokenizer("FullTokenizer", str(task / "model" / "vocab.txt"), True, False)


def reader_of(path, tokenizer, **changes):
    given = {"choices": Choices(), "label_kind": "choice", "max_seq_len": 24, "batch_size": 4, **changes}
    return ChoiceReader(path, tokenizer, **given)


# ---------------------------------------------------------------- rows


def test_a_row_becomes_a_row_per_option(task, tokenizer):
    """[CLS] text_a [SEP] text_b option [SEP], cut as pairs are; places and mask say whose they are."""
    rows = questions(17, 2)
    batch, _ = next(reader_of(task / "dev.tsv", tokenizer, max_seq_len=12).batches())
    encode = lambda text: tokenizer.encode_batch([text])[0]  # noqa: E731
    pairs = [(encode(row["text_a"]), encode(row["text_b"]) + encode(option))
             for row in rows[:4] for option in row["choices"]]  # fmt: skip
    wanted = encode_rows(*map(list, zip(*pairs)), 12, tokenizer.cls_id, tokenizer.sep_id)
    for number, length in enumerate(wanted.lengths):
        ids = wanted.ids[wanted.offsets[number] : wanted.offsets[number + 1]]
        assert batch["src_ids"][number, :length].tolist() == ids.tolist()
        assert batch["sent_ids"][number].sum() == length - wanted.first[number]
    counts = [len(row["choices"]) for row in rows[:4]]
    assert len(set(counts)) > 1
    assert batch["choice_mask"].sum(axis=1).tolist() == counts
    assert batch["choice_places"][batch["choice_mask"] > 0].tolist() == list(range(sum(counts)))
    assert batch["labels"].ravel().tolist() == [row["label"] for row in rows[:4]]
    assert next(iter(batch)) == "choice_mask"  # its rows are the examples


def test_every_form_and_kind_of_label_gives_the_same_batches(task, tokenizer, tmp_path):
    rows = questions(17, 2)
    letters = [{**row, "label": "ABCD"[row["label"]]} for row in rows]
    texts = [{**row, "label": row["choices"][row["label"]]} for row in rows]
    kinds = [(task / "dev.jsonl", "number"), (write_lines(tmp_path / "letters.jsonl", letters), "letter")]
    unlike = [row for row in rows if len(set(row["choices"])) == len(row["choices"])]
    (wanted, _) = next(reader_of(task / "dev.tsv", tokenizer, batch_size=17).batches())
    for path, form in kinds:
        found, _ = next(reader_of(path, tokenizer, batch_size=17, choices=Choices(form=form)).batches())
        assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
    if len(unlike) == len(rows):
        path = write_lines(tmp_path / "texts.jsonl", texts)
        found, _ = next(reader_of(path, tokenizer, batch_size=17, choices=Choices(form="text")).batches())
        assert np.array_equal(found["labels"], wanted["labels"])


@pytest.mark.parametrize(
    ("row", "choices", "message"),
    [
        ({"choices": ["a"]}, Choices(), "line 1: choices has 1 option: give two or more"),
        ({"choices": []}, Choices(), "choices has 0 option"),
        ({"choices": ["a", " "]}, Choices(), "choices: option 1 is empty"),
        ({"label": 2}, Choices(), "label '2' is not a number from 0 to 1; correct it, or say with --choice_labels"),
        ({"label": "B"}, Choices(), "label 'B' is not a number from 0 to 1"),
        ({"label": "C"}, Choices(form="letter"), "label 'C' is not a letter from A to B"),
        ({"label": "c"}, Choices(form="text"), "label 'c' is none of the options"),
        ({"choices": ["a", "a"], "label": "a"}, Choices(form="text"), "label 'a' is 2 of the options"),
        ({"text_a": ""}, Choices(), "line 1: text_a is empty"),
    ],
)
def test_a_row_that_cannot_be_used_is_told(row, choices, message, tokenizer, tmp_path):
    good = {"text_a": "good", "choices": ["a", "b"], "label": 0 if choices.form == "number" else "A"}
    if choices.form == "text":
        good["label"] = "b"
    path = write_lines(tmp_path / "rows.jsonl", [{**good, **row}])
    (bad,) = reader_of(path, tokenizer, choices=choices).survey().bad
    assert message in bad.message


def test_the_token_cache_holds_rows_and_labels(task, tokenizer, tmp_path):
    """Filled in one epoch, read in the next; shuffled, with workers, and of the same batches."""
    plain = {"shuffle": True, "seed": 3, "epochs": 2}
    wanted = list(reader_of(task / "train.tsv", tokenizer, **plain).batches())
    for more in ({"token_cache_dir": str(tmp_path / "c")}, {"token_cache_dir": str(tmp_path / "c"), "num_workers": 1}):
        found = list(reader_of(task / "train.tsv", tokenizer, **plain, **more).batches())
        assert len(found) == len(wanted)
        for (one, place), (other, position) in zip(found, wanted):
            assert place == position
            assert all(np.array_equal(one[name], other[name]) for name in other)
    middle = wanted[7][1].to_dict()
    rest = list(reader_of(task / "train.tsv", tokenizer, **plain).batches(middle))
    assert all(np.array_equal(one["src_ids"], other["src_ids"]) for (one, _), (other, _) in zip(rest, wanted[8:]))
    assert len(rest) == len(wanted) - 8


# ---------------------------------------------------------------- the network


def test_the_loss_is_the_cross_entropy_over_a_rows_own_options():
    """However many options others have."""
    paddle.disable_static()
    scores = np.array([0.5, -1.0, 2.0, 0.0, 0.3], "float32")
    label = {"choice_mask": np.array([[1, 1, 0], [1, 1, 1]], "float32"),
             "choice_places": np.array([[0, 1, 0], [2, 3, 4]]), "labels": np.array([[1], [0]])}  # fmt: skip
    tensors = {name: paddle.to_tensor(value) for name, value in label.items()}
    predictions = {"scores": paddle.to_tensor(scores.reshape(-1, 1))}
    model = MultipleChoice.__new__(MultipleChoice)
    wanted = [-np.log(np.exp(-1.0) / (np.exp(0.5) + np.exp(-1.0))),
              -np.log(np.exp(2.0) / (np.exp(2.0) + np.exp(0.0) + np.exp(0.3)))]  # fmt: skip
    assert float(MultipleChoice.loss(model, predictions, tensors)) == pytest.approx(np.mean(wanted), rel=1e-5)
    other = {"scores": paddle.to_tensor(scores[::-1].reshape(-1, 1).copy())}
    p, q = (softmax(s[2:]) for s in (scores, scores[::-1]))
    one, two = (softmax(s[:2]) for s in (scores, scores[::-1]))
    kl = [((a - b) * (np.log(a) - np.log(b))).sum() / 2 for a, b in ((one, two), (p, q))]
    found = float(MultipleChoice.divergence(model, predictions, other, tensors))
    assert found == pytest.approx(np.mean(kl), rel=1e-4)


def test_flags_that_mean_nothing_are_refused(task):
    given = {"ernie_config_path": str(task / "model" / "ernie_config.json"), "for_cn": False,
             "vocab_path": str(task / "model" / "vocab.txt"), "train_set": str(task / "train.tsv"),
             "max_seq_len": 32}  # fmt: skip
    for changes, message in (
        ({"num_labels": 3}, "--num_labels 3: multiple choice has one score per option"),
        ({"choice_separator": ""}, "--choice_separator ''"),
        ({"class_weights": "1,2"}, "--class_weights: the task multiple_choice has no such loss"),
    ):
        with pytest.raises(UserError, match=message):
            settle_run(MultipleChoice, from_keywords({**given, **changes}, MultipleChoice.flags))
    assert choices_of(ModelSpec()) == Choices()


# ---------------------------------------------------------------- a run


def train(task, folder, **changes):
    main("python -m finetune multiple_choice", "multiple_choice",
         flags(task / "model", task, folder, **{**FAST, **changes}))  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def run(task, tmp_path_factory):
    return train(task, tmp_path_factory.mktemp("run") / "run")


@pytest.mark.slow
def test_it_learns_and_its_answers_agree(run, task, tmp_path, capsys):
    """Training's prediction file, batch prediction and the Python API say the same; the accuracy is the log's."""
    records = read_records(run)
    assert max(record["acc"] for record in records if record["event"] == "dev") > 0.9
    gold = questions(9, 3)
    (logged,) = [each for each in records if each["event"] == "test" and each.get("checkpoint") == "last"]
    step = json.loads((run / "last" / "checkpoint.json").read_text())["step"]
    (path,) = run.glob(f"test_out.tsv.*.{step}")
    header, rows = table(path.read_text(encoding="utf8"))
    assert header == ["text_a", "text_b", "label", "choice", "probabilities"]
    assert np.mean([int(row[2]) == each["label"] for row, each in zip(rows, gold)]) == pytest.approx(logged["acc"])
    assert [each["choices"][int(row[2])] for row, each in zip(rows, gold)] == [row[3] for row in rows]
    scores, _ = score_file(str(path), str(task / "test.tsv"), ScoreArgs())
    assert scores["acc"] == pytest.approx(logged["acc"])
    out = tmp_path / "out.jsonl"
    prediction.main(
        "python -m finetune.prediction",
        (),
        words(
            init_checkpoint=run / "last",
            predict_set=task / "test.jsonl",
            output=out,
            output_format="jsonl",
            batch_size=2,
        ),
    )
    assert f"scores of {len(gold)} labelled rows: acc: {logged['acc']:f}" in capsys.readouterr().err
    found = [json.loads(line) for line in out.read_text(encoding="utf8").splitlines()]
    assert [int(line["gold_label"]) for line in found] == [each["label"] for each in gold]
    assert [line["choices"] for line in found] == [each["choices"] for each in gold]
    prediction.main("python -m finetune.prediction", (), words(
        model=run / "last", predict_set=task / "test.tsv", output=tmp_path / "out.tsv"))  # fmt: skip
    header, copied = table((tmp_path / "out.tsv").read_text(encoding="utf8"))
    assert header == ["text_a", "text_b", "choices", "gold_label", "label", "choice", "probabilities"]
    assert [row[2].split("|") for row in copied] == [each["choices"] for each in gold]
    items = [(row["text_a"], row["text_b"], row["choices"]) for row in gold]
    answers = finetune.load(run / "last", use_cuda="false")(items, batch_size=5)
    for row, line, answer in zip(rows, found, answers):
        assert (str(line["label"]), line["choice"]) == (row[2], row[3])
        assert answer["label"] == line["label"]
        np.testing.assert_allclose(json.loads(row[4]), line["probabilities"], atol=1e-5)
        np.testing.assert_allclose(answer["probabilities"], line["probabilities"], atol=1e-5)


@pytest.mark.slow
def test_lines_of_text_have_no_options(run, tmp_path):
    (tmp_path / "lines.txt").write_text("a good film\n", encoding="utf8")
    with pytest.raises(UserError, match="lines.txt, line 1: column 'choices' is missing"):
        prediction.main("x", (), words(model=run / "last", predict_set=tmp_path / "lines.txt"))


@pytest.mark.slow
@pytest.mark.parametrize("more", [{"rdrop_alpha": 1.0}, {"fgm_epsilon": 0.5}, {"gradient_accumulation_steps": 2}])
def test_options_of_training_run(more, task, tmp_path):
    train(task, tmp_path / "run", max_steps=3, do_val="false", do_test="false", **more)
    assert (tmp_path / "run" / "step_3").is_dir()


def without_dropout(task, folder):
    """The flags of a run in which nothing is drawn."""
    config = json.loads((task / "model" / "ernie_config.json").read_text())
    path = folder / "config.json"
    path.write_text(json.dumps({**config, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}))
    return {"ernie_config_path": path, "head_dropout": 0, "do_test": "false", "skip_steps": 1}


@pytest.mark.slow
def test_padded_rows_and_rows_without_padding_train_alike(task, tmp_path):
    """The fused operators see no padding."""
    losses = []
    for fused in ("true", "false"):
        folder = train(task, tmp_path / fused, max_steps=4, do_val="false", fused_encoder=fused,
                       **without_dropout(task, tmp_path))  # fmt: skip
        lines = read_records(folder)
        losses.append([line["loss"] for line in lines if line["event"] == "train"])
    assert len(losses[0]) == 4
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.slow
def test_two_processes_make_the_run_of_one(task, tmp_path):
    found = []
    for name, size, count in (("one", 8, 1), ("two", 4, 2)):
        given = {**FAST, **without_dropout(task, tmp_path), "epoch": 2, "batch_size": size, "validation_steps": 6,
                 "learning_rate": 1e-3}  # fmt: skip
        words_of = flags(task / "model", task, tmp_path / name, **given)
        in_processes(count, ["finetune/__main__.py", "multiple_choice", *words_of])
        lines = read_records(tmp_path / name)
        found.append([line for line in lines if line["event"] == "dev"])
    assert len(found[0]) == len(found[1]) > 1
    for one, other in zip(*found):
        assert one["data_num"] == other["data_num"] == 17
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-4)
        assert one["acc"] == pytest.approx(other["acc"])


@pytest.mark.slow
def test_an_interrupted_run_ends_as_a_whole_one(task, tmp_path):
    given = {**FAST, "epoch": 1, "do_test": "false", "validation_steps": 100, "save_steps": 3, "skip_steps": 1}
    whole, words_of = (flags(task / "model", task, tmp_path / name, **given) for name in ("whole", "parts"))
    in_processes(1, ["finetune/__main__.py", "multiple_choice", *whole])
    stop = ("import sys\nfrom propeller.train import hooks\nfrom finetune.training.main import main\n"
            "def after(self, learner, state):\n    if state.step == 5: learner.ask_to_stop('test')\n"
            "hooks.ProgressBar.after_step = after\nmain('x', 'multiple_choice', sys.argv[1:])\n")  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", stop, *words_of], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "Stopped" in done.stderr or done.returncode, done.stderr[-2000:]
    in_processes(1, ["finetune/__main__.py", "multiple_choice", *words_of])
    records = [read_records(tmp_path / name)[-1] for name in ("whole", "parts")]
    assert records[0]["loss"] == records[1]["loss"]


# ---------------------------------------------------------------- requests


@pytest.fixture(scope="module")
def handler(task, tmp_path_factory):
    return open_handler(make_bundle(tmp_path_factory.mktemp("bundle") / "choice", task / "model", "multiple_choice"))


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({"texts": ["good"]}, "unknown key 'texts'; give 'text_a' and 'choices' (and 'text_b') or 'questions'"),
        ({"text_a": "good", "choices": ["a"]}, "choices has one option: give two or more"),
        ({"text_a": "good", "choices": ["a", " "]}, "choices[1] is blank: give a text"),
        ({"questions": [{"text_a": " ", "choices": ["a", "b"]}]}, "questions[0].text_a is blank"),
        ({"questions": [{"text_a": "good"}]}, "questions[0]: 'text_a' is not enough"),
    ],
)
def test_a_bad_request_is_refused_by_its_place(handler, payload, message):
    with pytest.raises(BadRequest) as error:
        handler.parse(payload, Limits())
    assert message in error.value.message


def test_the_client_asks_as_the_python_interface_does(handler):
    """Questions with and without a second text; the server's parser takes what the client sends."""
    sent = []

    class Client(ErnieClient):
        batch_size, num_coroutine = 2, 1

        def __init__(self):
            pass

        def post(self, path, payload):
            sent.append(payload)
            return {"predictions": [{"label": 0}] * len(payload["questions"])}

    items = [("good", ["fine", "bad"]), ("good", "was it", ("dull", "bad", "fine")), ("bad", ["a", "the"])]
    assert len(Client().choose(items)) == 3
    asked = [question for payload in sent for question in payload["questions"]]
    assert asked == handler.payload(items)["questions"]
    assert len(handler.parse({"questions": asked}, Limits()).instances) == 7
