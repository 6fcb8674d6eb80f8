"""2019's Learner and train_and_eval on a toy: faces of the one training loop."""

import json
import logging
import os
import re
import signal

import numpy as np
import paddle
import pytest

import propeller.paddle as propeller
from propeller.errors import UserError
from propeller.hparams import HParams, RunConfig
from propeller.paddle.train import ModelSpec, hooks
from propeller.variables import write_variable
from tests.helpers.estimators import Seen, assert_same, events, learner, run, weights
from tests.propeller.toy import COLUMNS, Toy, dataset, features, rows


def test_training_learns_and_continues_where_it_was(tmp_path):
    whole = learner(tmp_path / "whole").train(dataset().repeat(3), [Seen()])
    assert whole == [24]
    results = learner(tmp_path / "whole").evaluate(dataset("dev", 60, seed=9))
    assert results["acc"] > 0.8
    assert set(results) == {"acc", "loss"}
    cut = tmp_path / "cut"
    assert learner(cut, run_steps=5).train(dataset().repeat(3), [Seen()]) == [5]
    seen = Seen(last=11)
    assert learner(cut, save_steps=4).train(dataset().repeat(3), [seen]) == [6]
    assert [state.gstep for state in seen.states] == [6, 7, 8, 9, 10, 11]
    assert [state.step for state in seen.states] == [1, 2, 3, 4, 5, 6]
    assert seen.before == [5, 6, 7, 8, 9, 10]
    with pytest.raises(KeyboardInterrupt):
        learner(cut, save_steps=4).train(dataset().repeat(3), [Seen(kill=18)])
    learner(cut, max_steps=20).train(dataset().repeat(3))
    learner(cut).train(dataset().repeat(3))
    assert_same(weights(tmp_path / "whole"), weights(cut))
    assert seen.states[0].learning_rate == pytest.approx(0.1 * (1 - 5 / 40)), "the schedule goes on too"


def test_data_that_have_ended_begin_anew_and_max_steps_ends_all(tmp_path):
    for passes in (1, 2):
        assert learner(tmp_path).train(dataset(), [Seen()]) == [8]
        assert (tmp_path / "last").resolve().name == f"step_{8 * passes}"
    assert learner(tmp_path, max_steps=16).train(dataset(), [Seen()]) == [0]


def test_a_signal_makes_a_checkpoint_to_go_on_from(tmp_path):
    class Preempted(hooks.RunHook):
        def after_run(self, values, state):
            if state.gstep == 3:
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as ended:
        learner(tmp_path / "cut").train(dataset(), [Preempted()])
    assert ended.value.code == 143
    learner(tmp_path / "cut").train(dataset())
    learner(tmp_path / "whole").train(dataset())
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


def test_the_log_has_loss_rate_and_summaries_after_the_steps_that_are_skipped(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "propeller.train"):
        learner(tmp_path, log_steps=2, skip_steps=3, save_steps=2).train(dataset())
    lines = [line for line in caplog.messages if line.startswith("step:")]
    assert [line.split("\t")[0] for line in lines] == ["step:4", "step:6", "step:8"]
    assert re.fullmatch(r"step:4\tsteps/sec:[\d.]+\tloss:[\d.]+\tlr:[\d.]+\ttwice:[\d.]+", lines[0])
    assert not (tmp_path / "step_2").exists()
    assert (tmp_path / "step_4").exists()
    found = events(tmp_path / "train_history")
    assert ("train/twice", 6, False) in found
    assert ("train/logits", 8, True) in found
    assert {step for _, step, _ in found} == {4, 6, 8}
    with caplog.at_level(logging.INFO, "propeller.train"):
        caplog.clear()
        learner(tmp_path / "none", log_steps=1, skip_steps=0, run_steps=2).train(dataset())
    assert len([line for line in caplog.messages if line.startswith("step:")]) == 2, "0 is 0"


def test_hooks_have_tensors_fetched(tmp_path):
    model_tensors = {}

    class Watched(Toy):
        def loss(self, predictions, label):
            model_tensors[self.mode] = (predictions, label)
            return super().loss(predictions, label)

    class Fetch(hooks.RunHook):
        def __init__(self, mode):
            self.mode, self.values = mode, []

        def before_run(self, state):
            return None if state.step % 2 else list(model_tensors[self.mode])

        def after_run(self, values, state):
            self.values.append(values)

        def after_train(self):
            return [len(values) for values in self.values]

    made = learner(tmp_path, Watched, run_steps=3)
    fetch = Fetch(propeller.RunMode.TRAIN)
    assert made.train(dataset(), [Seen(), fetch]) == [3, [2, 0, 2]]
    logits, label = fetch.values[0]
    assert logits.shape == (5, 2)
    np.testing.assert_array_equal(label, next(iter(dataset()))[1])
    fetch = Fetch(propeller.RunMode.EVAL)
    made.evaluate(dataset("dev", 12), [fetch])
    assert fetch.after_train() == [2, 0, 2]
    np.testing.assert_array_equal(fetch.values[2][1], next(iter(dataset("dev", 12).map(lambda x, y: y).shard(3, 2))))


