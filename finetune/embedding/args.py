"""The flags of ernie_encoder.py, one frozen dataclass per concern, as in finetune/training/args.py.

    args = parse("ernie_encoder.py", "Write embeddings", sys.argv[1:])
    args.data.data_set, args.vectors.pooling        # None where a flag was not given and the model is to say

Every flag of the 2019 script is taken, with its meaning and default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, NamedTuple

from ernie.model_folder import WEIGHTS, ModelFolder, look_into
from finetune.checks import InputChecks
from finetune.embedding.pooled import CHOICES
from finetune.prediction.args import PRECISION_HELP, ExportArgs, check_onnx
from finetune.tables import TableFlags
from propeller.errors import UserError
from propeller.flags import DEVICE, FlagParser, add_flags, add_ignored, changed, check_least, flag, read_flags
from propeller.service.engines import AUTO, ENGINE_HELP, ENGINES, PRECISIONS, check_engine
from reader.tokenizer import OF_ENCODERS

# Taken because scripts of 2019 give them; there is nothing left for them to do.
IGNORED = {
    "use_fast_executor": "there is one executor",
    "num_iteration_per_drop_scope": "scopes are not dropped",
}
# What an inference model holds, so that no flag can say it.
OF_THE_MODEL = ("init_pretraining_params", "init_checkpoint", "ernie_config_path", "vocab_path", "tokenizer",
                "sp_model", "do_lower_case", "for_cn")  # fmt: skip


@dataclass(frozen=True)
class ModelArgs(ModelFolder):
    """model: weights with their configuration and vocabulary, or an inference model"""

    init_pretraining_params: str | None = flag(None, "params/ of a pre-trained model")
    init_checkpoint: str | None = flag(None, "a fine-tuned checkpoint (step_N, best, last), whose encoder is used")
    inference_model: str | None = flag(
        None, "a directory that --save_inference_model_path wrote; it needs no other flag"
    )
    ernie_config_path: str | None = flag(None, "ernie_config.json of the model; checkpoints of this version contain it")
    vocab_path: str | None = flag(None, "vocab.txt of the model, with or without <TAB>id")
    tokenizer: str | None = flag(
        None,
        "the tokenizer [the checkpoint's, else FullTokenizer]",
        choices=OF_ENCODERS,
    )
    sp_model: str | None = flag(None, "sentencepiece model for the last three (default: the *.model next to vocab.txt)")
    do_lower_case: bool | None = flag(
        None, "lower-case the text and strip accents, for uncased vocabularies [as the checkpoint, else true]"
    )
    for_cn: bool | None = flag(
        None,
        "remove spaces from the text, as fine-tuning in Chinese does by default [as the checkpoint, else false]",
    )
    max_seq_len: int | None = flag(
        None,
        "longest row in tokens; longer ones are cut and counted in the log "
        "[as the checkpoint or inference model, else 512, or the model's positions if they are fewer]",
    )
    task_id: int | None = flag(None, "id of the task embedding, for models with use_task_id [as the model, else 0]")


@dataclass(frozen=True)
class DataArgs:
    """embeddings: input and output"""

    data_set: str = flag(None, "rows with the columns text_a and, for pairs, text_b; label and qid are not read")
    output_dir: str = flag("embeddings", "directory for cls_emb.npy, top_layer_emb.npy, token_counts.npy, tokens.tsv")
    batch_size: int = flag(32, "rows per batch; tokens with --in_tokens")
    in_tokens: bool = flag(False, "measure --batch_size in tokens, including padding")
    engine: str = flag(AUTO, ENGINE_HELP.removesuffix(" [auto]"), choices=ENGINES)
    num_workers: int = flag(0, "processes that tokenise; 0: a thread of this process")
    queue_size: int = flag(50, "batches prepared in advance")
    precision: str = flag("fp32", PRECISION_HELP, choices=PRECISIONS)
    use_cuda: str = flag("auto", "true, false, or auto: a GPU if there is one", **DEVICE)
    use_fp16: bool = flag(False, "not supported; use --precision bf16")
    log_file: str | None = flag(None, "also write the log to this file")


@dataclass(frozen=True)
class VectorArgs:
    """vectors: which states of the encoder"""

    layer: int | None = flag(
        None, "the layer: 0 is the embeddings' output, 1 the first layer; negative numbers count from the top [-1]"
    )
    pooling: str | None = flag(
        None,
        "the vector of a row: cls, the pooled [CLS] (below the top layer, which has no pooler, its state); first, the "
        "state of [CLS]; mean or max over the row's tokens; first_last, the mean over the first and the last layer "
        "[what the model was trained with, else cls]",
        choices=CHOICES,
    )
    whitening: str | None = flag(
        None, "a whitening by python -m finetune.embedding.whiten: the vectors are whitened with it"
    )
    normalize: bool | None = flag(None, "scale the vectors to length 1 (L2) [as the model, else false]", bare=True)
    no_top_layer: bool = flag(False, "leave out top_layer_emb.npy, the states of every token", bare=True)


class EmbedArgs(NamedTuple):
    """All flags of a run."""

    model: ModelArgs
    data: DataArgs
    vectors: VectorArgs
    export: ExportArgs
    ignored: list[str]
    checks: InputChecks = InputChecks()
    tables: TableFlags = TableFlags()

    def values(self) -> dict[str, Any]:
        """name -> value of every flag."""
        return {name: value for group in (*self[:4], self.checks, self.tables) for name, value in asdict(group).items()}

    def changed(self) -> dict[str, Any]:
        """Of ``values`` those that differ from their defaults."""
        return changed(self.values(), GROUPS.values())


GROUPS = {
    "model": ModelArgs,
    "data": DataArgs,
    "tables": TableFlags,
    "checks": InputChecks,
    "vectors": VectorArgs,
    "export": ExportArgs,
}


def parse(prog: str, description: str, argv: Sequence[str]) -> EmbedArgs:
    """Flags from a command line.

    Raises:
        UserError: see ``finetune.training.args.read_flags``; flags that do not go together.
    """
    usage = f"{prog} (--model DIR | --init_pretraining_params PATH ...) --data_set PATH [flags]"
    example = "--model MODEL --data_set new.tsv --text_column review --output_dir output/vectors"
    parser = FlagParser(prog=prog, usage=usage, description=description, example=example, allow_abbrev=False)
    for group in GROUPS.values():
        add_flags(parser, group)
    add_ignored(parser, IGNORED)
    values = with_model(read_flags(parser, argv))
    made = {key: group(**{entry.name: values[entry.name] for entry in fields(group)}) for key, group in GROUPS.items()}
    args = EmbedArgs(**made, ignored=[name for name in IGNORED if values[name] is not MISSING])
    _check_model(args)
    _check_work(args)
    return args


def with_model(values: Mapping[str, Any]) -> dict[str, Any]:
    """Flags with those that ``--model`` stands for, where they were not given.

    Raises:
        UserError: the directory lacks a part.
    """
    if not values["model"] or values["inference_model"]:
        return dict(values)
    found = look_into(values["model"], pooler=False)
    if found.is_bundle and not any(values[name] for name in WEIGHTS):
        return {**values, "inference_model": values["model"]}
    return {**values, **found.filled(values, "init_checkpoint" if found.is_checkpoint else "init_pretraining_params")}


def _check_model(args):
    """One model, with what it needs and no more."""
    model, saved = args.model, args.export.save_inference_model_path
    sources = ("inference_model", "init_checkpoint", "init_pretraining_params")
    given = [f"--{name}" for name in sources if getattr(model, name)]
    if not given:
        raise UserError(
            "no model: give --model, the directory of a model, a checkpoint or an inference model (or "
            "--init_pretraining_params, --init_checkpoint or --inference_model)"
        )
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} are both given: give the one to take the encoder from")
    if model.inference_model:
        for name in OF_THE_MODEL:
            if getattr(model, name) is not None:
                raise UserError(f"--{name} with --inference_model, which holds its own: leave --{name} out")
        if args.vectors.whitening:
            raise UserError(
                "--whitening with --inference_model: save one with it: give the weights, --whitening and "
                "--save_inference_model_path"
            )
        if saved:
            raise UserError(
                "--save_inference_model_path with --inference_model, which is one already: copy its folder, or give "
                "the weights it was made from"
            )
    for name in ("onnx", "overwrite"):
        if getattr(args.export, name) and not saved:
            raise UserError(f"--{name} true is of the inference model: give --save_inference_model_path too")


def _check_work(args):
    """Something to do, and numbers that mean something."""
    data = args.data
    check_engine(data.engine, data.precision)
    check_onnx(data.engine, data.precision, args.export, not args.model.inference_model)
    if data.use_fp16:
        raise UserError("--use_fp16 true: not in this version; leave it out, and for speed give --precision bf16")
    if not data.data_set and not args.export.save_inference_model_path:
        raise UserError("no --data_set: name the file of rows, or give --save_inference_model_path")
    check_least(data, batch_size=1, num_workers=0, queue_size=1)
