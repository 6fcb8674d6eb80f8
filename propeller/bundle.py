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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from propeller.errors import UserError
from propeller.files import atomic_directory

if TYPE_CHECKING:
    import paddle

    from propeller.train.program import Graph


FORMAT = 1
DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")
MANIFEST = "bundle.json"
MODEL, WEIGHTS = "model.json", "model.pdiparams"
# The same network for other engines, where it was asked for: as it is, and with products of 8-bit numbers.
ONNX, ONNX_INT8 = "model.onnx", "model.int8.onnx"


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
        digest: sha256 of ``bundle.json``, which has those of all files: another digest, another bundle.
    """

    folder: Path
    task: str
    inputs: list
    outputs: list
    meta: dict
    files: dict
    digest: str = ""

    def check_unchanged(self) -> None:
        """That the folder still holds this bundle.

        Raises:
            UserError: it holds another one, or none.
        """
        _check_digest(self.folder / MANIFEST, _read_manifest(self.folder / MANIFEST), self.digest)

    def path(self, name: str) -> Path:
        """The path of one of its files.

        Raises:
            UserError: the bundle has no such file.
        """
        if name not in self.files:
            raise UserError(f"{self.folder / MANIFEST}: lists no file {name}: export the bundle again")
        return self.folder / name


def write_bundle(
    folder: str | Path,
    graph: Graph,
    scope: paddle.static.Scope,
    place: Any,
    task: str,
    meta: dict[str, Any],
    files: Mapping[str, str | Path] | None = None,
    overwrite: bool = False,
    extend: Callable[[Path, list[str]], None] | None = None,
    inputs: Sequence[str] | None = None,
) -> None:
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
        inputs: the data layers to keep; None: all that anything in the Program depends on.

    Raises:
        UserError: ``folder`` exists, or cannot be written, or one of ``files`` is not there.
    """
    import paddle

    folder = Path(folder)
    with atomic_directory(folder, overwrite) as temporary:
        used = _used_inputs(graph.main) if inputs is None else list(inputs)
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


def holds_bundle(folder: Path) -> bool:
    """Whether a folder is a bundle, or has some in it."""
    return (folder / MANIFEST).is_file() or any(folder.glob(f"*/{MANIFEST}"))


def find_bundle(folder: str | Path) -> Path:
    """The bundle's directory: ``folder``, or the only directory in it that holds a bundle.

    Raises:
        UserError: there is none, or there are several to choose from.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such directory: give an inference model, which --save_inference_model_path writes"
        )
    if (folder / MANIFEST).is_file():
        return folder
    bundles = sorted(path.parent for path in folder.glob(f"*/{MANIFEST}") if not path.parent.name.startswith("."))
    if len(bundles) == 1:
        return bundles[0]
    if bundles:
        raise UserError(f"{folder}: holds several bundles: give one of {', '.join(path.name for path in bundles)}")
    raise UserError(f"{folder}: no {MANIFEST}: give an inference model, which --save_inference_model_path writes")


def read_bundle(folder: str | Path, digest: str | None = None) -> Bundle:
    """Read and verify a bundle.

    Args:
        folder: where it lies.
        digest: the ``Bundle.digest`` that it must have; None: any.

    Raises:
        UserError: a file is missing or differs from what was written, or the bundle is of another format, or another
            one than that of ``digest``.
    """
    folder = find_bundle(folder)
    path = folder / MANIFEST
    manifest = _read_manifest(path)
    if digest is not None:
        _check_digest(path, manifest, digest)
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
    return Bundle(folder, *(manifest[key] for key in ("task", "inputs", "outputs", "meta", "files", "sha256")))


def _check_digest(path, manifest, digest):
    if manifest["sha256"] != digest:
        raise UserError(
            f"{path}: another bundle than the one that was opened at the start (sha256 {manifest['sha256'][:12]}, not "
            f"{digest[:12]}): start again to use it, or put the first one back"
        )


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
    _check_form(path, manifest)
    if digest != _self_digest(manifest):
        raise UserError(f"{path}: damaged, its sha256 is not the one written: copy the bundle again, or export it")
    return manifest


def _check_form(path, manifest):
    """Raises UserError: an entry is missing or of another kind than ``write_bundle`` writes."""
    kinds = {"task": str, "inputs": list, "outputs": list, "meta": dict, "files": dict, "sha256": str}
    for name, kind in kinds.items():
        if not isinstance(manifest.get(name), kind):
            raise UserError(f"{path}: {name} is missing or malformed: copy the bundle again, or export it")
    good = (
        all(map(_is_input, manifest["inputs"]))
        and all(isinstance(name, str) for name in manifest["outputs"])
        and all(isinstance(facts, dict) and set(facts) == {"bytes", "sha256"} for facts in manifest["files"].values())
    )
    if not good or not manifest["inputs"] or not manifest["outputs"]:
        raise UserError(f"{path}: inputs, outputs or files are malformed: copy the bundle again, or export it")


def _is_input(entry):
    if not isinstance(entry, dict) or set(entry) != {"name", "shape", "dtype"}:
        return False
    sizes = entry["shape"] if isinstance(entry["shape"], list) else [0]
    whole = all(size is None or (type(size) is int and size > 0) for size in sizes)
    return isinstance(entry["name"], str) and whole and entry["dtype"] in DTYPES
