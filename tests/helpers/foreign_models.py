"""Models as other libraries save them."""

import json
import shutil

import numpy as np
from safetensors.numpy import load_file, save_file


def write_classifier(folder, encoder):
    """A fine-tuned Hugging Face model: an encoder and a head of two classes with names."""
    shutil.copytree(encoder, folder)
    weights = load_file(folder / "model.safetensors")
    weights = {name if name.startswith("bert.") else f"bert.{name}": weight for name, weight in weights.items()}
    config = json.loads((folder / "config.json").read_text())
    head = np.linspace(-1, 1, 2 * config["hidden_size"], dtype=np.float32).reshape(2, -1)
    weights.update({"classifier.weight": head, "classifier.bias": np.zeros(2, np.float32)})
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config.update(architectures=["BertForSequenceClassification"], id2label={"0": "bad", "1": "good"})
    config.update(label2id={"bad": 0, "good": 1})
    (folder / "config.json").write_text(json.dumps(config))
