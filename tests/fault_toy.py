"""A group that trains the toy of test_trainer.py; one rank's batches end in a FIFO that nobody writes to.

python finetune_launch.py --nproc_per_node 2 tests/fault_toy.py FOLDER HANG_TIMEOUT HANGING_RANK
"""

import contextlib
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from propeller import runtime


def main(folder, hang_timeout, hanging_rank):
    runtime.prepare()
    from propeller import log
    from propeller.train import distribution

    ranks = distribution.start()
    log.setup()
    from propeller.train.faults import guarded
    from propeller.train.hooks import RunHook
    from propeller.train.shared import SharedSaver
    from propeller.train.trainer import Learner, RunConfig
    from tests.test_trainer import Batches, Queue, Toy

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

    learner = Learner(Toy, RunConfig(seed=7, ranks=ranks))
    with guarded(learner, float(hang_timeout)):
        learner.train(lambda position: contextlib.nullcontext(Queue(batches(position))), 20, NoFiles(), hooks=[Mark()])


if __name__ == "__main__":
    main(*sys.argv[1:])
