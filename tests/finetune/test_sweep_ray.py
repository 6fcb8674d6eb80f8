"""``python -m finetune.sweep --sweep_engine ray``: trials on a Ray cluster of two processes, and what it refuses.

python -m pytest tests/finetune/test_sweep_ray.py
"""

import asyncio
import json
import re
import signal
import socket
import sys
from types import SimpleNamespace

import pytest

from finetune.search_space import Choice
from finetune.sweep import Sweep, SweepArgs, main
from finetune.sweep_ray import RayArgs, _room, _Trials, trials_over_ray
from finetune.sweep_trial import Desk, Outcome, _when_free, remote_trial
from finetune.training import runner
from propeller.cluster import cluster
from propeller.errors import UserError
from propeller.signals import ended_by_signals, kept_handlers
from propeller.train.trainer import Learner
from tests.helpers.tiny import flags

SPACE = {"learning_rate": {"low": 1e-12, "high": 1e-2, "log": True}, "batch_size": [4, 8]}


def words_of(model, data, folder, **changes):
    (folder / "space.json").write_text(json.dumps(SPACE))
    given = {"epoch": 2, "validation_steps": 0, "save_steps": 2, "skip_steps": 100, "best_metric": "loss", **changes}
    return ["classify", *flags(model, data, folder / "sweep", sweep_space=folder / "space.json", **given)]


def test_flags_of_ray_without_ray_are_refused(model, data, tmp_path):
    for name, value in (("ray_address", "auto"), ("sweep_workers", 2), ("sweep_cores", 2)):
        with pytest.raises(UserError, match=f"--{name} is for trials over Ray: give --sweep_engine ray too"):
            main(words_of(model, data, tmp_path, **{name: value}))
    with pytest.raises(UserError, match="--sweep_workers must be at least 1, not 0"):
        main(words_of(model, data, tmp_path, sweep_engine="ray", sweep_workers=0))


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    message = "--sweep_engine ray: needs ray; python -m pip install -r requirements-sweep.txt"
    with pytest.raises(UserError, match=re.escape(message)):
        trials_over_ray(None, None, RayArgs("ray"), "false")


def test_no_cluster_at_the_address(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    message = f"--ray_address {address}: no cluster there ("
    with pytest.raises(UserError, match=re.escape(message) + r".*\); start one with `ray start --head`"):
        trials_over_ray(None, None, RayArgs("ray", ray_address=address), "false")


def test_a_ray_that_does_not_start(monkeypatch):
    def init(**_):
        raise Exception("The current node timed out during startup.")  # noqa: TRY002 as Ray does

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))
    message = r"--sweep_engine ray: Ray did not start here \(The current node .*\); run the command again, or start it"
    with pytest.raises(UserError, match=message):
        trials_over_ray(None, None, RayArgs("ray"), "false")


NODES = [
    {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}},
    {"Alive": True, "Resources": {"CPU": 3.0}},
    {"Alive": False, "Resources": {"CPU": 64.0}},
]


@pytest.mark.parametrize(("cores", "gpus", "room"), [(1, 0, 11), (2, 0, 5), (1, 1, 2), (5, 1, 1), (9, 0, 0)])
def test_trials_that_there_is_room_for(cores, gpus, room):
    """A trial has its cores and its GPU on one machine."""
    assert _room(NODES, cores, gpus) == room


def test_a_cluster_without_room_is_refused(monkeypatch):
    ray = SimpleNamespace(init=lambda **_: None, shutdown=lambda: None, cluster_resources=dict, nodes=lambda: NODES)
    monkeypatch.setitem(sys.modules, "ray", ray)
    with pytest.raises(UserError, match="--sweep_cores 9: no machine of the cluster has as many: give fewer"):
        trials_over_ray(None, None, RayArgs("ray", sweep_cores=9), "auto")


def test_a_trial_waits_for_its_answer():
    async def talk():
        desk = Desk()
        asked = [asyncio.ensure_future(desk.ask(number, 1, number / 10)) for number in (3, 4)]
        heard = [await desk.heard() for _ in asked]
        assert not any(each.done() for each in asked)
        await desk.answer(4, True)
        await desk.answer(3, False)
        await desk.answer(5, True)  # of a trial that is gone
        return heard, [await each for each in asked]

    assert asyncio.run(talk()) == ([(3, 1, 0.3), (4, 1, 0.4)], [False, True])


def test_a_machine_without_the_directory_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace())
    outcome = remote_trial("classify", 0, {}, str(tmp_path / "none"), None)
    assert outcome.error == (
        f"{socket.gethostname()} cannot enter {tmp_path / 'none'} (No such file or directory): every machine of the "
        "cluster must see the directories of the sweep"
    )


