"""Every flag of run_classifier.py changes something: the weights, the scores, the log or the files."""

import ast
import dataclasses
import hashlib
import io
import logging
import re
from contextlib import redirect_stderr
from pathlib import Path

import pytest

import finetune.training.runner as finetune_runner
import pretrain.training.runner as pretrain_runner
import propeller
from finetune import task_class
from finetune.classification.flags import ClassificationFlags
from finetune.spec import settle, settled_labels
from finetune.training.args import GROUPS, ignored_flags, parse
from finetune.training.main import main
from finetune.training.settled import MAX_SEQ_LEN
from pretrain import build_data
from pretrain.training.args import GROUPS as PRETRAINING_GROUPS
from propeller.errors import UserError
from propeller.launch import build_parser
from propeller.train.args import EngineArgs
from tests.helpers.tiny import flags, make_data, write_tsv


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = make_data(tmp_path_factory.mktemp("data") / "task")
    (folder / "map.json").write_text('{"0": 1, "1": 0}')
    write_tsv(folder / "ax.tsv", [["good film"], ["bad film"]], ["text_a"])
    return folder


def run(model, data, folder, **changes):
    """What a run shows: the digest of its last weights, the lines of its log without times, its files."""
    shown = io.StringIO()
    with redirect_stderr(shown):
        main("run_classifier.py", "classify", flags(model, data, folder, **{"epoch": 1, **changes}))
    for name in ("ernie", "propeller"):
        for handler in logging.getLogger(name).handlers:
            handler.close()
    # The message behind the tab; the flag's own line says nothing of its effect.
    messages = [line.split("\t", 1)[-1] for line in shown.getvalue().splitlines()]
    own = {f"{name}:" for name in changes}
    messages = [line for line in messages if line.split(" ")[0] not in own]
    digest = hashlib.sha256()
    if (folder / "last").exists():
        for path in sorted((folder / "last").iterdir()):
            if path.is_file() and path.name not in ("checkpoint.json", "vocab.txt"):
                digest.update(path.read_bytes())
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if "events" not in str(path))
    return {"weights": digest.hexdigest(), "log": "\n".join(messages), "files": files}


@pytest.fixture(scope="module")
def plain(model, data, tmp_path_factory):
    return run(model, data, tmp_path_factory.mktemp("plain") / "run")