def test_the_supplied_hooks(tmp_path, caplog, capsys):
    tensors = {}

    class Watched(Toy):
        def loss(self, predictions, label):
            tensors["loss"] = super().loss(predictions, label)
            tensors["label"], tensors["pred"] = label, predictions.argmax(axis=1)
            return tensors["loss"]

    class Late(hooks.EvalHook):  # the tensors are there when the Program is
        def before_train(self):
            self.metrics = {"acc": propeller.metrics.Acc(tensors["label"], tensors["pred"])}
            super().before_train()

    class Logging(hooks.LoggingHook):
        def before_train(self):
            self.loss = tensors["loss"]
            super().before_train()

    class Weights:
        def save(self, state):
            saved.append(state.gstep)

    saved = []
    with caplog.at_level(logging.INFO, "propeller.train"):
        made = learner(tmp_path, Watched, log_steps=100)
        given = [
            Late({}),
            Logging(None, per_step=3, skip_step=0),
            hooks.CheckpointSaverHook(Weights(), 2, skip_step=2),
            hooks.StopAtStepHook(7, 100),
            hooks.TqdmProgressBarHook(7, "toy"),
        ]
        results = made.train(dataset(), given)
    assert 0 < results[0]["acc"] <= 1
    assert results[0] == given[0].result
    assert [line.split("\t")[0] for line in caplog.messages if line.startswith("step:")] == ["step:3", "step:6"]
    assert saved == [4, 6]
    assert (tmp_path / "last").resolve().name == "step_7"
    assert "toy: 100%" in capsys.readouterr().err
    assert hooks.RunState.from_json(hooks.RunState(gstep=3, time=2.5).to_json()) == hooks.RunState(gstep=3, time=2.5)
    assert json.loads(hooks.RunState(gstep=3, time=2.5).to_json()) == {"global_step": 3, "time": 2.5}


def test_prediction_obeys_the_checkpoint(tmp_path):
    made = learner(tmp_path, save_steps=3)
    made.train(dataset())
    found = list(made.predict(features()))
    assert len(found) == 7
    assert all(isinstance(row, tuple) and len(row[0]) == 2 for row in found)
    x = np.stack([row for row, _ in rows(7, 5)])

    def by_hand(name):
        stored = weights(tmp_path, name)
        logits = x @ stored["linear_0.w_0"] + stored["linear_0.b_0"]
        return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)

    for ckpt, name in ((None, "step_8"), (3, "step_3"), ("step_6", "step_6"), (-3, "step_3"), ("last", "step_8")):
        rows_found = np.array([row[0] for row in made.predict(features(), ckpt=ckpt)])
        np.testing.assert_allclose(rows_found, by_hand(name), atol=1e-6)
    batches = list(made.predict(features(), steps=2, split_batch=False))
    assert [batch[0].shape for batch in batches] == [(3, 2), (3, 2)]
    with pytest.raises(UserError, match="no checkpoint 5: the steps that have one: 3, 6, 8"):
        next(made.predict(features(), ckpt=5))
    weight = next((tmp_path / "step_3").glob("linear*"))
    content = weight.read_bytes()
    weight.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match="the checkpoint is damaged, its sha256 is not the one written"):
        next(made.predict(features(), ckpt=3))
    with pytest.raises(UserError, match="no checkpoint -1: the steps that have one: none"):
        learner(tmp_path / "empty").evaluate(dataset("dev"))


def test_warm_start_reads_what_the_predicate_selects(tmp_path):
    (tmp_path / "params").mkdir()
    wanted = np.full([COLUMNS, 2], 0.25, "float32")
    write_variable(tmp_path / "params" / "linear_0.w_0", wanted)
    asked = []

    def predicate(variable):
        asked.append((variable.name, variable.shape))
        return (tmp_path / "params" / variable.name).is_file()

    setting = propeller.WarmStartSetting(predicate, tmp_path / "params")
    frozen = HParams(lr=1e-9)
    learner(tmp_path / "run", params=frozen, warm_start=setting, run_steps=1).train(dataset())
    np.testing.assert_allclose(weights(tmp_path / "run")["linear_0.w_0"], wanted, atol=1e-6)
    assert ("linear_0.b_0", (2,)) in asked
    write_variable(tmp_path / "params" / "linear_0.w_0", wanted * 2)
    learner(tmp_path / "run", params=frozen, warm_start=setting, run_steps=1).train(dataset())
    np.testing.assert_allclose(
        weights(tmp_path / "run")["linear_0.w_0"], wanted, atol=1e-6, err_msg="the checkpoint wins"
    )
    write_variable(tmp_path / "params" / "linear_0.w_0", wanted[:1])
    with pytest.raises(UserError, match=r"linear_0.w_0: of shape \[1, 2\], \[4, 2\] is needed"):
        learner(tmp_path / "other", warm_start=setting).train(dataset())


