"""The benchmarks: explained without their peers, bounded, continued; live comparisons on a tiny model."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from benchmark import inference, peer_trajectory, quality
from benchmark.parts import comparison, inference_speed, torch_peer
from benchmark.parts.common import LEAST_ROUNDS, Bench, Rounds, arguments
from ernie.checkpoint import read_params
from propeller.errors import UserError
from tests.helpers.common import ROOT
from tests.helpers.tiny import make_data, make_model, sentences, write_tsv

SIDES = (
    "parts/torch_peer",
    "parts/torch_inference",
    "parts/inference_side",
    "parts/raw_inference",
    "load",
)  # started by another one
OWN = ("peer_trajectory", "sst2_accuracy", "quality", "reading", "reader", "pretraining_reader", "inference", "attack")
COMMANDS = (*OWN, *SIDES)
NO_TASK_IDS = {"use_task_id": False}


def python(*words):
    return subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, text=True, capture_output=True, check=False)


def args(minutes=1, again=False):
    return arguments("a benchmark").parse_args(["--minutes", str(minutes), *(["--again"] if again else [])])


def test_modules_import_neither_torch_nor_paddle():
    code = f"""
import importlib, sys
for name in ("torch", "transformers", "paddle"):
    sys.modules[name] = None                     # importing it now fails
for name in {COMMANDS + ("parts/common", "parts/comparison")}:
    importlib.import_module("benchmark." + name.replace("/", "."))
