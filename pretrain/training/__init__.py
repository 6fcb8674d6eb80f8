"""Pre-training runs: flags, the runner, task lists, the log lines of the 2019 script."""
