"""What is checked before the first step: bad rows, and files of which hardly anything survives.

    reader = task.open_reader(path, tokenizer, spec, reading)
    check_file(reader, checks, alternatives)            # UserError, or the reader without what was left out

Shares over a threshold are errors that name the likely cause and the flag to go on with; below it they are lines of the
log. Loading this file loads neither Paddle nor a task.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from propeller.errors import UserError
from propeller.flags import flag
from reader.survey import MOST_UNKNOWN, Survey, texts_of

if TYPE_CHECKING:
    from finetune.spec import ModelSpec
    from reader.batch_reader import BatchReader
    from reader.tokenizer import Tokenizer


log = logging.getLogger("ernie.finetune")
Say = Callable[..., None]

# Above these shares hardly anything survived. docs/data.md has the shares of public data sets.
MOST_REFUSED = 0.5
MOST_OUTSIDE = 0.999
MOST_LOST = 0.5
SHOWN_LINES = 50
USUAL = 0.05  # of pieces that are [UNK] and the like: public data sets have up to 2%
TOLD_OTHERWISE = ("allow_refused", "allow_no_entities")  # rows by their lines; and some tags are O in every file
LATIN = re.compile(r"[A-Za-z]+ +[A-Za-z]+")


@dataclass(frozen=True)
class InputChecks:
    """checks: bad rows, and files of which hardly anything can be used; before the first step"""

    on_bad: str = flag(
        "error",
        "stop at a row that cannot be used, or skip it; the log counts skipped rows and names their lines",
        choices=("error", "skip"),
    )
    allow_blank: bool = flag(False, "accept rows with a blank text_a", bare=True)
    allow_unk: bool = flag(False, f"continue if more than {MOST_UNKNOWN} of the pieces are [UNK]", bare=True)
    allow_refused: bool = flag(False, f"continue if more than {MOST_REFUSED} of the rows are left out", bare=True)


@dataclass(frozen=True)
class CheckArgs(InputChecks):
    """checks: bad rows, and files of which hardly anything can be used; before the first step"""

    allow_no_entities: bool = flag(False, "continue if all tags of a file are O", bare=True)
    allow_lost_answers: bool = flag(
        False, f"continue if more than {MOST_LOST} of the questions have no answer in their context", bare=True
    )


class Share(NamedTuple):
    """A share of a file that may be too large.

    Attributes:
        part, whole: the share is part / whole.
        most: the threshold, from 0 to 1.
        what: the share in words.
        flag: the name of the flag to go on with.
        cause: called for what is probably wrong.
    """

    part: int
    whole: int
    most: float
    what: str
    flag: str
    cause: Callable[[], str]


def check_file(
    reader: BatchReader,
    checks: InputChecks,
    alternatives: Mapping[str, Callable[[], Tokenizer]] | None = None,
    quiet: bool = False,
) -> Survey:
    """Look at every row of a file before anything is made of it; the reader is left without its bad rows.

    Args:
        reader: of the file, newly opened.
        checks: the flags.
        alternatives: flags that read the text otherwise -> what makes the tokenizer they ask for.
        quiet: whether what is no error is kept out of the log, for a file that was checked already.

    Raises:
        UserError: a bad row, unless they are to be left out; a share over its threshold, unless it is allowed.
    """
    found = reader.survey(checks.allow_blank)
    path, bad = found.path, found.bad
    say, note = [(lambda *words: None)] * 2 if quiet else [log.warning, log.info]
    if bad and checks.on_bad == "error":
        more = f" ({len(bad)} of {found.rows} {found.unit} are bad)" if len(bad) > 1 else ""
        raise UserError(f"{bad[0].message}; or leave it out with --on_bad skip{more}")
    if bad and len(bad) == found.rows:
        raise UserError(f"{bad[0].message}; none of its {found.rows} {found.unit} can be used")
    check_share(path, Share(len(bad), found.rows, MOST_REFUSED, f"{found.unit} are refused", "allow_refused",
                             lambda: f"the first is: {bad[0].message}"), checks, say, note)  # fmt: skip
    reader.leave_out(found)
    if bad and bad[0].line:  # of questions the reader says it
        lines = ", ".join(str(row.line) for row in bad[:SHOWN_LINES]) + (", ..." if len(bad) > SHOWN_LINES else "")
        say("%s: %d of %d rows left out, %ss %s; the first: %s",
            path, len(bad), found.rows, found.place, lines, bad[0].message)  # fmt: skip
    for share in _shares(found, reader, alternatives or {}):
        check_share(path, share, checks, say, note)
    _warn(found, reader, say)
    return found


def _shares(found, reader, alternatives):
    def vocabulary():
        return _why_unknown(found, reader, alternatives)

    yield Share(
        found.wordless, found.sampled, MOST_UNKNOWN, "rows looked at have no word but [UNK]", "allow_unk", vocabulary
    )
    yield Share(found.unknown, found.pieces, MOST_UNKNOWN, "pieces of its text are [UNK]", "allow_unk", vocabulary)
    if found.tags:
        yield Share(found.outside, found.tags, MOST_OUTSIDE, "tags mean that there is no entity", "allow_no_entities",
                    lambda: "see that the label column holds the tags, and that the conversion kept them")  # fmt: skip
    if found.answered and reader.answers is not None:
        yield Share(found.lost, found.answered, MOST_LOST, "questions have no answer that stands in their context",
                    "allow_lost_answers", lambda: "they are placeholders, as in a test set whose answers are not "
                    "published, or answers and contexts were converted differently")  # fmt: skip


def check_share(path: str, share: Share, checks: InputChecks, say: Say, note: Say) -> None:
    """Tell of a share that is not 0.

    Args:
        path: the file.
        share: of it.
        checks: the flags.
        say, note: what takes a warning, and what a line of the log that warns of nothing.

    Raises:
        UserError: the share is over its threshold, and no flag allows it.
    """
    if not share.part:
        return
    text = f"{100 * share.part / share.whole:.1f}% of the {share.whole} {share.what}"
    if share.part <= share.most * share.whole:
        if share.flag not in TOLD_OTHERWISE:
            (note if share.part <= USUAL * share.whole else say)("%s: %s", path, text)
    elif getattr(checks, share.flag, False):
        say("%s: %s; it goes on with --%s", path, text, share.flag)
    else:
        raise UserError(f"{path}: {text}: {share.cause()}; or go on with --{share.flag} true")


def _why_unknown(found, reader, alternatives):
    """What is probably wrong with how the text is read: the flag with which most is known, if one is better by far."""
    share = found.unknown / found.pieces
    best, flags = share / 2, None
    for words, make in alternatives.items():
        try:
            tokenizer = make()
        except UserError:
            continue
        other = Survey(found.path)
        for text in texts_of(reader):
            ids = tokenizer.encode(text)
            other.pieces, other.unknown = other.pieces + len(ids), other.unknown + ids.count(tokenizer.unk_id)
        if other.pieces and other.unknown / other.pieces < best:
            best, flags = other.unknown / other.pieces, words
    if flags:
        return f"with {flags} it is {100 * best:.1f}%: give that"
    return "see that the vocabulary is the one the model came with, and that the text is in its language"


def _warn(found, reader, say):
    """What is no error, and yet seldom meant."""
    if len(found.labels) == 1 and found.rows > 1:
        say("%s: every label is %r: scores of it say little", found.path, next(iter(found.labels)))
    if not getattr(reader.tokenizer, "for_cn", False):
        return
    texts = [text for text in texts_of(reader) if text.strip()]
    latin = sum(bool(LATIN.search(text)) and not re.search(r"[^\x00-\u024f\u2000-\u206f]", text) for text in texts)
    if latin > len(texts) / 2:
        say("%s: its text is English, or the like, and is read without its blanks: give --for_cn false", found.path)


def other_readings(spec: ModelSpec, task: Any, vocab_path: str, sp_model: str | None) -> dict[str, Callable]:
    """Flags that read the text otherwise than the spec -> what makes the tokenizer they ask for."""
    changes: dict[str, dict[str, Any]] = {}
    if spec.for_cn and task.drops_blanks:
        changes["--for_cn false"] = {"for_cn": False}
    case = f"--do_lower_case {str(not spec.do_lower_case).lower()}"
    changes[case] = {"do_lower_case": not spec.do_lower_case}
    if "--for_cn false" in changes:
        changes[f"--for_cn false {case}"] = {"for_cn": False, "do_lower_case": not spec.do_lower_case}
    return {
        words: lambda change=change: spec.replace(**change).build_tokenizer(task, vocab_path, sp_model)
        for words, change in changes.items()
    }
