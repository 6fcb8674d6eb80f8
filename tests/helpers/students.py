"""What the tests of distillation share: tiny students, their flags, a teacher."""

import contextlib
import json
import subprocess
import sys

from finetune.training.main import main
from tests.helpers.common import ROOT
from tests.helpers.tiny import flags, sentences, write_tsv

SHAPES = {
    "bow": {"network": "bow", "embedding_size": 16, "hidden_size": 16},
    "cnn": {"network": "cnn", "embedding_size": 16, "windows": [1, 2, 3, 4], "filters": 8},
    "bilstm": {"network": "bilstm", "embedding_size": 16, "lstm_size": 8},
}


def write_shape(folder, network, **changes):
    """Write the ``ernie_config.json`` of a tiny student; returns its path."""
    path = folder / f"{network}.json"
    path.write_text(json.dumps({**SHAPES[network], **changes}))
    return path


def student_flags(shape, model, data, checkpoints, **changes):
    """The command line of a short run of ``python -m finetune student``."""
    values = {
        "ernie_config_path": shape,
        "init_pretraining_params": None,
        "tokenizer": "WholeWordTokenizer",
        "learning_rate": 2e-2,
        "epoch": 6,
        "head_dropout": 0,
        **changes,
    }
    return flags(model, data, checkpoints, **values)


def train_student(shape, model, data, checkpoints, task="student", **changes):
    """Train a student here; returns the folder of its last checkpoint."""
    main(f"python -m finetune {task}", task, student_flags(shape, model, data, checkpoints, **changes))
    return checkpoints / "last"


def train_student_apart(shape, model, data, checkpoints, **changes):
    """The same in a process of its own; returns the folder of its last checkpoint.

    A process that has imported Paddle before an entry script prepares it may compute with other kernels.
    """
    command = [sys.executable, "-m", "finetune", "student", *student_flags(shape, model, data, checkpoints, **changes)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return checkpoints / "last"


STOPS = """
import sys
from propeller.train.trainer import Learner
from finetune.training.main import main
run, last = Learner._run_batch, int(sys.argv[1])
def stop(self, graph, batch, state, *rest):
    if state.step == last: self.ask_to_stop("the test")
    return run(self, graph, batch, state, *rest)
Learner._run_batch = stop
main("python -m finetune student", "student", sys.argv[2:])
"""


def stopped_and_whole(shape, model, data, folder, stop, **changes):
    """Weights of a run that is stopped after step ``stop`` and continued, and of one that is not, in own processes."""
    found = []
    for name, steps in (("cut", (stop - 1, None)), ("whole", (None,))):
        words = student_flags(shape, model, data, folder / name, **changes)
        for step in steps:
            command = ["-m", "finetune", "student", *words] if step is None else ["-c", STOPS, str(step), *words]
            done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
            assert step is not None or done.returncode == 0, done.stderr
            if step is not None:
                assert (folder / name / "last").resolve().name == f"step_{stop}", done.stderr
        found.append(weights_of(folder / name / "last"))
    return found


def write_unlabelled(path, count=50, seed=7):
    """Rows of text without labels; returns the path as a string."""
    return write_tsv(path, [(text,) for _, text in sentences(count, seed)], ("text_a",))


def train_teacher(model, data, checkpoints, **changes):
    """Fine-tune a teacher of two classes; returns the folder of its last checkpoint."""
    changes = {"do_test": "false", "epoch": 3, **changes}
    main("run_classifier.py", "classify", flags(model, data, checkpoints, **changes))
    return checkpoints / "last"


def weights_of(folder):
    """name -> bytes of the parameters of a checkpoint."""
    from ernie.checkpoint import read_params

    return {name: array.tobytes() for name, array in sorted(read_params(folder).items())}


@contextlib.contextmanager
def serving(bundle, **limits):
    """The address of a server of a bundle in this process."""
    from propeller.service.limits import Limits
    from propeller.service.server import InferenceServer

    server = InferenceServer(bundle, handlers="finetune.serving", use_cuda="false", limits=Limits(**limits))
    with server.listen(0, wait=False) as running:
        yield running.url
