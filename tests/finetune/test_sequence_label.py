"""Sequence labelling: head, loss and scores against 2019, predictions, the script, bad input."""

import json
import re
import subprocess
import sys

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score as seqeval_f1

from ernie.checkpoint import read_params
from ernie.config import ErnieConfig
from finetune.metrics import f1_score
from finetune.spec import ModelSpec
from finetune.tagging.flags import SequenceLabelArgs
from finetune.tagging.sentences import token_tags, whole_sentences
from finetune.tagging.task import ChunkScores, SequenceLabel
from finetune.training.main import main
from propeller.errors import UserError
from propeller.train import program
from propeller.train.model import RunMode
from reader.tagging.reader import TaggingReader
from reader.tagging.tags import SCHEMES, TagSet
from tests.helpers.common import GOLDEN, ROOT
from tests.helpers.tagged import IOB, PREFIXES, tag_map, tagged, write_tagged
from tests.helpers.tiny import flags, write_tsv


@pytest.mark.parametrize("model", ["v1_relu", "v2_gelu"])
@pytest.mark.parametrize(("scheme", "classes"), [("IOB", 7), ("IOE", 7), ("IOBES", 13)])
def test_head_loss_and_counts_equal_those_of_2019(model, scheme, classes):
    paddle.enable_static()
    folder = GOLDEN / "3_model" / model
    recorded, params = np.load(folder / "io.npz"), dict(np.load(folder / "params.npz"))
    settings = SequenceLabelArgs(chunk_scheme=scheme)
    spec = ModelSpec(num_labels=classes, label_map=tag_map(PREFIXES[scheme], "XYZ"), settings=settings)
    config = ErnieConfig(str(folder / "ernie_config.json"))
    graph = program.build(lambda mode: SequenceLabel(config, spec, mode), RunMode.EVAL)
    for end in "wb":
        name = f"cls_seq_label_out_{end}"
        params[name] = params.get(f"{name}@ner_{scheme}_{classes}", params[name])
    place, scope = paddle.CPUPlace(), paddle.static.Scope()
    program.write(scope, place, {name: params[name] for name in program.parameters(graph.main)})
    executor, metric = paddle.static.Executor(place), graph.metrics["chunks"]
    for batch in ("b0", "b1"):
        case = f"{batch}/ner_{scheme}_{classes}"
        lengths = recorded[f"{case}/in_seq_lens"]
        names = ("src_ids", "sent_ids", "pos_ids", "task_ids", "input_mask")
        feed = {name: recorded[f"{batch}/in_{name}"][..., 0] for name in names if f"{batch}/in_{name}" in recorded}
        feed.setdefault("task_ids", np.zeros_like(feed["src_ids"]))
        feed["labels"], feed["seq_lens"] = recorded[f"{case}/in_labels"][..., 0], lengths
        feed["keep"] = np.concatenate([np.zeros_like(lengths), lengths], axis=1)
        feed["last_part"] = np.ones_like(lengths)
        loss, *arrays = executor.run(
            graph.main, feed=feed, fetch_list=[graph.fetches["loss"], *metric.tensors], scope=scope
        )
        np.testing.assert_allclose(loss, recorded[f"{case}/loss"].ravel()[0], rtol=1e-5)
        inside = np.arange(feed["labels"].shape[1]) < lengths
        np.testing.assert_array_equal(arrays[0][inside], recorded[f"{case}/infers"][inside])
        metric.reset()
        metric.update(arrays)
        counts = [int(recorded[f"{case}/num_{what}"].ravel()[0]) for what in ("infer", "label", "correct")]
        assert [metric.inferred, metric.labelled, metric.correct] == counts


def counted(tags, inferred, labelled):
    """ChunkScores over lists of sequences."""
    metric = ChunkScores([], tags)
    for row in zip(inferred, labelled):
        found, wanted = np.array(row)
        metric.update([[found], [wanted], [[0, len(found)]], [1]])
    return metric


def test_entities_equal_those_of_fluid_chunk_eval():
    """seqeval's default mode finds what chunk_eval found in every recorded case, well formed or not."""
    cases = json.loads((GOLDEN / "5_metrics" / "chunk_eval.json").read_text())["chunk_eval"]
    schemes = set()
    for case in cases:
        if case["scheme"] == "IO":
            continue  # 2019 took the flag and then failed
        scheme = {"plain": "IO"}.get(case["scheme"], case["scheme"])
        tags = TagSet(tag_map(PREFIXES[case["scheme"]], range(case["num_chunk_types"])), scheme)
        metric = counted(tags, case["infer"], case["label"])
        precision, recall, f1, *counts = case["out_p_r_f1_ninfer_nlabel_ncorrect"]
        assert [metric.inferred, metric.labelled, metric.correct] == counts, case
        scores = metric.eval()
        assert [scores["precision"], scores["recall"], scores["f1"]] == pytest.approx([precision, recall, f1], abs=1e-6)
        schemes.add(scheme)
    assert schemes == set(SCHEMES)


