"""Shared with tests/propeller/test_amp.py: a classifier in mixed precision."""

from ernie.config import ErnieConfig
from ernie.optimization import AdamW, OptimizationConfig
from finetune.classification.classifier import Classifier
from finetune.spec import ModelSpec
from propeller.train.model import RunMode
from tests.helpers.runs import read_records
from tests.helpers.tiny import CONFIG


def classifier(mode, **changes):
    optimizer = AdamW(OptimizationConfig(5e-3, 100)) if mode is RunMode.TRAIN else None
    return Classifier(ErnieConfig({**CONFIG, **changes}), ModelSpec(), mode, optimizer)


def losses(folder):
    lines = read_records(folder)
    return [line["loss"] for line in lines if line["event"] == "train"]
