"""Sentences a second of every engine beside the libraries alone and torch: the speed part of benchmark/inference.py.

Each side is a process that predicts the same file once a round: ours (`inference_side.py`), ONNX Runtime and OpenVINO
over the same ``model.onnx`` without this project (`raw_inference.py`), and transformers + torch (`torch_inference.py`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmark.parts.common import LEAST_ROUNDS, say  # noqa: E402
from ernie.convert import to_hf  # noqa: E402
from propeller.errors import UserError  # noqa: E402
from propeller.service.engines import FASTEST_FIRST, is_installed  # noqa: E402

OURS = ("paddle", "onnxruntime", "openvino", "paddle-bf16", "openvino-bf16", "executor")
RAW = ("onnxruntime", "openvino")
THEIRS = ("fp32", "autocast", "bf16-weights")
AGREEMENT = 0.995
OVER_RAW, OVER_TORCH, OVER_HALF = 1.0, 1.25, 1.1  # targets


class Side:
    """A process that predicts the file once a round."""

    def __init__(self, script, model, file, kind, threads, python=sys.executable, clock="wall"):
        self.clock = {"wall": "seconds", "cpu": "cpu"}[clock]
        command = [
            str(python),
            str(ROOT / "benchmark" / "parts" / script),
            str(model),
            str(file),
            kind,
            "--threads",
            str(threads),
        ]
        environment = {
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "ORT_DISABLE_TELEMETRY": "1",
            "OMP_NUM_THREADS": str(threads),
        }
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.name, self.labels = f"{Path(script).stem} {kind}", self._ask()["labels"]  # a round to warm up

    def _ask(self):
        try:
            self.process.stdin.write("round\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (OSError, ValueError) as error:
            raise UserError(f"{self.name}: ended with {self.process.wait()}, see above") from error

    def rate(self):
        """Sentences a second of one round, by the clock."""
        answer = self._ask()
        return answer["rows"] / answer[self.clock]

    def close(self):
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


def export(checkpoint, model, folder):
    """The bundle of a checkpoint, as a user makes it; returns its directory."""
    flags = {
        "init_checkpoint": checkpoint,
        "ernie_config_path": model / "ernie_config.json",
        "vocab_path": model / "vocab.txt",
        "for_cn": "false",
        "max_seq_len": 128,
        "do_prediction": "false",
        "onnx": "true",
        "save_inference_model_path": folder,
        "use_cuda": "false",
    }
    words = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    done = subprocess.run(
        [sys.executable, str(ROOT / "infer_classifyer.py"), *words], stderr=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise UserError(f"infer_classifyer.py: {done.stderr.strip().splitlines()[-1]}")
    return next(Path(folder).iterdir())


def peer_model(checkpoint, model, folder):
    """What ernie.convert makes of the checkpoint for transformers; returns its directory."""
    source = folder / "params_model"
    source.mkdir()
    for name in ("ernie_config.json", "vocab.txt"):
        (source / name).symlink_to((model / name).resolve())
    (source / "params").symlink_to(Path(checkpoint).resolve())
    to_hf(source, folder / "hf")
    return folder / "hf"


def sides_of(args, bundle, dev, scratch):
    """name -> a function that starts the side. What is not installed is left out, and said."""
    threads, clock, found = args.threads, args.clock, {}
    for kind in OURS:
        if is_installed(kind.partition("-")[0]) or kind == "executor":
            found[f"ours {kind}"] = lambda kind=kind: Side("inference_side.py", bundle, dev, kind, threads, clock=clock)
    for kind in filter(is_installed, RAW):
        found[f"raw {kind}"] = lambda kind=kind: Side("raw_inference.py", bundle, dev, kind, threads, clock=clock)
    if has_torch(args.peers):
        hf = peer_model(args.checkpoint, args.model, scratch)
        for kind in THEIRS:
            found[f"torch {kind}"] = lambda kind=kind: Side(
                "torch_inference.py", hf, dev, kind, threads, args.peers, clock
            )
    else:
        say(f"{args.peers} has no torch and transformers: they are left out (requirements-peers.txt, --peers)")
    return found


def has_torch(python):
    """Whether an interpreter has the peers."""
    code = "import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ('torch', 'transformers'))))"
    return subprocess.run([str(python), "-c", code], check=False).returncode == 0


def measure_speed(bench, args, bundle, dev, scratch):
    """The rounds of all sides and the agreement of their labels."""
    makers, stored, sides = sides_of(args, bundle, dev, scratch), bench.stored["cells"], {}
    if "labels" in stored and all(len(stored.get("speed", {}).get(name, ())) >= LEAST_ROUNDS for name in makers):
        return bench.rounds("speed", dict.fromkeys(makers)), stored["labels"]
    try:
        sides.update((name, make()) for name, make in makers.items())
        rounds = bench.rounds("speed", {name: side.rate for name, side in sides.items()})
        agreement = bench.cell("labels", lambda: _agreement({name: side.labels for name, side in sides.items()}))
    finally:
        for side in sides.values():
            side.close()
    return rounds, agreement


def _agreement(labels):
    """name -> share of rows with the label that Paddle gives in fp32."""
    exact = labels["ours paddle"]
    return {name: sum(a == b for a, b in zip(exact, given)) / len(exact) for name, given in labels.items()}


def default_of(rounds, precision):
    """The name of the side that --engine auto is, among those measured."""
    for engine in FASTEST_FIRST[precision]:
        name = f"ours {engine}" if precision == "fp32" else f"ours {engine}-{precision}"
        if name in rounds:
            return name
    raise ValueError(f"nothing was measured in {precision}")


def report_speed(rounds, agreement):
    """Print the speeds and their ratios; whether all that is installed was measured and meets the targets."""
    print("\nspeed: sentences a second, from text to label; medians of interleaved rounds, the slowest and the fastest")
    for name, values in rounds.items():
        share = f"{100 * agreement[name]:.2f}% of the labels of Paddle's fp32" if agreement else ""
        print(f"  {name:20} {values!s:32} {share}")
    if agreement is None or not rounds or not all(values.complete for values in rounds.values()):
        print("NOT everything was measured")
        return False
    exact, half = default_of(rounds, "fp32"), default_of(rounds, "bf16")
    figures = []
    raw = [name for name in rounds if name.startswith("raw")]
    if raw:
        best = max(raw, key=lambda name: rounds[name].median)
        figures.append((f"the default, {exact}, over the faster library alone, {best}", exact, [best], OVER_RAW))
    if "torch fp32" in rounds:
        figures.append((f"{exact} over torch's fp32", exact, ["torch fp32"], OVER_TORCH))
        figures.append((f"{half} over torch's faster bf16", half, ["torch autocast", "torch bf16-weights"], OVER_HALF))
    found = [(what, rounds[one].median / max(rounds[x].median for x in others), target)
             for what, one, others, target in figures]  # fmt: skip
    found.append((f"{half}: labels equal to fp32's", agreement[half], AGREEMENT))
    for what, figure, target in found:
        print(f"  {what}: {figure:.3f}, target {target}: {'met' if figure >= target else 'NOT met'}")
    paddle, executor = rounds["ours paddle"].median, rounds["ours executor"].median
    print(
        f"  {exact} over Paddle: {rounds[exact].median / paddle:.3f}, Paddle over the Executor: {paddle / executor:.3f}"
    )
    return all(figure >= target for _, figure, target in found)
