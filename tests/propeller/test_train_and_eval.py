"""propeller.train_and_eval and the exporters of a run."""

import logging

import numpy as np
import paddle
import pytest

import propeller.paddle as propeller
from propeller.hparams import HParams, RunConfig
from propeller.paddle.train import ModelSpec, exporter
from tests.helpers.estimators import Seen, better, events, run, weights
from tests.propeller.toy import Toy, dataset, rows


class Results(exporter.Exporter):
    def __init__(self):
        self.seen = []

    def export(self, exe, program, eval_model_spec, eval_results, state):
        assert isinstance(eval_model_spec, ModelSpec)
        assert isinstance(program, paddle.static.Program)
        self.seen.append((state.gstep, eval_results))


def test_train_and_eval_evaluates_reports_and_exports(tmp_path, caplog):
    results, counted = Results(), Seen()
    with caplog.at_level(logging.INFO, "propeller.train"):
        last = run(tmp_path, [results], eval_hooks=[counted])
    assert [step for step, _ in results.seen] == [3, 6, 9, 12, 15, 16], "every 3 steps and at the end"
    assert last == results.seen[-1][1]
    assert set(last) == {"dev", "test"}
    assert set(last["dev"]) == {"acc", "loss"}
    assert len(counted.states) == 6 * 2 * 4, "the batches of each evaluation"
    blocks = [line for line in caplog.messages if line.startswith("*** eval res: dev ***")]
    assert len(blocks) == 6
    assert f"\nacc\t{last['dev']['acc']:.6g}" in blocks[-1]
    assert ("eval/acc", 16, False) in events(tmp_path / "run" / "eval_history" / "test")
    seen = len(results.seen)
    again = run(tmp_path, [results], config={"max_steps": 16})
    for name in last:
        assert again[name] == pytest.approx(last[name]), "nothing left to train"
    assert len(results.seen) == seen
    made = propeller.Learner(Toy, RunConfig(model_dir=str(tmp_path / "run"), eval_max_steps=4), HParams())
    assert made.evaluate(dataset("dev", 30, 9)) == pytest.approx(last["dev"])
    step, best = max(results.seen, key=lambda each: (each[1]["dev"]["acc"], -each[0]))
    assert (tmp_path / "run" / "best").resolve().name == f"step_{step}"
    assert made.evaluate(dataset("dev", 30, 9), ckpt="best") == pytest.approx(best["dev"])


def test_exporters_remember_their_best_over_a_restart(tmp_path):
    def made():
        return (
            exporter.BestExporter(tmp_path / "best", better),
            exporter.BestInferenceModelExporter(tmp_path / "export", better),
            Results(),
        )

    first = made()
    assert first[0].best is None
    run(tmp_path, first, config={"max_steps": 7})
    again = made()
    assert again[0].best == again[1].best == first[0].best
    run(tmp_path, again)
    seen = first[2].seen + again[2].seen
    step, results = max(seen, key=lambda each: (each[1]["dev"]["acc"], -each[0]))
    assert again[0].best == results
    assert again[0].best_step == step
    assert [path.name for path in (tmp_path / "best").glob("model_*")] == [f"model_{step}"]
    assert not better(old=results, new=seen[0][1])


def test_the_exported_model_gives_the_outputs_of_evaluation(tmp_path):
    from propeller.bundle import read_bundle

    exporters = [exporter.BestExporter(tmp_path / "best", better)]
    exporters.append(exporter.BestInferenceModelExporter(tmp_path / "export", better))
    run(tmp_path, exporters)
    bundle = read_bundle(tmp_path / "export" / "inference")
    assert [entry["name"] for entry in bundle.inputs] == ["placeholder_0"]
    config = paddle.inference.Config(str(bundle.path("model.json")), str(bundle.path("model.pdiparams")))
    predictor = paddle.inference.create_predictor(config)
    x = np.stack([row for row, _ in rows(7, 5)])
    (logits,) = predictor.run([_tensor(x)])
    stored = weights(tmp_path / "best", next((tmp_path / "best").glob("model_*")).name)
    np.testing.assert_allclose(logits.numpy(), x @ stored["linear_0.w_0"] + stored["linear_0.b_0"], atol=1e-5)


def _tensor(array):
    paddle.disable_static()
    return paddle.to_tensor(array)
