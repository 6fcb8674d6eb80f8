"""The flags of the prediction scripts, one frozen dataclass a concern, as in finetune/args.py.

    args = parse("infer_classifyer.py", "Predict rows of text", sys.argv[1:], ClassifyArgs)
    args.data.predict_set, args.model.num_labels          # None where a flag was not given and the model is to say

Every flag of the 2019 infer_classifyer.py is taken, with its meaning; new ones say so in ``--help``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import NamedTuple

from propeller.errors import UserError
from propeller.flags import FlagParser, add_flags, flag, read_flags
from propeller.service.predictor import PRECISIONS

# Of a task's own flags those that say nothing of a prediction.
NOT_OF_PREDICTION = ("mrc_language",)


@dataclass(frozen=True)
class ModelArgs:
    """model: an inference model alone, or a checkpoint with its vocabulary. What is left out is as the model
    says; a checkpoint of 2019 does not, then it is what stands in []"""

    inference_model: str = flag(None, "new: a folder that --save_inference_model_path wrote; nothing else is needed")
    init_checkpoint: str = flag(None, "a fine-tuned checkpoint (step_N, best, last), or one of 2019")
    ernie_config_path: str = flag(None, "ernie_config.json of the model; a checkpoint of 2019 needs it")
    vocab_path: str = flag(None, "vocab.txt of the model, with or without <TAB>id; a checkpoint needs it")
    tokenizer: str = flag(
        None,
        "new: how text becomes tokens [FullTokenizer]",
        choices=("FullTokenizer", "CharTokenizer", "SentencepieceTokenizer", "WordsegTokenizer"),
    )
    sp_model: str = flag(None, "new: sentencepiece model of the last two (default: the *.model beside vocab.txt)")
    do_lower_case: bool = flag(None, "lower-case the text and strip accents, for uncased vocabularies [true]")
    for_cn: bool = flag(None, "new: drop the blanks of the text, for Chinese; false for English [true]")
    max_seq_len: int = flag(None, "longest example in tokens; what is longer is cut, and counted in the log [128]")
    task_id: int = flag(None, "new: id for the task embedding, in models with use_task_id [0]")
    num_labels: int = flag(None, "number of classes [2, or as many as --label_map_config has]")
    label_map_config: str = flag(None, "JSON file {label word: class}; without it labels are integers")


@dataclass(frozen=True)
class DataArgs:
    """prediction: what is predicted, and where it goes"""

    predict_set: str = flag(None, "the file to predict; - reads standard input")
    do_prediction: bool = flag(True, "predict; false: only --save_inference_model_path")
    output: str = flag(None, "new: where predictions go (see the README, Batch prediction)")
    batch_size: int = flag(32, "examples a batch")
    precision: str = flag("fp32", "new: bf16: matrix products in bfloat16, about twice as fast", choices=PRECISIONS)
    num_workers: int = flag(0, "new: processes that tokenise; 0: a thread of this one")
    use_cuda: str = flag("auto", "true, false, or auto: a GPU if there is one", choices=("auto", "true", "false"))
    use_fp16: bool = flag(False, "weights are always float32; true is an error, --precision bf16 is the fast way")
    log_file: str = flag(None, "new: write the log to this file as well")


@dataclass(frozen=True)
class ExportArgs:
    """inference model: the checkpoint as one folder with all that prediction needs"""

    save_inference_model_path: str = flag(None, "write it to PATH/<checkpoint name>_inference_model")
    onnx: bool = flag(False, "new: add model.onnx to it, for other runtimes")
    overwrite: bool = flag(False, "new: replace an inference model that is there", bare=True)


@dataclass(frozen=True)
class ClassifyArgs:
    """classification and regression"""

    output_format: str = flag(
        "auto",
        "new: tsv: a header, the columns of the input, label and a probability a class; jsonl: the same as JSON lines; "
        "probs: only probabilities, as in 2019; auto: tsv into --output, probs to standard output",
        choices=("auto", "tsv", "jsonl", "probs"),
    )
    copy_columns: bool = flag(True, "new: qid, text_a and text_b stand before each prediction, but for probs")
    is_regression: bool = flag(None, "new: the model predicts a number [false]")


@dataclass(frozen=True)
class TaggingArgs:
    """sequence labelling"""

    output_format: str = flag(
        "tsv",
        "new: tsv: a header, text_a, tags, probabilities, entities; jsonl: the same as JSON lines",
        choices=("tsv", "jsonl"),
    )
    tokenized: bool = flag(
        True, "new: text_a holds tokens, parted by 0x02 or blanks; false: running text, parted here into its words"
    )


class PredictArgs(NamedTuple):
    """All flags of a prediction. script: the script's own group, or None; task: name -> value of those of the task's
    own flags that were given."""

    model: ModelArgs
    data: DataArgs
    export: ExportArgs
    script: object
    task: dict

    def values(self):
        """name -> value of every flag."""
        groups = [group for group in self[:4] if group is not None]
        return {name: value for group in groups for name, value in asdict(group).items()} | self.task


GROUPS = {"model": ModelArgs, "data": DataArgs, "export": ExportArgs}


def parse(prog, description, argv, script_flags=None, task_flags=None):
    """Flags from a command line.

    Args:
        script_flags: the dataclass of flags that only this script has, or None.
        task_flags: that of the task (``FinetuneTask.flags``), or None.

    Raises:
        UserError: see ``finetune.args.read_flags``; flags that do not go together.
    """
    usage = f"{prog} (--inference_model PATH | --init_checkpoint PATH --vocab_path PATH) --predict_set PATH [flags]"
    parser = FlagParser(prog=prog, usage=usage, description=description, allow_abbrev=False)
    groups = {**GROUPS, "script": script_flags}
    for group in filter(None, groups.values()):
        add_flags(parser, group)
    if task_flags:
        add_flags(parser, task_flags, optional=True, without=NOT_OF_PREDICTION)
    values = read_flags(parser, argv)
    made = {
        key: group(**{entry.name: values[entry.name] for entry in fields(group)}) if group else None
        for key, group in groups.items()
    }
    own = [entry.name for entry in fields(task_flags)] if task_flags else []
    args = PredictArgs(**made, task={name: values[name] for name in own if values.get(name) is not None})
    _check(args)
    return args


def _check(args):
    """What no single flag can tell."""
    model, data, export = args.model, args.data, args.export
    if model.inference_model and model.init_checkpoint:
        raise UserError("--inference_model and --init_checkpoint are both given: give the one to predict with")
    if not model.inference_model and not model.init_checkpoint:
        raise UserError(
            "no model: give --init_checkpoint, a fine-tuned checkpoint, or --inference_model, an inference model"
        )
    if model.init_checkpoint and not model.vocab_path:
        raise UserError("--init_checkpoint needs --vocab_path: the vocab.txt of the model it was fine-tuned from")
    if model.inference_model and export.save_inference_model_path:
        raise UserError(
            "--save_inference_model_path needs --init_checkpoint: what --inference_model names is one already; copy it"
        )
    for name in ("onnx", "overwrite"):
        if getattr(export, name) and not export.save_inference_model_path:
            raise UserError(f"--{name} true is of the inference model: give --save_inference_model_path too")
    if data.use_fp16:
        raise UserError("--use_fp16 true: weights are float32; leave it out, and for speed give --precision bf16")
    if not data.do_prediction and not export.save_inference_model_path:
        raise UserError("--do_prediction false leaves nothing to do: give --save_inference_model_path, or leave it out")
    if data.do_prediction and not data.predict_set:
        raise UserError("no --predict_set: name the file to predict, or give --do_prediction false")
    for name, least in (("batch_size", 1), ("num_workers", 0)):
        if getattr(data, name) < least:
            raise UserError(f"--{name} must be at least {least}, not {getattr(data, name)}")
