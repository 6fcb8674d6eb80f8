"""Whole-word masking and replaced-token detection: their instances, masks, networks, and that both learn."""

import json
import math
import re
import shutil
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import numpy as np
import pytest

from ernie.checkpoint import read_params
from ernie.config import ErnieConfig
from pretrain import declared, task_class
from pretrain.replaced_model import ReplacedModel, Scores
from pretrain.task import HeadConfig
from pretrain.tasks.replaced_token_detection import ReplacedTokenDetection
from pretrain.tasks.whole_word_masking import WholeWordMasking
from pretrain.training.args import parse
from pretrain.training.reading import open_reader
from pretrain.training.runner import main
from propeller.errors import UserError
from propeller.train.model import RunMode
from propeller.train.trainer import Learner, RunConfig
from reader.pretraining.shards import Limits, parse_lines
from tests.helpers.builder_text import Maker
from tests.helpers.class_shards import line_of, make_task_shards, task_flags, write_list
from tests.helpers.common import ROOT
from tests.helpers.pretraining import write_shard
from tests.helpers.runs import in_processes, log_of, read_records
from tests.helpers.tiny import BAD, CONFIG, GOOD, make_model
from tests.helpers.weights import assert_close_weights, assert_same_weights
from tokenization import FullTokenizer

WHOLE, REPLACED = "whole_word_masking", "replaced_token_detection"
TASKS = [
    {"name": WHOLE, "task_id": 0, "steps": [4, 4]},
    {"name": REPLACED, "task_id": 1, "start_stage": 2, "steps": [4]},
]
WORDS = "the red fox ##es saw a blue bird and sky was grey"


def lines_of(count, seed):
    """Sentences of one word, which is repeated."""
    random, lines = np.random.RandomState(seed), []
    for _ in range(count):
        text = [(*GOOD, *BAD)[random.randint(10)]] * random.randint(5, 10)
        lines.append(line_of([text], 0, [[0] * len(text)]))
    return lines


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model") / "tiny", use_task_id=True, task_type_vocab_size=4)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return make_task_shards(
        tmp_path_factory.mktemp("shards"), dict.fromkeys((WHOLE, REPLACED), lines_of), TASKS, (200, 60)
    )


def train(model, shards, folder, **changes):
    """The log of a run in this process."""
    return log_of(main, "train.py", task_flags(model, shards, folder, **changes))


# ---------------------------------------------------------------- instances and masks


@pytest.mark.parametrize("task", [WholeWordMasking, ReplacedTokenDetection], ids=lambda task: task.name)
def test_a_text_is_as_many_sentences_as_fit(tmp_path, task):
    maker = Maker(tmp_path, WORDS, max_seq_len=9)
    documents = [
        maker.document("The red foxes saw. A bird.", "The blue sky was grey and the red foxes saw a bird."),
        maker.document("Sky"),
    ]
    lines, stats = maker.lines(task, documents)
    assert [maker.words(line) for line in lines] == [
        "[CLS] the red fox ##es saw . [SEP]",
        "[CLS] a bird . [SEP]",
        "[CLS] the blue sky was grey and the [SEP]",
        "[CLS] red fox ##es saw a bird . [SEP]",
    ]
    assert (stats["instances"], stats["tokens"], stats["left_over"]) == (4, 8 + 5 + 9 + 9, 1)
    assert {line[4] for line in lines} == {"0"}
    _, problems = parse_lines([";".join(line).encode() for line in lines], Limits(positions=9))
    assert not problems


def test_phrases_and_entities_stay_with_their_text(tmp_path):
    maker = Maker(tmp_path, WORDS, max_seq_len=16)
    (line,), _ = maker.lines(ReplacedTokenDetection, [maker.document("A fox saw the Blue Bird. The sky was grey.")])
    assert maker.words(line).split()[5:7] == ["blue", "bird"]
    assert "5-7-e" in line[5].split()


