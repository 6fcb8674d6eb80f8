"""An exported Program as an ONNX file, compared with what Paddle computes before anybody calls it saved.

    write_onnx(folder, ["logits", "probs"])

The work is done in a process of its own (``python -m ernie.onnx_export FOLDER OUTPUT ...``), since paddle2onnx ends the
whole process at some operators. It needs ``pip install -r requirements-onnx.txt``.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ernie.apart import run_apart, told
from propeller.bundle import MODEL, ONNX, WEIGHTS
from propeller.errors import UserError
from propeller.service.engines import import_onnxruntime

if TYPE_CHECKING:
    import numpy as np

CONFIG = "ernie_config.json"
OPSET = 17  # the first with LayerNormalization
BOUND = 1e-5  # the project's own bound between two computations of one network, per unit of the largest value
BATCHES = ((1, 3), (3, 16))  # (rows, places) of the comparison
INSTALL = "python -m pip install -r requirements-onnx.txt"


def check_installed() -> None:
    """Raise UserError where a package that the ONNX file needs is missing."""
    for package in ("paddle2onnx", "onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"an ONNX file needs {package}, which is not installed: {INSTALL}")


def write_onnx(folder: Path, outputs: Sequence[str]) -> None:
    """Make ``model.onnx`` of the Program in a directory, and compare the two.

    Args:
        folder: holds ``model.json``, ``model.pdiparams`` and ``ernie_config.json``.
        outputs: names of the Program's outputs, in order; the file's outputs get them.

    Raises:
        UserError: a package is missing, the Program cannot be converted, or ONNX Runtime computes something else.
    """
    check_installed()
    reason = run_apart("ernie.onnx_export", folder, *outputs)
    if reason is None:
        return
    (folder / ONNX).unlink(missing_ok=True)
    config = _network(folder)
    kind = f"hidden_act {config['hidden_act']!r}" if "hidden_act" in config else f"network {config['network']!r}"
    raise UserError(f"no ONNX file of this model ({kind}): {reason}; leave out --onnx and --engine")


def _network(folder: Path) -> dict[str, Any]:
    """What ``ernie_config.json`` says of the network, whichever kind it is."""
    return json.loads((folder / CONFIG).read_text(encoding="utf8"))


def convert(folder: Path, outputs: Sequence[str]) -> None:
    """Write the file. No optimisation step of paddle2onnx: its default one installs packages by itself."""
    import paddle2onnx

    paddle2onnx.export(
        str(folder / MODEL),
        str(folder / WEIGHTS),
        str(folder / ONNX),
        opset_version=OPSET,
        auto_upgrade_opset=False,
        enable_onnx_checker=False,
        optimize_tool="none",
    )
    if not (folder / ONNX).is_file():
        raise UserError("paddle2onnx wrote no model")
    _name_outputs(folder / ONNX, outputs)


def _name_outputs(path: Path, names: Sequence[str]) -> None:
    """Give the outputs their names of the Program: saving it calls them ``fetch_name_0`` and so on."""
    import onnx

    model = onnx.load(str(path))
    new = {entry.name: name for entry, name in zip(model.graph.output, names)}
    for entry in model.graph.output:
        entry.name = new[entry.name]
    for node in model.graph.node:
        for ends in (node.input, node.output):
            ends[:] = [new.get(name, name) for name in ends]
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def compare(folder: Path) -> None:
    """Run both on rows without padding.

    Raises:
        UserError: a number differs by more than ``BOUND`` per unit of the largest, or a whole number differs.
    """
    import numpy as np
    import paddle.inference

    onnxruntime = import_onnxruntime()
    config = _network(folder)
    options = paddle.inference.Config(str(folder / MODEL), str(folder / WEIGHTS))
    options.disable_glog_info()
    options.disable_gpu()
    ours = paddle.inference.create_predictor(options)
    theirs = onnxruntime.InferenceSession(str(folder / ONNX), providers=["CPUExecutionProvider"])
    for rows, places in BATCHES:
        batch = _batch(config, rows, min(places, config["max_position_embeddings"]))
        for name in ours.get_input_names():
            ours.get_input_handle(name).copy_from_cpu(batch[name])
        ours.run()
        expected = [ours.get_output_handle(name).copy_to_cpu() for name in ours.get_output_names()]
        found = theirs.run(None, {entry.name: batch[entry.name] for entry in theirs.get_inputs()})
        for entry, one, other in zip(theirs.get_outputs(), expected, found):
            far = float(np.abs(one - other).max()) if one.size else 0.0
            bound = BOUND * max(1.0, float(np.abs(one).max(initial=0))) if one.dtype.kind == "f" else 0
            if not far <= bound:
                raise UserError(f"ONNX Runtime computes {entry.name} otherwise, by {far:.1e}")


def _batch(config: dict[str, Any], rows: int, places: int) -> dict[str, np.ndarray]:
    """Every input that a Program of ours may have: int64 ``[rows, places]``, the mask float32."""
    import numpy as np

    random = np.random.RandomState(0)
    shape = (rows, places)
    return {
        "src_ids": random.randint(0, config["vocab_size"], shape).astype("int64"),
        "sent_ids": random.randint(0, 2, shape).astype("int64"),
        "pos_ids": np.tile(np.arange(places, dtype="int64"), (rows, 1)),
        "task_ids": np.zeros(shape, "int64"),
        "input_mask": np.ones(shape, "float32"),
    }


def main(folder: str, *outputs: str) -> int:
    """Convert and compare; the exit status, see ``told``."""

    def work():
        convert(Path(folder), outputs)
        compare(Path(folder))

    return told(work)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
