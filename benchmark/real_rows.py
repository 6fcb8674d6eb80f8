"""Training on real rows, of unlike length: the commands of this project beside plain loops of transformers + torch.

    python -m pip install -r requirements-peers.txt
    sh script/quickstart.sh                              # brings the encoder of the first line: 6 layers of 384
    python benchmark/real_rows.py                        # on an idle machine; 40 minutes at most
    python benchmark/real_rows.py --tasks SST-2 --rounds 7

One pass over the first rows of a training file, shuffled, without bucketing, batches padded to their longest row,
dropout 0.1, AdamW and clipping on both sides; threads as many as cores. Ours is the command, from the file to the
weights, with one process and with two. The peer is handed the batches ready made, so that reading costs it nothing.
Shown are tokens a second that are no padding, of all steps but the first, and the peak memory of a process. Rounds are
fresh runs, interleaved. Exit status 1 when something was not measured or misses its target.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmark.parts.common import LEAST_ROUNDS, Bench, arguments, say  # noqa: E402
from benchmark.parts.comparison import QUICKSTART, convert_tsv, versions  # noqa: E402
from propeller.runtime import cores  # noqa: E402

DATA = ROOT.parent / "shared" / "data"
VOCABULARY = ROOT.parent / "shared" / "vocab" / "vocab_zh.txt"
PEER = str(ROOT / "benchmark" / "parts" / "rows_peer.py")
PRETRAINING = "pretrain"  # the task of the job that makes shards and runs train.py over them
SCRIPTS = {"classify": "run_classifier.py", "sequence_label": "run_sequence_labeling.py", "mrc": "run_mrc.py",
           PRETRAINING: "train.py"}  # fmt: skip
PRETRAINING_STEPS = 40
WARM = 5  # steps that are not timed


@dataclass(frozen=True)
class Job:
    """A line of the table. task: of fine-tuning, or PRETRAINING; file: of the training rows; rows: how many of them are
    taken; target: tokens a second beside the peer."""

    task: str
    file: str
    rows: int
    batch_size: int
    max_seq_len: int
    target: float
    more: tuple[str, ...] = ()
    quickstart: bool = False  # the quickstart's encoder; else 4 layers of 256, drawn


JOBS = {
    "SST-2": Job("classify", "glue/SST-2/train.tsv", 1280, 32, 128, 2.0, quickstart=True),
    "ChnSentiCorp": Job("classify", "zh/chnsenticorp/train.tsv", 960, 24, 256, 1.3),
    "MSRA-NER": Job("sequence_label", "zh/msra_ner/train.tsv", 640, 16, 256, 1.3,
                    ("--label_map_config", str(DATA / "zh/msra_ner/label_map.json"), "--num_labels", "7")),
    "pre-training": Job(PRETRAINING, "zh/chnsenticorp/train.tsv", 3000, 16, 256, 1.3),
    "CMRC2018": Job("mrc", "zh/cmrc2018/dev.json", 30, 8, 512, 1.3, ("--doc_stride", "128")),
}  # fmt: skip
NETWORK = {
    "attention_probs_dropout_prob": 0.1, "hidden_dropout_prob": 0.1, "hidden_act": "gelu", "hidden_size": 256,
    "num_hidden_layers": 4, "num_attention_heads": 4, "max_position_embeddings": 512, "type_vocab_size": 2,
    "initializer_range": 0.02,
}  # fmt: skip


def first_rows(job, to):
    """The first rows of the file, or the first paragraphs of a SQuAD file."""
    source = DATA / job.file
    if source.suffix == ".json":
        stored = json.loads(source.read_text(encoding="utf8"))
        stored["data"] = stored["data"][: job.rows]
        to.write_text(json.dumps(stored, ensure_ascii=False), encoding="utf8")
    else:
        convert_tsv(source, to, job.rows)
    return to


def make_shards(rows, folder):
    """Each row's text as a document of the shards of knowledge masking; returns their list."""
    texts = [line.split("\t")[1] for line in rows.read_text(encoding="utf8").splitlines()[1:]]
    (folder / "text.txt").write_text("\n\n".join(texts), encoding="utf8")
    command = [sys.executable, "-m", "pretrain.build_data", "--input", folder / "text.txt", "--output",
               folder / "shards", "--vocab_path", VOCABULARY, "--max_seq_len", "256"]  # fmt: skip
    done = subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return folder / "shards" / "filelist"


