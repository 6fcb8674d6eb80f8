"""What a run says in its log, whoever set the log up."""

import logging

LOGGERS = ("ernie.finetune", "ernie.reader", "propeller.train")


class Said(logging.Handler):
    """Keeps the messages of the project's loggers; a context manager. ``text``: all of them, a line each."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())

    @property
    def text(self):
        return "\n".join(self.lines)

    def clear(self):
        self.lines.clear()

    def __enter__(self):
        self.levels = [logging.getLogger(name).level for name in LOGGERS]
        for name in LOGGERS:
            logging.getLogger(name).addHandler(self)
            logging.getLogger(name).setLevel(logging.INFO)
        return self

    def __exit__(self, *error):
        for name, level in zip(LOGGERS, self.levels):
            logging.getLogger(name).removeHandler(self)
            logging.getLogger(name).setLevel(level)