"""
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_the_command_that_runs_it(name):
    done = python(f"benchmark/{name}.py", "--help")
    assert done.returncode == 0, done.stderr
    assert f"python benchmark/{name}.py" in done.stdout
    assert ("--minutes" in done.stdout) == (name not in SIDES)


def test_a_finished_cell_is_not_measured_again(tmp_path):
    calls = []

    def measure():
        calls.append(1)
        return {"figure": len(calls)}

    for _ in range(2):
        assert Bench("fake", args(), {"rows": 3}, tmp_path).cell("one", measure) == {"figure": 1}
    assert Bench("fake", args(again=True), {"rows": 3}, tmp_path).cell("one", measure) == {"figure": 2}
    assert Bench("fake", args(), {"rows": 4}, tmp_path).cell("one", measure) == {"figure": 3}, "other settings"
    assert json.loads((tmp_path / "fake.json").read_text())["cells"] == {"one": {"figure": 3}}


def test_a_cell_that_fails_is_not_stored(tmp_path):
    def fail():
        raise RuntimeError("cut off")

    with pytest.raises(RuntimeError):
        Bench("fake", args(), {}, tmp_path).cell("one", fail)
    assert Bench("fake", args(), {}, tmp_path).cell("one", lambda: 7) == 7


def test_no_minutes_measure_nothing_but_show_what_is_stored(tmp_path, capsys):
    Bench("fake", args(), {}, tmp_path).cell("one", lambda: 1)
    bench = Bench("fake", args(minutes=0), {}, tmp_path)
    assert bench.cell("one", lambda: 2) == 1
    assert bench.cell("two", lambda: 2) is None
    assert bench.rounds("speed", {"ours": lambda: 1.0}) == {}
    assert capsys.readouterr().err.count("the minutes are used up") == 1
    assert Bench("fake", args(), {}, tmp_path).cell("two", lambda: 2) == 2, "a rerun goes on"


def test_rounds_are_interleaved_and_continued(tmp_path):
    order = []
    candidates = {name: lambda name=name: order.append(name) or float(len(order)) for name in ("ours", "peer")}
    first = Bench("fake", args(), {}, tmp_path).rounds("speed", candidates, count=2)
    assert order == ["ours", "peer", "peer", "ours"]
    assert first == {"ours": Rounds((1.0, 4.0)), "peer": Rounds((2.0, 3.0))}
    assert not first["ours"].complete
    whole = Bench("fake", args(), {}, tmp_path).rounds("speed", candidates)
    assert len(order) == 2 * LEAST_ROUNDS
    assert whole["ours"].complete
    assert whole["ours"].values[:2] == (1.0, 4.0)


def test_text_is_converted_and_cut(tmp_path):
    write_tsv(tmp_path / "source.tsv", [("a ' b ", 1), ('"c', 0), ("d", 1)], ("sentence", "label"))
    comparison.convert_tsv(tmp_path / "source.tsv", tmp_path / "target.tsv", rows=2)
    assert (tmp_path / "target.tsv").read_text() == "text_a\tlabel\na ' b \t1\n\"c\t0\n"
    with pytest.raises(UserError, match="3 rows, 4 are needed"):
        comparison.convert_tsv(tmp_path / "source.tsv", tmp_path / "target.tsv", rows=4)


def test_missing_files_are_named(tmp_path):
    parser = arguments("")
    comparison.add_flags(parser)
    with pytest.raises(UserError, match="ernie_config.json: not there"):
        comparison.find(parser.parse_args(["--model", str(tmp_path), "--data", str(tmp_path)]))


def test_recipe_counts_steps_as_run_classifier_does():
    recipe = comparison.Recipe(rows=2500)
    assert (recipe.steps, recipe.updates, recipe.warmup) == (78, 79, 7)
    rates = peer_trajectory.rates(recipe)
    assert len(rates) == 79
    assert rates[0] == 0.0
    assert max(rates) == rates[7] == pytest.approx(1e-4 * (1 - 7 / 78))
    assert rates[78] == pytest.approx(0.0, abs=1e-10)


def test_trajectory_verdict(capsys):
    assert peer_trajectory.report([0.5, 0.4], [0.5, 0.40009])
    assert not peer_trajectory.report([0.5, 0.4], [0.5, 0.40011])
    assert not peer_trajectory.report([0.5, float("nan")], [0.5, 0.4])
    assert not peer_trajectory.report([0.5, 0.4], [0.5])
    assert "1.1e-04 at step 2" in capsys.readouterr().out


def test_accuracy_verdict():
    mean, error, good = quality.verdict([0.80, 0.82, 0.84], [0.81, 0.83, 0.85])
    assert (round(mean, 6), round(error, 6), good) == (-1.0, 0.0, True)
    assert not quality.verdict([0.80, 0.82, 0.84], [0.82, 0.84, 0.86])[2], "2 points, and no spread"
    assert quality.verdict([0.80, 0.82, 0.90], [0.82, 0.84, 0.84])[2], "under two standard errors"
    assert not quality.report({1: ({"acc": 0.8, "loss": 0.5}, None)}), "not everything was measured"


@pytest.fixture
def tiny(tmp_path):
    """Flags for a tiny model and tiny text, figures kept in tmp_path."""
    model, data = make_model(tmp_path / "model", **NO_TASK_IDS), make_data(tmp_path / "data")
    return ["--model", model, "--data", data, "--results", tmp_path / "results", "--batch", 8]


def test_live_trajectory(tiny, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    done = python("benchmark/peer_trajectory.py", "--steps", 5, *tiny)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "largest difference over 5 steps" in done.stdout
    stored = tmp_path / "results/peer_trajectory.json"
    cells = json.loads(stored.read_text())["cells"]
    assert len(set(cells["ours"])) == 5, "the losses of different batches"
    changed = stored.read_text().replace(str(cells["ours"][0]), "9.0")
    stored.write_text(changed)
    again = python("benchmark/peer_trajectory.py", "--steps", 5, "--minutes", 0, *tiny)
    assert again.returncode == 1, "the stored figures are what counts, and they now differ"
    assert "NOT met" in again.stdout


def test_live_trajectory_tells_optimisers_apart(tmp_path, monkeypatch):
    """At a high rate every setting shows in the losses: the peer agrees with ours, and with no variant of ours."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    model, data = make_model(tmp_path / "model", **NO_TASK_IDS), make_data(tmp_path / "data")
    recipe = comparison.Recipe(rows=40, batch=2, learning_rate=3e-3, weight_decay=0.5, clip_norm=0.1, dropout=0.0)
    folder = tmp_path / "run"
    folder.mkdir()
    comparison.prepare(folder, model, data, recipe, seed=1)
    reader = comparison.make_reader(folder, "train.tsv", recipe, seed=1)
    theirs = comparison.run_peer(folder, recipe, peer_trajectory.rates(recipe), reader)["losses"]
    right = peer_trajectory.optimization(recipe)

    def difference(**changes):
        monkeypatch.setattr(peer_trajectory, "optimization", lambda recipe: dataclasses.replace(right, **changes))
        return np.abs(np.subtract(peer_trajectory.run_ours(folder, recipe, reader), theirs)).max()

    assert len(theirs) == 20
    same = difference()
    print(f"the same settings: {same:.1e}")
    assert same <= 1e-5
    for changes in ({"clip_norm": 1e9}, {"weight_decay": 0.0}, {"epsilon_form": "outside"}, {"learning_rate": 3.03e-3}):
        other = difference(**changes)
        print(f"{changes}: {other:.1e}")
        assert other > 10 * same