def test_f1_and_prediction_equal_those_of_2019():
    recorded = json.loads((GOLDEN / "5_metrics" / "chunk_eval.json").read_text())
    for case in recorded["calculate_f1"]:
        scores = f1_score(case["num_infer"], case["num_label"], case["num_correct"])
        assert [scores["precision"], scores["recall"], scores["f1"]] == pytest.approx(case["out"])
    for case in recorded["chunk_predict"]:
        lengths = np.array(case["lens"])
        batch = {"keep": np.stack([0 * lengths, lengths], axis=1), "last_part": np.ones((len(lengths), 1), int)}
        probs = np.array(case["probs"]).reshape(len(lengths), -1, 4)
        found = list(whole_sentences([({"probs": probs}, batch)]))
        assert len(found) == len(case["out"])
        for rows, (_, classes, wanted) in zip(found, case["out"]):
            np.testing.assert_array_equal(rows, wanted)
            np.testing.assert_array_equal(rows.argmax(axis=1), classes)


@given(st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=9), min_size=1, max_size=6), st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_scores_equal_those_of_seqeval(rows, seed):
    tags, random = TagSet(IOB, "IOB"), np.random.RandomState(seed)
    other = [random.randint(0, 5, len(row)).tolist() for row in rows]
    names = [[[tags.names[number] for number in row] for row in side] for side in (rows, other)]
    expected = seqeval_f1(names[0], names[1], zero_division=0)
    assert counted(tags, other, rows).eval()["f1"] == pytest.approx(expected)


def test_token_tags_of_tokens_without_pieces():
    tags = TagSet(IOB, "IOB")
    probs = np.eye(5)[[0, 1, 1, 4, 2]]
    classes, chances = token_tags(tags, [0, 2, 0, 1, 1, 0, 1, 0, 3], probs)
    assert [tags.names[number] for number in classes] == ["O", "B-PER", "I-PER", "I-PER", "O", "O", "B-LOC", "O", "O"]
    assert chances == [1.0] * 9


@pytest.fixture(scope="module")
def place(model, tmp_path_factory):
    """Folder of a task, and its flags."""
    folder = tmp_path_factory.mktemp("ner") / "data"
    folder.mkdir()
    for name, count, seed, longest in (("train", 160, 1, 15), ("dev", 12, 2, 9), ("test", 7, 3, 9)):
        write_tagged(folder / f"{name}.tsv", tagged(count, seed, longest))
    write_tagged(folder / "long.tsv", tagged(5, 4, 40), " ")
    (folder / "map.json").write_text(json.dumps(IOB))
    return folder


def arguments(model, place, run, **changes):
    changes = {"label_map_config": place / "map.json", "num_labels": 5, "learning_rate": 1e-2, "epoch": 6, **changes}
    changes = {"save_steps": 20, "validation_steps": 60, "skip_steps": 2, **changes}
    return flags(model, place, run, **changes)


