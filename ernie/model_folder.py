"""``--model DIR``: one flag for the flags that name the parts of a model.

    @dataclass(frozen=True)
    class ModelArgs(ModelFolder):
        '''model: the network, its vocabulary, the weights it starts from'''

    found = look_into("ERNIE_Base")
    values = {**values, **found.filled(values, "init_pretraining_params")}

A released or converted model is a directory containing ``params/``, ``ernie_config.json`` and ``vocab.txt``; of a
Hugging Face model ``ernie/foreign_folder.py`` makes one. A checkpoint holds its weights itself and its network in
``checkpoint.json``. An inference model is taken as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ernie.config import CHECKPOINT, NETWORK
from ernie.foreign import BY_PATH, read_json
from ernie.foreign_folder import is_foreign, place_of
from propeller.bundle import holds_bundle
from propeller.errors import UserError
from propeller.flags import Derived, flag
from propeller.train.checkpoints import instead_of

PARAMS, CONFIG, VOCAB = "params/", "ernie_config.json", "vocab.txt"
WEIGHTS = ("init_checkpoint", "init_pretraining_params")  # the flags that name weights, each in its sense
RUN = "run.json"  # of the directory of a run


@dataclass(frozen=True)
class ModelFolder:
    """model: a directory"""

    model: str | None = flag(
        None,
        "directory of a model: a released, converted or Hugging Face one, a checkpoint (best, last, step_N) or, to "
        "predict, an inference model; replaces the flags of its parts; if these are given too, they override it",
        metavar="DIR",
    )


class Found(NamedTuple):
    """What a directory holds.

    Attributes:
        folder: as it was given.
        record: content of ``checkpoint.json``; {} without one.
        parts: ``PARAMS``, ``CONFIG`` and ``VOCAB`` -> path, of those that are there.
        is_bundle: whether it is an inference model.
    """

    folder: str
    record: Mapping[str, Any]
    parts: Mapping[str, str]
    is_bundle: bool = False

    @property
    def is_fine_tuned(self) -> bool:
        """Whether it is a checkpoint with the head of a task of fine-tuning; one of pre-training names its tasks."""
        return bool(self.record) and "tasks" not in self.record

    @property
    def is_checkpoint(self) -> bool:
        """Whether it is a checkpoint of this project, not a model's directory."""
        return self.parts.get(PARAMS) == self.folder

    @property
    def holds_vocab(self) -> bool:
        """Whether its vocabulary lies in it; that of a checkpoint of pre-training lies in the directory of the run."""
        return Path(self.parts.get(VOCAB, self.folder)).parent != Path(self.folder).parent

    def filled(self, values: Mapping[str, Any], weights: str) -> dict[str, Any]:
        """Those of network, vocabulary and weights that no flag names, as flags.

        A flag of weights that names the directory means its weights.

        Args:
            values: flag -> value, None where it was not given.
            weights: the flag of the weights, one of ``WEIGHTS``, where none of them was given.

        Raises:
            UserError: a part is in neither, or the directory is an inference model, which has no such parts.
        """
        flags = {"ernie_config_path": CONFIG, "vocab_path": VOCAB}
        flags.update({} if any(values.get(name) for name in WEIGHTS) else {weights: PARAMS})
        wanted = {name: part for name, part in flags.items() if not values.get(name)}
        if self.is_bundle and wanted:
            raise UserError(
                f"--model {self.folder}: an inference model, which only predicts: give the checkpoint that it was "
                "made from, or a model directory"
            )
        lacking = [part for part in wanted.values() if part not in self.parts]
        if lacking:
            instead = " and ".join(f"--{name}" for name, part in wanted.items() if part in lacking)
            raise UserError(
                f"--model {self.folder}: has no {' and no '.join(dict.fromkeys(lacking))}: give {instead}, or a "
                f"directory containing {PARAMS}, {CONFIG} and {VOCAB}"
            )
        itself = [name for name in WEIGHTS if values.get(name) and Path(values[name]) == Path(self.folder)]
        return {
            **{name: self.parts[PARAMS] for name in itself if PARAMS in self.parts},
            **{name: Derived(self.parts[part]) for name, part in wanted.items()},
        }


def look_into(given: str, pooler: bool = True) -> Found:
    """What the directory of ``--model`` holds.

    Args:
        given: a model's directory, its ``params/``, a checkpoint, an inference model, or a Hugging Face model, whose
            parts are there while ``ernie.foreign_folder.ready`` holds.
        pooler: of a Hugging Face model, see ``ready``.

    Raises:
        UserError: it is not there, is the directory of a run, or holds no weights.
    """
    folder = Path(given)
    if folder.is_file():
        raise UserError(f"--model {given}: is a file; give the directory that it is in")
    if not folder.is_dir():
        remedy = instead_of(folder) or f"give that of a model or a checkpoint; {BY_PATH}"
        raise UserError(f"--model {given}: no such directory; {remedy}")
    if holds_bundle(folder):
        return Found(given, {}, {}, is_bundle=True)
    if (folder / CHECKPOINT).is_file():
        return _checkpoint(given, folder)
    if folder.name == "params" and (folder.parent / CONFIG).is_file():  # of a model's directory
        folder = folder.parent
    if is_foreign(folder):
        place = place_of(folder, pooler)
        return Found(given, {}, {part: str(place / part) for part in (PARAMS, CONFIG, VOCAB)})
    params = folder / "params"
    if (folder / RUN).is_file() and not params.is_dir():
        raise UserError(f"--model {given}: is the directory of a run; {instead_of(folder)}")
    paths = {PARAMS: params, CONFIG: folder / CONFIG, VOCAB: folder / VOCAB}
    parts = {part: str(path) for part, path in paths.items() if path.exists()}
    record = read_json(params / CHECKPOINT) if (params / CHECKPOINT).is_file() else {}
    return Found(given, record, parts)


def _checkpoint(given, folder):
    """A checkpoint; one of pre-training has its vocabulary beside it, in the directory of the run."""
    record = read_json(folder / CHECKPOINT)
    parts = {PARAMS: given}
    if isinstance(record.get(NETWORK), dict):
        parts[CONFIG] = str(folder / CHECKPOINT)
    elif (folder / CONFIG).is_file():
        parts[CONFIG] = str(folder / CONFIG)
    places = (folder, *((folder.parent,) if (folder.parent / RUN).is_file() else ()))
    vocab = next((place / VOCAB for place in places if (place / VOCAB).is_file()), None)
    return Found(given, record, {**parts, **({VOCAB: str(vocab)} if vocab else {})})
