"""Pre-training tasks, one file each; ``pretrain.TASKS`` names them."""