def test_a_folder_in_use_is_waited_for(monkeypatch):
    monkeypatch.setattr("finetune.sweep_trial.time.sleep", lambda _: None)
    outcomes = [Outcome(error="another process trains into it", busy=True), Outcome(True)]
    assert _when_free(lambda: outcomes.pop(0)) == Outcome(True)


class Ray:
    """In the place of Ray: a task is its arguments, the next one ends as told; nobody says anything."""

    class exceptions:  # noqa: N801 Ray's name
        RayError = type("RayError", (Exception,), {})
        RayTaskError = type("RayTaskError", (RayError,), {})

    def __init__(self, ends):
        self.ends, self.sent = ends, []

    def remote(self, **_):
        return lambda _: SimpleNamespace(remote=self.send)

    def send(self, *given):
        if not given:  # the desk
            return SimpleNamespace(heard=SimpleNamespace(remote=lambda: "nothing"))
        self.sent.append(given)
        return f"{len(self.sent)}: trial {given[1]}"

    def wait(self, references, num_returns):
        return [each for each in references if each != "nothing"][:1], []

    def get(self, reference):
        end = self.ends.pop(0)
        if isinstance(end, Exception):
            raise end
        return end


class Begun:
    """A sweep of two trials that notes how they end."""

    task = "classify"

    def __init__(self):
        self.begun, self.how = 0, []

    def goes_on(self, study, running):
        return self.begun < 2

    def begin(self, study):
        self.begun += 1
        return SimpleNamespace(number=self.begun), {"epoch": 1}

    def ended(self, study, trial, outcome, running):
        self.how.append((trial.number, outcome))

    def broke(self, study, trial):
        self.how.append((trial.number, "broke"))


def test_a_trial_whose_process_is_lost_goes_on_in_another(caplog):
    lost = Ray.exceptions.RayError
    ray, sweep = Ray([lost(), Outcome(), lost(), lost(), Outcome(True)]), Begun()
    _Trials(ray, sweep, None, 1, {}).run()
    assert sweep.how[0] == (1, Outcome())
    assert [given[1] for given in ray.sent] == [1, 1, 2, 2, 2]
    assert sweep.how[1] == (2, Outcome(True))
    assert "trial 1: its process was lost (RayError): it goes on in another" in caplog.text
    ray, sweep = Ray([lost(), lost(), lost(), Outcome()]), Begun()
    _Trials(ray, sweep, None, 1, {}).run()
    assert sweep.how[0][1].error.startswith("its process was lost (RayError) again and again")
    assert sweep.how[1] == (2, Outcome())


def test_a_fault_of_the_program_ends_the_sweep():
    ray, sweep = Ray([Ray.exceptions.RayTaskError()]), Begun()
    with pytest.raises(Ray.exceptions.RayTaskError):
        _Trials(ray, sweep, None, 1, {}).run()
    assert sweep.how == [(1, "broke")]


class Study:
    """What ``Sweep.ended`` asks of optuna's study and trials."""

    def __init__(self):
        self.told = {}

    def tell(self, trial, value=None, state=None):
        self.told[trial.number] = value if state is None else state


@pytest.fixture
def sweep(model, data, tmp_path, monkeypatch):
    """A sweep whose trials are done where they were told a score or failed by an error of their own."""
    pytest.importorskip("optuna")
    given = {name[2:]: value for name, value in zip(*[iter(words_of(model, data, tmp_path)[1:])] * 2)}
    given = {name: given[name] for name in ("ernie_config_path", "vocab_path", "train_set", "dev_set", "checkpoints")}
    args = SweepArgs(str(tmp_path / "space.json"))
    found = Sweep("classify", args, {**given, "do_train": True, "do_val": True}, RayArgs("ray"))
    found.study, found.trials = Study(), [Trial(number) for number in range(4)]
    monkeypatch.setattr(found, "_done", lambda study: [
        trial for trial in found.trials if trial.number in study.told
        and (trial.user_attrs.get("error") or isinstance(study.told[trial.number], float))
    ])  # fmt: skip
    monkeypatch.setattr(found, "_write", lambda study: None)
    return found


class Trial:
    def __init__(self, number):
        self.number, self.user_attrs, self.set_user_attr = number, {"best": 0.5}, None
        self.set_user_attr = self.user_attrs.__setitem__


