"""A group that trains the toy of test_trainer.py; one rank's batches end in a FIFO that nobody writes to.

python finetune_launch.py --nproc_per_node 2 tests/helpers/fault_toy.py FOLDER HANG_TIMEOUT HANGING_RANK

HANG_TIMEOUT may be default=SECONDS: what one process has unless told otherwise. One process alone saves checkpoints.
"""

import contextlib
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from propeller import runtime


def main(folder, hang_timeout, hanging_rank):
    runtime.prepare()
    from propeller import log
    from propeller.train import distribution

    ranks = distribution.start()
    log.setup()
    from propeller.train import faults
    from propeller.train.args import flag_names
    from propeller.train.hooks import RunHook
    from propeller.train.saver import Saver
    from propeller.train.shared import SharedSaver
    from propeller.train.trainer import Learner, RunConfig
    from propeller.variables import read_variable, write_variable
    from tests.helpers.trainer import Batches, Queue, Toy

    folder = Path(folder)

    def wait_for_a_row_that_never_comes():
        with open(folder / "rows.fifo") as file:
            return file.readline()

    def batches(position):
        for number, (batch, place) in enumerate(Batches(epochs=10**6)._batches(position)):
            if number == 4:
                (folder / f"four.{ranks.rank}").write_text(str(os.getpid()))
                if ranks.rank == int(hanging_rank):
                    wait_for_a_row_that_never_comes()
            yield batch, place

    class Mark(RunHook):
        def after_step(self, learner, state):
            (folder / f"step.{ranks.rank}").write_text(str(state.step))

    class NoFiles(SharedSaver):
        def __init__(self):
            self.ranks, self.saver = ranks, None

        def save(self, *args):
            pass

    timeout = None if hang_timeout.startswith("default=") else float(hang_timeout)
    if timeout is None:
        faults.ALONE_TIMEOUT = float(hang_timeout.partition("=")[2])
    learner = Learner(Toy, RunConfig(seed=7, ranks=ranks, names=flag_names(), save_steps=2))
    saver = NoFiles() if ranks.size > 1 else Saver(folder / "run", write_variable, read_variable)
    with faults.guarded(learner, timeout), contextlib.closing(saver) if ranks.size == 1 else contextlib.nullcontext():
        learner.train(lambda position: contextlib.nullcontext(Queue(batches(position))), 20, saver, hooks=[Mark()])


if __name__ == "__main__":
    main(*sys.argv[1:])
