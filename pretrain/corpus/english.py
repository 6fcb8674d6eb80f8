"""English words, names and phrases by rules, without a model.

    English().segment("The young captain of New York City F.C. won the cup final.")
    # entities: New York City F.C; phrases: young captain, cup final

**Words** are runs of letters and digits, with apostrophes, hyphens, full stops and the like inside them (don't,
well-known, U.S, 3.14); every other character is a word of its own.

**Entities** are names: words that begin with a capital, neighbours together, over `of`, `the`, `de`, `&` and their
like between two of them. One that opens a sentence counts only if another one follows, or if it has a second capital or
a digit (NASA, McCoy); a word of STOP_WORDS that opens a sentence is not part of a name, and `I` and `A` never are.

**Phrases** are the candidate phrases of RAKE (Rose et al. 2010): words between stop words and punctuation, here two to
four of them, names and numbers left out; of a longer run the last four, since English has the head at the end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pretrain.corpus.segment import Segmenter, Sentence
from pretrain.corpus.sentences import words_of

WORDS = re.compile(r"\s+|[^\W_]+(?:['’.&/-][^\W_]+)*|.", re.DOTALL)
CONNECTORS = words_of("of the de la le van von der den di da del bin al & and")
LINKS = words_of("of de la le van von der den di da del bin al &")  # one that may stand alone between two names
LONGEST_PHRASE, LONGEST_NAME = 4, 8
ENDINGS = ("ly", "ing", "ed", "est", "ness", "tion", "s")  # they tell kinds of words apart, roughly
STOP_WORDS = words_of(
    """
    a about above across after afterwards again against all almost alone along already also although always am
    among an and another any anybody anyone anything anywhere are aren't around as at away back be became
    because become becomes been before behind being below beneath beside besides between beyond both but by
    came can can't cannot come could couldn't did didn't do does doesn't doing don't done down during each
    either else enough even ever every everybody everyone everything everywhere except far few for forth from
    further gave get gets getting give given go goes going gone got had hadn't has hasn't have haven't having
    he he'd he'll he's hence her here here's hers herself him himself his how however i i'd i'll i'm i've if
    in indeed inside instead into is isn't it it'd it'll it's its itself just keep kept knew know known last
    least less let let's like likely made make makes making many may maybe me might mine more most mostly much
    must mustn't my myself near nearly neither never nevertheless no nobody none nor not nothing now nowhere
    of off often on once one only onto or other others otherwise ought our ours ourselves out outside over own
    per perhaps put quite rather really said same saw say says see seem seemed seems seen several shall shan't
    she she'd she'll she's should shouldn't since so some somebody someone something sometimes somewhere soon
    still such take taken takes taking than that that'll that's the their theirs them themselves then there
    there's therefore these they they'd they'll they're they've thing things this those though through
    throughout thus till to together too took toward towards under unless until up upon us use used uses using
    very via want wants was wasn't way we we'd we'll we're we've well went were weren't what what's whatever
    when whenever where where's whereas wherever whether which whichever while who who'll who's whoever whole
    whom whose why will with within without won't would wouldn't yes yet you you'd you'll you're you've your
    yours yourself yourselves
    """
)


class English(Segmenter):
    """See above."""

    def segment(self, text: str) -> Sentence:
        words = WORDS.findall(text)
        kinds = [_kind(word) for word in words]
        entities = _names(words, kinds)
        return Sentence(words, entities, _phrases(words, kinds, entities))

    def tagged(self, texts: Sequence[str]) -> list[list[tuple[str, str]]]:
        """(word, kind) of each text: ``s`` a stop word, ``N`` a capital, ``9`` a number, ``.`` a mark, a blank; other
        words ``w`` with their ending where it is one of ``ENDINGS``."""
        return [[(word, _ended(word, _kind(word))) for word in WORDS.findall(text)] for text in texts]


def _ended(word, kind):
    if kind != "w":
        return kind
    low = word.lower()
    return next((f"w{end}" for end in ENDINGS if low.endswith(end) and len(low) > len(end) + 2), "w")


def _kind(word):
    # blank: white space, full stop: a mark, 9: digits first, N: a capital first, s: a stop word, w: any other
    first = word[0]
    if not first.isalnum():
        return " " if first.isspace() else "."
    if first.isdigit():
        return "9"
    low = word.lower().replace("’", "'")
    if first.isupper() and word not in ("I", "A"):
        return "N"
    return "s" if low in STOP_WORDS else "w"


def _names(words, kinds):
    """(first word, last word + 1) of runs of capital words."""
    found, place, first = [], 0, True  # first: nothing but punctuation stood before
    while place < len(words):
        if kinds[place] != "N":
            first = first and kinds[place] in " ."
            place += 1
            continue
        end = place + 1
        while (following := _goes_on(words, kinds, end)) and following - place < 2 * LONGEST_NAME:
            end = following
        begin = place
        if first and words[place].lower().replace("’", "'") in STOP_WORDS:  # The United Nations; In Paris
            begin = _next_name(kinds, place + 1, end)
        alone = end - begin == 1
        if begin < end and not (alone and first and begin == place and not _names_itself(words[place])):
            found.append((begin, end))
        place, first = end, False
    return found


def _names_itself(word):
    return len(word) > 1 and any(char.isupper() or char.isdigit() for char in word[1:])


def _next_name(kinds, place, end):
    return next((at for at in range(place, end) if kinds[at] == "N"), end)


def _goes_on(words, kinds, place):
    """After the next word of the name whose words end before `place`, or 0: a blank and a capital word, over LINKS."""
    if place + 1 >= len(words) or not _blank(words[place]):
        return 0
    at = place + 1
    if kinds[at] == "N":
        return at + 1
    links = 0
    while links < 2 and at + 2 < len(words) and words[at] in CONNECTORS and _blank(words[at + 1]):
        if links == 0 and words[at] not in LINKS:
            return 0
        links, at = links + 1, at + 2
    return at + 1 if links and at < len(words) and kinds[at] == "N" else 0


def _blank(word):
    return word.isspace() and "\n" not in word


def _phrases(words, kinds, entities):
    taken = {place for start, end in entities for place in range(start, end)}
    found, run = [], []

    def close():
        if len(run) > 1:
            found.append((run[-LONGEST_PHRASE:][0], run[-1] + 1))
        run.clear()

    for place, kind in enumerate(kinds):
        if kind in "wN" and place not in taken and words[place].lower() not in STOP_WORDS:
            run.append(place)
        elif kind != " ":
            close()
    close()
    return found
