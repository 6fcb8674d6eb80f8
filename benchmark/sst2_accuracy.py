"""Dev accuracy after one epoch of fine-tuning, beside transformers and torch with the same rows, head and settings.

    python -m pip install -r requirements-peers.txt
    python benchmark/sst2_accuracy.py               # 2,500 rows of SST-2 from MiniLM, seeds 1 to 3, 872 dev rows

Ours: run_classifier.py as it is. Theirs: the model that ernie.convert makes of the same weights, head included, and
torch.optim.AdamW over the batches of our reader. Both: batch 32, rate 1e-4 with linear warm-up over a tenth and decay,
weight decay 0.01, clipping at 1, dropout 0.1; each draws its own dropout, and each has its own form of Adam's epsilon.
A seed sets the order of the rows, the head and the dropout. Exit status 1 when the mean difference of accuracy is
neither under 1.5 points nor under two of its standard errors. The other tasks are in benchmark/quality.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmark.parts.common import Bench, arguments  # noqa: E402
from benchmark.parts.comparison import Recipe, add_flags, find, settings  # noqa: E402
from benchmark.quality import measure, report  # noqa: E402
from propeller import runtime  # noqa: E402
from propeller.errors import exit_on_user_error  # noqa: E402


def main(args):
    """Exit status: 0 if everything was measured and is in bounds."""
    model, data = find(args)
    recipe = Recipe(rows=args.rows, batch=args.batch)
    bench = Bench("sst2_accuracy", args, settings(model, data, recipe), args.results)
    return 0 if report({seed: measure(bench, seed, model, data, recipe) for seed in args.seeds}) else 1


if __name__ == "__main__":
    parser = arguments(__doc__)
    add_flags(parser)
    parser.add_argument("--rows", type=int, default=2500, help="training rows, the first ones of train.tsv [2500]")
    parser.add_argument("--batch", type=int, default=32, help="rows an update [32]")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="[1 2 3]")
    parsed = parser.parse_args()
    runtime.prepare()
    exit_on_user_error(main, parsed)
