"""Every flag of the prediction scripts changes something: the predictions, the log, the files, or is an error."""

import dataclasses

import pytest

from finetune.classification.flags import ClassificationFlags, ClassifyArgs
from finetune.mrc.flags import MrcArgs
from finetune.prediction.args import GROUPS, TableArgs, is_of_prediction, parse
from finetune.tagging.flags import SequenceLabelArgs, TaggingArgs
from propeller.errors import UserError
from tests.helpers.predicting import infer, train, words
from tests.helpers.tiny import write_tsv

SCRIPT, RUN = "infer_classifyer.py", ("run_classifier.py", "classify")
# Where each flag is held: a case here, or another file's test.
HERE = {
    "do_lower_case", "for_cn", "tokenizer", "task_id", "max_seq_len", "num_workers", "batch_size", "log_file",
    "num_labels", "label_map_config", "ernie_config_path",
}  # fmt: skip
ELSEWHERE = {
    "on_bad": "test_checks.py: test_one_answer_to_one_file_from_prediction_and_embedding",
    "task": "test_prompt.py: test_without_training",
    "allow_blank": "test_checks.py: test_blank_cells_are_taken_on_request_by_both",
    "format": "test_rows_in_any_form.py",
    "text_column": "test_rows_in_any_form.py",
    "text_pair_column": "test_rows_in_any_form.py",
    "label_column": "test_copied_columns.py: test_chosen_columns",
    "allow_refused": "test_checks.py: test_most_rows_refused_is_no_success",
    "allow_unk": "test_checks.py: test_a_file_in_another_language_is_not_predicted",
    "inference_model": "test_infer_classifyer.py: test_an_inference_model_needs_nothing_else",
    "init_checkpoint": "test_infer_classifyer.py: test_equal_to_run_classifier_in_the_files_order",
    "model": "test_model_folder.py",
    "vocab_path": "test_infer_bad_input.py: test_a_vocabulary_of_another_model",
    "sp_model": "test_tokenization_sentencepiece.py",
    "predict_set": "test_infer_bad_input.py: test_bad_rows",
    "do_prediction": "test_infer_classifyer.py: test_only_an_inference_model",
    "output": "test_infer_classifyer.py: test_a_failed_run_leaves_the_old_output",
    "precision": "test_infer_classifyer.py: test_bf16_gives_the_same_labels",
    "engine": "test_engines.py: test_the_script_says_which_engine_it_takes",
    "use_cuda": "test_infer_bad_input.py: test_flags",
    "use_fp16": "test_infer_bad_input.py: test_flags",
    "save_inference_model_path": "test_infer_classifyer.py: test_only_an_inference_model",
    "onnx": "test_infer_classifyer.py: test_only_an_inference_model",
    "calibration_set": "test_int8.py", "max_loss": "test_int8.py",
    "overwrite": "test_infer_classifyer.py: test_only_an_inference_model",
    "output_format": "test_infer_classifyer.py: test_json_lines_and_bare_probabilities_say_the_same",
    "copy_columns": "test_copied_columns.py: test_without_copies",
    "is_regression": "test_infer_classifyer.py: test_regression_is_known_by_its_checkpoint",
    "window_stride": "test_long_texts.py: test_the_loss_of_a_program_is_that_of_pooled_logits",
    "window_pooling": "test_long_texts.py: test_the_loss_of_a_program_is_that_of_pooled_logits",
    "max_windows": "test_long_texts.py: test_what_is_beyond_the_last_window_is_said_to_be_cut",
    "threshold": "test_multi_label.py: test_a_threshold_that_is_given_wins",
    "label_separator": "test_multi_label.py: test_a_threshold_that_is_given_wins",
    "tokenized": "test_infer_sequence_labeling.py: test_running_text_is_parted_into_words",
    "long_text": "test_infer_sequence_labeling.py: test_equal_to_run_sequence_labeling",
    "chunk_scheme": "test_tagging.py", "o_label": "test_tagging.py", "padding_label": "test_tagging.py",
    "doc_stride": "test_infer_mrc.py: test_windows_are_as_the_flags_say",
    "max_query_length": "test_squad_reader.py",
    "max_answer_length": "test_infer_mrc.py: test_an_inference_model_needs_nothing_else",
    "version_2_with_negative": "test_squad2.py: test_every_way_gives_the_same_answers",
    "null_score_diff_threshold": "test_squad2.py: test_every_way_gives_the_same_answers",
    "n_best_size": "test_infer_mrc.py: test_an_inference_model_needs_nothing_else",
}  # fmt: skip


