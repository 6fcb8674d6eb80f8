"""Checks of what a request says, before any of it is tokenised; what is wrong is named by its place in the JSON.

    choose(payload, ("texts",), ("text_a", "text_b?"))         # ("texts",): the form that the payload has
    texts(payload["texts"], "texts", limits)                   # list of str

Limits are those of ``propeller.service.limits``: ``max_texts`` members of a list, ``max_chars`` characters of a text,
``queue_size`` windows of long texts; above them it is TooLarge, all else BadRequest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from propeller.service.errors import BadRequest, TooLarge

if TYPE_CHECKING:
    from finetune.serving.handler import Handler
    from propeller.service.limits import Limits


KINDS = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}
SHOWN_KEYS = 5


def kind(value: object) -> str:
    """What JSON calls a value, with its article."""
    return KINDS.get(type(value), type(value).__name__)


def choose(payload: Any, *forms: tuple[str, ...], at: str = "") -> tuple[str, ...]:
    """The one of the forms whose keys an object has.

    Args:
        payload: of any kind.
        forms: tuples of keys; those that end with ``?`` may be missing.
        at: where the object stands, for messages.

    Raises:
        BadRequest: it is no object, has an unknown key, keys of two forms, or lacks one.
    """
    where = f"{at}: " if at else ""
    wanted = " or ".join(map(_form, forms))
    if not isinstance(payload, dict):
        raise BadRequest(f"{at or 'the body'} must be an object with {wanted}, not {kind(payload)}")
    known = {key.rstrip("?") for form in forms for key in form}
    unknown = [repr(key[:40]) for key in payload if key not in known]
    if unknown:
        more = ", ..." if len(unknown) > SHOWN_KEYS else ""
        plural = "s" if len(unknown) > 1 else ""
        raise BadRequest(f"{where}unknown key{plural} {', '.join(unknown[:SHOWN_KEYS])}{more}; give {wanted}")
    for form in forms:
        needed = {key for key in form if not key.endswith("?")}
        allowed = {key.rstrip("?") for key in form}
        if needed <= set(payload) <= allowed:
            return form
    if not payload:
        raise BadRequest(f"{where}nothing is asked; give {wanted}")
    given = " and ".join(map(repr, payload))
    raise BadRequest(f"{where}{given} {'do not go together' if len(payload) > 1 else 'is not enough'}; give {wanted}")


def hint_for_rows(handler: Handler, items: Iterable[Any]) -> str:
    """What to give instead of the rows of a table, where a handler takes texts and an item is a dict, and instead of
    one text where it takes questions; else ""."""
    if "questions" in handler.payload([]) and any(isinstance(item, str) for item in items):
        return ": from Python give tuples of these, or dicts"
    if "texts" not in handler.payload([]) or not any(isinstance(item, Mapping) for item in items):
        return ""
    return (
        ": give the text of each row, as in [row['review'] for row in rows], or its two texts, as in "
        "[(row['subject'], row['body']) for row in rows]"
    )


def _form(form):
    needed = [repr(key) for key in form if not key.endswith("?")]
    optional = [repr(key[:-1]) for key in form if key.endswith("?")]
    return " and ".join(needed) + (f" (and {' and '.join(optional)})" if optional else "")


def text(value: Any, where: str, limits: Limits, blank: bool = False) -> str:
    """A text: a str that is Unicode, not too long, and not blank unless that is allowed."""
    if not isinstance(value, str):
        raise BadRequest(f"{where} must be a string, not {kind(value)}")
    if len(value) > limits.max_chars:
        raise TooLarge(f"{where} has {len(value)} characters, more than the {limits.max_chars} allowed: shorten it")
    if not blank and not value.strip():
        raise BadRequest(f"{where} is {'blank' if value else 'empty'}: give a text")
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        raise BadRequest(f"{where} holds half of a surrogate pair, which is no character: send whole ones")
    return value


def members(value: Any, where: str, limits: Limits) -> list[Any]:
    """A list with one member or more, but not too many."""
    if not isinstance(value, list):
        raise BadRequest(f"{where} must be a list, not {kind(value)}")
    if not value:
        raise BadRequest(f"{where} is an empty list: give at least one")
    if len(value) > limits.max_texts:
        raise TooLarge(
            f"{where} has {len(value)} members, more than the {limits.max_texts} allowed: send fewer at once"
        )
    return value


def texts(value: Any, where: str, limits: Limits, blank: bool = False) -> list[str]:
    """A list of texts. Raises BadRequest."""
    return [text(item, f"{where}[{i}]", limits, blank) for i, item in enumerate(members(value, where, limits))]


def pair(value: Any, where: str, limits: Limits, blank: bool = True) -> tuple[str, str]:
    """A pair [text, text] as a tuple; blank: whether the second one may be. Raises BadRequest."""
    if not isinstance(value, list) or len(value) != 2:
        what = f"a list of {len(value)}" if isinstance(value, list) else kind(value)
        raise BadRequest(f"{where} must be a pair of strings, not {what}")
    return text(value[0], f"{where}[0]", limits), text(value[1], f"{where}[1]", limits, blank)


def windows(count: int, limits: Limits) -> None:
    """Raise TooLarge if the server cannot take ``count`` windows at once; call it before they are made."""
    if count > limits.queue_size:
        raise TooLarge(
            f"the model would read the texts in {count} windows, more than the {limits.queue_size} allowed: send fewer "
            "or shorter ones"
        )


def texts_or_pairs(payload: Any, limits: Limits) -> list[tuple[str, str]]:
    """(text_a, text_b) of each example, text_b "" where there is none.

    From ``{"texts": [text or [text, text], ...]}`` or ``{"text_a": ..., "text_b": ...}``, where each is a text or a
    list, both of one length, and text_b may be missing. Raises BadRequest.
    """
    if choose(payload, ("texts",), ("text_a", "text_b?"))[0] == "texts":
        value = members(payload["texts"], "texts", limits)
        return [_text_or_pair(item, f"texts[{i}]", limits) for i, item in enumerate(value)]
    return list(zip(*_columns(payload, "text_a", "text_b", limits)))


def _text_or_pair(value, where, limits):
    if isinstance(value, str):
        return text(value, where, limits), ""
    if not isinstance(value, list):
        raise BadRequest(f"{where} must be a string or a pair of strings, not {kind(value)}")
    return pair(value, where, limits)


def _columns(payload, first, second, limits):
    one = payload[first]
    if not isinstance(one, list):
        other = payload.get(second, "")
        return [text(one, first, limits)], [text(other, second, limits, blank=True)]
    column = texts(one, first, limits)
    if second not in payload:
        return column, [""] * len(column)
    other = texts(payload[second], second, limits, blank=True)
    if len(other) != len(column):
        raise BadRequest(f"{first} has {len(column)} members, {second} has {len(other)}: give as many")
    return column, other
