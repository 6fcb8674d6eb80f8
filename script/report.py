"""The results of the recipes' seeds beside the published figures, and the GLUE leaderboard's zip.

    python script/report.py --output output --markdown results.md
    python script/report.py --output output --zip glue.zip --model ernie_base --pick best

Reads run.json and metrics.jsonl under OUTPUT/<recipe>/seed_*. A seed counts with its best checkpoint (by the first dev
file, as the run chose it), for dev and test alike; runs that are not finished are left out and named. Figures are in
percent. The zip takes the test predictions of one seed a task: the best one, or the median one, by the dev score.
Exit status 2, with one line, when something is missing.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository

from propeller.errors import UserError, exit_on_user_error
from propeller.files import atomic_text, write_file
from script.glue_tasks import LABELS, LEADERBOARD

ROOT = Path(__file__).resolve().parents[1]
LOWEST, HIGHEST = 0.0, 5.0  # of STS-B's scores: a regression may predict beyond them, the leaderboard takes none
NOT_SCORES = ("loss", "elapsed", "speed", "learning_rate", "score")
# What picks a seed: the dev score GLUE ranks the task by. Tasks that are not here: acc.
RANKED_BY = {"CoLA": "matthews_corrcoef", "MRPC": "acc_and_f1", "QQP": "acc_and_f1", "STS-B": "corr"}


@dataclass(frozen=True)
class Run:
    """A finished seed: its folder, its best step, and the scores there.

    scores: (dev or test, number of the file, score) -> value as it is in metrics.jsonl; files: names of the files.
    """

    folder: Path
    step: int
    scores: dict
    files: dict


def read_lines(path):
    """The records of a metrics.jsonl. Raises UserError: it is not there, or a line is not JSON."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); run the seed again") from None
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except ValueError:
            raise UserError(f"{path}, line {number}: not JSON; run the seed again with --overwrite") from None
    return records


def read_runs(folder):
    """The Runs of a seed's folder by task, "" where it trained one alone; {} if it is not finished."""
    described = json.loads((folder / "run.json").read_text(encoding="utf-8")) if (folder / "run.json").is_file() else {}
    if not described.get("finished"):
        return {}
    best, last = described.get("best_step"), described["steps"]
    step = last if best is None else best
    checkpoint = "last" if step == last else "best"
    runs = {}
    for record in read_lines(folder / "metrics.jsonl"):
        kind, task = record["event"], record.get("task", "")
        run = runs.setdefault(task, Run(folder, step, {}, {"dev": [], "test": []}))
        scores, files = run.scores, run.files
        if kind not in files or record["step"] != step or (kind == "test" and record.get("checkpoint") != checkpoint):
            continue
        if record["file"] not in files[kind]:
            files[kind].append(record["file"])
        place = files[kind].index(record["file"])
        for name, value in record.items():
            if isinstance(value, float) and name not in NOT_SCORES:
                # em and all that comes with it are in percent already, as in 2019.
                scores[kind, place, name] = value if "em" in record else 100 * value
    return {task: run for task, run in runs.items() if run.scores} or {"": Run(folder, step, {}, {})}


def find_runs(output):
    """(recipe -> its finished Runs in order of seed, folders of runs that are not finished)."""
    runs, unfinished = {}, []
    for folder in sorted(output.glob("*/*/*/seed_*"), key=lambda path: (path.parent, len(path.name), path.name)):
        found = read_runs(folder)
        if not found:
            unfinished.append(folder)
        for task, run in found.items():
            recipe = folder.parent.relative_to(output).as_posix()
            runs.setdefault(f"{recipe}/{task}" if task else recipe, []).append(run)
    if not runs:
        raise UserError(f"{output}: no finished run in it; name the folder that OUTPUT was when the recipes ran")
    return runs, unfinished


def published_results():
    """recipe -> (split, file, metric) -> the entry of config/published_results.json."""
    with open(ROOT / "config" / "published_results.json", encoding="utf-8") as file:
        results = json.load(file)["results"]
    return {
        recipe: {(entry["split"], entry["file"], entry["metric"]): entry for entry in entries}
        for recipe, entries in results.items()
    }


