"""Pre-training shards from raw text.

    python -m pretrain.build_data --input 'corpus/*.txt.gz' --output output/shards --vocab_path vocab.txt
    python -m pretrain.build_data --input wiki.jsonl.zst --output output/en --vocab_path en.txt --segmenter english
    python -m pretrain.inspect output/shards/shards/news-00000.gz --vocab_path vocab.txt

writes OUTPUT/filelist (path<TAB>mask_word_prob, for train.py --train_filelist), OUTPUT/shards/*.gz and
OUTPUT/stats.json. With --tasks A,B instances of several tasks are made in one pass, each in OUTPUT/TASK/ with the same
three, for a task list (train.py --task_list); pretrain/tasks/ has a file for every task. The same command with other
--tasks and --add puts those beside the ones that are there.

Text is plain (UTF-8, a blank line between documents), JSON (`text`, `title`; lines or an array), WikiExtractor's <doc>,
or a table with a header, as it is or compressed; docs/data.md shows each. The same text, flags and --seed give the same
bytes, however many processes. Killed midway, the same command goes on where it was, within a large file too. What is
wrong with the input is one line, file, line and remedy, and exit status 2; --on_bad skip leaves it out and counts it.
"""

from __future__ import annotations

import argparse
import dataclasses
import glob
import logging
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from pretrain import DEFAULT_TASK, TASKS, declared
from pretrain.corpus.builder import FILES, Plan
from pretrain.corpus.documents import FORMATS
from pretrain.corpus.engines import Processes, over_ray
from pretrain.corpus.input_file import build_file, check_records, facts_of, names_of
from pretrain.corpus.instances import PAIRS
from pretrain.corpus.progress import Progress
from pretrain.corpus.segment import SEGMENTERS
from pretrain.corpus.shard_folder import Folder
from propeller.errors import UserError, exit_on_user_error
from propeller.flags import FlagParser, boolean
from propeller.runtime import cores
from reader.survey import MOST_UNKNOWN
from tokenization import TOKENIZERS

log = logging.getLogger("ernie.pretrain")
TOLD = 5  # bad lines told one by one


def names(text: str) -> tuple[str, ...]:
    """Names separated by commas."""
    found = tuple(name.strip() for name in text.split(",") if name.strip())
    if not found:
        raise argparse.ArgumentTypeError("give names of tasks separated by commas")
    return found


