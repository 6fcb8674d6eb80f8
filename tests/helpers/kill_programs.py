"""Small runs of each kind of program, killed before a file operation and started again, in children of this process.

Paddle is imported once, before the first fork: to be used in a process that has run nothing of Paddle's.
"""

import contextlib
import importlib
import json
import os
import shutil
import struct
import sys
import tempfile
import traceback
from pathlib import Path

from propeller.errors import exit_on_user_error
from tests.helpers import build_data as build_flags
from tests.helpers.embedding import words as embed_flags
from tests.helpers.embedding import write_rows
from tests.helpers.killing import KILLED, die_before, fork
from tests.helpers.predicting import words
from tests.helpers.pretrain_text import DOCUMENTS, write_text, write_vocab
from tests.helpers.pretraining import make_shards, pretrain_flags
from tests.helpers.students import student_flags, write_shape, write_unlabelled
from tests.helpers.tiny import flags, make_data, make_model

TIMES = ("speed", "elapsed", "queue_size", "waiting", "time")
IMPORTED = (
    "distill.label",
    "distill.students.classifier",
    "distill.teacher",
    "finetune.api",
    "finetune.embedding.run",
    "finetune.prediction.run",
    "finetune.training.runner",
    "pretrain.training.runner",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "scipy.stats",
    "sklearn.metrics",
    "tensorboardX.event_file_writer",
    "tensorboardX.summary",
)
RUN = Path("run")  # what the program writes, in the folder it is started in


def fine_tuning(inputs):
    from finetune.training.main import main

    changes = {"epoch": 1, "batch_size": 20, "save_steps": 1, "validation_steps": 1, "keep_checkpoints": 1}
    main("run_classifier.py", "classify", flags(inputs / "model", inputs / "data", RUN, **changes))


def pre_training(inputs):
    from pretrain.training.runner import main

    changes = {"num_train_steps": 3, "save_steps": 2, "validation_steps": 2, "keep_checkpoints": 1}
    main("train.py", pretrain_flags(inputs / "model", inputs / "shards", RUN, **changes))


def build_data(inputs):
    from pretrain.build_data import main

    texts = [inputs / "one.txt", inputs / "two.txt"]
    main(build_flags.flags(texts, RUN, inputs / "vocab.txt", instances_per_shard=1))


def embeddings(inputs):
    from finetune.embedding.main import main

    main("ernie_encoder.py", embed_flags(inputs / "model", inputs / "rows.tsv", RUN))


def prediction(inputs):
    from finetune.prediction.main import main

    given = {"init_checkpoint": inputs / "tuned", "predict_set": inputs / "data" / "dev.tsv"}
    main("infer_classifyer.py", ("classify",), words(**given, output=RUN / "predictions.tsv"))


def export(inputs):
    """An inference model in the place of an older one."""
    from finetune.prediction.main import main

    given = {"init_checkpoint": inputs / "tuned", "save_inference_model_path": RUN, "do_prediction": "false"}
    main("infer_classifyer.py", ("classify",), [*words(**given), "--overwrite"])


def labelling(inputs):
    """A teacher's logits of rows, written in two parts."""
    from distill import label

    label.CHUNK = 8
    label.main(
        [str(inputs / "bundle"), str(inputs / "unlabelled.tsv"), *words(output=RUN / "labels", use_cuda="false")]
    )


def distillation(inputs):
    """A student that learns from these logits."""
    from finetune.training.main import main

    changes = {"epoch": 1, "batch_size": 20, "save_steps": 1, "validation_steps": 2, "keep_checkpoints": 1}
    taught = {"unlabelled_set": inputs / "unlabelled.tsv", "teacher_labels": inputs / "labels", "do_test": "false"}
    given = student_flags(inputs / "bow.json", inputs / "model", inputs / "data", RUN, **changes, **taught)
    main("python -m finetune student", "student", given)


KINDS = {
    "fine-tuning": fine_tuning,
    "pre-training": pre_training,
    "build_data": build_data,
    "embeddings": embeddings,
    "prediction": prediction,
    "export": export,
    "labelling": labelling,
    "distillation": distillation,
}


