"""The training Program of every head drops 0.1 of what the encoder gives it, scaled up, as in 2019; no other does."""

import pytest

from ernie.config import ErnieConfig
from ernie.optimization import AdamW, OptimizationConfig
from finetune import TASKS, task_class
from finetune.classification.classifier import RankingClassifier
from finetune.spec import ModelSpec, settings_of
from propeller.train.model import RunMode
from propeller.train.trainer import Learner, RunConfig
from tests.helpers.tiny import CONFIG

TAGS = {"B-A": 0, "I-A": 1, "O": 2}
CASES = {
    "classify": (task_class("classify"), {}, {"metric": "simple_accuracy"}),
    "ranking": (RankingClassifier, {"metric": "acc_and_f1_and_mrr"}, {"metric": "acc_and_f1_and_mrr"}),
    "multi_label_classification": (task_class("multi_label_classification"), {}, {"metric": None}),
    "regression": (
        task_class("regression"),
        {"is_regression": True, "metric": "pearson_and_spearman"},
        {"num_labels": 1, "metric": "pearson_and_spearman"},
    ),
    "sequence_label": (task_class("sequence_label"), {}, {"num_labels": 3, "label_map": TAGS}),
    "student_sequence_label": (task_class("student_sequence_label"), {}, {"num_labels": 3, "label_map": TAGS}),
    "sequence_label_crf": (task_class("sequence_label_crf"), {}, {"num_labels": 3, "label_map": TAGS}),
    "mrc": (task_class("mrc"), {}, {}),
    "multiple_choice": (task_class("multiple_choice"), {}, {"num_labels": 1}),
    "student_regression": (
        task_class("student_regression"),
        {},
        {"num_labels": 1, "metric": "pearson_and_spearman"},
    ),
    "student": (task_class("student"), {}, {"metric": "simple_accuracy"}),
    "sentence_vectors": (task_class("sentence_vectors"), {"projection": True}, {"num_labels": 1}),
}
IN_TRAINING_ALONE = ("sentence_vectors",)  # their heads


def test_every_task_that_trains_is_here():
    """But for the one whose head is that of pre-training, see tests/finetune/test_prompt.py."""
    assert {name for name in TASKS if task_class(name).trains} - {"prompt"} <= set(CASES)


def program_of(case, mode, **changes):
    task, flags, values = CASES[case]
    config = ErnieConfig(CONFIG)
    spec = ModelSpec(task=task.name, settings=settings_of(task.flags, {}, flags), **{**values, **changes})

    def make(mode):
        optimizer = AdamW(OptimizationConfig(learning_rate=0.1, num_train_steps=3))
        return task(config, spec, mode, optimizer if mode is RunMode.TRAIN else None)

    return task, Learner(make, RunConfig()).graphs.main(mode)


def before_the_head(task, program):
    """The op whose result the head's matrix product takes, and all dropout ops of the forward pass."""
    ops = program.global_block().ops
    (weight,) = [
        op.result(0)
        for op in ops
        if op.name() == "builtin.parameter" and op.attrs()["parameter_name"].startswith(task.head_prefix[0] + "_w")
    ]
    (product,) = [
        op for op in ops if op.name() == "pd_op.matmul" and any(x.is_same(weight) for x in op.operands_source())
    ]
    return product.operand_source(0).get_defining_op(), [op for op in ops if op.name() == "pd_op.dropout"]


def rate_of(op):
    """The rate of a dropout op, an input of it, and its attributes."""
    return op.operand_source(2).get_defining_op().attrs()["value"], op.attrs()


@pytest.mark.parametrize("case", CASES)
def test_the_training_program_has_it(case):
    task, program = program_of(case, RunMode.TRAIN)
    op, dropouts = before_the_head(task, program)
    assert op.name() == "pd_op.dropout"
    rate, attributes = rate_of(op)
    assert rate == pytest.approx(0.1)
    assert attributes["mode"] == "upscale_in_train"
    assert not attributes["is_test"]
    # embeddings, and in each layer attention weights, attention, feed-forward
    assert len(dropouts) == 1 + 3 * CONFIG["num_hidden_layers"] + 1


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("mode", [RunMode.EVAL, RunMode.PREDICT])
def test_other_programs_do_not(case, mode):
    task, program = program_of(case, mode)
    if case in IN_TRAINING_ALONE:
        ops = program.global_block().ops
        assert all(rate_of(op)[1]["is_test"] for op in ops if op.name() == "pd_op.dropout")
        names = [op.attrs()["parameter_name"] for op in ops if op.name() == "builtin.parameter"]
        assert not [name for name in names if name.startswith(task.head_prefix)]
        return
    op, dropouts = before_the_head(task, program)
    assert op.name() != "pd_op.dropout" or rate_of(op)[1]["is_test"]
    assert all(rate_of(each)[1]["is_test"] for each in dropouts)


@pytest.mark.parametrize("case", CASES)
def test_another_rate(case):
    task, program = program_of(case, RunMode.TRAIN, dropout=0.0)
    assert before_the_head(task, program)[0].name() != "pd_op.dropout"
    task, program = program_of(case, RunMode.TRAIN, dropout=0.25)
    assert rate_of(before_the_head(task, program)[0])[0] == pytest.approx(0.25)
