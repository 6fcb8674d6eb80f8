"""The flags of the prediction scripts, one frozen dataclass per concern, as in finetune/training/args.py.

    args = parse("infer_classifyer.py", "Predict rows of text", sys.argv[1:], TableArgs)
    args.data.predict_set, args.model.num_labels          # None where a flag was not given and the model is to say

Every flag of the 2019 infer_classifyer.py is taken, with its meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import Field, asdict, dataclass, fields
from typing import Any, NamedTuple

from ernie.model_folder import ModelFolder, look_into
from finetune import PREDICTION_EXAMPLE
from finetune.checks import InputChecks
from finetune.prediction.int8 import Int8
from finetune.tables import LabelledTableFlags
from propeller.errors import UserError
from propeller.flags import DEVICE, Derived, FlagParser, add_flags, changed, check_least, flag, read_flags
from propeller.service.engines import AUTO, ENGINE_HELP, ENGINES, PRECISIONS, check_engine, runs_onnx
from reader.tables.form import PLAIN, TableForm
from reader.tokenizer import TOKENIZERS

PRECISION_HELP = (
    "bf16: matrix products in bfloat16, faster on processors with bf16 instructions; int8: in 8-bit numbers, with "
    "--calibration_set or an inference model saved with it"
)


@dataclass(frozen=True)
class ModelArgs(ModelFolder):
    """model: an inference model, or a checkpoint with its vocabulary. Settings that you leave out come from the
    model; for a checkpoint of the 2019 code, which stores none, the value in [] is used"""

    inference_model: str | None = flag(
        None, "a directory that --save_inference_model_path wrote; it needs no other flag"
    )
    init_checkpoint: str | None = flag(None, "a fine-tuned checkpoint (step_N, best, last), or one of the 2019 code")
    task: str | None = flag(
        None, "with python -m finetune.prediction: the task of weights that name none, such as prompt", metavar="TASK"
    )
    ernie_config_path: str | None = flag(
        None, "ernie_config.json of the model; needed for a checkpoint of the 2019 code"
    )
    vocab_path: str | None = flag(
        None, "vocab.txt of the model, with or without <TAB>id; needed if the checkpoint holds none"
    )
    tokenizer: str | None = flag(
        None,
        "the tokenizer [FullTokenizer]",
        choices=TOKENIZERS,
    )
    sp_model: str | None = flag(None, "sentencepiece model for the last three (default: the *.model next to vocab.txt)")
    do_lower_case: bool | None = flag(None, "lower-case the text and strip accents, for uncased vocabularies [true]")
    for_cn: bool | None = flag(None, "remove spaces from the text, for Chinese; false for English [true]")
    max_seq_len: int | None = flag(None, "longest example in tokens; longer ones are cut and counted in the log [128]")
    task_id: int | None = flag(None, "id of the task embedding, for models with use_task_id [0]")
    num_labels: int | None = flag(None, "number of classes [2, or as many as --label_map_config has]")
    label_map_config: str | None = flag(
        None, "JSON file {label word: class} [the labels of the model]", aliases=("label_map",)
    )


@dataclass(frozen=True)
class DataArgs:
    """prediction: input and output"""

    predict_set: str = flag(None, "the file to predict; - reads standard input")
    do_prediction: bool = flag(True, "predict; false: only write --save_inference_model_path")
    output: str | None = flag(None, "the file or directory to write predictions to; see docs/prediction.md")
    batch_size: int = flag(32, "examples per batch")
    precision: str = flag("fp32", PRECISION_HELP, choices=PRECISIONS)
    engine: str = flag(AUTO, ENGINE_HELP.removesuffix(" [auto]"), choices=ENGINES)
    num_workers: int = flag(0, "processes that tokenise; 0: a thread of this process")
    use_cuda: str = flag("auto", "true, false, or auto: a GPU if there is one", **DEVICE)
    use_fp16: bool = flag(False, "not supported: weights are always float32; use --precision bf16")
    log_file: str | None = flag(None, "also write the log to this file")


@dataclass(frozen=True)
class ExportArgs:
    """inference model: the checkpoint as one directory with all that prediction needs"""

    save_inference_model_path: str | None = flag(None, "write it to PATH/<checkpoint name>_inference_model")
    onnx: bool = flag(False, "add model.onnx to it, for other runtimes")
    overwrite: bool = flag(False, "replace an existing inference model", bare=True)
    calibration_set: str | None = flag(None, "rows on which --precision int8 is compared before its model is written")
    max_loss: float = flag(0.02, "largest share of answers to --calibration_set that --precision int8 may change")


@dataclass(frozen=True)
class TableArgs:
    """output: the format of the predictions"""

    output_format: str = flag(
        "tsv",
        "tsv: a header, the columns of the input and the prediction; jsonl: the same as JSON lines",
        choices=("tsv", "jsonl"),
    )
    copy_columns: bool = flag(True, "write the columns of the input, the label as gold_label, before each prediction")


class PredictArgs(NamedTuple):
    """All flags of a prediction. script: the script's own group, or None; task: name -> value of those of the task's
    own flags that were given."""

    model: ModelArgs
    data: DataArgs
    export: ExportArgs
    script: Any
    task: dict[str, Any]
    checks: InputChecks = InputChecks()
    tables: LabelledTableFlags = LabelledTableFlags()

    def values(self) -> dict[str, Any]:
        """name -> value of every flag."""
        return {name: value for group in self._groups() for name, value in asdict(group).items()} | self.task

    def changed(self) -> dict[str, Any]:
        """Of ``values`` those that differ from their defaults."""
        return changed(self.values(), map(type, self._groups())) | self.task

    def _groups(self):
        return [group for group in (*self[:4], self.checks, self.tables) if group is not None]


def int8_of(precision: str, export: ExportArgs, form: TableForm = PLAIN) -> Int8 | None:
    """What an int8 model is compared on, or None where none is made."""
    return Int8(str(export.calibration_set), export.max_loss, form) if precision == "int8" else None


GROUPS = {
    "model": ModelArgs,
    "data": DataArgs,
    "tables": LabelledTableFlags,
    "checks": InputChecks,
    "export": ExportArgs,
}


def parse(
    prog: str,
    description: str,
    argv: Sequence[str],
    script_flags: type | None = None,
    task_flags: type | None = None,
    example: str = PREDICTION_EXAMPLE,
) -> PredictArgs:
    """Flags from a command line.

    Args:
        script_flags: the dataclass of flags that only this script has, or None.
        task_flags: that of the task (``FinetuneTask.flags``), or None.
        example: for the help.

    Raises:
        UserError: see ``finetune.training.args.read_flags``; flags that do not go together.
    """
    usage = f"{prog} (--model DIR | --init_checkpoint PATH --vocab_path PATH) --predict_set PATH [flags]"
    parser = FlagParser(prog=prog, usage=usage, description=description, example=example, allow_abbrev=False)
    groups: dict[str, type | None] = {**GROUPS, "script": script_flags}
    for group in filter(None, groups.values()):
        add_flags(parser, group)
    task_names = [entry.name for entry in fields(task_flags) if is_of_prediction(entry)] if task_flags else []
    if task_flags and task_names:
        others = [entry.name for entry in fields(task_flags) if entry.name not in task_names]
        add_flags(parser, task_flags, optional=True, without=others)
    values = with_model(read_flags(parser, argv))
    made: dict[str, Any] = {
        key: group(**{entry.name: values[entry.name] for entry in fields(group)}) if group else None
        for key, group in groups.items()
    }
    args = PredictArgs(**made, task={name: values[name] for name in task_names if values.get(name) is not None})
    _check(args)
    return args


def with_model(values: Mapping[str, Any]) -> dict[str, Any]:
    """Flags with those that ``--model`` stands for, where they were not given.

    Raises:
        UserError: the directory lacks a part.
    """
    if not values["model"] or values["inference_model"]:
        return dict(values)
    found = look_into(values["model"], pooler=False)
    if found.is_bundle and not values["init_checkpoint"]:
        return {**values, "inference_model": Derived(values["model"])}
    filled = found.filled(values, "init_checkpoint")
    # What the weights say of themselves is found with them; a flag would be compared with it.
    if not values["init_checkpoint"]:
        names = ("init_checkpoint", *(() if found.holds_vocab else ("vocab_path",)))
        filled = {name: filled[name] for name in names if name in filled}
    return {**values, **filled}


def is_of_prediction(entry: Field) -> bool:
    """Whether a flag of a task has an effect on predictions."""
    return entry.metadata.get("facts", {}).get("prediction", True)


def source_of(argv: Sequence[str]) -> str | None:
    """The model that a command line names with --inference_model, --init_checkpoint or --model, or None."""
    return given_in(argv, "--inference_model", "--init_checkpoint", "--model")


def given_in(argv: Sequence[str], *names: str) -> str | None:
    """The value of the first of these flags that a command line has, or None."""
    for flag_name in names:
        for place, word in enumerate(argv):
            if word == flag_name and place + 1 < len(argv):
                return argv[place + 1]
            if word.startswith(f"{flag_name}="):
                return word.partition("=")[2]
    return None


def check_onnx(engine: str, precision: str, export: ExportArgs, from_weights: bool) -> None:
    """Raise UserError where an engine would lack its file in the inference model that is asked for.

    Args:
        from_weights: whether the inference model is made of weights.
    """
    if not 0 <= export.max_loss <= 1:
        raise UserError(f"--max_loss {export.max_loss:g}: a share of the answers: give a number from 0 to 1")
    if export.calibration_set and (precision != "int8" or not from_weights):
        raise UserError("--calibration_set is for making an int8 model: give --precision int8 and a checkpoint")
    if precision == "int8" and from_weights:
        if not export.calibration_set:
            raise UserError(
                "--precision int8: give --calibration_set, rows to compare its answers on before the model is written"
            )
        return
    if runs_onnx(engine) and export.save_inference_model_path and not export.onnx:
        raise UserError(f"--engine {engine}: runs the model.onnx of the inference model: give --onnx true too")


def _check(args):
    """What no single flag can tell."""
    model, data, export = args.model, args.data, args.export
    if model.inference_model and model.init_checkpoint:
        raise UserError("--inference_model and --init_checkpoint are both given: give the one to predict with")
    if not model.inference_model and not model.init_checkpoint:
        raise UserError(
            "no model: give --model, the directory of a fine-tuned checkpoint or an inference model (or "
            "--init_checkpoint or --inference_model)"
        )
    if model.inference_model and export.save_inference_model_path:
        raise UserError(
            "--save_inference_model_path needs --init_checkpoint: what --inference_model names is one already; copy it"
        )
    for name in ("onnx", "overwrite"):
        if getattr(export, name) and not export.save_inference_model_path:
            raise UserError(f"--{name} true is of the inference model: give --save_inference_model_path too")
    check_engine(data.engine, data.precision)
    check_onnx(data.engine, data.precision, export, bool(model.init_checkpoint))
    if data.use_fp16:
        raise UserError("--use_fp16 true: weights are float32; leave it out, and for speed give --precision bf16")
    if not data.do_prediction and not export.save_inference_model_path:
        raise UserError("--do_prediction false leaves nothing to do: give --save_inference_model_path, or leave it out")
    if data.do_prediction and not data.predict_set:
        raise UserError("no --predict_set: name the file to predict, or give --do_prediction false")
    check_least(data, batch_size=1, num_workers=0)