class Programs:
    """What the runs read, in FOLDER/inputs, and a folder for each of them beside.

    Args:
        folder: new.
        kinds: names in ``KINDS``, those that will be run.
    """

    def __init__(self, folder, kinds=tuple(KINDS)):
        self.folder = Path(folder).resolve()
        self.inputs = self.folder / "inputs"
        self.expected = {}
        if set(kinds) != {"build_data"}:
            _import_paddle()
        self._prepare(kinds)

    def _prepare(self, kinds):
        self.inputs.mkdir(parents=True)
        make_model(self.inputs / "model", num_hidden_layers=1)
        make_data(self.inputs / "data")
        make_shards(self.inputs / "shards")
        rows = Path(write_rows(self.inputs))
        rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:13]))
        write_vocab(self.inputs / "vocab.txt")
        write_text(self.inputs / "one.txt", DOCUMENTS[:2])
        write_text(self.inputs / "two.txt", DOCUMENTS[2:])
        write_shape(self.inputs, "bow")
        write_unlabelled(self.inputs / "unlabelled.tsv", 24)
        if set(kinds) & {"prediction", "export", "labelling", "distillation"}:
            self._make("fine-tuning", "last", "tuned")
        if set(kinds) & {"labelling", "distillation"}:
            self._make("export", "tuned_inference_model", "bundle")
        if "distillation" in kinds:
            self._make("labelling", "labels", "labels")

    def _make(self, kind, result, name):
        """Run a program, and put a folder that it wrote among the inputs."""
        status, said, _ = self.run(kind, name)
        assert status == 0, _last(said)
        (self.folder / name / RUN / result).resolve().rename(self.inputs / name)

    def run(self, kind, name, number=None):
        """Run in FOLDER/NAME, in a child that is killed before its file operation of that number.

        Returns:
            (exit status, what it printed, how many file operations there were, of one that was not killed).
        """
        place = self.folder / name
        if not place.exists():
            (place / "tmp").mkdir(parents=True)
            if kind == "export":
                (place / RUN / "tuned_inference_model").mkdir(parents=True)
                (place / RUN / "tuned_inference_model" / "older").touch()
        said, counted = self.folder / f"{name}.log", self.folder / f"{name}.count"
        child = fork()
        if child == 0:
            _child(lambda: KINDS[kind](self.inputs), place, number, said, counted)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return status, said.read_text(), int(counted.read_text()) if status == 0 else None

    def operations(self, kind):
        """The file operations of an undisturbed run, how many."""
        status, said, count = self.run(kind, f"{kind}-whole")
        assert status == 0, _last(said)
        self.expected[kind] = picture(self.folder / f"{kind}-whole")
        return count

    def killed(self, kind, number):
        """What differs after a run killed before that operation, and run again: a line; "": nothing."""
        if kind not in self.expected:
            self.operations(kind)
        name = f"{kind}-{number}"
        try:
            status, said, _ = self.run(kind, name, number)
            if status != KILLED:
                return f"ended with status {status} before it was killed: {_last(said)}"
            status, said, _ = self.run(kind, name)
            if status:
                return f"the second run ended with status {status}: {_last(said)}"
            return difference(self.expected[kind], picture(self.folder / name))
        finally:
            shutil.rmtree(self.folder / name)


def _import_paddle():
    """Import what the programs do: each fork then has it."""
    from propeller import runtime

    runtime.prepare()
    for name in IMPORTED:
        importlib.import_module(name)


def _last(said):
    return said.strip().splitlines()[-1] if said.strip() else "nothing said"


def _child(run, place, number, said, counted):
    """The rest of the life of a forked process."""
    with contextlib.suppress(BaseException):
        sys.dont_write_bytecode = True  # those files would count as the program's
        out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        for descriptor, stream in ((1, "stdout"), (2, "stderr")):
            os.dup2(out, descriptor)
            setattr(sys, stream, open(descriptor, "w", buffering=1, closefd=False))  # noqa: SIM115 - to the end
        os.chdir(place)
        tempfile.tempdir = str(place / "tmp")
        try:
            count = die_before(number, _calls(), place)
            exit_on_user_error(run)
        except SystemExit as error:
            if not error.code:
                counted.write_text(str(count()))
            os._exit(error.code or 0)
        except BaseException:
            traceback.print_exc()
    os._exit(1)


def _calls():
    """Functions that write without an audit event. Nothing is synced: a killed process loses nothing that it wrote."""
    os.fsync = lambda descriptor: None
    calls = [(os, "pwrite"), (os, "posix_fallocate")]
    if "paddle" in sys.modules:
        from matplotlib.figure import Figure

        from propeller import tensors

        Figure.savefig = _numbers
        calls += [(sys.modules["paddle"].static, "save_inference_model"), (tensors, "save_file")]
    return calls


def _numbers(figure, path, **options):
    """In the place of drawing, which takes longer than all the rest of such a run: the numbers of the curves."""
    lines = [(axes.get_title(), line) for axes in figure.axes for line in axes.lines]
    curves = [[title, line.get_label(), *map(list, line.get_data())] for title, line in lines]
    Path(path).write_text(repr(curves))


def picture(folder):
    """Name -> content of all there is, links as what they point to, without what time and place decide."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif path.is_dir():
            found[name] = "directory"
        elif path.name == "train.log":
            found[name] = "lines with times"
        elif path.name == "metrics.jsonl":
            records = map(json.loads, path.read_text().splitlines())
            found[name] = [{key: value for key, value in record.items() if key not in TIMES} for record in records]
        elif path.parent.name == "events":
            found[str(path.parent.relative_to(folder))] = scalars(path.parent)
        else:
            found[name] = path.read_bytes()
    return found


def scalars(folder):
    """(name, step) -> number, as TensorBoard shows the event files of a folder."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    found = {}
    for path in sorted(folder.iterdir(), key=lambda path: (path.stat().st_mtime, path.name)):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + length])
            at += length + 16
            if event.session_log.status == SessionLog.START:
                found = {key: value for key, value in found.items() if key[1] < event.step}
            for value in event.summary.value:
                if value.tag.rpartition("/")[2] not in TIMES:
                    found[value.tag, event.step] = value.simple_value
    return found


def difference(expected, found):
    """The first entry in which two pictures differ, as a line; "": none."""
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            return f"{name} is missing"
        if name not in expected:
            return f"{name} is left over"
        if expected[name] != found[name]:
            return f"{name} differs"
    return ""
