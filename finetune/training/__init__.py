"""Fine-tuning runs: flags, the runner, the log lines of the 2019 scripts, the fingerprint of a run."""