def test_a_first_trial_that_fails_waits_for_the_others(sweep):
    """With one that gets through it is a failure of its own; if all fail the sweep ends with the first message."""
    assert sweep.space["batch_size"] == Choice("batch_size", (4, 8))
    sweep.ended(sweep.study, sweep.trials[0], Outcome(error="too fast"), running=1)
    assert not sweep.goes_on(sweep.study, 1)
    assert not sweep.study.told
    sweep.ended(sweep.study, sweep.trials[1], Outcome())
    assert sweep.study.told[1] == 0.5
    assert sweep.trials[0].user_attrs["error"] == "too fast"
    assert sweep.goes_on(sweep.study, 1)
    sweep.study.told, sweep.trials = {}, [Trial(number) for number in range(2)]
    sweep.ended(sweep.study, sweep.trials[1], Outcome(error="too fast"), running=1)
    with pytest.raises(UserError, match="too fast"):
        sweep.ended(sweep.study, sweep.trials[0], Outcome(error="too slow"))
    assert set(sweep.study.told) == {0, 1}
    assert not any("error" in trial.user_attrs for trial in sweep.trials), "they do not count"


@pytest.mark.slow
def test_a_sweep_goes_on_over_ray(model, data, tmp_path, monkeypatch, capsys):
    """What one trial leaves is taken up, equal flags give an equal score, and what is hopeless is cut short."""
    optuna = pytest.importorskip("optuna")
    pytest.importorskip("ray")
    train, begun = Learner.train, []

    class Kill(runner.RunHook):
        def after_step(self, learner, state):
            if state.step == 3:
                raise SystemExit(143)

    def killed(self, *args):
        begun.append(1)
        return train(self, *args[:4], [*args[4], *[Kill()] * (len(begun) == 2)])

    monkeypatch.setattr(Learner, "train", killed)
    with pytest.raises(SystemExit):
        main(words_of(model, data, tmp_path, sweep_trials=2))
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "sweep/study.journal"))
    )
    study = optuna.load_study(study_name="classify", storage=storage)
    first, second = study.get_trials()
    known = {"values": first.intermediate_values, "params": {**first.params, "learning_rate": 5e-3}}
    for _ in range(4):  # with the first five: none is cut before there are as many
        study.add_trial(optuna.trial.create_trial(
            params=known["params"], distributions=first.distributions, value=-0.01, user_attrs={"best": -0.01},
            intermediate_values=dict.fromkeys(known["values"], -0.01),
        ))  # fmt: skip
    study.enqueue_trial(first.params)
    study.enqueue_trial({"learning_rate": 1e-12, "batch_size": 8})
    over_ray = {"sweep_engine": "ray", "sweep_workers": 2, "sweep_trials": 8}
    main(words_of(model, data, tmp_path, sweep_prune="true", **over_ray))
    assert len(begun) == 2, "no trial ran here"
    header, *rows = [line.split("\t") for line in (tmp_path / "sweep/sweep.tsv").read_text().splitlines()]
    rows = {row[0]: dict(zip(header, row)) for row in rows}
    assert set(rows) == {"trial_0", "trial_1", *(f"trial_{number}" for number in range(2, 8))}
    pruned = rows["trial_7"]
    assert (pruned["state"], pruned["learning_rate"]) == ("pruned", "1e-12")
    assert json.loads((tmp_path / "sweep/trial_7/run.json").read_text())["steps"] == 5
    assert rows["trial_6"]["score"] == rows["trial_0"]["score"]
    assert rows["trial_1"]["learning_rate"] == str(second.params["learning_rate"])
    for name in ("trial_1", "trial_6"):
        assert json.loads((tmp_path / "sweep" / name / "run.json").read_text())["finished"]
        assert "saved checkpoint" in (tmp_path / "sweep" / name / "train.log").read_text()
    assert "best: -0.010000" in capsys.readouterr().out


@pytest.mark.slow
def test_a_sweep_over_two_machines(model, data, tmp_path, capsys):
    """Two nodes with one core each: both work at the same time, and the scores are those of one process.

    Without --ray_address a cluster of its own is started, though one runs.
    """
    pytest.importorskip("optuna")
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    main(words_of(model, data, tmp_path / "here", sweep_trials=2))
    with kept_handlers():
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        nodes.add_node(num_cpus=1)
    try:
        over_ray = {"sweep_engine": "ray", "ray_address": nodes.address, "sweep_trials": 2}
        main(words_of(model, data, tmp_path / "there", **over_ray))
        with ended_by_signals():
            ending = signal.getsignal(signal.SIGTERM)
            with cluster("--ray_address", None, 3, "") as ray:
                assert ray.cluster_resources()["CPU"] == 3
                assert signal.getsignal(signal.SIGTERM) is ending, "Ray's own handler"
    finally:
        nodes.shutdown()
    assert "2 trials at a time, each with 1 core" in capsys.readouterr().err
    tables = []
    for folder in ("here", "there"):
        header, *rows = [line.split("\t") for line in (tmp_path / folder / "sweep/sweep.tsv").read_text().splitlines()]
        wanted = [header.index(name) for name in ("state", "learning_rate", "batch_size", "score")]
        tables.append(sorted(tuple(row[place] for place in wanted) for row in rows))
    assert tables[0] == tables[1]
    assert len(tables[0]) == 2