def test_masks_are_whole_words_and_others_in_every_epoch(tmp_path, model):
    """Whatever --mask_units says, in words of two pieces."""
    names = (model / "vocab.txt").read_text().split()
    ids = [names.index(name) for name in ("[CLS]", "film", "##s", "was", "##ly", "cast", "##s", "[SEP]")]
    places = " ".join(map(str, range(8)))
    line = f"{' '.join(map(str, ids))};{' '.join('0' * 8)};{places};-1 0 1 0 1 0 1 -1;0"
    write_shard(tmp_path / "part.gz", [line] * 40)
    (tmp_path / "filelist").write_text(f"{tmp_path / 'part.gz'}\t1\n")
    flags = task_flags(model, tmp_path, tmp_path / "run", mask_units="basic", generate_neg_sample="true", batch_size=40)
    args, config = parse("train.py", "", flags), ErnieConfig(model / "ernie_config.json")
    entry = type("Entry", (), {"task_id": 2})
    tokenizer = FullTokenizer(str(model / "vocab.txt"))
    reader = open_reader(WholeWordMasking, tmp_path / "filelist", tokenizer, config, args, training=True, entry=entry)
    batches = reader.batches()
    drawn = []
    for _ in range(3):
        batch, _ = next(batches)
        assert batch["src_ids"].shape == (40, 8)
        rows = [set((batch["mask_pos"][batch["mask_pos"] // 8 == row] % 8).tolist()) for row in range(40)]
        assert all((2 * word + 1 in row) == (2 * word + 2 in row) for row in rows for word in range(3))
        drawn.append(batch["mask_pos"].ravel().tolist())
    assert len({tuple(each) for each in drawn}) == 3
    assert 0.1 < np.mean([len(each) for each in drawn]) / (40 * 6) < 0.2


def test_settings_of_heads():
    assert declared(WHOLE).head_settings({}) == {"next_sentence": False}
    assert declared(WHOLE).head_settings({"next_sentence": False}) == {"next_sentence": False}
    assert declared(REPLACED).head_settings({}) == {"generator_layers": 0, "detection_weight": 50}
    assert declared(REPLACED).head_settings({"generator_layers": 3})["generator_layers"] == 3
    with pytest.raises(UserError, match="task whole_word_masking: its head is .*; give {}, nothing else"):
        declared(WHOLE).head_settings({"next_sentence": True})
    for wrong in ({"generator_layers": -1}, {"generator_layers": True}, {"detection_weight": 0}, {"classes": 2}):
        with pytest.raises(UserError, match='its head is .*; give "generator_layers": a whole number from 0 on, '):
            declared(REPLACED).head_settings(wrong)


# ---------------------------------------------------------------- the network


def batch_of(random, rows=3, length=7):
    ids = random.randint(4, 20, (rows, length))
    mask = np.ones((rows, length), "float32")
    mask[0, 5:] = 0
    places = np.array([[1], [4], [8], [20]])
    return {
        "src_ids": ids, "sent_ids": ids * 0, "pos_ids": ids * 0 + np.arange(length), "task_ids": ids * 0,
        "input_mask": mask, "mask_pos": places, "mask_label": ids.ravel()[places.ravel()].reshape(-1, 1),
    }  # fmt: skip


def learner_of(**settings):
    head = HeadConfig(settings=ReplacedTokenDetection.head_settings(settings))
    config = ErnieConfig({**CONFIG, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})
    return Learner(lambda mode: task_class(REPLACED)(config, head, mode), RunConfig(seed=3))


def with_weights(learner):
    """Random ones, large enough for the generator to prefer something."""
    random = np.random.RandomState(4)
    shapes = learner.parameter_shapes(RunMode.EVAL)
    learner.write({name: random.randn(*shape).astype("float32") * 0.3 for name, shape in shapes.items()})
    return learner


def test_what_the_encoder_sees_and_is_asked():
    """Scores are those that numpy computes from the predictions; places are those of tokens, without padding."""
    learner, batch = with_weights(learner_of(detection_weight=2)), batch_of(np.random.RandomState(0))
    ((found, _),) = learner.predict([(batch, None)])
    assert found["which"].tolist() == [0, 1, 0, 0, 2, 0, 3, *[0] * 11, 4]
    assert found["sampled"].shape == (4, 1)
    probabilities = np.exp(found["mask_lm_logits"] - found["mask_lm_logits"].max(axis=1, keepdims=True))
    reached = np.cumsum(probabilities / probabilities.sum(axis=1, keepdims=True), axis=1)
    drawn = np.modf((np.sqrt(5) - 1) / 2 * np.arange(1, 5))[0]
    assert found["sampled"].ravel().tolist() == [int((row < u).sum()) for row, u in zip(reached, drawn)]
    scores = ReplacedModel.finish_scores(learner.evaluate([(batch, None)]))
    labels = batch["mask_label"]
    replaced = np.concatenate([[False], (found["sampled"] != labels).ravel()])[found["which"]]
    logits = found["replaced_logits"].ravel()
    pieces = np.log(probabilities.sum(axis=1)) - np.log(probabilities[np.arange(4), labels.ravel()])
    tokens = np.log1p(np.exp(-np.where(replaced, logits, -logits)))
    assert scores["replaced"] == pytest.approx(replaced.mean())
    assert scores["acc"] == pytest.approx(((logits > 0) == replaced).mean())
    assert scores["ppl"] == pytest.approx(math.exp(pieces.mean()), rel=1e-4)
    assert scores["loss"] == pytest.approx(pieces.mean() + 2 * tokens.mean(), rel=1e-4)


def test_scores_are_means_over_pieces_and_tokens():
    scores, weight = Scores([None] * 5), np.array([50.0])
    assert scores.eval() == {}
    column = lambda *values: np.array(values, "float32").reshape(-1, 1)  # noqa: E731
    scores.update([column(4), column(1, 1), column(0, 1), column(0, 0), weight])
    scores.update([column(1, 1, 2), column(0.5, 0.5), column(0, 1), column(1, 1), weight])
    found = scores.eval()
    assert found["ppl"] == pytest.approx(math.exp(2.0))
    assert (found["replaced"], found["acc"], found["balanced_acc"], found["batch_num"]) == (0.5, 0.5, 0.5, 2)
    assert found["whole_loss"] == pytest.approx(2 + 50 * 0.75)


@pytest.mark.parametrize("layers", [0, 2])
def test_the_generator_shares_the_embeddings_and_nothing_else(layers):
    learner = learner_of(generator_layers=layers)
    names = set(learner.parameter_shapes(RunMode.EVAL))
    of_layers = {name.split("_multi")[0] for name in names if "_multi_head" in name}
    assert {name for name in of_layers if name.startswith("generator")} == {
        f"generator_layer_{number}" for number in range(layers or 1)
    }
    assert {"generator_lm_trans_fc.w_0", "generator_lm_out_fc.b_0", "replaced_token_fc.w_0"} < names
    assert sum("word_embedding" in name for name in names) == 1


# ---------------------------------------------------------------- runs


@pytest.fixture(scope="module")
def whole(model, shards, tmp_path_factory):
    """A run of both tasks, 12 steps in two stages: its folder and its log."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, train(model, shards, folder, keep_checkpoints=0, validation_steps=6)


def test_the_log_speaks_of_both(whole):
    folder, text = whole
    number = r"\d+\.\d+"
    scores = f"loss: {number}, generator ppl: {number}, replaced: {number}, acc: {number}"
    assert re.search(rf"^task: {REPLACED}, {scores}$", text, re.M)
    assert re.search(rf"^\[validation_set\] task: {REPLACED}, step: 12, {scores}, balanced acc: {number}", text, re.M)
    assert re.search(rf"^\[validation_set\] task: {WHOLE}, step: 12, loss: {number}, global ppl: {number}", text, re.M)
    assert "mask_lm_trans_fc.w_0" in read_params(folder / "last")


def test_a_run_that_is_continued_ends_alike(whole, model, shards, tmp_path):
    """The samples of the generator are drawn again as they were."""
    run = tmp_path / "run"
    shutil.copytree(whole[0], run, symlinks=True)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "finished": False}))
    shutil.rmtree(run / "step_12")
    assert "continue from step 8," in train(model, shards, run, keep_checkpoints=0, validation_steps=6)
    assert_same_weights(whole[0], run)
    last = [[r for r in read_records(folder) if r["event"] == "dev"][-2:] for folder in (whole[0], run)]
    assert [[r["loss"] for r in each] for each in last][0] == [r["loss"] for r in last[1]]


def test_a_test_scores_as_the_validation_does(whole, model, shards, tmp_path):
    text = train(model, shards, tmp_path / "x", do_test="true", init_checkpoint=whole[0] / "last")
    for record in [record for record in read_records(whole[0]) if record["event"] == "dev" and record["step"] == 12]:
        assert f"[test_set] task: {record['task']}, loss: {record['loss']:f}" in text


def test_it_fills_masks_without_the_default_task(whole, model):
    shown = StringIO()
    words = {"ernie_config_path": model / "ernie_config.json", "vocab_path": model / "vocab.txt", "use_cuda": "false"}
    words.update(max_seq_len=24, init_checkpoint=whole[0] / "last", predict_mask="good [MASK] fine", top=2)
    with redirect_stdout(shown), redirect_stderr(StringIO()):
        main("train.py", [word for name, value in words.items() for word in (f"--{name}", str(value))])
    assert len(re.findall(r"^  [12]\t0\.\d+\t", shown.getvalue(), re.M)) == 2


@pytest.mark.slow
def test_two_processes_make_the_steps_of_one(model, shards, tmp_path):
    """A batch each, and one process that accumulates two: the generator draws the same."""
    changes = {"learning_rate": 1e-3, "validation_steps": 0, "save_steps": 0}
    train(model, shards, tmp_path / "one", gradient_accumulation_steps=2, **changes)
    words = task_flags(model, shards, tmp_path / "two", **changes)
    in_processes(2, [ROOT / "train.py", *words], cwd=tmp_path)
    assert_close_weights(tmp_path / "one", tmp_path / "two", atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "steps", "score", "good"),
    [
        (TASKS[0], 200, "ppl", lambda found: found[0] > 6 and found[-1] < 3),
        ({**TASKS[1], "head": {"detection_weight": 1}}, 240, "ppl", lambda found: found[0] > 6 and found[-1] < 4),
        # Beside so large a weight the generator's own layers stay as they began: its samples can be told.
        ({**TASKS[1], "head": {"detection_weight": 1e9}}, 240, "balanced_acc", lambda found: max(found) > 0.6),
    ],
    ids=["whole words", "generator", "detection"],
)
def test_it_learns(shards, tmp_path, task, steps, score, good):
    """The words beside a masked one tell it, and tell a replaced one."""
    without = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = make_model(tmp_path / "model", use_task_id=True, task_type_vocab_size=4, **without)
    listed = write_list(tmp_path / "tasks.json", [{**task, "start_stage": 1, "steps": [steps]}])
    changes = {"validation_steps": 40, "save_steps": 0, "batch_size": 16, "learning_rate": 3e-3, "warmup_steps": 20}
    train(model, shards, tmp_path / "run", task_list=listed, **changes)
    found = [record[score] for record in read_records(tmp_path / "run") if record["event"] == "dev"]
    assert good(found), found
