"""Which model the vectors of an index are of: another one's vectors cannot be compared with them.

check_model(index, identity(model.describe()), "output/vectors/best")
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from propeller.errors import UserError

if TYPE_CHECKING:
    from finetune.search.index import SearchIndex

# key -> what messages call it
KNOWN_BY = {
    "weights": "weights",
    "pooling": "pooling",
    "tokenizer": "vocabulary, or words,",
    "max_seq_len": "max_seq_len",
    "task_id": "task_id",
}
SHOWN = ("pooling", "max_seq_len", "task_id")


def identity(described: Mapping[str, Any], pooling: str | None = None) -> dict[str, Any]:
    """What tells the vectors of a model from those of another; JSON-able.

    Args:
        described: what a model of embeddings says of itself (``describe()``).
        pooling: how its vectors are made; None: as the model says.

    Raises:
        UserError: it is a model of something else.
    """
    if "poolings" not in described:
        raise UserError(
            f"an inference model of the task {described['task']!r} gives no vectors: give the checkpoint it was made "
            "from, or an inference model of embeddings"
        )
    return {
        "weights": described["weights"],
        "pooling": pooling or described["pooling"],
        "tokenizer": described["tokenizer"]["fingerprint"],
        "max_seq_len": described["max_seq_len"],
        "task_id": described["task_id"],
    }


def check_model(index: SearchIndex, ours: Mapping[str, Any], model: str | Path) -> None:
    """Raise UserError where an index is of another model.

    Args:
        index: the index.
        ours: ``identity`` of the model that is to be asked.
        model: where it is.
    """
    for key, name in KNOWN_BY.items():
        theirs = index.model.get(key)
        if theirs != ours[key]:
            shown = f" ({theirs}, not {ours[key]})" if key in SHOWN else ""
            raise UserError(
                f"{index.folder}: was built by a model of other {name}{shown} than {model}: give that model "
                f"({index.about.get('model_path')}), or build the index again"
            )