WEIGHTS = {
    "init_pretraining_params": None,
    "do_lower_case": "false",  # the training file of this test has capitals
    "for_cn": "true",
    "max_seq_len": 5,
    "task_id": 2,
    "label_map_config": "map.json",
    "num_labels": 3,
    "tokenizer": "CharTokenizer",
    "train_set": "dev.tsv",
    "shuffle": "false",
    "bucket_window": 32,
    "epoch": 2,
    "batch_size": 4,
    "in_tokens": "true",
    "gradient_accumulation_steps": 2,
    "learning_rate": 1e-3,
    "lr_scheduler": "noam_decay",
    "warmup_proportion": 0.6,
    "weight_decay": 0.5,
    "random_seed": 2,
    "head_dropout": 0.5,
}
LOG = {
    "metric": ("acc_and_f1", "ave_acc:"),
    "dev_set": ("test.tsv", "test.tsv:"),
    "test_set": ("dev.tsv", "dev.tsv, save to"),
    "test_save": ("elsewhere.tsv", "elsewhere.tsv.0."),
    "do_train": ("false", "[test evaluation]"),
    "skip_steps": (1, "step: 1,"),
    "verbose": ("true", "train pyreader queue size:"),
    "early_stop": (1, "stopped early"),
    "overwrite": ("true", "finished; checkpoints"),
    "validation_steps": (2, ", steps: 2\n"),
}
FILES = {
    "save_steps": (1, "step_1"),
    "keep_checkpoints": (0, "step_1"),
    "token_cache_dir": ("off", None),
    "log_file": ("run.log", "run.log"),
    "diagnostic": ("ax.tsv", "ax_out.0.5"),
    "do_test": ("false", None),
    "checkpoints": (None, None),
}
# Where another test holds the flag: what it does has no place in a short run's weights, log or files.
ELSEWHERE = {
    "ernie_config_path": "test_bad_input.py: test_configuration",
    "vocab_path": "test_bad_input.py: test_a_vocabulary_that_does_not_fit",
    "init_checkpoint": "test_run_classifier.py: test_the_best_checkpoint_evaluates_and_predicts_alone",
    "model": "test_model_folder.py",
    "sp_model": "test_tokenization_sentencepiece.py",
    "is_classify": "test_regression.py: test_flags_that_do_not_go_together",
    "is_regression": "test_regression.py: test_a_run_from_beginning_to_end",
    "use_fp16": "test_amp.py: test_precisions_that_cannot_be, test_flags_of_the_loss_scale",
    "use_recompute": "test_recompute.py",
    "fused_encoder": "finetune/test_fused.py",
    "use_bf16": "test_amp.py: test_training_in_bf16_follows_fp32",
    "use_dynamic_loss_scaling": "test_amp.py: test_flags_of_the_loss_scale",
    "init_loss_scaling": "test_amp.py: test_flags_of_the_loss_scale",
    "incr_every_n_steps": "test_amp.py: test_flags_of_the_loss_scale",
    "decr_every_n_nan_or_inf": "test_amp.py: test_flags_of_the_loss_scale",
    "incr_ratio": "test_amp.py: test_flags_of_the_loss_scale",
    "decr_ratio": "test_amp.py: test_flags_of_the_loss_scale",
    "use_cuda": "test_bad_input.py: test_flags",
    "diagnostic_save": "test_bad_input.py: test_flags",
    "verify_checkpoints": "propeller/test_checkpoint_digests.py",
    "hang_timeout": "test_faults_processes.py: test_a_rank_that_was_stopped_ends_the_group",
    "fuse_grad_size_mb": "test_parallel.py: test_steps_are_those_of_one_process",
    "num_workers": "test_reader.py: the batches are the same whatever it is",
    "queue_size": "below",
    "predict_batch_size": "below",
    "do_val": "below",
    "on_bad": "test_checks.py: test_all_bad_rows_are_counted_and_left_out_on_request",
    "allow_blank": "test_checks.py: test_blank_cells_are_taken_on_request_by_both",
    "allow_unk": "test_checks.py: test_english_read_as_chinese_names_the_flag",
    "allow_refused": "test_checks.py: test_most_rows_refused_is_no_success",
    "allow_no_entities": "test_checks_of_tasks.py: test_all_tags_o_is_no_training_data",
    "allow_lost_answers": "test_checks_of_tasks.py: test_a_dev_set_whose_answers_are_not_in_their_contexts",
    "long_text": "finetune/test_long_texts.py: test_it_learns_what_stands_behind_the_first_window",
    "window_stride": "finetune/test_long_texts.py: test_the_loss_of_a_program_is_that_of_pooled_logits",
    "window_pooling": "finetune/test_long_texts.py: test_the_loss_of_a_program_is_that_of_pooled_logits",
    "max_windows": "finetune/test_long_texts.py: test_what_is_beyond_the_last_window_is_said_to_be_cut",
    "multi_label": "finetune/test_multi_label.py: test_it_learns_tunes_and_scores",
    "label_separator": "finetune/test_multi_label.py: test_another_separator_makes_the_same_run",
    "threshold": "finetune/test_multi_label.py: test_a_threshold_that_is_given_wins",
    "tune_threshold": "finetune/test_multi_label.py: test_it_learns_tunes_and_scores",
    "f1_average": "test_finetune_metrics.py: test_the_flag_chooses_the_average",
    "eval_strategy": "test_strategies.py: test_when_it_is_evaluated",
    "save_strategy": "test_strategies.py: test_when_it_is_saved",
    "format": "test_rows_in_any_form.py",
    "text_column": "test_rows_in_any_form.py",
    "text_pair_column": "test_rows_in_any_form.py",
    "label_column": "test_rows_in_any_form.py",
    "max_train_rows": "test_rows_in_any_form.py",
    "best_metric": "test_strategies.py: test_the_metric_of_the_best_checkpoint",
    "early_stop_min_gain": "propeller/test_averaging.py: test_a_least_gain",
    **dict.fromkeys(("lr_end", "lr_power"), "ernie/test_optimizer_options.py: test_schedules"),
    **dict.fromkeys(
        ("beta1", "beta2", "adam_epsilon", "max_grad_norm", "layer_lr_decay"),
        "ernie/test_optimizer_options.py: test_the_update",
    ),
    **dict.fromkeys(("freeze_layers", "freeze_embeddings"), "ernie/test_optimizer_options.py: test_what_is_frozen"),
    "max_steps": "finetune/test_training_options.py: test_a_run_of_so_many_steps",
    **dict.fromkeys(("class_weights", "label_smoothing", "focal_gamma"), "finetune/test_losses.py: test_losses"),
    **dict.fromkeys(("rdrop_alpha", "fgm_epsilon"), "finetune/test_two_passes.py"),
    **dict.fromkeys(("ema_decay", "swa_start", "swa_every"), "propeller/test_averaging.py"),
}


