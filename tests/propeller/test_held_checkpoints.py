"""A checkpoint is there before each evaluation, and which ones stay is as without it."""

import pytest

from propeller.errors import UserError
from propeller.train.differences import Difference
from propeller.train.hooks import RunHook
from propeller.train.saver import Saver
from propeller.train.state import Evaluation
from propeller.variables import read_variable, write_variable
from tests.helpers.said import Said
from tests.helpers.trainer import Batches, assert_same, train


def steps(folder):
    return sorted(int(path.name.partition("_")[2]) for path in folder.glob("step_*"))


class Watched(RunHook):
    """What is in the folder when an evaluation begins, and where its scores come from. ``fail_at``: a step."""

    def __init__(self, folder, scores, fail_at=None, error=KeyboardInterrupt):
        self.folder, self.scores, self.fail_at, self.error, self.seen = folder, iter(scores), fail_at, error, {}

    def before_train(self, learner, state):
        learner.evaluate = lambda batches, task=None: {"loss": 1.0, "data_num": 1, "acc": next(self.scores)}

    def before_evaluation(self, learner, state, evaluation):
        self.seen[state.step] = steps(self.folder), (self.folder / "last").resolve().name
        if state.step == self.fail_at:
            raise self.error("the evaluation")


def test_it_is_there_before_and_only_better_ones_stay(tmp_path):
    watched = Watched(tmp_path, [0.5, 0.9, 0.7, 0.6])
    state, _, _ = train(tmp_path, hooks=[watched], save_steps=0)
    assert watched.seen == {
        3: ([3], "step_3"), 6: ([3, 6], "step_6"), 9: ([3, 6, 9], "step_9"), 12: ([3, 6, 12], "step_12")
    }  # fmt: skip
    assert (steps(tmp_path), state.best_step) == ([3, 6, 12], 6)
    assert (tmp_path / "best").resolve().name == "step_6"
    assert (tmp_path / "last").resolve().name == "step_12"


@pytest.mark.parametrize("error", [KeyboardInterrupt, UserError, RuntimeError])
@pytest.mark.parametrize("fail_at", [3, 9])
def test_an_evaluation_that_fails_loses_nothing(tmp_path, fail_at, error):
    whole = train(tmp_path / "whole", save_steps=0)

    class Failing(RunHook):
        def before_evaluation(self, learner, state, evaluation):
            if state.step == fail_at:
                raise error("the evaluation")

    with pytest.raises(error):
        train(tmp_path / "cut", hooks=[Failing()], save_steps=0)
    assert steps(tmp_path / "cut")[-1] == fail_at
    state, arrays, records = train(tmp_path / "cut", save_steps=0)
    assert_same(arrays, whole[1])
    assert records == whole[2]
    assert (state.best_step, state.best_score) == (whole[0].best_step, whole[0].best_score)
    assert steps(tmp_path / "cut") == steps(tmp_path / "whole")


def test_what_an_evaluation_found_is_in_its_checkpoint(tmp_path):
    train(tmp_path, hooks=[Watched(tmp_path, [0.5, 0.9, 0.7, 0.6])], save_steps=0)
    saver = Saver(tmp_path, write_variable, read_variable)
    _, _, stored = saver.restore(6)
    assert (stored["best_step"], stored["evaluated_step"], stored["best_score"]) == (6, 6, 0.9)
    saver.close()


def test_several_sets_are_behind_one_checkpoint(tmp_path):
    sets = [Evaluation("dev", f"dev_{number}.tsv", Batches(epochs=1).open) for number in range(2)]
    train(tmp_path, evaluations=sets, save_steps=0)
    assert steps(tmp_path)[-1] == 12


def test_a_difference_that_is_only_told(tmp_path):
    saver = Saver(tmp_path, write_variable, read_variable)
    saver.claim({"data": {"train": 1, "dev": 1}})
    (tmp_path / "step_1").mkdir()

    def of_dev(difference: Difference):
        return difference.name == "data.dev"

    with pytest.raises(UserError, match="holds another run: data.dev was 1, now 2"):
        saver.claim({"data": {"train": 1, "dev": 2}})
    with pytest.raises(UserError, match="holds another run: data.train was 1, now 3"):
        saver.claim({"data": {"train": 3, "dev": 2}}, told=of_dev)
    with Said() as said:
        assert saver.claim({"data": {"train": 1, "dev": 2}}, told=of_dev) == "resume"
    assert "data.dev was 1, now 2" in said.text
    with Said() as said:
        assert saver.claim({"data": {"train": 1, "dev": 2}}, told=of_dev) == "resume", "the record is the new one"
    assert not said.text
    saver.close()
