"""The folder of a build: shards, what is known of each input file, the list and the statistics.

    OUT/shards/NAME-00000.gz ...      gzip, see reader/pretraining/shards.py for their lines
    OUT/shards/NAME.json              written after the last shard of an input file: it is done, and need not be again
    OUT/build.json                    settings that decide the shards; other ones are an error here
    OUT/filelist                      path<TAB>mask_word_prob, written last: it never names a shard that is not whole
    OUT/stats.json                    of all files together

With --tasks the settings are in OUT/build.json and the others in OUT/TASK/ for each; an input file is done when all
tasks have its record. --add puts folders of more tasks beside those that are there (adding.py).

A shard is written as `.NAME-00000.gz.part` and renamed when it is complete. Where there is no room for it, that is a
UserError and the part is removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Callable

from isal import isal_zlib

from pretrain.corpus.adding import check_beside, grown
from propeller.errors import UserError
from propeller.files import is_full, write_file

Counts = Callable[[Counter], dict]
LEVEL = 2  # of ISA-L: a quarter larger than zlib at its default, twenty times as fast
OURS = re.compile(r".+-\d{5}\.gz|\..+\.gz\.part|.+\.json")


def compress(lines: Iterable[bytes]) -> bytes:
    """A gzip member of the lines; members one after the other are a gzip file. The same bytes in every run.

    On processors of another kind ISA-L may pack otherwise; the lines are the same.
    """
    packer = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, 31)
    return packer.compress(b"".join([line + b"\n" for line in lines])) + packer.flush()


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """While `path` is written: an OSError becomes a UserError that names it, the reason and the remedy."""
    try:
        yield
    except OSError as error:
        what = "make room" if is_full(error) else "see that it can be"
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); {what} and give the same command again, without "
            "--overwrite: the build goes on with the files that are not done"
        ) from error


class ShardWriter:
    """Writes the blocks of one input file to shards of at least `per_shard` instances, but for the last.

    Raises:
        UserError: where that cannot be done, as on a full disk; `abandon` is still to be called then.
    """

    def __init__(self, folder: str | Path, name: str, per_shard: int) -> None:
        self.folder, self.name, self.per_shard = Path(folder), name, per_shard
        self.shards: list[dict[str, Any]] = []
        self.file: BinaryIO | None = None

    def write(self, member: bytes, instances: int) -> None:
        """A gzip member that holds so many instances."""
        if not instances:
            return
        if self.file is None:
            self.shards.append({"path": f"{self.name}-{len(self.shards):05d}.gz", "instances": 0})
            with writing(self._path()):
                self.file = open(self._part(), "wb")  # noqa: SIM115  (closed by close or abandon)
        with writing(self._path()):
            self.file.write(member)
        self.shards[-1]["instances"] += instances
        if self.shards[-1]["instances"] >= self.per_shard:
            self.close()

    def _path(self):
        return self.folder / self.shards[-1]["path"]

    def _part(self):
        return self.folder / f".{self.shards[-1]['path']}.part"

    def close(self) -> None:
        """Give the last shard its name."""
        if self.file is not None:
            with writing(self._path()):
                self.shards[-1]["bytes"] = self.file.tell()
                self.file.flush()
                os.fsync(self.file.fileno())
                self.file.close()
                self._part().replace(self._path())
            self.file = None

    def state(self) -> dict[str, Any]:
        """What is on the disk, flushed to it: ``shards``, and ``open``, bytes of the one that is not complete."""
        if self.file is None:
            return {"shards": [dict(each) for each in self.shards], "open": None}
        with writing(self._path()):
            self.file.flush()
            os.fsync(self.file.fileno())
        return {"shards": [dict(each) for each in self.shards], "open": self.file.tell()}

    def go_on(self, state: dict[str, Any]) -> bool:
        """Go on from a ``state``; returns whether its shards are still there, else nothing is changed."""
        shards, size = state["shards"], state["open"]
        complete = shards if size is None else shards[:-1]
        try:
            whole = all((self.folder / each["path"]).stat().st_size == each["bytes"] for each in complete)
            if not whole:
                return False
            if size is not None:
                file = open(self.folder / f".{shards[-1]['path']}.part", "r+b")  # noqa: SIM115  (as in write)
                if os.fstat(file.fileno()).st_size < size:
                    file.close()
                    return False
                file.truncate(size)
                file.seek(size)
                self.file = file
        except OSError:
            return False
        self.shards = [dict(each) for each in shards]
        return True

    def leave(self) -> None:
        """Close what is not complete, for ``go_on``."""
        if self.file is not None:
            with contextlib.suppress(OSError):
                self.file.close()
            self.file = None

    def abandon(self) -> None:
        """Remove what is not complete."""
        if self.file is not None:
            with contextlib.suppress(OSError):  # of what is still to be written: the disk may be full
                self.file.close()
            with contextlib.suppress(OSError):
                self._part().unlink()
            self.file = None


class Folder:
    """OUT; tasks: those that have a folder of their own in it, {name: Folder}.

    Raises:
        UserError: where it holds something else, or a build with other settings.
    """

    def __init__(self, path: str | Path, tasks: Sequence[str] = ()) -> None:
        self.path, self.shards = Path(path), Path(path) / "shards"
        self.tasks = {task: Folder(self.path / task) for task in tasks}
        self.parts = list(self.tasks.values()) or [self]

    @contextlib.contextmanager
    def claimed(self, settings: dict, overwrite: bool = False, add: Mapping[str, dict] | None = None) -> Iterator[None]:
        """Keeps other processes out while it is open; makes the folder. Raises UserError where it cannot.

        add: name -> facts of each input file, where the tasks are added to those that are there.
        """
        try:
            for part in self.parts:
                part.shards.mkdir(parents=True, exist_ok=True)
            lock = open(self.path / ".lock", "w")  # noqa: SIM115  (below)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror}); choose another --output") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UserError(f"{self.path}: another build is writing here; wait for it to end") from error
            with writing(self.path):
                self._check(settings, overwrite, add)
            yield

    def _check(self, settings, overwrite, add):
        mark = self.path / "build.json"
        before, settings = _settings(mark, overwrite), json.loads(json.dumps(settings))
        if add is not None:
            others = [task for task in before.get("tasks", ()) if task not in self.tasks]
            before, settings = grown(self.path, before, settings)
            check_beside(Folder(self.path, others).tasks, add)
        if overwrite and mark.exists():
            for part in {part.path: part for part in (*Folder(self.path, before.get("tasks", ())).parts, *self.parts)}:
                for name in ("filelist", "stats.json"):
                    (part / name).unlink(missing_ok=True)
                shutil.rmtree(part / "shards", ignore_errors=True)
            for part in self.parts:
                part.shards.mkdir()
        elif mark.exists():
            for name in {**settings, **before}:
                if before.get(name) != settings.get(name):
                    raise UserError(
                        f"{self.path}: was built with {name} {before.get(name)!r}, not {settings.get(name)!r}; give "
                        "the same, another --output, or --overwrite"
                    )
        elif any(any(part.shards.iterdir()) or (part.path / "filelist").exists() for part in self.parts):
            raise UserError(f"{self.path}: holds something else; choose another --output")
        write_file(mark, (json.dumps(settings, indent=1) + "\n").encode())

    def begun_with(self, overwrite: bool = False) -> dict:
        """The settings of the build that the folder holds; {}: none, or it is to be overwritten. Raises UserError."""
        return {} if overwrite else _settings(self.path / "build.json", False)

    def unlist(self) -> None:
        """Remove the list: it is not that of the shards any more."""
        with writing(self.path / "filelist"):
            (self.path / "filelist").unlink(missing_ok=True)

    def record(self, name: str, facts: dict) -> dict | None:
        """The record of a finished input file if its input has these facts and its shards are there, else None."""
        try:
            record = json.loads((self.shards / f"{name}.json").read_text(encoding="utf-8"))
            whole = all((self.shards / each["path"]).stat().st_size == each["bytes"] for each in record["shards"])
            return record if whole and record["input"] == facts else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def finish(self, records: dict, mask_word_prob: float, counts: Counts, task: str | None = None) -> dict:
        """Write stats.json and the list, remove what no record names. Arguments and the rest as of `statistics`.

        Raises:
            UserError: as `statistics`, or they cannot be written.
        """
        shards = [shard for name in sorted(records) for shard in records[name]["shards"]]
        stats = self.statistics(records, counts, task)
        keep = {shard["path"] for shard in shards} | {f"{name}.json" for name in records}
        listed = "".join(f"shards/{shard['path']}\t{mask_word_prob:g}\n" for shard in shards)
        with writing(self.path / "stats.json"):
            write_file(self.path / "stats.json", (json.dumps(stats, indent=1) + "\n").encode())
        with writing(self.shards):
            for path in self.shards.iterdir():
                if path.name not in keep and OURS.fullmatch(path.name):
                    path.unlink()
        with writing(self.path / "filelist"):
            write_file(self.path / "filelist", listed.encode())
        return stats

    def statistics(self, records: dict, counts: Counts, task: str | None = None) -> dict:
        """Statistics of all input files.

        Args:
            records: name -> record.
            counts: makes the task's own counts of their sums, see ``Declaration.statistics``.
            task: the task's name, to be named where it has no instance.

        Raises:
            UserError: not one instance.
        """
        shards = [shard for name in sorted(records) for shard in records[name]["shards"]]
        stats = statistics([record["stats"] for record in records.values()], counts)
        stats.update(files=len(records), shards=len(shards))
        if not shards:
            of, remedy = "", "give text of two words or more a document"
            if task:
                of = f" of {task}"
                remedy = f"give text that suits it (pretrain/tasks/{task}.py says which), or leave it out of --tasks"
            raise UserError(
                f"{self.path}: no instance{of} produced: {stats['documents']} documents with {stats['sentences']} "
                f"sentences, {stats['left_over']} left over; {remedy}"
            )
        return stats


def _settings(mark, lenient):
    """Those of a build before, {} where there is none. Raises UserError: damaged, unless it is to be lenient."""
    try:
        return json.loads(mark.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        if lenient:
            return {}
        raise UserError(f"{mark}: damaged ({error}); give --overwrite to build anew") from error


def write_record(
    folder: str | Path,
    name: str,
    facts: dict,
    shards: list[dict],
    stats: Counter,
    task: str,
    classes: Sequence[str] | None,
) -> dict[str, Any]:
    """The record of an input file that is done; returns it. classes: names of the task's classes, None: it has none.

    Raises:
        UserError: it cannot be written.
    """
    lengths = {str(key): stats[key] for key in sorted(key for key in stats if isinstance(key, int))}
    counts: dict[str, Any] = {str(key): count for key, count in stats.items() if not isinstance(key, int)}
    counts["lengths"] = lengths
    record = {"task": task, "classes": classes, "input": facts, "shards": shards, "stats": counts}
    path = Path(folder) / f"{name}.json"
    with writing(path):
        write_file(path, (json.dumps(record, indent=1) + "\n").encode())
    return record


COUNTED = [
    "documents",
    "bad_documents",
    "bad_lines",
    "paragraphs",
    "sentences",
    "words",
    "phrases",
    "entities",
    "pieces",
    "unknown",
    "left_over",
]


def statistics(parts: Iterable[Mapping], counts: Counts) -> dict:
    """One dict of the counts of several input files, with the rates that follow from them; counts: see above."""
    total: Counter = Counter()
    lengths: Counter = Counter()
    for part in parts:
        total.update({name: count for name, count in part.items() if name != "lengths"})
        lengths.update({int(length): count for length, count in part["lengths"].items()})
    instances, sentences = total["instances"], max(total["sentences"], 1)
    found: dict[str, Any] = {name: total[name] for name in COUNTED}
    found.update(counts(total))
    found["unknown_rate"] = round(total["unknown"] / max(total["pieces"], 1), 6)
    for name in ("pieces", "words", "phrases", "entities"):
        found[f"{name}_per_sentence"] = round(total[name] / sentences, 3)
    ordered = sorted(lengths)
    found["length"] = (
        {"min": ordered[0], "max": ordered[-1], "mean": round(total["tokens"] / instances, 2)} if ordered else {}
    )
    for share in (0.5, 0.9):
        passed = 0
        for length in ordered:
            passed += lengths[length]
            if passed >= share * instances:
                found["length"][f"p{int(100 * share)}"] = length
                break
    found["lengths"] = {str(length): lengths[length] for length in ordered}
    return found
