"""docs/migration.md names each flag that the 2019 code did not have, or the page that does, and no others.

pytest -q -x tests/docs/test_migration_docs.py
"""

import re

import pytest

from finetune import flags_of
from finetune.embedding import args as embed_args
from finetune.prediction import args as predict_args
from finetune.training import args as train_args
from pretrain.training import args as pretrain_args
from propeller.launch import build_parser
from tests.helpers.pages import read

# The flags of the 2019 scripts, all of them together.
OLD = set(
    re.findall(
        r"\w+",
        """
    batch_size checkpoints chunk_scheme current_node_ip data_set decr_every_n_nan_or_inf decr_ratio dev_set diagnostic
    diagnostic_save do_lower_case do_prediction do_test do_train do_val doc_stride enable_ce epoch ernie_config_path
    for_cn generate_neg_sample hack_old_data help in_tokens incr_every_n_steps incr_ratio init_checkpoint
    init_loss_scaling init_pretraining_params is_classify is_distributed is_regression label_map_config learning_rate
    log_prefix lr_scheduler max_answer_length max_query_length max_seq_len metric metrics n_best_size node_id node_ips
    nproc_per_node num_iteration_per_drop_scope num_labels num_train_steps output_dir predict_batch_size predict_set
    print_config random_seed save_inference_model_path save_steps selected_gpus shuffle skip_steps split_log_path
    task_id test_filelist test_save test_set tokenizer train_filelist train_set use_cuda use_dynamic_loss_scaling
    use_fast_executor use_fp16 use_multi_gpu_test valid_filelist validation_steps verbose vocab_path
    warmup_proportion warmup_steps weight_decay weight_sharing
        """,
    )
)
EVERYWHERE = "`run_*.py`, `infer_*.py`, `ernie_encoder.py`, `train.py`"
TRAINING = "all training commands"
ROWS = {
    "run_*.py": ("`run_*.py`", TRAINING, EVERYWHERE),
    "infer_*.py": ("`infer_*.py`", EVERYWHERE),
    "ernie_encoder.py": ("`ernie_encoder.py`", EVERYWHERE),
    "train.py": ("`train.py`", TRAINING, EVERYWHERE),
    "finetune_launch.py": ("`finetune_launch.py`",),
}
PAGES = ("data", "tasks", "training_options")  # that the section names for the others


def parse(program, words, task):
    """Read a command line; of the training and prediction scripts, that of a task."""
    if program == "run_*.py":
        train_args.parse(program, "", words, flags_of(task).task)
    elif program == "infer_*.py":
        predict_args.parse(program, "", words, flags_of(task).prediction, flags_of(task).task)
    elif program == "finetune_launch.py":
        build_parser(program).parse_args(words)
    else:
        {"ernie_encoder.py": embed_args, "train.py": pretrain_args}[program].parse(program, "", words)


def helped(program, capsys):
    """The text of ``--help``, of several scripts one after the other."""
    for task in ("classify", "sequence_label", "mrc") if "*" in program else (None,):
        with pytest.raises(SystemExit):
            parse(program, ["--help"], task)
    return capsys.readouterr().out


@pytest.mark.parametrize("program", ROWS)
def test_new_flags_are_named(program, capsys):
    there = set(re.findall(r"^  --(\w+)", helped(program, capsys), re.MULTILINE))
    section = read("docs/migration.md").partition("## Flags that the 2019 code did not have")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", section, re.MULTILINE))
    named = {flag for row in ROWS[program] for flag in re.findall(r"`--(\w+)`", rows[row])}
    elsewhere = {flag for page in PAGES for flag in re.findall(r"--(\w+)", read(f"docs/{page}.md"))}
    assert named - there == set()
    assert there - OLD - named - elsewhere == set()
