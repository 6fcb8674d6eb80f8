"""The launcher's flags, and how many processes they come to; the processes are `propeller.launch_group`'s.

from propeller.launch import main
status = main("finetune_launch.py", ["--nproc_per_node", "2", "run_classifier.py", "--epoch", "1"])
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from propeller import runtime
from propeller.errors import UserError
from propeller.flags import FALSE, TRUE, FlagParser, boolean

PORT = 6170  # of the first node, where nodes meet unless --master says else; as in 2019
MOST_CORES = 8  # with `auto`: more processes of one core spend their time on exchanging gradients


@dataclass(frozen=True)
class Plan:
    """What is to be started.

    Args:
        command: the script and its arguments.
        processes: on this node.
        gpus: numbers among the visible GPUs, as texts, one a process; none: CPU cores and gloo.
        threads: OMP_NUM_THREADS of a process.
        nodes, node: how many machines, and which one this is; -1: as they come.
        master: host:port where the nodes meet; None for one node.
        address: of this node, as the others reach it.
        logs: path of a process's log without its rank.
        max_restarts: how often the group is started again after a failure.
        stop_grace: seconds that processes have to end after SIGTERM.
    """

    command: tuple
    processes: int
    gpus: tuple = ()
    threads: int = 1
    nodes: int = 1
    node: int = 0
    master: str | None = None
    address: str = "127.0.0.1"
    logs: str = "log/job.log."
    max_restarts: int = 0
    stop_grace: float = 60.0


def build_parser(prog: str) -> FlagParser:
    """The argparse parser; flags of 2019 keep their names."""
    parser = FlagParser(
        prog=prog,
        usage=f"{prog} [flags] SCRIPT.py [its flags]",
        description="Start SCRIPT.py in processes that train together; its --batch_size is that of one process.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--nproc_per_node",
        default="auto",
        metavar="N|auto",
        help=f"processes on this machine; auto: one per GPU, else one per core, {MOST_CORES} at most [auto]",
    )
    add(
        "--selected_gpus",
        metavar="0,1,...",
        help="the GPUs to use, one per process, counted from 0 among the visible ones [all of them]",
    )
    add(
        "--backend",
        default="auto",
        choices=("auto", "nccl", "gloo"),
        help="nccl for GPUs, gloo for CPU cores; auto: GPUs if there are any and SCRIPT has no --use_cuda false",
    )
    _add_machines(add)
    add(
        "--max_restarts",
        type=int,
        default=0,
        metavar="N",
        help="after a failure, restart all processes from the last checkpoint, at most N times [0]",
    )
    add(
        "--stop_grace",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="time for a last checkpoint after SIGTERM or Ctrl-C before the processes are killed [60]",
    )
    add(
        "--print_config",
        type=boolean,
        default=True,
        metavar="true|false",
        help="print these settings at the start [true]",
    )
    add("--split_log_path", default="log", metavar="DIR", help="directory for the log of each process [log]")
    add("--log_prefix", default="", metavar="TEXT", help="prefix for the names of the logs: TEXTjob.log.RANK")
    add("training_script", help="the script to run, or any program")
    add("training_script_args", nargs=argparse.REMAINDER, help="its flags")
    return parser


def _add_machines(add):
    add("--node_ips", metavar="IP,IP", help="the machines, the same list on each; the first one runs rank 0")
    add("--node_id", type=int, metavar="N", help="which of --node_ips this machine is, from 0")
    add("--current_node_ip", metavar="IP", help="this machine's address [the one of --node_ips]")
    add(
        "--master",
        metavar="HOST:PORT",
        help=f"address where the machines meet, a free port of the first one [first of --node_ips, port {PORT}]",
    )
    add("--nnodes", type=int, metavar="N", help="number of machines, if --node_ips is not given")


def main(prog: str, argv: list[str]) -> int:
    """Start what the flags say and wait for it; returns the exit status of the first process that failed, or 0."""
    args = build_parser(prog).parse_args(argv)
    given_threads = os.environ.get("OMP_NUM_THREADS")
    runtime.prepare()
    plan = make_plan(args, _visible_gpus(), given_threads)
    if args.print_config:
        for name, value in sorted(vars(args).items()):
            print(f"{name}: {value}", file=sys.stderr)
    from propeller.launch_group import run

    return run(plan)


def _visible_gpus():
    import paddle

    return paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0


def make_plan(args: argparse.Namespace, visible: int, threads: str | None = None) -> Plan:
    """The ``Plan`` of parsed flags.

    Args:
        visible: number of GPUs.
        threads: the user's OMP_NUM_THREADS, or None.

    Raises:
        UserError: flags that do not go together, GPUs or a script that are not there.
    """
    script = args.training_script
    if script.endswith(".py") and not Path(script).is_file():
        raise UserError(
            f"{script}: no such script; the launcher's own flags stand before the script, the script's after it"
        )
    for name, least in (("max_restarts", 0), ("stop_grace", 0)):
        if getattr(args, name) < least:
            raise UserError(f"--{name} must be {least} or more, not {getattr(args, name)}")
    gpus = _gpus(args, visible)
    processes = _processes(args.nproc_per_node, gpus)
    cores = runtime.cores()
    return Plan(
        command=(script, *args.training_script_args),
        processes=processes,
        gpus=tuple(gpus[:processes]),
        threads=int(threads) if threads else max(cores // processes, 1),
        logs=str(Path(args.split_log_path) / f"{args.log_prefix}job.log."),
        max_restarts=args.max_restarts,
        stop_grace=args.stop_grace,
        **_nodes(args),
    )


def _gpus(args, visible):
    """Numbers of the GPUs to use; none for CPU cores."""
    wanted = _use_cuda(args.training_script_args)
    if wanted in TRUE and not visible:  # here, once, and not in each process
        raise UserError(
            "--use_cuda true needs a GPU, and this Paddle or this machine has none: give --use_cuda auto, or run "
            f"{runtime.INSTALL_GPU}"
        )
    if args.backend == "gloo" or (args.backend == "auto" and (not visible or wanted in FALSE)):
        if args.selected_gpus and args.backend != "gloo":
            why = "its flags say --use_cuda false" if visible else "this Paddle and machine have no GPU"
            print(f"--selected_gpus {args.selected_gpus} is not used: {why}", file=sys.stderr)
        return []
    if not visible:
        raise UserError(
            f"--backend nccl needs GPUs, and there are none: give --backend gloo, or run {runtime.INSTALL_GPU}"
        )
    if not args.selected_gpus:
        return [str(number) for number in range(visible)]
    gpus = [part.strip() for part in args.selected_gpus.split(",")]
    for number in gpus:
        if not number.isdigit() or int(number) >= visible or gpus.count(number) > 1:
            raise UserError(
                f"--selected_gpus {args.selected_gpus}: different numbers from 0 to {visible - 1}, counted among the "
                f"visible GPUs (CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', 'all')})"
            )
    return gpus


def _use_cuda(words):
    """The value of --use_cuda among the script's flags, "" without one; the last one counts."""
    value = ""
    for word, following in zip(words, [*words[1:], ""]):
        if word == "--use_cuda":
            value = following
        elif word.startswith("--use_cuda="):
            value = word.split("=", 1)[1]
    return value.lower()


