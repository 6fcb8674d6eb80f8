"""Several tasks whose files differ: one without a dev set, a test set without labels."""

import pytest

import finetune
from finetune.multitask.args import from_python
from propeller.errors import UserError
from tests.helpers.tiny import sentences, write_tsv

SHORT = {"for_cn": False, "max_seq_len": 24, "batch_size": 20, "epoch": 1, "use_cuda": False, "fused_encoder": "false"}


@pytest.fixture
def task(tmp_path):
    """A task whose columns have names of their own; its test set has no labels."""
    rows = [("good" if label else "bad", text) for label, text in sentences(20, 1)]
    train = write_tsv(tmp_path / "train.tsv", rows, ("stars", "review"))
    test = write_tsv(tmp_path / "new.tsv", [(text,) for _, text in sentences(5, 2)], ("review",))
    columns = {"text_column": "review", "label_column": "stars"}
    return {"name": "one", "task": "classify", "train_set": train, "test_set": test, **columns}


def test_a_test_set_without_the_label_column_is_predicted_at_the_end(model, task, tmp_path):
    result = finetune.train("multitask", model=str(model), tasks=[task], checkpoints=str(tmp_path / "run"), **SHORT)
    assert result.step == 1
    assert (tmp_path / "run" / "one_test.tsv").read_text().count("\n") == 5


def test_flags_of_evaluations_need_one_task_that_is_evaluated(model, task):
    without, evaluated = {**task, "name": "two"}, {**task, "dev_set": task["train_set"]}
    for name, value in (("early_stop", 2), ("eval_strategy", "both")):
        shared = {"model": str(model), **SHORT, name: value}
        first, second = from_python({**shared, "tasks": [evaluated, without]}).entries
        assert (first.args.data.dev_set, second.args.data.dev_set) == (task["train_set"], None)
        with pytest.raises(UserError, match=f"^--{name} {value} needs --dev_set: "):
            from_python({**shared, "tasks": [task, without]})
    with pytest.raises(UserError, match=r"task 2 \(two\): --best_metric loss needs --dev_set: "):
        from_python({"model": str(model), **SHORT, "tasks": [evaluated, {**without, "best_metric": "loss"}]})
