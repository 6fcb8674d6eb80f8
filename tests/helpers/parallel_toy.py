"""A small model trained by one process or by several; what comes out is written for tests/propeller/test_parallel.py.

python finetune_launch.py --nproc_per_node 2 tests/helpers/parallel_toy.py FOLDER '{"size": 7, "accumulate": 1}'
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from propeller import runtime


def shares(batches, ranks):
    """This rank's of each group of batches, with the position after the group; None where there is none."""
    group = []
    for batch, position in batches:
        group.append((batch, position))
        if len(group) == ranks.size or position.rows == 20:
            yield (group[ranks.rank][0] if ranks.rank < len(group) else None), group[-1][1]
            group = []


def spoiled(batches, bad):
    """Infinities in the batches after which a reader stands at one of the places [epoch, rows]."""
    for batch, position in batches:
        if [position.epoch, position.rows] in bad:
            batch["x"][:] = np.inf
        yield batch, position


def main(folder, given):
    runtime.prepare()
    from propeller.train import distribution

    ranks = distribution.start()
    from propeller.train import amp
    from propeller.train.faults import Stopped
    from propeller.train.hooks import RunHook
    from propeller.train.model import RunMode
    from propeller.train.saver import Saver
    from propeller.train.shared import SharedSaver
    from propeller.train.trainer import Evaluation, Learner, RunConfig
    from propeller.variables import read_variable, write_variable
    from tests.helpers.trainer import Batches, Queue, Toy

    folder, given = Path(folder), json.loads(given)
    losses, scales, ask, bad = [], [], given.pop("ask", None), given.pop("bad", [])
    if scaling := given.pop("scaling", None):
        given["precision"] = amp.Precision(scaling=amp.LossScaling(**scaling))

    class Watch(RunHook):
        def after_step(self, learner, state):
            losses.append(state.last_loss)
            scales.extend(learner.read([amp.SCALE])[amp.SCALE] if scaling else [])
            if ask == state.step and ranks.rank == ranks.size - 1:
                learner.ask_to_stop("the last rank was asked")

    def opened(size, epochs, of):
        def open_batches(position=None):
            return contextlib.nullcontext(Queue(of(Batches(size, epochs)._batches(position))))

        return open_batches

    def own(batches):
        return ((batch, position) for batch, position in shares(batches, ranks) if batch is not None)

    size, epochs = given.pop("size"), given.pop("epochs", 3)
    config = {"log_steps": 2, "eval_steps": 3, "save_steps": 2, "best_by": "acc", "seed": 7, **given}
    learner = Learner(Toy, RunConfig(ranks=ranks, **config))
    if ranks.rank:
        learner.write({"toy_w": np.full((4, 2), 9.0, "float32")})  # not what rank 0 begins with
    evaluation = Evaluation("dev", "dev.tsv", opened(3, 1, own))
    saver = SharedSaver(ranks, lambda: Saver(folder / "run", write_variable, read_variable, 0))
    saver.claim({"seed": 7})
    shared = opened(size, epochs, lambda all_: shares(spoiled(all_, bad), ranks))
    try:
        state = learner.train(shared, 20, saver, [evaluation], [Watch()])
    except Stopped as stopped:
        said = {"state": vars(stopped.state), "stopped": stopped.reason}
        np.savez(folder / f"rank{ranks.rank}.npz", losses=losses)
        (folder / f"rank{ranks.rank}.json").write_text(json.dumps(said))
        return
    with opened(3, 1, own)() as batches:
        predicted = [batch["x"] for _, batch in learner.predict(batches)]
    scores = learner.score(evaluation, state.step)
    arrays = learner.read([*learner.parameter_shapes(RunMode.TRAIN), *learner.graphs.optimizer_variables()])
    arrays.update(losses=losses, scales=scales, predicted=np.concatenate(predicted))
    np.savez(folder / f"rank{ranks.rank}.npz", **arrays)
    said = {"state": vars(state), "scores": scores, "threads": os.environ["OMP_NUM_THREADS"]}
    (folder / f"rank{ranks.rank}.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
