"""A Transformer student: some layers of a teacher, as a model directory to fine-tune or distil from.

    python -m distill.shrink output/teacher/best student/model --layers 2,5
    python -m distill.shrink output/teacher/best student/model --keep 3 --intermediate_size 768
    python -m finetune student --model student/model ...

Embeddings, the pooler and the layers that are named are taken as they are (Sanh et al. 2019, section 3, takes one of
two). With ``--intermediate_size`` their feed-forward parts become narrower: the neurons stay whose weights, going in
and coming out, are the largest (the product of both norms). The teacher is a checkpoint or a model directory.
"""

from __future__ import annotations

import logging
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ernie.checkpoint import load_params, write_params
from ernie.config import ErnieConfig
from ernie.facts import write_facts
from ernie.foreign import encoder_shapes
from finetune.spec import CONFIG, RECORD, VOCAB, read_record
from propeller import log as log_setup
from propeller.errors import UserError, exit_on_user_error
from propeller.files import atomic_directory
from propeller.flags import FlagParser, add_flags, flag, read_flags, split

log = logging.getLogger("ernie.distill")

LAYER = re.compile(r"encoder_layer_(\d+)_(.*)")
TEXT = ("tokenizer", "do_lower_case", "for_cn")  # how text becomes tokens
BESIDE = (VOCAB, "word_dict.txt", "added_tokens.json", "*.model")  # what belongs to the text of a model


@dataclass(frozen=True)
class ShrinkArgs:
    """layers: which of the teacher's the student has"""

    layers: str | None = flag(None, "their numbers from 0, separated by commas, in the student's order", metavar="N,N")
    keep: int | None = flag(None, "or how many: evenly spaced, the last one among them")
    intermediate_size: int | None = flag(None, "neurons of each feed-forward part [as many as the teacher's]")
    overwrite: bool = flag(False, "replace a student that is there", bare=True)


def chosen_layers(args: ShrinkArgs, total: int, source: str) -> list[int]:
    """The layers that the flags name. Raises UserError: none, both, or one that the teacher has not."""
    if (args.layers is None) == (args.keep is None):
        raise UserError("give --layers 2,5 or --keep 2: which of the teacher's layers the student has")
    if args.keep is not None:
        if not 1 <= args.keep <= total:
            raise UserError(f"--keep must be from 1 to {total}, the layers of {source}, not {args.keep}")
        return [(number + 1) * total // args.keep - 1 for number in range(args.keep)]
    try:
        layers = [int(word) for word in split(args.layers)]
    except ValueError:
        raise UserError(f"--layers {args.layers}: give whole numbers separated by commas, such as 2,5") from None
    if not layers or any(not 0 <= layer < total for layer in layers):
        raise UserError(f"--layers {args.layers}: {source} has the layers 0 to {total - 1}: give some of them")
    return layers


def encoder_of(source: Path) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """The folder of a model's weights, its configuration, and what it says of itself.

    Raises:
        UserError: there is no checkpoint and no model directory.
    """
    if not source.is_dir():
        raise UserError(f"{source}: no such directory; give a checkpoint or a model directory")
    params = source / "params" if (source / "params").is_dir() else source
    stored = read_record(params)
    if "ernie_config" in stored:
        values = stored["ernie_config"]
    elif (source / CONFIG).is_file():
        values = ErnieConfig(source / CONFIG).to_dict()
    else:
        raise UserError(f"{source}: has neither {RECORD} nor {CONFIG}; give a checkpoint or a model directory")
    return params, values, stored


def shrink(source: Path, folder: Path, args: ShrinkArgs) -> list[int]:
    """Write the student's model directory; returns the layers that were taken.

    Raises:
        UserError: the teacher is no model with an encoder; a layer is not there; the folder exists.
    """
    params, values, stored = encoder_of(source)
    config = ErnieConfig(values, source=str(source))
    layers = chosen_layers(args, config.num_hidden_layers, str(source))
    inner = args.intermediate_size
    if inner is not None and not 1 <= inner <= config.intermediate_size:
        raise UserError(
            f"--intermediate_size must be from 1 to {config.intermediate_size}, that of {source}, not {inner}"
        )
    changes = {"num_hidden_layers": len(layers), **({} if inner is None else {"intermediate_size": inner})}
    student = ErnieConfig({**values, **changes}, source=str(folder))
    arrays, _ = load_params(params, encoder_shapes(config), heads_optional=False)
    text = {name: stored[name] for name in TEXT if stored.get(name) is not None}
    with atomic_directory(folder, args.overwrite) as made:
        write_params(made / "params", narrow(layers_of(arrays, layers), len(layers), inner))
        student.save(made / CONFIG)
        write_facts(made, text)
        for pattern in BESIDE:
            for path in source.glob(pattern):
                shutil.copyfile(path, made / path.name)
    return layers


def layers_of(arrays: dict, layers: Sequence[int]) -> dict:
    """name -> array of an encoder that has only these layers, in this order."""
    taken = {name: array for name, array in arrays.items() if not LAYER.fullmatch(name)}
    for number, layer in enumerate(layers):
        prefix = f"encoder_layer_{layer}_"
        own = {name: array for name, array in arrays.items() if name.startswith(prefix)}
        taken.update({f"encoder_layer_{number}_{name[len(prefix) :]}": array for name, array in own.items()})
    return taken


def narrow(arrays: dict, layers: int, inner: int | None) -> dict:
    """name -> array of an encoder whose feed-forward parts have ``inner`` neurons; None: as many as they have."""
    if inner is None:
        return arrays
    made = dict(arrays)
    for number in range(layers):
        into, bias, out = (f"encoder_layer_{number}_ffn_fc_{name}" for name in ("0.w_0", "0.b_0", "1.w_0"))
        weight = np.linalg.norm(arrays[into], axis=0) * np.linalg.norm(arrays[out], axis=1)  # [neurons]
        kept = np.sort(np.argsort(-weight, kind="stable")[:inner])
        made.update({into: arrays[into][:, kept], bias: arrays[bias][kept], out: arrays[out][kept]})
    return made


def main(argv: Sequence[str]) -> int:
    """The command; returns its exit status."""
    parser = FlagParser(
        prog="python -m distill.shrink", description=__doc__.split("\n", maxsplit=1)[0], allow_abbrev=False
    )
    parser.add_argument("teacher", metavar="TEACHER", help="a checkpoint or a model directory")
    parser.add_argument("student", metavar="STUDENT", help="the model directory to write")
    add_flags(parser, ShrinkArgs)
    values = read_flags(parser, argv)
    source, folder = Path(values.pop("teacher")), Path(values.pop("student"))
    log_setup.setup(None)
    layers = shrink(source, folder, ShrinkArgs(**values))
    log.info("%s: layers %s of %s", folder, ", ".join(map(str, layers)), source)
    return 0


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
