"""Inference by every engine beside the libraries alone and transformers + torch: speed, memory, a server under load.

    python -m pip install -r requirements-engines.txt -r requirements-onnx.txt -r requirements-peers.txt
    sh script/quickstart.sh                          # makes the fine-tuned classifier: 6 layers, hidden 384
    python benchmark/inference.py                    # all parts: speed, encoder, service
    python benchmark/inference.py --parts speed --minutes 10 --rows 200

speed: SST-2's dev sentences from text to labels, batch 32, all sides sorted by length and padded to a batch's longest
row, one process a side at the same threads; medians of 7 interleaved rounds. The raw sides are ONNX Runtime and
OpenVINO over the same model.onnx, without this project; torch's bf16 is the faster one of autocast and bf16 weights.
What is not installed is left out. Targets of the default engine: 1.0 times the faster raw side and 1.25 times torch at
fp32, 1.1 times torch at bf16, and bf16's labels equal to fp32's on 99.5%.
encoder: ernie_encoder.py on 10,000 and on 200,000 rows (2 layers, hidden 32): rows a second and peak memory.
service: the server on loopback under 1, 8 and 64 clients, then with a worker killed under load: requests a second,
latencies, none lost; then 64 clients and the same sentences offline in turn. Target: 90% of offline.
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

from benchmark.load import ServiceLoad  # noqa: E402
from benchmark.parts.common import LEAST_ROUNDS, Bench, arguments  # noqa: E402
from benchmark.parts.comparison import QUICKSTART, SST2, convert_tsv, versions  # noqa: E402
from benchmark.parts.inference_speed import Side, export, measure_speed, report_speed  # noqa: E402
from propeller import runtime  # noqa: E402
from propeller.errors import UserError, exit_on_user_error  # noqa: E402

CHECKPOINT = QUICKSTART / "en_glue/ernie_base/SST-2/seed_1/best"
ROWS = (10_000, 200_000)
MEMORY_GROWTH = 1.1  # of the peak at 200,000 rows over the one at 10,000
CLIENTS = (1, 8, 64)
OFFLINE_SHARE, TIMES_ONE = 0.9, 4  # targets of the most clients: over offline, or over one client where that is unknown


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
        found = {
            name: bench.cell(f"service, {name}", lambda count=count, kill=kill: load.run(count, args.seconds, kill))
            for name, count, kill in loads
        }
    return found, measure_share(bench, args, bundle, dev, texts)


def measure_share(bench, args, bundle, dev, texts):
    """Interleaved rounds of the same sentences offline and by the server to the most clients: name -> Rounds."""
    many, seconds = CLIENTS[-1], args.seconds / 3
    if all(len(bench.stored["cells"].get("share", {}).get(name, ())) >= LEAST_ROUNDS for name in ("offline", "server")):
        return bench.rounds("share", dict.fromkeys(("offline", "server")))
    if time.monotonic() >= bench.end:
        return {}
    with contextlib.ExitStack() as stack:
        offline = stack.enter_context(
            contextlib.closing(Side("inference_side.py", bundle, dev, "auto", args.threads, clock=args.clock))
        )
        flags = ["--workers", str(runtime.cores()), "--threads", "1"]
        load = stack.enter_context(contextlib.closing(ServiceLoad(bundle, texts, flags)))
        load.run(many, seconds)
        figure = {"wall": "rate", "cpu": "cpu_rate"}[args.clock]
        sides = {"offline": offline.rate, "server": lambda: load.run(many, seconds)[figure]}
        return bench.rounds("share", sides)


def report_service(found, share):
    """Print the loads; whether none was lost and the batched throughput is as it should be.

    Args: found: name of the load -> its figures, or None; share: Rounds of ``offline`` and ``server``, or {}.
    """
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
    good, target = many / one >= TIMES_ONE, f", target {TIMES_ONE}"
    print(f"  {CLIENTS[-1]} clients over one: {many / one:.2f}{'' if share else target}", end="")
    if share:
        part = share["server"].median / share["offline"].median
        good = part >= OFFLINE_SHARE and all(rounds.complete for rounds in share.values())
        print(f"; over offline, interleaved: {part:.2f}, target {OFFLINE_SHARE}", end="")
    lost = sum(cell["lost"] for cell in found.values())
    print(f": {'met' if good else 'NOT met'}; lost: {lost}, target 0: {'met' if not lost else 'NOT met'}")
    return good and not lost


def settings(args):
    """What the figures were taken with."""
    return {"versions": versions(), "checkpoint": str(Path(args.checkpoint).resolve().name), "seconds": args.seconds,
            "rows": args.rows, "threads": args.threads, "clock": args.clock}  # fmt: skip


def first_rows(path, count, target):
    """A file of the header and so many rows of another, its path; all rows, and itself, with None."""
    if count is None:
        return path
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    target.write_text("".join(lines[: count + 1]), encoding="utf-8")
    return target


def main(args):
    """Exit status: 0 if everything asked for was measured and meets its target."""
    args.checkpoint, args.model = Path(args.checkpoint), Path(args.model)
    needs = [args.checkpoint / "checkpoint.json", args.model / "vocab.txt", Path(args.data) / "dev.tsv"]
    for path in needs if {"speed", "service"} & set(args.parts) else []:
        if not path.is_file():
            raise UserError(f"{path}: not there: run sh script/quickstart.sh, or give --checkpoint, --model and --data")
    bench = Bench("inference", args, settings(args), args.results)
    good = []
    with tempfile.TemporaryDirectory(prefix="inference-") as name:
        scratch = Path(name)
        if {"speed", "service"} & set(args.parts):
            convert_tsv(Path(args.data) / "dev.tsv", scratch / "dev.tsv")
            bundle = export(args.checkpoint, args.model, scratch / "bundle")
        if "speed" in args.parts:
            dev = first_rows(scratch / "dev.tsv", args.rows, scratch / "some.tsv")
            good.append(report_speed(*measure_speed(bench, args, bundle, dev, scratch)))
        if "encoder" in args.parts:
            good.append(report_encoder(measure_encoder(bench, scratch)))
        if "service" in args.parts:
            good.append(report_service(*measure_service(bench, args, bundle, scratch / "dev.tsv")))
    return 0 if all(good) else 1


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--parts", nargs="+", default=["speed", "encoder", "service"],
                        choices=("speed", "encoder", "service"), help="[all of them]")  # fmt: skip
    parser.add_argument("--checkpoint", default=str(CHECKPOINT), help="a fine-tuned classifier [the quickstart's best]")
    parser.add_argument("--model", default=str(QUICKSTART / "model"), help="its ernie_config.json and vocab.txt")
    parser.add_argument("--data", default=str(SST2 if SST2.is_dir() else QUICKSTART / "data/SST-2"),
                        help="folder with dev.tsv, columns sentence or text_a, and label [SST-2]")  # fmt: skip
    parser.add_argument("--rows", type=int, help="of the data, for the speed [all 872]")
    parser.add_argument("--threads", type=int, default=runtime.cores(), help="of every side of the speed [all cores]")
    parser.add_argument("--clock", default="wall", choices=("wall", "cpu"),
                        help="cpu: seconds of the processor, on a busy machine, with --threads 1 [wall]")  # fmt: skip
    parser.add_argument("--peers", default=sys.executable, help="the Python that has torch and transformers [this one]")
    parser.add_argument("--seconds", type=float, default=30, help="of every load on the server [30]")
    parser.add_argument("--results", default=str(ROOT / "benchmark/results"), help="folder of the stored figures")
    parsed = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    runtime.prepare()
    exit_on_user_error(main, parsed)