def test_another_network_in_the_folder_is_an_error(tmp_path):
    learner(tmp_path, run_steps=1).train(dataset())
    with pytest.raises(UserError, match=r"of another network, linear_0.b_0 is \[2\] there and \[3\] here"):
        learner(tmp_path, params=HParams(classes=3)).train(dataset())


def regression(features, mode, params, run_config):
    """A plain model_fn: its own minimize, or the optimizer handed over."""
    layer = paddle.nn.Linear(COLUMNS, 1)
    if mode is propeller.RunMode.PREDICT:
        return ModelSpec(predictions=[layer(features[0])], mode=mode)
    x, label = features
    predictions = layer(x)
    spec = ModelSpec(loss=((predictions[:, 0] - label.astype("float32")) ** 2).mean(), predictions=[predictions])
    if mode is propeller.RunMode.TRAIN:
        optimizer = getattr(paddle.optimizer, params.name)(params.lr)
        if params.minimize:
            optimizer.minimize(spec.loss)
        else:
            spec.optimizer = optimizer
    else:
        spec.metrics = {"mse": propeller.metrics.MSE(label, predictions)}
    return spec


@pytest.mark.parametrize("name", ["SGD", "Adam", "Momentum"])
def test_a_model_fn_may_minimize_itself_or_hand_over_its_optimizer(tmp_path, name):
    found = []
    for minimize in (True, False):
        params = HParams(name=name, lr=0.05, minimize=minimize)
        made = learner(tmp_path / str(minimize), regression, params)
        made.train(dataset().repeat(12))
        found.append(weights(tmp_path / str(minimize)))
        assert made.evaluate(dataset("dev"))["mse"] < 0.3
        assert len(list(made.predict(features()))) == 7
    for variable in found[0]:
        np.testing.assert_allclose(found[0][variable], found[1][variable], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": lambda self, predictions, label: predictions}, r"TRAIN: the loss must be one number, not of shape"),
        ({"metrics": lambda self, predictions, label: []}, "EVAL: metrics must be a dict of name -> Metrics, not list"),
        ({"forward": lambda self, features: []}, "PREDICT: there are no predictions"),
    ],
)
def test_a_wrong_model_is_an_error(tmp_path, change, message):
    made = learner(tmp_path, run_steps=1)
    made.train(dataset())
    made = learner(tmp_path, type("Wrong", (Toy,), change), run_steps=1)
    call = {
        "loss": lambda: made.train(dataset()),
        "metrics": lambda: made.evaluate(dataset("dev")),
        "forward": lambda: list(made.predict(features())),
    }
    with pytest.raises(UserError, match=message):
        call[next(iter(change))]()


def test_wrong_data_and_configurations_are_errors(tmp_path):
    with pytest.raises(UserError, match="model_dir is missing"):
        propeller.Learner(Toy, RunConfig(), HParams())
    with pytest.raises(UserError, match="neither a model class nor a function"):
        propeller.Learner(3, RunConfig(model_dir="x"), HParams())
    bad = propeller.data.Dataset.from_list([(np.zeros([2, 4], "float32"), [1, 0]), (np.zeros([2, 3]), [1, 0])])
    bad.name = "train"
    with pytest.raises(UserError, match="data set train, batch 1: placeholder_0 has shape"):
        learner(tmp_path / "a").train(bad)
    with pytest.raises(UserError, match="best_by 'f1' is no metric of the model: give one of acc, loss|loss, acc"):
        run(tmp_path / "b", best_by="f1")
    with pytest.raises(UserError, match="evaluation set test: other shapes or types than the first one"):
        propeller.train_and_eval(
            model_class_or_model_fn=Toy,
            params=HParams(),
            run_config=RunConfig(model_dir=str(tmp_path / "c")),
            train_dataset=dataset(),
            eval_dataset={"dev": dataset("dev"), "test": features()},
        )
    plateau = {"backward": lambda self, loss: paddle.optimizer.SGD(paddle.optimizer.lr.ReduceOnPlateau(0.1))}
    with pytest.raises(UserError, match="ReduceOnPlateau"):
        learner(tmp_path / "d", type("Plateau", (Toy,), plateau)).train(dataset())


@pytest.mark.parametrize("minimize", [False, True])
def test_an_optimizer_that_is_another_one_in_a_program_is_an_error(tmp_path, minimize):
    def asgd(batch_num):
        def model_fn(features, mode, params, run_config):
            loss = paddle.nn.Linear(4, 1)(features[0]).mean()
            optimizer = paddle.optimizer.ASGD(0.1, batch_num=batch_num)
            if minimize:
                optimizer.minimize(loss)
            return ModelSpec(loss=loss, optimizer=optimizer)

        return learner(tmp_path / str(batch_num), model_fn, run_steps=2)

    with pytest.raises(UserError, match="ASGD with batch_num=3: .* computes SGD; give SGD"):
        asgd(3).train(dataset())
    assert asgd(1).train(dataset(), [Seen()]) == [2]
