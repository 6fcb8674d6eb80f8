"""Serve a bundle over HTTP.

python -m propeller.tools.start_server -m saved/step_100_inference_model -p 8113
curl -d '{"texts": ["a lovely film"]}' http://127.0.0.1:8113/predict
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from dataclasses import fields

from propeller import log as log_setup
from propeller import runtime
from propeller.errors import UserError, exit_on_user_error
from propeller.flags import FlagParser, read_flags
from propeller.service.limits import Limits

TOKEN = "ERNIE_TOKEN"  # the variable that holds the token, where --token would show it to every user of the machine
MOST_WORKERS = 8  # unless more are asked for
TEXTS = {
    "max_batch_size": "rows that run together; 32 or more on a GPU",
    "max_wait_ms": "milliseconds a batch that is not full waits for more; a client alone never waits",
    "queue_size": "rows that wait for a worker; beyond that the answer is 503, at once",
    "deadline_s": "seconds in which an answer must be ready; later it is 504",
    "max_body_kb": "KiB of one request; beyond that the answer is 413",
    "max_texts": "texts, or rows of arrays, of one request; beyond that the answer is 413",
    "max_chars": "characters of one text; beyond that the answer is 413",
    "keep_alive_s": "seconds a connection stays open without a request",
    "max_connections": "open connections; one more ends the one that has been idle longest",
}


def build_parser():
    """The flags."""
    parser = FlagParser(
        prog="python -m propeller.tools.start_server",
        description="Serve a bundle over HTTP: POST /predict, POST /arrays; GET / (a page), /info, /healthz, /metrics.",
        allow_abbrev=False,
    )
    parser.add_argument("-m", "--model_dir", dest="model", metavar="BUNDLE", required=True, help="folder of the bundle")
    parser.add_argument("-p", "--port", metavar="N", type=int, default=8113, help="port; 0: a free one [8113]")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0: all [127.0.0.1]")
    parser.add_argument("--token", help=f"what clients must send as a bearer token; better in the variable {TOKEN}")
    group = parser.add_argument_group("workers")
    group.add_argument(
        "--workers",
        metavar="N",
        type=int,
        help=f"processes with a model each [cores / threads, at most {MOST_WORKERS} unless asked for; GPU: 1]",
    )
    group.add_argument("--threads", metavar="N", type=int, help="threads of each [cores / workers]")
    group.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the matrix products [fp32]")
    group.add_argument(
        "--use_cuda", choices=("auto", "true", "false"), default="auto", help="auto: a GPU if there is one [auto]"
    )
    group.add_argument(
        "--handlers",
        metavar="MODULE",
        default="finetune.serving",
        help="what turns text into arrays and outputs into answers; none: arrays only [finetune.serving]",
    )
    group = parser.add_argument_group("limits")
    for entry in fields(Limits):
        if entry.name in TEXTS:
            whole = entry.type == "int"
            group.add_argument(
                f"--{entry.name}",
                metavar="N" if whole else "X",
                type=int if whole else float,
                default=entry.default,
                help=f"{TEXTS[entry.name]} [{entry.default:g}]",
            )
    return parser


def parse(argv):
    """The flags of a command line, as a namespace.

    Raises:
        UserError: an unknown flag (the nearest known one is named), a value of the wrong kind, a missing flag.
    """
    found = argparse.Namespace(**read_flags(build_parser(), argv))
    for name in ("workers", "threads"):
        value = getattr(found, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} must be at least 1, not {value}")
    if not 0 <= found.port <= 65535:
        raise UserError(f"-p {found.port}: a port is a number from 0 to 65535")
    return found


def share(workers, threads, cores, on_gpu=False):
    """Workers and threads of each, where one or both are to be chosen: together as many as there are cores.

    On a CPU several processes of few threads do more together than one of many: a matrix product is shared among
    threads, what lies between two products is not. Each holds the weights, so on many cores threads are added.
    """
    if workers is None and threads is None:
        threads = cores if on_gpu else -(-cores // MOST_WORKERS)
    if workers is None:
        workers = 1 if on_gpu else max(1, cores // threads)
    return workers, threads or max(1, cores // workers)


def main(argv):
    """Serve until SIGTERM or SIGINT."""
    found = parse(argv)
    log_setup.setup()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of this process, which computes nothing; workers have their own
    os.environ.setdefault("GLOG_minloglevel", "2")
    warnings.filterwarnings("ignore", message="No ccache found")  # where the text side imports Paddle
    limits = Limits(**{name: getattr(found, name) for name in TEXTS})
    from propeller.service.server import Settings, serve  # uvicorn and the like: not for --help

    workers, threads = share(found.workers, found.threads, runtime.cores(), _on_gpu(found.use_cuda))
    serve(
        Settings(
            bundle=found.model,
            host=found.host,
            port=found.port,
            workers=workers,
            threads=threads,
            precision=found.precision,
            use_cuda=found.use_cuda,
            handlers=found.handlers,
            token=found.token or os.environ.get(TOKEN) or None,
            limits=limits,
        )
    )


def _on_gpu(use_cuda):
    """Whether the workers will run on a GPU, as far as it can be told without loading Paddle."""
    return use_cuda == "true" or (use_cuda == "auto" and os.path.exists("/dev/nvidia0"))  # noqa: PTH110


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
