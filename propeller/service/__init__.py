"""Serving arrays: a predictor over a bundle, and what runs it behind a port.

from propeller import service
service.InferenceServer("saved/step_100_inference_model", workers=2).listen(8113)
probs = service.InferenceClient("http://127.0.0.1:8113")(src_ids, sent_ids, pos_ids, input_mask)[0]
"""

import importlib
from typing import Any

# Imported when asked for: a client needs no server, and a predictor neither.
_PLACES = {"InferenceClient": "propeller.service.client", "InferenceServer": "propeller.service.server"}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'propeller.service' has no attribute {name!r}")
