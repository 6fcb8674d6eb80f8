"""Sentences as lists of words, words as lists of pieces: what the plain loop of build_tasks.py does with them.

packed(sentences, most=125)                       # sentences in lists of at most 125 pieces
"""

from __future__ import annotations


def flat(words):
    """The pieces of words."""
    return [piece for word in words for piece in word]


def size(sentences):
    """Pieces of sentences."""
    return sum(len(word) for words in sentences for word in words)


def fit(words, most):
    """A sentence in parts of at most `most` pieces, cut between words."""
    parts, count = [[]], 0
    for word in words:
        if count + len(word) > most:
            parts.append([])
            count = 0
        parts[-1].append(word)
        count += len(word)
    return parts


def head(words, room):
    """The first words, of at most `room` pieces; of a longer word its first pieces."""
    return fit(words, room)[0] or [words[0][:room]]


def packed(sentences, most):
    """Sentences in lists of at most `most` pieces."""
    found, count = [], most + 1
    for part in (part for words in sentences for part in fit(words, most)):
        if count + size([part]) > most:
            found.append([])
            count = 0
        found[-1].append(part)
        count += size([part])
    return found


def in_halves(sentences):
    """Sentences in two lists, as even as can be."""
    total, passed, gaps = size(sentences), 0, []
    for words in sentences[:-1]:
        passed += size([words])
        gaps.append(abs(2 * passed - total))
    border = 1 + gaps.index(min(gaps)) if gaps else 1
    return [part for part in (sentences[:border], sentences[border:]) if part]


def gathered(sentences, place, room):
    """Behind the last sentence that fits; one at least."""
    end, count = place + 1, size([sentences[place]])
    while end < len(sentences) and count + size([sentences[end]]) <= room:
        count += size([sentences[end]])
        end += 1
    return end
