"""Settings that evaluations find on a dev set and that then belong to the model, such as a decision threshold.

A task's flag with the fact ``tuned`` is one. Where it is not given, it has the value that an evaluation found: a score
``tuned`` of ``finish_scores``, ``{"flags": {name: value}}``, which is stored in the checkpoint's record.

    found = with_found(spec, scores)                    # for the files scored after the first dev set
    spec = with_stored(spec, read_record(checkpoint))   # for test sets, and for a checkpoint that is only evaluated
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from finetune.spec import ModelSpec
from propeller.errors import UserError


def tuned_names(settings: Any) -> tuple[str, ...]:
    """The names of the settings that an evaluation may find."""
    if settings is None:
        return ()
    return tuple(
        entry.name for entry in dataclasses.fields(settings) if entry.metadata.get("facts", {}).get("tuned", False)
    )


def check_tuning(settings: Any, has_dev_set: bool) -> None:
    """Raise UserError where something is to be tuned (a flag with the fact ``tunes``) without a dev set."""
    for entry in dataclasses.fields(settings) if settings is not None else ():
        value = getattr(settings, entry.name)
        if entry.metadata.get("facts", {}).get("tunes", False) and value != entry.default and not has_dev_set:
            raise UserError(f"--{entry.name} {value} needs --dev_set, and --do_val true: it is tuned on those rows")


def with_found(spec: ModelSpec, scores: Mapping[str, Any]) -> ModelSpec:
    """The spec with what an evaluation found, if it found something."""
    found = scores.get("tuned", {}).get("flags", {})
    return spec.replace(settings=dataclasses.replace(spec.settings, **found)) if found else spec


def with_stored(spec: ModelSpec, record: Mapping[str, Any]) -> ModelSpec:
    """The spec with what the record of a checkpoint has of the settings that were not given.

    Args:
        record: content of ``checkpoint.json``.
    """
    stored = record.get("flags", {})
    found = {
        name: stored[name]
        for name in tuned_names(spec.settings)
        if getattr(spec.settings, name) is None and stored.get(name) is not None
    }
    return spec.replace(settings=dataclasses.replace(spec.settings, **found)) if found else spec