def test_every_flag_is_in_this_file():
    groups = [*GROUPS.values(), TableArgs, ClassifyArgs, TaggingArgs]
    groups += [SequenceLabelArgs, MrcArgs, ClassificationFlags]
    entries = [entry for group in groups for entry in dataclasses.fields(group)]
    known = {entry.name for entry in entries if is_of_prediction(entry)}
    assert known == {*HERE, *ELSEWHERE}


def test_defaults_are_those_of_2019():
    args = parse(SCRIPT, "", ["--inference_model", "m", "--predict_set", "p"], ClassifyArgs)
    values = args.values()
    assert (values["batch_size"], values["do_prediction"], values["use_fp16"]) == (32, True, False)
    # num_labels 2, max_seq_len 128, do_lower_case true: only where the model does not say, see the test below.
    assert {values[name] for name in ("num_labels", "max_seq_len", "do_lower_case", "label_map_config")} == {None}


@pytest.fixture(scope="module")
def bare(model, data, tmp_path_factory):
    """The flags of a checkpoint as those of 2019 are, without checkpoint.json; and rows that every flag concerns."""
    folder = tmp_path_factory.mktemp("bare")
    checkpoint = train(*RUN, model, data, folder / "run").resolve()
    (checkpoint / "checkpoint.json").unlink()
    rows = write_tsv(folder / "rows.tsv", [["GOOD"], ["good" + "." * 12 + "bad"], ["good films."]], ["text_a"])
    return {
        "init_checkpoint": checkpoint,
        "vocab_path": model / "vocab.txt",
        "ernie_config_path": model / "ernie_config.json",
        "predict_set": rows,
    }


@pytest.fixture(scope="module")
def plain(bare):
    return infer(SCRIPT, **bare)


def test_without_checkpoint_json_the_defaults_of_2019_hold(bare, plain):
    given = {"num_labels": 2, "do_lower_case": "true", "for_cn": "true", "task_id": 0, "tokenizer": "FullTokenizer"}
    assert infer(SCRIPT, **bare, **given, max_seq_len=40)[0] == plain[0], "40 positions are fewer than 128"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("do_lower_case", "false"),
        ("for_cn", "false"),
        ("tokenizer", "CharTokenizer"),
        ("task_id", 2),
        ("max_seq_len", 8),
    ],
)
def test_flags_that_change_the_predictions(name, value, bare, plain):
    given = {**bare, name: value, "allow_unk": "true"}  # read otherwise, much of these rows is unknown
    assert infer(SCRIPT, **given)[0] != plain[0]


def test_flags_that_change_no_prediction(bare, plain, tmp_path):
    printed, _ = infer(SCRIPT, **bare, num_workers=1, log_file=tmp_path / "log")
    assert printed == plain[0]
    assert "\tpredicted 3 rows in " in (tmp_path / "log").read_text()
    assert "batch_size:1" not in (tmp_path / "log").read_text()
    infer(SCRIPT, **bare, batch_size=1, log_file=tmp_path / "one")
    assert "\tbatch_size:1\n" in (tmp_path / "one").read_text()


@pytest.mark.slow
def test_labels_are_those_of_the_map_and_as_many(bare, tmp_path):
    (tmp_path / "map.json").write_text('{"bad": 0, "good": 1}')
    printed, _ = infer(SCRIPT, **bare, label_map_config=tmp_path / "map.json", output_format="tsv")
    assert printed.startswith("text_a\tlabel\tprob_bad\tprob_good\n")
    _, error = infer(SCRIPT, status=2, **bare, num_labels=3)
    assert "_cls_out_b has shape [2], the network wants [3]" in error
    _, error = infer(SCRIPT, status=2, **{**bare, "ernie_config_path": None})
    assert "--ernie_config_path" in error


def test_a_flag_of_another_script_is_unknown():
    with pytest.raises(UserError, match="unknown argument --doc_stride"):
        parse(SCRIPT, "", words(inference_model="m", predict_set="p", doc_stride=3), ClassifyArgs)