def file_names(paths):
    """Names short enough for a table that still tell the files apart: dev.tsv, or m/dev.tsv and mm/dev.tsv."""
    for count in range(1, 10):
        names = ["/".join(Path(path).parts[-count:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return list(paths)


def table(runs):
    """The Markdown table: a row for each recipe, file and score that was measured or published."""
    published = published_results()
    lines = [
        "| recipe | data | score | median | mean | best | seeds | published, ERNIE 2.0 | ERNIE 1.0 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for recipe, seeds in runs.items():
        known = published.get(recipe, {})
        keys = list(dict.fromkeys([*(key for run in seeds for key in run.scores), *known]))
        names = {kind: file_names(paths) for kind, paths in seeds[0].files.items()}
        for kind, place, score in sorted(keys, key=lambda key: key[:2]):
            values = [run.scores[kind, place, score] for run in seeds if (kind, place, score) in run.scores]
            figures = [statistics.median(values), statistics.mean(values), max(values)] if values else []
            entry = known.get((kind, place, score), {})
            shown = names.get(kind, [])
            cells = [
                recipe,
                shown[place] if place < len(shown) else f"{kind} {place + 1}" if place else kind,
                score,
                *([f"{value:.2f}" for value in figures] or ["", "", ""]),
                str(len(values)),
                *("" if entry.get(name) is None else f"{entry[name]:.1f}" for name in ("ernie_2.0", "ernie_1.0")),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def picked(task, seeds, pick):
    """The best or the median (of an even number the lower one) of the Runs, by the score on the first dev file."""
    key = ("dev", 0, RANKED_BY.get(task, "acc"))
    for run in seeds:
        if key not in run.scores:
            raise UserError(f"{run.folder}: no {key[2]} on a dev file at step {run.step}; was --metric changed?")
    ranked = sorted(seeds, key=lambda run: run.scores[key])
    return ranked[-1] if pick == "best" else ranked[(len(ranked) - 1) // 2]


def predictions(task, run, name):
    """[(index, label as the leaderboard has it)] of a prediction file. Raises UserError: missing, or a bad line."""
    found = sorted(run.folder.glob(f"{name}.*.{run.step}"))
    if len(found) != 1:
        raise UserError(f"{run.folder}: {len(found)} files {name}.*.{run.step}; test the best checkpoint once more")
    rows = []
    words = LABELS.get(task, ("0", "1"))
    for number, line in enumerate(found[0].read_text(encoding="utf-8").splitlines(), start=1):
        # (qid, tab,) prediction, tab, probabilities or the number again
        fields = line.split("\t")
        try:
            index = int(fields[0]) if len(fields) == 3 else number - 1
            value = float(fields[-2])
            rows.append((index, f"{min(max(value, LOWEST), HIGHEST):.3f}" if task == "STS-B" else words[int(value)]))
        except (ValueError, IndexError):
            raise UserError(f"{found[0]}, line {number}: not a line of predictions for {task}") from None
    return rows


def leaderboard_files(runs, model, pick, partial):
    """file name -> its text, of every task of GLUE. With partial, what is missing is said and left out."""
    files, problems = {}, []
    for task, wanted in LEADERBOARD.items():
        seeds = runs.get(f"en_glue/{model}/{task}")
        if not seeds:
            problems.append(f"{task} has no finished run of {model}")
            continue
        run = picked(task, seeds, pick)
        for name, source, count in wanted:
            rows = predictions(task, run, source)
            if sorted(index for index, _ in rows) != list(range(count)):
                problems.append(f"{name}: {len(rows)} rows from {run.folder}, the leaderboard wants 0 to {count - 1}")
            files[name] = "index\tprediction\n" + "".join(f"{index}\t{label}\n" for index, label in rows)
            print(f"{name}: {run.folder}, step {run.step}", file=sys.stderr)
    if problems and not partial:
        raise UserError("; ".join(problems) + "; --partial true packs what there is")
    for problem in problems:
        print(f"incomplete: {problem}", file=sys.stderr)
    return files


def write_zip(path, files):
    """The zip, whole or not at all; the same files give the same bytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)
    write_file(Path(path), content.getvalue())


def main(argv):
    """Print the table, write what was asked for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="script/report.py", description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "output", help="what OUTPUT was for the recipes")
    parser.add_argument("--markdown", type=Path, help="write the table to this file too")
    parser.add_argument("--zip", type=Path, help="write the leaderboard's zip")
    parser.add_argument(
        "--model", default="ernie_base", choices=("ernie_base", "ernie_large"), help="whose predictions"
    )
    parser.add_argument("--pick", default="best", choices=("best", "median"), help="which seed's predictions")
    parser.add_argument("--partial", default="false", choices=("true", "false"), help="a zip with files missing")
    args = parser.parse_args(argv)
    runs, unfinished = find_runs(args.output)
    text = table(runs)
    print(text, end="")
    for folder in unfinished:
        print(f"not finished, left out: {folder}", file=sys.stderr)
    if args.markdown:
        with atomic_text(args.markdown) as file:
            file.write(text)
    if args.zip:
        write_zip(args.zip, leaderboard_files(runs, args.model, args.pick, args.partial == "true"))
        print(f"wrote {args.zip}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