def test_live_accuracy(tiny, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    write_tsv(tmp_path / "data/train.tsv", sentences(60, 4))
    done = python("benchmark/sst2_accuracy.py", "--rows", 60, "--seeds", 1, *tiny)
    assert "mean difference" in done.stdout, done.stdout + done.stderr
    cells = json.loads((tmp_path / "results/sst2_accuracy.json").read_text())["cells"]
    ours, theirs = cells["ours, seed 1"], cells["peer, seed 1"]
    assert ours["rows"] == 13
    assert len(theirs["losses"]) == 8
    assert ours["loss"] == pytest.approx(theirs["loss"], abs=0.05), "one epoch at these rates moves little"


def test_peers_that_are_not_installed_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(comparison, "versions", lambda: {"torch": None, "transformers": None})
    with pytest.raises(UserError, match=r"torch is not installed.*requirements-peers\.txt"):
        comparison.run_peer(tmp_path, comparison.Recipe(rows=1), [0.0], None)


@pytest.fixture
def raw(tmp_path):
    """Folders as quality.py takes them: two of GLUE's, of different layout, and the two Chinese ones."""
    rows = sentences(40, 1)
    folder = tmp_path / "raw"
    for name in ("glue/CoLA", "glue/STS-B", "zh/chnsenticorp", "zh/msra_ner"):
        (folder / name).mkdir(parents=True)
    for name in ("train.tsv", "dev.tsv"):
        lines = [f"x\t{label}\t\t{text}\n" for label, text in rows]
        (folder / "glue/CoLA" / name).write_text("".join(lines))
        pairs = [(text, "the film", f"{label + 0.25 * (number % 4)}") for number, (label, text) in enumerate(rows)]
        write_tsv(folder / "glue/STS-B" / name, pairs, ("sentence1", "sentence2", "score"))
        write_tsv(folder / "zh/chnsenticorp" / name, [(label, f"{'好' if label else '坏'}的书") for label, _ in rows])
        tagged = [("\x02".join("在北京" * (number % 3 + 1)), "\x02".join(["O", "B-LOC", "I-LOC"] * (number % 3 + 1)))
                  for number in range(40)]  # fmt: skip
        write_tsv(folder / "zh/msra_ner" / name, tagged, ("text_a", "label"))
    tags = ("B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "O")
    (folder / "zh/msra_ner/label_map.json").write_text(json.dumps({tag: number for number, tag in enumerate(tags)}))
    vocab = tmp_path / "vocab_zh.txt"
    words = ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", *"好坏的书在北京")
    vocab.write_text("".join(f"{word}\t{number}\n" for number, word in enumerate(words)))
    return ["--data", folder, "--zh_vocab", vocab]


def test_live_quality(raw, tmp_path):
    """Classification, regression and tags, from GLUE's layout and from the readers' own, both sides."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    model = make_model(tmp_path / "model", **NO_TASK_IDS)
    flags = ["--model", model, "--results", tmp_path / "results", *raw, "--seeds", 1]
    names = ("CoLA", "STS-B", "ChnSentiCorp", "MSRA-NER")
    done = python("benchmark/quality.py", "--tasks", *names, *flags)
    assert done.stdout.count("NOT") == done.stdout.count("NOT met"), done.stdout + done.stderr
    assert done.stdout.count("target: 1e-03: met") == 4, done.stdout
    for name in names:
        cells = json.loads((tmp_path / f"results/quality_{name}.json").read_text())["cells"]
        ours, theirs = cells["ours, seed 1"], cells["peer, seed 1"]
        assert ours["rows"] == 40
        assert set(quality.BY_NAME[name].task.scores) <= set(ours)
        assert set(quality.BY_NAME[name].task.scores) <= set(theirs)
        assert len(theirs["losses"]) == 2 * quality.BY_NAME[name].recipe.epochs
        assert np.abs(np.subtract(cells["losses, ours"], cells["losses, peer"])).max() < 1e-5
    again = python("benchmark/quality.py", "--tasks", *names, *flags, "--minutes", 0)
    assert again.stdout == done.stdout, "a rerun shows what is stored"
    more = python("benchmark/quality.py", "--tasks", "CoLA", *flags, 2, "--minutes", 0)
    assert more.returncode == 1
    assert "NOT everything was measured" in more.stdout


def test_quality_names_what_is_missing(tmp_path):
    model = make_model(tmp_path / "model")
    done = python("benchmark/quality.py", "--model", model, "--data", tmp_path, "--results", tmp_path / "results")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "glue/CoLA/train.tsv: not there" in done.stderr


def test_quality_of_losses(capsys):
    assert quality.report_losses([0.5, 0.4], [0.5, 0.4009])
    assert not quality.report_losses([0.5, 0.4], [0.5, 0.4011])
    assert not quality.report_losses([0.5, float("nan")], [0.5, 0.4])
    assert not quality.report_losses([0.5, 0.4], [0.5])
    assert not quality.report_losses([0.5], None)
    assert "1.1e-03 at step 2" in capsys.readouterr().out


def test_random_encoder_is_ever_the_same(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[CLS]\n")
    one, other = (
        read_params(quality.random_model(tmp_path / name, tmp_path / "vocab.txt") / "params") for name in "ab"
    )
    assert sorted(one) == sorted(other)
    assert one["word_embedding"].shape == (2, 256)
    assert one["encoder_layer_3_ffn_fc_0.w_0"].std() == pytest.approx(0.02, rel=0.02)
    assert set(one["encoder_layer_3_post_ffn_layer_norm_scale"]) == {1.0}
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name])


def test_peer_counts_entities_over_windows():
    """Of two windows of one sentence what each keeps is put together before entities are counted."""
    tags = ["B-LOC", "I-LOC", "O"]
    batch = {
        "labels": np.array([[2, 0, 1, 1, 2], [2, 2, 1, 2, 2]]),
        "keep": np.array([[0, 3], [2, 5]]),
        "last_part": np.array([[0], [1]]),
    }
    right = torch_peer.tag_scores([batch["labels"]], [batch], tags)
    assert right == {"f1": 1.0, "precision": 1.0, "recall": 1.0}
    wrong = np.array([[2, 0, 1, 1, 2], [2, 2, 2, 0, 2]])  # the entity cut short, another one found
    assert torch_peer.tag_scores([wrong], [batch], tags) == {"f1": 0.0, "precision": 0.0, "recall": 0.0}


def test_inference_says_what_is_missing(tmp_path):
    done = python("benchmark/inference.py", "--checkpoint", tmp_path / "none", "--results", tmp_path)
    assert done.returncode == 2
    assert "none/checkpoint.json: not there: run sh script/quickstart.sh" in done.stderr


def speeds(**changed):
    ours = {"ours paddle": 9, "ours openvino": 13, "ours openvino-bf16": 24, "ours executor": 8}
    theirs = {"raw openvino": 12.5, "raw onnxruntime": 11, "torch fp32": 10, "torch autocast": 15}
    medians = {**ours, **theirs, "torch bf16-weights": 20, **changed}
    return {name: Rounds((value,) * LEAST_ROUNDS) for name, value in medians.items() if value}


def test_verdicts_of_inference(capsys):
    same = {**dict.fromkeys(speeds(), 1.0), "ours openvino-bf16": 0.997}
    report = inference_speed.report_speed
    assert report(speeds(), same)
    said = capsys.readouterr().out
    assert "the default, ours openvino, over the faster library alone, raw openvino: 1.040, target 1.0: met" in said
    assert "ours openvino over torch's fp32: 1.300, target 1.25: met" in said
    assert "ours openvino-bf16 over torch's faster bf16: 1.200, target 1.1: met" in said
    assert not report(speeds(**{"ours openvino": 12.4}), same)
    assert not report(speeds(**{"torch fp32": 11}), same)
    assert not report(speeds(**{"torch autocast": 22}), same)
    assert not report(speeds(), {**same, "ours openvino-bf16": 0.994})
    assert not report({**speeds(), "torch fp32": Rounds((1.0,))}, same)
    assert not report(speeds(), None)
    without = {"ours openvino": None, "ours openvino-bf16": None, "ours paddle-bf16": 23, "raw openvino": None}
    assert not report(speeds(**without), {**same, "ours paddle-bf16": 1.0})
    assert "the default, ours paddle, over the faster library alone, raw onnxruntime: 0.818" in capsys.readouterr().out
    peerless = {name: value for name, value in speeds().items() if not name.startswith("torch")}
    assert report(peerless, same)
    assert "torch" not in capsys.readouterr().out


def test_verdict_of_the_encoder():
    flat = {rows: {"rows_a_second": 1.0, "peak_mib": peak} for rows, peak in zip(inference.ROWS, (300, 329))}
    assert inference.report_encoder(flat)
    assert not inference.report_encoder({**flat, inference.ROWS[1]: {"rows_a_second": 1.0, "peak_mib": 331}})
    assert not inference.report_encoder({**flat, inference.ROWS[1]: None})


def test_verdict_of_the_service():
    def loads(one, many, lost=0):
        cell = {"p50_ms": 1.0, "p99_ms": 2.0, "answered": 5, "retried": 0, "lost": 0}
        rates = {"1 clients": one, "8 clients": 20.0, "64 clients": many, "a worker killed": 20.0}
        return {name: {**cell, "rate": rate, "lost": lost} for name, rate in rates.items()}

    def share(offline, server, count=LEAST_ROUNDS):
        return {"offline": Rounds((offline,) * count), "server": Rounds((server,) * count)}

    assert inference.report_service(loads(10.0, 41.0), {})
    assert not inference.report_service(loads(10.0, 39.0), {})
    assert inference.report_service(loads(10.0, 33.0), share(40.0, 37.0))
    assert not inference.report_service(loads(10.0, 41.0), share(40.0, 35.0))
    assert not inference.report_service(loads(10.0, 41.0), share(40.0, 37.0, 2))
    assert not inference.report_service(loads(10.0, 41.0, lost=1), {})
    assert not inference.report_service({**loads(10.0, 41.0), "8 clients": None}, {})