def prepare(job, folder):
    """The flags of the job, its rows and its network."""
    rows = first_rows(job, folder / f"train{Path(job.file).suffix}")
    model = QUICKSTART / "model"
    if job.quickstart:
        config, vocabulary = model / "ernie_config.json", model / "vocab.txt"
    else:
        vocabulary, config = VOCABULARY, folder / "config.json"
        pieces = len(vocabulary.read_text(encoding="utf8").splitlines())
        config.write_text(json.dumps({**NETWORK, "vocab_size": pieces}))
    if job.task == PRETRAINING:
        flags = ["--ernie_config_path", config, "--vocab_path", vocabulary, "--train_filelist",
                 make_shards(rows, folder), "--max_seq_len", job.max_seq_len, "--num_train_steps", PRETRAINING_STEPS,
                 "--skip_steps", 1, "--validation_steps", 0, "--save_steps", 0, "--use_cuda", "false",
                 "--shuffle_buffer", 1000]  # fmt: skip
        return [str(word) for word in flags]
    flags = ["--ernie_config_path", config, "--vocab_path", vocabulary, "--train_set", rows, "--max_seq_len",
             job.max_seq_len, "--epoch", 1, "--do_val", "false", "--do_test", "false", "--skip_steps", 1,
             "--validation_steps", 0, "--eval_strategy", "steps", "--save_steps", 0, "--use_cuda", "false",
             "--for_cn", "false" if job.quickstart else "true", "--learning_rate", "1e-5", "--token_cache_dir", "off",
             "--allow_unk", "1", *job.more]  # fmt: skip
    return [str(word) for word in flags]


def peak(command, environment, folder):
    """Run a command; the peak memory of its largest process in MB. Its output is shown where it fails."""
    with open(folder / "said.txt", "w+", encoding="utf8") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            said.seek(0)
            raise SystemExit(f"{command[1]} ended with status {status}:\n{said.read()[-3000:]}")
    return usage.ru_maxrss / 1024


def ours(job, flags, processes, extra):
    """{"rate": tokens a second, "memory": MB}."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        words = [str(ROOT / SCRIPTS[job.task])]
        if processes > 1:
            launcher = ["--nproc_per_node", str(processes), "--backend", "gloo", "--print_config", "false"]
            words = [str(ROOT / "finetune_launch.py"), *launcher, "--split_log_path", str(folder / "log"), *words]
        words += [
            *flags,
            "--batch_size",
            str(job.batch_size // processes),
            "--checkpoints",
            str(folder / "run"),
            *extra,
        ]
        threads = str(max(cores() // processes, 1))
        memory = peak([sys.executable, *words], {**os.environ, "OMP_NUM_THREADS": threads}, folder)
        lines = (folder / "run" / "metrics.jsonl").read_text(encoding="utf8").splitlines()
        speeds = [record["speed"] for record in map(json.loads, lines) if record["event"] == "train"]
        return {"steps_per_second": (len(speeds) - WARM) / sum(1 / speed for speed in speeds[WARM:]),
                "steps": len(speeds), "memory": memory}  # fmt: skip


def peer(job, batches, config):
    """The same of the peer."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        out = folder / "found.json"
        command = [sys.executable, PEER, job.task, str(batches), str(config), str(out)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(cores()), "HF_HUB_OFFLINE": "1"}
        memory = peak(command, environment, folder)
        return {**json.loads(out.read_text()), "memory": memory}


