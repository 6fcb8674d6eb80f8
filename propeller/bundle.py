"""Bundles: a directory with all that prediction needs, checked before it is used.

    write_bundle("saved/step_100", graph, scope, place, task="classify", meta={...}, files={"vocab.txt": path})
    bundle = read_bundle("saved/step_100")
    bundle.meta["max_seq_len"]

``model.json`` and ``model.pdiparams`` are the Program and its weights as ``paddle.inference`` reads them.
``bundle.json`` says what goes in and comes out, whatever else the owner wants to know (``meta``), and size and sha256
of every file. What the task and the meta mean is not known here.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from propeller.errors import UserError
from propeller.files import atomic_directory

FORMAT = 1
MANIFEST = "bundle.json"
MODEL, WEIGHTS = "model.json", "model.pdiparams"


@dataclass(frozen=True)
class Bundle:
    """What ``bundle.json`` says, after its files were found whole.

    Attributes:
        folder: where it lies.
        task: the name of the task that the owner gave.
        inputs: list of dict ``name``, ``shape`` (None where it varies) and ``dtype``, in the order of the model.
        outputs: names of what the model gives.
        meta: the owner's own facts.
        files: file name -> ``bytes`` and ``sha256``.
    """

    folder: Path
    task: str
    inputs: list
    outputs: list
    meta: dict
    files: dict

    def path(self, name):
        """The path of one of its files.

        Raises:
            UserError: the bundle has no such file.
        """
        if name not in self.files:
            raise UserError(f"{self.folder / MANIFEST}: lists no file {name}: export the bundle again")
        return self.folder / name


def write_bundle(folder, graph, scope, place, task, meta, files=None, overwrite=False, extend=None):
    """Write a prediction Program with its weights and what belongs to it; the directory appears whole or not at all.

    Args:
        folder: the new directory.
        graph: ``propeller.train.program.Graph`` of ``RunMode.PREDICT``; all its fetches become outputs, and those of
            its inputs that they depend on inputs.
        scope: where its variables are.
        task: a name by which the reader of the bundle knows what it is.
        meta: JSON-able dict.
        files: file name -> path to copy.
        overwrite: whether a directory that is there is replaced.
        extend: called with the unfinished directory and the names of the outputs, to add files made from the Program.

    Raises:
        UserError: ``folder`` exists, or cannot be written, or one of ``files`` is not there.
    """
    import paddle

    folder = Path(folder)
    with atomic_directory(folder, overwrite) as temporary:
        used = _used_inputs(graph.main)
        executor = paddle.static.Executor(place)
        with paddle.static.scope_guard(scope):
            paddle.static.save_inference_model(
                str(temporary / "model"), used, list(graph.fetches.values()), executor, program=graph.main
            )
        for name, source in (files or {}).items():
            _copy(source, temporary / name)
        if extend:
            extend(temporary, list(graph.fetches))
        manifest = {
            "format": FORMAT,
            "task": task,
            "inputs": [_describe(value) for value in used],
            "outputs": list(graph.fetches),
            "meta": meta,
            "files": {path.name: _facts(path) for path in sorted(temporary.iterdir())},
            "paddle": paddle.__version__,
        }
        manifest["sha256"] = _self_digest(manifest)
        text = json.dumps(manifest, ensure_ascii=False, indent=1)
        (temporary / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _used_inputs(program):
    """The data layers that something is computed from; saving refuses the others."""
    values = [op.result(0) for op in program.global_block().ops if op.name() == "pd_op.data"]
    return [value for value in values if not value.persistable and not value.use_empty()]


def _describe(value):
    return {
        "name": value.name,
        "shape": [None if size < 0 else int(size) for size in value.shape],
        "dtype": str(value.dtype).rsplit(".", 1)[-1].lower(),
    }


def _copy(source, target):
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise UserError(f"{source}: cannot be copied into the bundle ({error.strerror})") from error


def _facts(path):
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            total.update(block)
    return {"bytes": path.stat().st_size, "sha256": total.hexdigest()}


def _self_digest(manifest):
    """sha256 of the manifest itself, but for this entry."""
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def find_bundle(folder):
    """The bundle's directory: ``folder``, or the only directory in it that holds a bundle.

    Raises:
        UserError: there is none, or there are several to choose from.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such directory: give a bundle that --save_inference_model_path wrote")
    if (folder / MANIFEST).is_file():
        return folder
    found = sorted(path.parent for path in folder.glob(f"*/{MANIFEST}") if not path.parent.name.startswith("."))
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{folder}: holds several bundles: give one of {', '.join(path.name for path in found)}")
    raise UserError(f"{folder}: no {MANIFEST}: give a bundle that --save_inference_model_path wrote")


def read_bundle(folder):
    """Read and verify a bundle.

    Raises:
        UserError: a file is missing or differs from what was written, or the bundle is of another format.
    """
    folder = find_bundle(folder)
    path = folder / MANIFEST
    manifest = _read_manifest(path)
    for name, facts in manifest["files"].items():
        if Path(name).name != name:
            raise UserError(f"{path}: {name!r} is not the name of a file in the bundle: export it again")
        file = folder / name
        if not file.is_file():
            raise UserError(f"{file}: missing from the bundle: copy it whole, or export it again")
        if file.stat().st_size != facts["bytes"]:
            size = file.stat().st_size
            raise UserError(f"{file}: {size} bytes, {facts['bytes']} were written: copy the bundle again, or export it")
        if _facts(file) != facts:
            raise UserError(f"{file}: damaged, its sha256 is not the one written: copy the bundle again, or export it")
    return Bundle(folder, *(manifest[key] for key in ("task", "inputs", "outputs", "meta", "files")))


def _read_manifest(path):
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise UserError(
                f"{path}: format {manifest['format']!r}, this version reads {FORMAT}: export the model again with it"
            )
        digest = manifest["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path}: damaged, not the JSON that was written: copy the bundle again, or export it"
        ) from error
    if digest != _self_digest(manifest):
        raise UserError(f"{path}: damaged, its sha256 is not the one written: copy the bundle again, or export it")
    return manifest