def start(words, status=0):
    done = subprocess.run(
        [sys.executable, str(ROOT / "run_sequence_labeling.py"), *words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def whole(model, place, tmp_path_factory):
    """A run from beginning to end: its folder and its output."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, start(arguments(model, place, folder, keep_checkpoints=0))


def predictions(path):
    return [line.split("\t") for line in path.read_text().split("\n")[:-1]]


def test_a_run_from_beginning_to_end(whole, place):
    folder, output = whole
    number = r"\d\.\d{6}"
    scores = f"f1: {number}, precision: {number}, recall: {number}"
    assert re.search(rf"epoch: 0, progress: 16/160, step: 2, loss: {number}, {scores}, speed: ", output)
    found = re.findall(rf"\[dev evaluation\] f1: ({number}), precision: .*, elapsed time: {number} s, file: ", output)
    assert float(found[-1]) > 0.8
    step = json.loads((folder / "run.json").read_text())["best_step"]
    assert re.search(rf"\tbest: step {step}, loss [\d.e-]+, f1 {float(max(found)):.6g}, precision ", output)
    best = re.findall(rf"\[test evaluation\] f1: ({number}), ", output)
    assert len(best) == output.count("testing with the")
    described = json.loads((folder / "last" / "checkpoint.json").read_text())
    assert (described["task"], described["label_map"]) == ("sequence_label", IOB)
    assert {"cls_seq_label_out_w", "cls_seq_label_out_b"} <= {path.name for path in (folder / "last").iterdir()}


def test_predictions_give_tokens_tags_and_spans(whole, place):
    folder, _ = whole
    rows, expected = predictions(folder / "test_out.tsv.5.120"), tagged(7, 3)
    assert len(rows) == 7
    for (text, tags, probs, entities), (tokens, _) in zip(rows, expected):
        assert text.split("\x02") == tokens
        assert len(tags.split("\x02")) == len(probs.split("\x02")) == len(tokens)
        assert all(0 < float(value) <= 1 for value in probs.split("\x02"))
        original = " ".join(tokens)
        for entity in json.loads(entities):
            assert original[entity["start"] : entity["end"]] == entity["text"]
            assert entity["type"] in ("PER", "LOC")
    found = [row[1].split("\x02") for row in rows]
    assert seqeval_f1([names for _, names in expected], found) > 0.8


@pytest.mark.parametrize("long_text", ["window", "cut"])
def test_long_sentences_in_prediction_and_evaluation(whole, model, place, tmp_path, long_text):
    folder, _ = whole
    run = tmp_path / "run"
    words = arguments(
        model, place, run, do_train="false", init_checkpoint=folder / "last", init_pretraining_params=None,
        dev_set=place / "long.tsv", test_set=place / "long.tsv", test_save=run / "out", long_text=long_text,
        log_file=tmp_path / "log",
    )  # fmt: skip
    assert main("run_sequence_labeling.py", "sequence_label", words) == 0
    rows, expected = predictions(run / "out"), tagged(5, 4, 40)
    long = sum(sum(1 + (token in ("films", "casts")) for token in tokens) > 22 for tokens, _ in expected)
    assert long >= 2
    assert f"{long} of 5 sentences are longer than max_seq_len 24" in (tmp_path / "log").read_text()
    for (text, tags, _, entities), (tokens, _) in zip(rows, expected):
        assert text == " ".join(tokens)
        assert len(tags.split(" ")) == len(tokens)
        for entity in json.loads(entities):
            assert text[entity["start"] : entity["end"]] == entity["text"]
    f1 = seqeval_f1([names for _, names in expected], [row[1].split(" ") for row in rows])
    assert (f1 > 0.8) == (long_text == "window")


@pytest.mark.slow
def test_the_io_scheme_runs_and_a_finished_run_stays(model, place, tmp_path):
    (tmp_path / "io.json").write_text(json.dumps({"I-PER": 0, "I-LOC": 1, "O": 2}))
    for name, count, seed in (("train", 160, 1), ("dev", 12, 2)):
        rows = [(tokens, [tag.replace("B-", "I-") for tag in tags]) for tokens, tags in tagged(count, seed)]
        write_tagged(tmp_path / f"{name}.tsv", rows, " ")
    words = arguments(
        model, tmp_path, tmp_path / "run", chunk_scheme="IO", num_labels=3, label_map_config=tmp_path / "io.json",
        test_set=None,
    )  # fmt: skip
    output = start(words)
    assert float(re.findall(r"\[dev evaluation\] f1: (\S+),", output)[-1]) > 0.8
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    assert main("run_sequence_labeling.py", "sequence_label", words) == 0  # it is finished
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


@pytest.mark.slow
def test_a_stopped_run_ends_with_the_weights_of_a_whole_one(model, place, tmp_path, monkeypatch):
    short = {"epoch": 1, "save_steps": 6, "test_set": None}
    whole, stopped = (arguments(model, place, tmp_path / name, **short) for name in ("whole", "stopped"))
    main("run_sequence_labeling.py", "sequence_label", whole)
    made = TaggingReader.make_batch

    def stop(self, rows):
        if (tmp_path / "stopped" / "step_12").exists():
            raise KeyboardInterrupt
        return made(self, rows)

    monkeypatch.setattr(TaggingReader, "make_batch", stop)
    with pytest.raises(KeyboardInterrupt):
        main("run_sequence_labeling.py", "sequence_label", [*stopped, "--queue_size", "1"])
    monkeypatch.undo()
    main("run_sequence_labeling.py", "sequence_label", [*stopped, "--queue_size", "1"])
    one, other = read_params(tmp_path / "whole" / "last"), read_params(tmp_path / "stopped" / "last")
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


BAD_ROWS = {
    "more tags": ("good\x02film\tB-PER\x02O\x02O", "2 tokens but 3 tags (separated by the byte 0x02)"),
    "more tokens": ("good\x02film\x02was\tB-PER\x02O", "3 tokens but 2 tags"),
    "no tag": ("good\x02film\t", "2 tokens but 0 tags"),
    "unknown tag": ("good\x02film\tB-PER\x02B-XXX", "label 'B-XXX' is not in the label map"),
    "zero": (
        "good\x02film\tB-PER\x020",
        "label '0' is not in the label map (B-PER, I-PER, B-LOC, I-LOC, O); did you mean 'O'?",
    ),
    "wrong separator": ("good film\tB-PER I-PER", "label 'B-PER I-PER' is not in the label map"),
    "blank line": ("", "the line is blank"),
    "no label": ("good\x02film", "1 fields where the header has 2"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
@pytest.mark.parametrize("which", ["train", "dev"])
def test_bad_rows(model, place, tmp_path, case, which):
    row, message = BAD_ROWS[case]
    path = tmp_path / "bad.tsv"
    path.write_bytes(f"text_a\tlabel\ngood\x02films\tB-PER\x02I-PER\n{row}\n".encode())
    words = arguments(model, place, tmp_path / "run", validation_steps=1, **{f"{which}_set": path})
    with pytest.raises(UserError) as caught:
        main("run_sequence_labeling.py", "sequence_label", words)
    assert str(caught.value).startswith(f"{path}, line 3: {message}"), caught.value
    assert "\n" not in str(caught.value)


MAPS = {
    "more classes": (IOB, {"num_labels": 4}, "'O' is class 4, but there are 4 classes"),
    "fewer classes": (IOB, {"num_labels": 6}, "class 5 has no tag"),
    "one class twice": ({**IOB, "I-LOC": 2}, {}, "class 3 has no tag"),
    "no O": ({"B-PER": 0, "I-PER": 1}, {"num_labels": 2}, "has no 'O'"),
    "O has another name": (IOB, {"o_label": "OUT"}, "has no 'OUT'"),
    "no padding label": (IOB, {"padding_label": "PAD"}, "has no 'PAD'"),
    "another scheme": (IOB, {"chunk_scheme": "IOE"}, "'B-PER' is not a tag of the chunk scheme IOE"),
    "no tag": ({**IOB, "I-LOC": 3, "PLACE": 4, "O": 5}, {"num_labels": 6}, "'PLACE' is not a tag"),
    "missing map": (None, {"label_map_config": "none.json"}, "none.json"),
}


@pytest.mark.parametrize("case", MAPS)
def test_bad_label_maps(model, place, tmp_path, case):
    mapping, changes, message = MAPS[case]
    if mapping:
        changes = {"label_map_config": tmp_path / "map.json", **changes}
        (tmp_path / "map.json").write_text(json.dumps(mapping))
    with pytest.raises(UserError) as caught:
        main("run_sequence_labeling.py", "sequence_label", arguments(model, place, tmp_path / "run", **changes))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    if mapping:
        assert str(tmp_path / "map.json") in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_tokens_that_are_blanks_need_another_separator(model, place, tmp_path):
    path = write_tsv(tmp_path / "bad.tsv", [("good   film", "O O O"), ("bad  film", "O O")], ("text_a", "label"))
    with pytest.raises(UserError) as caught:
        main("run_sequence_labeling.py", "sequence_label", arguments(model, place, tmp_path / "run", train_set=path))
    assert str(caught.value) == (
        f"{path}, line 2: 2 tokens but 3 tags (separated by blanks; where a token is a blank itself, put the byte 0x02 "
        "between tokens); give every token one tag; or leave it out with --on_bad skip"
    )


def test_a_bad_row_ends_the_script_with_one_line(model, place, tmp_path):
    path = write_tsv(tmp_path / "bad.tsv", [("good film", "O")], ("text_a", "label"))
    output = start(arguments(model, place, tmp_path / "run", train_set=path), status=2)
    assert output.splitlines()[-1] == (
        f"error: {path}, line 2: 2 tokens but 1 tags (separated by blanks); give every token one tag; "
        "or leave it out with --on_bad skip"
    )
    assert "Traceback" not in output