def test_every_flag_is_in_this_file():
    groups = [*GROUPS.values(), ClassificationFlags]
    known = {entry.name for group in groups for entry in dataclasses.fields(group)}
    assert known == {*WEIGHTS, *LOG, *FILES, *ELSEWHERE}


@pytest.mark.slow
@pytest.mark.parametrize("name", WEIGHTS)
def test_flags_that_change_the_weights(name, plain, model, data, tmp_path):
    value = WEIGHTS[name]
    given = {}
    if isinstance(value, str) and value.endswith((".tsv", ".json")):
        value = data / value
    if name == "do_lower_case":
        capitals = write_tsv(
            tmp_path / "capitals.tsv", [(i % 2, "GOOD film" if i % 2 else "Bad film") for i in range(40)]
        )
        given = {"train_set": capitals}
        plain = run(model, data, tmp_path / "plain", **given)
    if name == "for_cn":
        given = {"allow_unk": "true"}  # without its blanks the text is unknown
    if name == "tokenizer":
        pieces = write_tsv(tmp_path / "pieces.tsv", [(i % 2, "good film." if i % 2 else "bad.") for i in range(40)])
        given = {"train_set": pieces, "allow_unk": "true"}
        plain = run(model, data, tmp_path / "plain", **given)
    if name == "lr_scheduler":
        given = {"warmup_proportion": 0.4}
        plain = run(model, data, tmp_path / "plain", **given)
    if name == "in_tokens":
        given = {"batch_size": 48}
        plain = run(model, data, tmp_path / "plain", **given)
    shown = run(model, data, tmp_path / "run", **{**given, name: value})
    assert shown["weights"] != plain["weights"]


@pytest.mark.parametrize("name", LOG)
def test_flags_that_change_the_log(name, plain, model, data, tmp_path):
    value, words = LOG[name]
    folder, given = tmp_path / "run", {}
    if name in ("dev_set", "test_set"):
        value = data / value
    elif name == "test_save":
        value = tmp_path / value
    elif name == "do_train":
        run(model, data, folder)
        given = {"train_set": None, "init_pretraining_params": None, "init_checkpoint": folder / "last"}
    elif name == "early_stop":
        given = {"validation_steps": 1, "learning_rate": 1e-12, "epoch": 2}
    elif name == "overwrite":
        run(model, data, folder)
    shown = run(model, data, folder, **given, **{name: value})
    assert words in shown["log"]
    assert name in ("do_train", "overwrite") or words not in plain["log"]


@pytest.mark.parametrize("name", FILES)
def test_flags_that_change_the_files(name, plain, model, data, tmp_path):
    value, file = FILES[name]
    folder, given = tmp_path / "run", {}
    if name == "checkpoints":
        assert run(model, data, folder)["weights"] == plain["weights"], "here and not there"
        return
    if name == "log_file":
        value = folder / value
    elif name in ("keep_checkpoints", "save_steps"):
        given = {"save_steps": 1, "keep_checkpoints": 0}
        plain = run(model, data, tmp_path / "plain", keep_checkpoints=3)
    elif name == "diagnostic":
        value, given = data / value, {"diagnostic_save": folder / "ax_out"}
    shown = run(model, data, folder, **{**given, name: value})
    assert shown["weights"] == plain["weights"]
    assert shown["files"] != plain["files"]
    if file:
        assert file in shown["files"]
        assert file not in plain["files"]


def test_flags_of_speed_change_no_weight(plain, model, data, tmp_path):
    shown = run(model, data, tmp_path / "run", queue_size=1, predict_batch_size=3, do_val="false")
    assert shown["weights"] == plain["weights"]
    assert "[dev evaluation]" not in shown["log"]


def test_bucketing_in_prediction_batches_changes_no_prediction(model, data, tmp_path):
    for size in (1, 5):
        run(model, data, tmp_path / f"run_{size}", predict_batch_size=size)
    files = [(tmp_path / f"run_{size}" / "test_out.tsv.0.5").read_text().splitlines() for size in (1, 5)]
    assert [line.split("\t")[0] for line in files[0]] == [line.split("\t")[0] for line in files[1]]


def test_flags_without_effect_are_taken_and_named(plain, model, data, tmp_path):
    shown = run(model, data, tmp_path / "run", **dict.fromkeys(ignored_flags(ClassificationFlags), "1"))
    (line,) = [line for line in shown["log"].splitlines() if line.startswith("without effect:")]
    for name in ignored_flags(ClassificationFlags):
        assert f"--{name}" in line
    assert shown["weights"] == plain["weights"]