def _processes(text, gpus):
    if text == "auto":
        return len(gpus) or min(runtime.cores(), MOST_CORES)
    if not text.isdigit() or int(text) < 1:
        raise UserError(f"--nproc_per_node is a number from 1, or auto, not {text}")
    if gpus and int(text) > len(gpus):
        raise UserError(
            f"--nproc_per_node {text} for {len(gpus)} GPUs ({','.join(gpus)}): a process needs one of its own; "
            "give fewer, or --nproc_per_node auto"
        )
    return int(text)


def _nodes(args):
    """nodes, node, master, address of the flags."""
    ips = [part.strip() for part in (args.node_ips or "").split(",") if part.strip()]
    nodes = args.nnodes or len(ips) or 1
    if nodes < 1 or (ips and args.nnodes and args.nnodes != len(ips)):
        raise UserError(f"--nnodes {args.nnodes} but --node_ips has {len(ips)}: give one of them")
    if nodes == 1:
        return {}
    master = args.master or (f"{ips[0]}:{PORT}" if ips else None)
    if not master:
        raise UserError(f"--nnodes {nodes} needs --master HOST:PORT, a free port of the first machine")
    host, _, port = master.rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"--master {master}: give HOST:PORT")
    node = -1 if args.node_id is None else args.node_id
    if ips and not 0 <= node < nodes:
        raise UserError(f"--node_id {args.node_id} of {nodes} machines: give 0 to {nodes - 1}, another on each")
    address = args.current_node_ip or (ips[node] if ips else None)
    return {"nodes": nodes, "node": node, "master": master, "address": address}