def arguments() -> argparse.ArgumentParser:
    """The flags."""
    parser = FlagParser(
        prog="python -m pretrain.build_data", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    plan = Plan("")

    def flag(group, name, text, kind=None, **options):
        default = options.pop("default", getattr(plan, name, None))
        kind = kind or type(default)
        shown = "" if default in (None, ()) else f" (default {str(default).lower() if kind is boolean else default})"
        group.add_argument(f"--{name}", type=kind, default=default, help=text.replace("%", "%%") + shown, **options)

    group = parser.add_argument_group("input and output")
    group.add_argument("--input", nargs="+", required=True, metavar="FILE", help="files or patterns ('*.txt.gz')")
    group.add_argument("--output", required=True, help="folder of the shards, their list and the statistics")
    flag(group, "format", "how the text is given; auto: what its first lines say", choices=FORMATS)
    flag(group, "text_field", "the field of JSON, or the column of a table, that holds the text")
    flag(group, "title", "a title is the first sentence, or left out", choices=("first", "ignore"))
    flag(group, "line_break", "a line of a document is a paragraph, or wrapped", choices=("paragraph", "wrap"))
    flag(group, "on_bad", "bad input stops the build, or is counted and left out", choices=("error", "skip"))
    flag(group, "allow_unk", f"go on where over {MOST_UNKNOWN} of the pieces are [UNK]", boolean)
    group.add_argument("--overwrite", action="store_true", help="build anew what --output holds of another build")
    group = parser.add_argument_group("words and pieces")
    flag(group, "segmenter", f"where words, phrases and entities come from: {', '.join(SEGMENTERS)}, or MODULE:CLASS")
    group.add_argument("--vocab_path", required=True, help="vocab.txt of the model")
    flag(group, "tokenizer", "how words become pieces", choices=tuple(TOKENIZERS))
    flag(group, "do_lower_case", "lower-case the text and strip accents, for uncased vocabularies", boolean)
    flag(group, "sp_model", "sentencepiece model of the last three (default: the *.model beside vocab.txt)", str)
    group = parser.add_argument_group("instances")
    tasks = f"in a folder each: {', '.join(TASKS)} (default: {DEFAULT_TASK} alone, in --output itself)"
    flag(group, "tasks", tasks, names)
    group.add_argument(
        "--add", action="store_true", help="put --tasks beside those that --output holds of the same text"
    )
    pairs = "mixed: half of the second texts are the next ones; positive: all, as generate_neg_sample needs"
    flag(group, "pairs", pairs, choices=PAIRS)
    flag(group, "max_seq_len", "longest instance in tokens, [CLS] and [SEP] among them")
    flag(group, "short_seq_prob", "part of the pairs of knowledge masking that is made shorter")
    flag(group, "max_segments", "sentence_reordering: a paragraph is cut into as many at most")
    flag(group, "connectives", "discourse_relation: JSON list (default: config/connectives_*.json by --segmenter)", str)
    flag(group, "stop_words", "token_document_relation: file of words, '' for none (default: by --segmenter)", str)
    flag(group, "mask_word_prob", "how likely a file has whole units masked in an epoch: for the list", default=1.0)
    flag(group, "seed", "of pairs and lengths")
    group = parser.add_argument_group("how it is done")
    flag(group, "num_workers", "processes; 0: this one alone", default=cores())
    engine = "processes here, or a file a task on a Ray cluster"
    flag(group, "engine", engine, default="local", choices=("local", "ray"))
    group.add_argument("--ray_address", help="of a running cluster (default: one of --num_workers processes here)")
    flag(group, "instances_per_shard", "a shard is closed when it has as many")
    flag(group, "block_chars", "characters worked on at once; wrong second texts come from among them")
    return parser


def input_files(patterns: Iterable[str]) -> list:
    """The files that paths and patterns name, each once, in order. Raises UserError for one that names none."""
    found = {}
    for pattern in patterns:
        names = [pattern]
        if not Path(pattern).is_file():
            names = sorted(filter(os.path.isfile, glob.glob(pattern, recursive=True)))  # noqa: PTH207  (absolute ones too)
        if not names and Path(pattern).is_dir():
            raise UserError(f"--input {pattern}: a folder; name the files in it, as with /*")
        if not names:
            raise UserError(f"--input {pattern}: no such file; give its path")
        found.update(dict.fromkeys(names))
    return list(found)


def main(argv: Sequence[str] | None = None) -> None:
    """Build."""
    args = vars(arguments().parse_args(argv))
    plan = Plan(**{name: args[name] for name in Plan.__dataclass_fields__ if name in args})
    if not 0 <= args["mask_word_prob"] < float("inf"):
        raise UserError(f"--mask_word_prob {args['mask_word_prob']}: give 0 (pieces) to 1 (whole units)")
    if args["num_workers"] < 0:
        raise UserError(f"--num_workers {args['num_workers']}: give 0 or more")
    if args["add"] and (args["overwrite"] or not plan.tasks):
        raise UserError("--add adds --tasks to a folder: give both, without --overwrite")
    paths, folder, begin = input_files(args["input"]), Folder(args["output"], plan.tasks), time.monotonic()
    plan = plan.for_folder(folder.begun_with(args["overwrite"]))
    parts = dict(zip(plan.built, folder.parts))
    names = names_of(paths)
    beside = {name: facts_of(path) for path, name in names.items()} if args["add"] else None
    with folder.claimed(plan.settings(), args["overwrite"], beside):
        records: dict[str, dict[str, dict]] = {task: {} for task in parts}
        for path, name in names.items():
            found = {task: part.record(name, facts_of(path)) for task, part in parts.items()}
            if all(found.values()):
                check_records(path, plan, found)
                _keep(records, name, found)
        missing = [path for path in paths if names[path] not in records[next(iter(parts))]]
        if len(missing) < len(paths):
            log.info("%d of %d files are done already", len(paths) - len(missing), len(paths))
        if missing:
            for part in folder.parts:
                part.unlist()
        done = {path: _size(path) for path in paths if path not in missing}
        for path, made in _build(missing, names, plan, folder.path, args, done):
            _keep(records, names[path], made)
            counts = [record["stats"] for record in made.values()]
            instances = sum(each.get("instances", 0) for each in counts)
            log.info("%s: %d documents, %d instances", path, counts[0].get("documents", 0), instances)
        for task, part in parts.items():  # before any list is written
            part.statistics(records[task], _counts(plan, task), task if plan.tasks else None)
        stats = {
            task: part.finish(records[task], args["mask_word_prob"], _counts(plan, task))
            for task, part in parts.items()
        }
    _report(stats, parts, time.monotonic() - begin)


def _counts(plan, task):
    """See ``shard_folder.statistics``."""
    declaration = declared(task)
    names = declaration.class_names(plan)
    return lambda total: declaration.statistics(total, names)


def _keep(records, name, found):
    for task, record in found.items():
        records[task][name] = record


def _size(path):
    return Path(path).stat().st_size


def _build(paths, names, plan, folder, args, done):
    """(path, {task: record}) of each file. done: path -> bytes, of the files that need not be built."""
    if not paths:
        return
    tell, begun = _teller(), sum(done.values())
    sizes = {path: _size(path) for path in paths}
    progress = Progress(begun + sum(sizes.values()), log)
    if args["engine"] == "ray":
        given = {str(Path(path).resolve()): path for path in paths}
        files = {name: str(Path(path).resolve()) for name in FILES if (path := getattr(plan, name))}
        plan = dataclasses.replace(plan, **files)
        tasks = [(path, names[given[path]], plan, str(folder.resolve())) for path in given]
        for path, made, problems in over_ray(tasks, args["ray_address"], args["num_workers"], TOLD):
            tell(given[path], problems)
            begun += sizes[given[path]]
            progress.at(begun, given[path])
            yield given[path], made
        return

    def told(path, before):
        def tell_of_block(end, problems):
            tell(path, problems)
            progress.at(before + end, path)

        return tell_of_block

    with Processes(args["num_workers"]) as run:
        for path in paths:
            progress.at(begun, path)
            yield path, build_file(path, names[path], plan, folder, run, told(path, begun))
            begun += sizes[path]


def _teller():
    """tell(path, problems): warns of the first TOLD problems, in any file."""
    told = 0

    def tell(path, problems):
        nonlocal told
        for line, text in problems:
            told += 1
            if told <= TOLD:
                where = f"{path}, line {line}: {text}" if line else text
                log.warning("%s: left out%s", where, ", as others will be" * (told == TOLD))

    return tell


def _report(found, parts, seconds):
    """found: task -> statistics."""
    stats = next(iter(found.values()))
    paths = [part.path for part in parts.values()]
    lists = paths[0] / "filelist" if len(paths) < 2 else paths[0].parent / "*" / "filelist"
    shards = sum(each["shards"] for each in found.values())
    print(
        f"{lists}: {shards} shards of {stats['files']} files in {seconds:.1f} s\n"
        f"{stats['documents']} documents, {stats['sentences']} sentences; a sentence has {stats['words_per_sentence']} "
        f"words, {stats['phrases_per_sentence']} phrases, {stats['entities_per_sentence']} entities; "
        f"{100 * stats['unknown_rate']:.2f}% of the pieces are [UNK]"
    )
    for task, each in found.items():
        size, told = f"{each['tokens']} tokens, {each['length'].get('mean')} an instance", declared(task).report(each)
        print(f"{task}: {each['instances']} instances, {size}; {told}; {each['left_over']} texts left over")
    for name, what in (("bad_lines", "bad lines"), ("bad_documents", "bad documents")):
        if stats[name]:
            print(f"{stats[name]} {what} left out")


def script() -> None:
    """As a program."""
    from propeller.log import setup

    setup()
    exit_on_user_error(main)


if __name__ == "__main__":
    script()