def test_defaults_are_those_of_2019():
    argv = ["--ernie_config_path", "c", "--vocab_path", "v", "--train_set", "t", "--test_set", "t"]
    args = parse("run_classifier.py", "", argv, ClassificationFlags)
    values = {**vars(args.model), **vars(args.data), **vars(args.train), **vars(args.run), **vars(args.task)}
    values.update(settle(args.model, {}), num_labels=settled_labels(args.model, {}, task_class("classify"), None))
    values["max_seq_len"] = MAX_SEQ_LEN  # where the model has as many positions
    recorded = {
        "batch_size": 32, "checkpoints": "checkpoints", "do_lower_case": True, "epoch": 3, "for_cn": True,
        "in_tokens": False, "is_classify": True, "is_regression": False, "label_map_config": None,
        "learning_rate": 5e-5, "lr_scheduler": "linear_warmup_decay", "max_seq_len": 512,
        "metric": "simple_accuracy", "num_labels": 2, "predict_batch_size": None, "random_seed": 0,
        "save_steps": 10000, "shuffle": True, "skip_steps": 10, "task_id": 0, "tokenizer": "FullTokenizer",
        "test_save": "checkpoints/test_result", "use_fp16": False, "validation_steps": 1000, "verbose": False,
        "warmup_proportion": 0.1, "weight_decay": 0.01,
        "use_dynamic_loss_scaling": True, "init_loss_scaling": 102400, "incr_every_n_steps": 100,
        "decr_every_n_nan_or_inf": 2, "incr_ratio": 2.0, "decr_ratio": 0.8,
    }  # fmt: skip
    assert {name: values[name] for name in recorded} == recorded


def test_the_engine_names_no_flag_of_its_own():
    """Its errors call settings what it is told; the flags it shares with the runners are declared in one file."""
    engine = Path(propeller.__file__).parent
    for path in sorted((engine / "train").glob("*.py")):
        if path.name != "args.py":
            texts = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
            assert not [text for text in texts if isinstance(text, str) and re.search(r"--[a-z]", text)], path


@pytest.mark.parametrize(
    ("names", "groups"), [(finetune_runner.NAMES, GROUPS), (pretrain_runner.NAMES, PRETRAINING_GROUPS)]
)
def test_what_errors_call_a_setting_is_a_flag(names, groups):
    known = {f"--{entry.name}" for group in groups.values() for entry in dataclasses.fields(group)}
    assert {words.split()[0] for words in dataclasses.asdict(names).values()} <= known


def test_a_loss_that_is_no_number_names_the_flags(model, data, tmp_path):
    with pytest.raises(UserError, match=r"the loss is \S+: lower --learning_rate or lengthen --warmup_proportion; "):
        run(model, data, tmp_path / "run", learning_rate=1e38, warmup_proportion=0)


@pytest.mark.parametrize(("word", "value"), [("yes", True), ("1", True), ("T", True), ("no", False), ("0", False)])
def test_one_reading_of_true_and_false(word, value):
    """The launcher and the builder of shards read what the scripts of 2019 read."""
    launched = build_parser("finetune_launch.py").parse_args(["--print_config", word, "run_classifier.py"])
    built = build_data.arguments().parse_args(
        ["--input", "a.txt", "--output", "out", "--vocab_path", "vocab.txt", "--do_lower_case", word]
    )
    assert (launched.print_config, built.do_lower_case) == (value, value)
    with pytest.raises(UserError, match="'maybe' is neither true nor false; see python -m pretrain.build_data --help"):
        build_data.arguments().parse_args(["--do_lower_case", "maybe"])


def test_the_flags_of_both_runners_are_those_of_the_engine():
    """Names and defaults go into run.json: a run of an earlier version must find its own."""
    shared = {entry.name: entry.default for entry in dataclasses.fields(EngineArgs)}
    assert shared == {
        "gradient_accumulation_steps": 1, "use_fp16": False, "use_bf16": False, "init_loss_scaling": 102400.0,
        "use_dynamic_loss_scaling": True, "incr_every_n_steps": 100, "decr_every_n_nan_or_inf": 2, "incr_ratio": 2.0,
        "decr_ratio": 0.8, "use_recompute": False, "fused_encoder": None, "random_seed": 0,
        "fuse_grad_size_mb": None,
    }  # fmt: skip
    for groups in (GROUPS, PRETRAINING_GROUPS):
        defaults = {entry.name: entry.default for entry in dataclasses.fields(groups["train"])}
        assert shared.items() <= defaults.items()
