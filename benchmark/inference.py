"""Inference beside transformers + torch and our own training Executor: speed, memory, a server under load.

    python -m pip install -r requirements-peers.txt
    sh script/quickstart.sh                          # makes the fine-tuned classifier: 6 layers, hidden 384
    python benchmark/inference.py                    # all parts: speed, encoder, service
    python benchmark/inference.py --parts speed --minutes 10

speed: SST-2's dev sentences from text to labels, batch 32, both sides sorted by length and padded to a batch's longest
row, one process a side at the same threads; medians of 7 interleaved rounds. The peer's bf16 is the faster one of
autocast and bf16 weights. Targets: 1.0 times torch at fp32, 1.1 at bf16, and bf16's labels equal to fp32's on 99.5%.
encoder: ernie_encoder.py on 10,000 and on 200,000 rows (2 layers, hidden 32): rows a second and peak memory.
service: the server on loopback under 1, 8 and 64 clients, then with a worker killed under load: requests a second,
latencies, none lost. Target: 64 clients get 4 times the requests of one, or 80% of offline.
Exit status 1 when something was not measured or misses its target.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmark.common import Bench, arguments  # noqa: E402
from benchmark.comparison import QUICKSTART, SST2, convert_tsv, versions  # noqa: E402
from benchmark.load import ServiceLoad  # noqa: E402
from ernie.convert import to_hf  # noqa: E402
from propeller import runtime  # noqa: E402
from propeller.errors import UserError, exit_on_user_error  # noqa: E402

CHECKPOINT = QUICKSTART / "en_glue/ernie_base/SST-2/seed_1/best"
OURS = ("fp32", "bf16", "executor")
THEIRS = ("fp32", "autocast", "bf16-weights")
ROWS = (10_000, 200_000)
MEMORY_GROWTH = 1.1  # of the peak at 200,000 rows over the one at 10,000
AGREEMENT = 0.995
CLIENTS = (1, 8, 64)


class Side:
    """A process that predicts the file once a round."""

    def __init__(self, script, model, file, kind, *more):
        command = [sys.executable, str(ROOT / "benchmark" / script), str(model), str(file), kind, *map(str, more)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
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
        """Sentences a second of one round."""
        answer = self._ask()
        return answer["rows"] / answer["seconds"]

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


def measure_speed(bench, args, bundle, scratch):
    """The rounds of all sides and the agreement of their labels."""
    stored = bench.stored["cells"]
    names = [f"ours {kind}" for kind in OURS] + [f"peer {kind}" for kind in THEIRS]
    if "labels" in stored and all(len(stored.get("speed", {}).get(name, ())) >= 7 for name in names):
        return bench.rounds("speed", dict.fromkeys(names)), stored["labels"]
    dev = scratch / "dev.tsv"
    hf, sides = peer_model(args.checkpoint, args.model, scratch), {}
    try:
        for kind in OURS:
            sides[f"ours {kind}"] = Side("inference_side.py", bundle, dev, kind)
        for kind in THEIRS:
            sides[f"peer {kind}"] = Side("torch_inference.py", hf, dev, kind, "--threads", runtime.cores())
        rounds = bench.rounds("speed", {name: side.rate for name, side in sides.items()})
        agreement = bench.cell("labels", lambda: _agreement({name: side.labels for name, side in sides.items()}))
    finally:
        for side in sides.values():
            side.close()
    return rounds, agreement


def _agreement(labels):
    """name -> share of rows with the label that our fp32 gives."""
    exact = labels["ours fp32"]
    return {name: sum(a == b for a, b in zip(exact, given)) / len(exact) for name, given in labels.items()}


def report_speed(rounds, agreement):
    """Print the speeds and their ratios; whether all is there and meets the targets."""
    print("\nspeed: sentences a second, from text to label; medians of interleaved rounds, the slowest and the fastest")
    for name, values in rounds.items():
        share = f"{100 * agreement[name]:.2f}% of our fp32 labels" if agreement else ""
        print(f"  {name:20} {values!s:32} {share}")
    if agreement is None or len(rounds) < len(OURS) + len(THEIRS) or not all(r.complete for r in rounds.values()):
        print("NOT everything was measured")
        return False
    half = max(rounds["peer autocast"].median, rounds["peer bf16-weights"].median)
    figures = (
        ("fp32 over torch's", rounds["ours fp32"].median / rounds["peer fp32"].median, 1.0),
        ("bf16 over torch's faster bf16", rounds["ours bf16"].median / half, 1.1),
        ("bf16 labels equal to fp32's", agreement["ours bf16"], AGREEMENT),
    )
    for what, figure, target in figures:
        print(f"  {what}: {figure:.3f}, target {target}: {'met' if figure >= target else 'NOT met'}")
    own = rounds["ours fp32"].median / rounds["ours executor"].median
    print(f"  fp32 over our own Executor: {own:.3f}")
    return all(figure >= target for _, figure, target in figures)


def tiny_model(folder):
    """A model of 2 layers, hidden 32, and its vocabulary of 1,000 words; returns the folder."""
    import numpy as np

    from ernie.checkpoint import write_params
    from ernie.config import ErnieConfig
    from ernie.foreign import encoder_shapes

    words = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", *(f"w{number}" for number in range(995))]
    config = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": len(words),
        "max_position_embeddings": 64, "sent_type_vocab_size": 2, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1, "initializer_range": 0.02,
    }  # fmt: skip
    folder.mkdir()
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    (folder / "ernie_config.json").write_text(json.dumps(config), encoding="utf-8")
    random, arrays = np.random.RandomState(0), {}
    for name, shape in encoder_shapes(ErnieConfig(config)).items():
        arrays[name] = random.normal(float(name.endswith("scale")), 0.02, shape).astype("float32")
    write_params(folder / "params", arrays)
    return folder


def encode(model, rows, scratch):
    """Rows a second and peak memory in MiB of ernie_encoder.py on so many rows of 4 to 40 words."""
    import numpy as np

    file, out = scratch / "rows.tsv", scratch / f"embeddings_{rows}"
    random = np.random.RandomState(1)
    with open(file, "w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target, delimiter="\t", quoting=csv.QUOTE_NONE)
        writer.writerow(["text_a"])
        for count in random.randint(4, 41, rows):
            writer.writerow([" ".join(f"w{number}" for number in random.randint(0, 995, count))])
    flags = {
        "init_pretraining_params": model / "params", "ernie_config_path": model / "ernie_config.json",
        "vocab_path": model / "vocab.txt", "data_set": file, "output_dir": out, "max_seq_len": 64, "batch_size": 32,
        "use_cuda": "false",
    }  # fmt: skip
    words = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    begin = time.monotonic()
    process = subprocess.Popen([sys.executable, str(ROOT / "ernie_encoder.py"), *words], stderr=subprocess.PIPE)
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise UserError(f"ernie_encoder.py ended with {process.returncode}: {said.decode().strip().splitlines()[-1]}")
    unit = 1024 if sys.platform != "darwin" else 1024**2
    found = {"rows": rows, "rows_a_second": rows / (time.monotonic() - begin), "peak_mib": usage.ru_maxrss / unit}
    for path in out.iterdir():
        path.unlink()
    return found


def measure_encoder(bench, scratch):
    """rows -> figures of `encode`, or None."""
    model = tiny_model(scratch / "tiny")
    return {rows: bench.cell(f"encoder, {rows} rows", lambda rows=rows: encode(model, rows, scratch)) for rows in ROWS}


def report_encoder(found):
    """Print memory and speed; whether memory is flat."""
    print("\nencoder: ernie_encoder.py, both arrays written, 2 layers, hidden 32")
    for rows, cell in found.items():
        shown = f"{cell['rows_a_second']:,.0f} rows/s, peak {cell['peak_mib']:,.0f} MiB" if cell else "NOT measured"
        print(f"  {rows:,} rows: {shown}")
    if None in found.values():
        return False
    growth = found[ROWS[1]]["peak_mib"] / found[ROWS[0]]["peak_mib"]
    good = growth <= MEMORY_GROWTH
    print(
        f"  memory of the larger over the smaller: {growth:.3f}, target {MEMORY_GROWTH}: {'met' if good else 'NOT met'}"
    )
    return good


def measure_service(bench, args, bundle, dev):
    """name of the load -> its figures, or None."""
    texts = [line.split("\t")[0] for line in dev.read_text(encoding="utf-8").splitlines()[1:]]
    loads = [*((f"{count} clients", count, False) for count in CLIENTS), ("a worker killed", 8, True)]
    missing = [name for name, *_ in loads if f"service, {name}" not in bench.stored["cells"]]
    with contextlib.ExitStack() as stack:
        if missing and time.monotonic() < bench.end:
            load = stack.enter_context(contextlib.closing(ServiceLoad(bundle, texts)))
        return {
            name: bench.cell(f"service, {name}", lambda count=count, kill=kill: load.run(count, args.seconds, kill))
            for name, count, kill in loads
        }


def report_service(found, offline):
    """Print the loads; whether none was lost and the batched throughput is as it should be."""
    print("\nservice: one sentence a request, loopback, clients on the same cores")
    for name, cell in found.items():
        if cell is None:
            print(f"  {name}: NOT measured")
            continue
        print(
            f"  {name:16} {cell['rate']:8,.1f} requests/s, p50 {cell['p50_ms']:7.1f} ms, p99 {cell['p99_ms']:7.1f} ms, "
            f"{cell['answered']:,} answered, {cell['retried']} told to retry, {cell['lost']} lost"
        )
    if None in found.values():
        return False
    one, many = found[f"{CLIENTS[0]} clients"]["rate"], found[f"{CLIENTS[-1]} clients"]["rate"]
    parts = [many / one >= 4]
    print(f"  64 clients over one: {many / one:.2f}, target 4", end="")
    if offline:
        parts.append(many / offline >= 0.8)
        print(f"; over offline: {many / offline:.2f}, target 0.8", end="")
    lost = sum(cell["lost"] for cell in found.values())
    print(f": {'met' if any(parts) else 'NOT met'}; lost: {lost}, target 0: {'met' if not lost else 'NOT met'}")
    return any(parts) and not lost


def settings(args):
    """What the figures were taken with."""
    return {"versions": versions(), "checkpoint": str(Path(args.checkpoint).resolve().name), "seconds": args.seconds}


def main(args):
    """Exit status: 0 if everything asked for was measured and meets its target."""
    args.checkpoint, args.model = Path(args.checkpoint), Path(args.model)
    needs = [args.checkpoint / "checkpoint.json", args.model / "vocab.txt", Path(args.data) / "dev.tsv"]
    for path in needs if {"speed", "service"} & set(args.parts) else []:
        if not path.is_file():
            raise UserError(f"{path}: not there: run sh script/quickstart.sh, or give --checkpoint, --model and --data")
    bench = Bench("inference", args, settings(args), args.results)
    good, offline = [], None
    with tempfile.TemporaryDirectory(prefix="inference-") as name:
        scratch = Path(name)
        if {"speed", "service"} & set(args.parts):
            convert_tsv(Path(args.data) / "dev.tsv", scratch / "dev.tsv")
            bundle = export(args.checkpoint, args.model, scratch / "bundle")
        if "speed" in args.parts:
            rounds, agreement = measure_speed(bench, args, bundle, scratch)
            offline = rounds["ours fp32"].median if "ours fp32" in rounds else None
            good.append(report_speed(rounds, agreement))
        if "encoder" in args.parts:
            good.append(report_encoder(measure_encoder(bench, scratch)))
        if "service" in args.parts:
            good.append(report_service(measure_service(bench, args, bundle, scratch / "dev.tsv"), offline))
    return 0 if all(good) else 1


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--parts", nargs="+", default=["speed", "encoder", "service"],
                        choices=("speed", "encoder", "service"), help="[all of them]")  # fmt: skip
    parser.add_argument("--checkpoint", default=str(CHECKPOINT), help="a fine-tuned classifier [the quickstart's best]")
    parser.add_argument("--model", default=str(QUICKSTART / "model"), help="its ernie_config.json and vocab.txt")
    parser.add_argument("--data", default=str(SST2 if SST2.is_dir() else QUICKSTART / "data/SST-2"),
                        help="folder with dev.tsv, columns sentence or text_a, and label [SST-2]")  # fmt: skip
    parser.add_argument("--seconds", type=float, default=30, help="of every load on the server [30]")
    parser.add_argument("--results", default=str(ROOT / "benchmark/results"), help="folder of the stored figures")
    parsed = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    runtime.prepare()
    exit_on_user_error(main, parsed)
