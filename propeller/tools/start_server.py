"""Serve a model over HTTP.

python -m propeller.tools.start_server --model output/saved -p 8113
curl -H 'Content-Type: application/json' -d '{"texts": ["a lovely film"]}' http://127.0.0.1:8113/predict
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
from propeller.flags import DEVICE, FlagParser, check_least, read_flags
from propeller.service.engines import AUTO, ENGINE_HELP, ENGINES, PRECISIONS, check_engine, seems_on_gpu
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
    "max_answer_mb": "MB of one answer to POST /arrays; beyond that the answer is 413",
    "keep_alive_s": "seconds a connection stays open without a request",
    "max_connections": "open connections; one more ends the one that has been idle longest",
}


def build_parser(
    prog: str = "python -m propeller.tools.start_server",
    description: str = "Serve a model over HTTP: POST /predict, POST /arrays; "
    "GET / (a page), /info, /healthz, /metrics.",
    model_help: str = "directory of an inference model, a checkpoint, a model or a Hugging Face model; weights are "
    "made into a temporary inference model first",
    port: int = 8113,
    example: str = "--model output/run/best -p 8113",
) -> FlagParser:
    """The flags.

    Args:
        prog, description: of the program, for its help.
        model_help: what --model is there.
        port: the default of -p.
        example: for the help, see ``FlagParser``.
    """
    parser = FlagParser(prog=prog, description=description, example=example, allow_abbrev=False)
    names = ("-m", "--model", "--model_dir")
    parser.add_argument(*names, dest="model", metavar="DIR", required=True, help=model_help)
    parser.add_argument("-p", "--port", metavar="N", type=int, default=port, help=f"port; 0: a free one [{port}]")
    parser.add_argument("-v", "--verbose", action="store_true", help="log every request too")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0: all [127.0.0.1]")
    parser.add_argument("--token", help=f"what clients must send as a bearer token; better in the variable {TOKEN}")
    parser.add_argument(
        "--allowed_hosts",
        metavar="NAME,NAME",
        help="names that clients use for this server, besides localhost and its address; *: any [none]",
    )
    parser.add_argument(
        "--cors", metavar="ORIGIN,ORIGIN", help="pages elsewhere that may use it, https://app.example; *: any [none]"
    )
    _add_workers(parser.add_argument_group("workers"))
    _add_limits(parser.add_argument_group("limits"))
    return parser


def _add_workers(group):
    group.add_argument(
        "--workers",
        metavar="N",
        type=int,
        help=f"processes with a model each [cores / threads, at most {MOST_WORKERS} unless asked for; GPU: 1]",
    )
    group.add_argument(
        "--threads", metavar="N", type=int, help="threads of each [OMP_NUM_THREADS, else cores / workers]"
    )
    group.add_argument("--engine", choices=ENGINES, default=AUTO, help=ENGINE_HELP)
    group.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="fp32",
        help="of the matrix products; int8: of models saved so [fp32]",
    )
    group.add_argument("--use_cuda", **DEVICE, default="auto", help="auto: a GPU if there is one [auto]")
    group.add_argument(
        "--handlers",
        metavar="MODULE",
        default="finetune.serving",
        help="what turns text into arrays and outputs into answers; none: arrays only [finetune.serving]",
    )
    group.add_argument(
        "--search_index",
        metavar="FOLDER",
        help="an index by python -m finetune.search build, which the page and POST /predict search then [none]",
    )


def _add_limits(group):
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


def parse(argv: list[str], parser: FlagParser | None = None) -> argparse.Namespace:
    """The flags of a command line, as a namespace.

    Args:
        argv: the command line.
        parser: that of ``build_parser``, with flags added to it; None: as it is.

    Raises:
        UserError: an unknown flag (the nearest known one is named), a value of the wrong kind, a missing flag.
    """
    args = argparse.Namespace(**read_flags(parser or build_parser(), argv))
    check_least(args, workers=1, threads=1)
    check_engine(args.engine, args.precision)
    if not 0 <= args.port <= 65535:
        raise UserError(f"-p {args.port}: a port is a number from 0 to 65535")
    args.given_threads = runtime.given_threads()  # before ``prepare`` sets them
    return args


def share(
    workers: int | None, threads: int | None, cores: int, on_gpu: bool = False, given: int | None = None
) -> tuple[int, int]:
    """Workers and threads of each, where one or both are to be chosen: together as many as there are cores.

    On a CPU several processes of few threads do more together than one of many: a matrix product is shared among
    threads, what lies between two products is not. Each holds the weights, so on many cores threads are added.

    Args:
        workers, threads: as chosen, or None.
        cores: how many there are.
        on_gpu: whether the model runs on one.
        given: threads of each that the environment gives (``OMP_NUM_THREADS``), where none were chosen.
    """
    if threads is None and given:
        return workers or (1 if on_gpu else min(max(1, cores // given), MOST_WORKERS)), given
    if workers is None and threads is None:
        threads = cores if on_gpu else -(-cores // MOST_WORKERS)
    if workers is None:
        workers = 1 if on_gpu else max(1, cores // (threads or cores))
    return workers, threads or max(1, cores // workers)


def main(argv: list[str]) -> None:
    """Serve until SIGTERM or SIGINT."""
    args = parse(argv)
    log_setup.setup(verbose=args.verbose)
    limits_of(args)  # a mistake in them is told before weights are read
    from propeller.service.handlers import as_bundle

    with as_bundle(args.handlers, args.model, args.use_cuda, args.engine, args.precision) as bundle:
        serve_bundle(args, bundle)


def limits_of(args: argparse.Namespace) -> Limits:
    """The limits that the flags give, see ``parse``.

    Raises:
        UserError: they do not go together.
    """
    return Limits(**{name: getattr(args, name) for name in TEXTS})


def serve_bundle(args: argparse.Namespace, bundle: str | os.PathLike[str]) -> None:
    """Serve the bundle in a folder until SIGTERM or SIGINT.

    Args:
        args: the flags, see ``parse``; ``args.model`` is not looked at.
        bundle: the folder.

    Raises:
        UserError: the bundle or the address cannot be used, or limits do not go together.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of this process, which computes nothing; workers have their own
    os.environ.setdefault("GLOG_minloglevel", "2")
    warnings.filterwarnings("ignore", message="No ccache found")  # where the text side imports Paddle
    limits = limits_of(args)
    from propeller.service.server import Settings, serve  # uvicorn and the like: not for --help

    on_gpu = seems_on_gpu(args.engine, args.use_cuda)
    workers, threads = share(args.workers, args.threads, runtime.cores(), on_gpu, args.given_threads)
    serve(
        Settings(
            bundle=str(bundle),
            host=args.host,
            port=args.port,
            workers=workers,
            threads=threads,
            precision=args.precision,
            use_cuda=args.use_cuda,
            engine=args.engine,
            handlers=args.handlers,
            handler_options={"search_index": args.search_index} if args.search_index else {},
            token=args.token or os.environ.get(TOKEN) or None,
            allowed_hosts=_words(args.allowed_hosts),
            cors=_words(args.cors),
            limits=limits,
        )
    )


def _words(text):
    return tuple(word.strip() for word in (text or "").split(",") if word.strip())


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
