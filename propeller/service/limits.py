"""What one server takes, and how long it waits.

Limits(max_texts=64, deadline_s=2)
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from propeller.errors import UserError


@dataclass(frozen=True)
class Limits:
    """Bounds of one request, of all requests together, and of a connection's patience.

    Attributes:
        max_texts: texts, or rows of arrays, in one request; else 413.
        max_chars: characters of one text; else 413.
        max_body_kb: KiB of a request's body; else 413.
        max_bodies_kb: KiB of all bodies that are being read or parsed; else 503.
        max_answer_mb: MB of one answer to POST /arrays, else 413; of all such answers at once four times as much, else
            503.
        queue_size: instances that wait for a worker, with the requests that are being parsed; else 503.
        deadline_s: seconds from the end of a request's headers to its answer; else 504.
        max_batch_size: instances that a worker runs together; on a CPU more gain nothing and are padded more.
        max_wait_ms: milliseconds that a batch that is not full waits for more.
        max_connections: open connections; one more ends the one that has been idle longest, or is answered 503.
        header_s: seconds in which the headers of a request must come.
        body_s: seconds in which its body must come; else 408.
        keep_alive_s: seconds that a connection stays open without a request.
        write_s: seconds in which a client must take the last of an answer before the connection is cut.
        max_header_kb: KiB of a request's headers; else 431.
    """

    max_texts: int = 256
    max_chars: int = 20000
    max_body_kb: int = 2048
    max_bodies_kb: int = 65536
    max_answer_mb: int = 64
    queue_size: int = 1024
    deadline_s: float = 30.0
    max_batch_size: int = 8
    max_wait_ms: float = 5.0
    max_connections: int = 1000
    header_s: float = 10.0
    body_s: float = 30.0
    keep_alive_s: float = 60.0
    write_s: float = 30.0
    max_header_kb: int = 32

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            least = 0 if entry.name == "max_wait_ms" else 1 if entry.type == "int" else 1e-3
            if not least <= value < float("inf"):
                raise UserError(f"--{entry.name} must be a number of at least {least}, not {value}")
        if self.max_texts > self.queue_size:
            raise UserError(
                f"--max_texts {self.max_texts} is over --queue_size {self.queue_size}: a full request would never be "
                "taken; raise the one or lower the other"
            )