def write_batches(job, flags, to):
    """What the command's reader gives in its epoch, for the peer; returns the number of batches and of tokens."""
    code = (
        "import sys, json, numpy as np; sys.path.insert(0, sys.argv[1])\n"
        "from benchmark.real_rows import read_batches\n"
        "read_batches(sys.argv[2], sys.argv[3], sys.argv[4:])\n"
    )
    words = [*flags, "--batch_size", str(job.batch_size), "--checkpoints", "none"]
    command = [sys.executable, "-c", code, str(ROOT), job.task, str(to), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def read_batches(task_name, to, words):
    """Runs in a process of its own, with Paddle."""
    import numpy as np

    from finetune import task_class
    from finetune.training.args import parse
    from finetune.training.reading import reading_of
    from finetune.training.settled import settle_run

    if task_name == PRETRAINING:
        given = pretraining_batches(words)
    else:
        args = parse("real_rows", "", words, task_class(task_name).flags)
        model = settle_run(task_class(task_name), args)
        reader = model.task.open_reader(args.data.train_set, model.tokenizer, model.spec, reading_of(args, True, True))
        given = reader.batches()
    arrays, batches, tokens = {}, 0, 0
    for batch, _ in given:
        tokens += int(batch["input_mask"].sum())
        arrays.update({f"{batches}/{name}": array for name, array in batch.items()})
        batches += 1
    np.savez(to, **arrays)
    print(json.dumps({"batches": batches, "tokens": tokens}))


def pretraining_batches(words):
    """The batches of train.py with these flags."""
    from itertools import islice

    from ernie.config import ErnieConfig
    from pretrain import declared
    from pretrain.training.args import parse
    from pretrain.training.reading import open_reader
    from tokenization import build_tokenizer

    args = parse("train.py", "", words)
    tokenizer = build_tokenizer("FullTokenizer", args.model.vocab_path, True, False, None)
    config = ErnieConfig(args.model.ernie_config_path)
    reader = open_reader(
        declared("knowledge_masking"), args.data.train_filelist, tokenizer, config, args, training=True
    )
    return islice(reader.batches(), PRETRAINING_STEPS)


def report(name, job, rates, memory):
    """Print a task's figures; whether the better one of ours meets the target."""
    print(f"\n{name}: tokens a second that are no padding, median (least to most); peak memory of a process")
    base = rates.get("transformers + torch")
    for candidate, rounds in rates.items():
        beside = f"  {rounds.median / base.median:.2f} of torch" if base else ""
        held = memory.get(candidate)
        print(
            f"  {candidate:26} {rounds!s:>40}{beside}  {held:,.0f} MB" if held else f"  {candidate:26} {rounds!s:>40}"
        )
    mine = [rounds for candidate, rounds in rates.items() if candidate != "transformers + torch"]
    if not base or not mine or not all(rounds.complete for rounds in [base, *mine]):
        print("  not measured to the end: start again to go on")
        return False
    met = max(rounds.median for rounds in mine) >= job.target * base.median
    print(f"  target: {job.target} of torch: {'met' if met else 'missed'}")
    return met


def main():
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=LEAST_ROUNDS, help=f"rounds of each [{LEAST_ROUNDS}]")
    parser.add_argument("--tasks", nargs="*", choices=tuple(JOBS), default=list(JOBS), help="which to measure")
    parser.add_argument(
        "--processes",
        nargs="*",
        type=int,
        choices=(1, 2),
        default=[1, 2],
        help="measure ours with so many processes [1 2]",
    )
    parser.add_argument("--plain", action="store_true", help="measure --fused_encoder false too")
    args = parser.parse_args()
    if "SST-2" in args.tasks and not (QUICKSTART / "model").is_dir():
        parser.error("SST-2 needs the quickstart's encoder: run sh script/quickstart.sh, or leave it out of --tasks")
    bench = Bench("real_rows", args, {"versions": versions(), "jobs": {name: str(job) for name, job in JOBS.items()}})
    met = []
    for name in args.tasks:
        job = JOBS[name]
        with tempfile.TemporaryDirectory() as folder:
            flags = prepare(job, Path(folder))
            batches = Path(folder) / "batches.npz"
            facts = write_batches(job, flags, batches)
            memory = bench.stored["cells"].setdefault(f"{name}, memory", {})

            def measured(candidate, found, facts=facts, memory=memory):
                memory[candidate] = max(memory.get(candidate, 0), found["memory"])
                return found["steps_per_second"] * facts["tokens"] / facts["batches"]

            def run(candidate, processes, extra, job=job, flags=flags, measured=measured):
                return measured(candidate, ours(job, flags, processes, extra))

            ways = {("one process", "two processes")[count - 1]: (count, ()) for count in args.processes}
            if args.plain:
                ways["one process, plain"] = (1, ("--fused_encoder", "false"))
            candidates = {way: (lambda way=way, how=how: run(way, *how)) for way, how in ways.items()}
            config = flags[flags.index("--ernie_config_path") + 1]
            candidates["transformers + torch"] = lambda: measured(  # noqa: B023 called within this turn
                "transformers + torch",
                peer(job, batches, config),  # noqa: B023
            )
            rates = bench.rounds(name, candidates, args.rounds)
        met.append(report(name, job, rates, memory))
    if not all(met):
        say("not every target is met")
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
