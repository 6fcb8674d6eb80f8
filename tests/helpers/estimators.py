"""Shared by tests of propeller's calls of 2019: a learner over a toy, its weights, what a hook saw."""

import struct

import numpy as np

import propeller.paddle as propeller
from propeller.hparams import HParams, RunConfig
from propeller.paddle.train import hooks
from propeller.variables import read_variable
from tests.propeller.toy import Toy, dataset


def learner(folder, model=Toy, params=None, warm_start=None, **config):
    config = RunConfig(model_dir=str(folder), **{"seed": 7, **config})
    return propeller.Learner(model, config, params or HParams(), warm_start)


def weights(folder, name="last"):
    return {path.name: read_variable(path) for path in (folder / name).iterdir() if path.name.startswith("linear")}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


class Seen(hooks.RunHook):
    """Remembers the states; ends the run at one of them, or kills the process at its end."""

    def __init__(self, last=None, kill=None):
        self.states, self.before, self.last, self.kill = [], [], last, kill

    def before_run(self, state):
        self.before.append(state.gstep)

    def after_run(self, values, state):
        assert values == []
        self.states.append(state)
        if self.kill == state.gstep:
            raise KeyboardInterrupt

    def should_stop(self, state):
        return state.gstep == self.last

    def after_train(self):
        return len(self.states)


def events(folder):
    """(tag, step, is it a histogram) of the event files in a folder."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in folder.glob("events*"):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            found += [(v.tag, event.step, v.HasField("histo")) for v in event.summary.value]
            data = data[16 + length :]
    return found


def better(old, new):
    return new["dev"]["acc"] > old["dev"]["acc"]


def run(folder, exporters=(), train=None, best_by="acc", **options):
    config = {"eval_steps": 3, "eval_max_steps": 4, "seed": 7, "best_by": best_by, **options.pop("config", {})}
    return propeller.train_and_eval(
        model_class_or_model_fn=Toy,
        params=HParams(),
        run_config=RunConfig(model_dir=str(folder / "run"), **config),
        train_dataset=train or dataset().repeat(2),
        eval_dataset={"dev": dataset("dev", 30, 9), "test": dataset("test", 30, 11)},
        exporters=exporters,
        **options,
    )
