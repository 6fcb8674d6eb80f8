"""A process of a group that trains and evaluates the toy in 2019's form; what comes out is written for the test.

PROPELLER_DISCONFIG='{"cluster": ...}' python tests/propeller/group_toy.py FOLDER BATCH_SIZE
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from propeller import runtime


def main(folder, size):
    runtime.prepare()
    import paddle

    import propeller.paddle as propeller
    from propeller.hparams import HParams, RunConfig
    from propeller.paddle.train import exporter
    from tests.propeller.toy import Toy, dataset, features, rows

    class Steady(Toy):
        """Without dropout, whose draws depend on how rows lie in batches."""

        def __init__(self, config, mode, run_config):
            super().__init__(config, mode, run_config)
            self.dropout = paddle.nn.Identity()

        def metrics(self, predictions, label):
            qid = paddle.cast(label, "int64") * 0
            score = predictions[:, 1] - predictions[:, 0]
            return {
                **super().metrics(predictions, label),
                "f1": propeller.metrics.F1(label, predictions.argmax(axis=1)),
                "auc": propeller.metrics.Auc(label, score),
                "pn": propeller.metrics.PNRatio(qid, label, score),
            }

    status = propeller.status
    train = propeller.data.Dataset.from_list(rows(41)).shard(status.num_replica, status.replica_id)
    train.name = "train"
    config = RunConfig(model_dir=f"{folder}/run", eval_steps=2, seed=7, save_steps=3)
    results = propeller.train_and_eval(
        model_class_or_model_fn=Steady,
        params=HParams(),
        run_config=config,
        train_dataset=train.padded_batch(int(size)),
        eval_dataset=dataset("dev", 33, 9),
        exporters=[exporter.BestExporter(f"{folder}/best", lambda old, new: new["eval"]["acc"] > old["eval"]["acc"])],
    )
    learner = propeller.Learner(Steady, config, HParams())
    found = {
        "rank": [status.replica_id, status.num_replica, status.is_master],
        "results": results,
        "evaluated": learner.evaluate(dataset("dev", 33, 9)),
        "predicted": [row[0] for row in learner.predict(features())],
    }
    Path(folder, f"rank{status.replica_id}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
