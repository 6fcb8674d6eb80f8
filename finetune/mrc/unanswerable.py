"""Questions without an answer, as in SQuAD 2.0 (Rajpurkar, Jia and Liang 2018): predicted, scored, tuned.

    answers = predict(reader, logits, n_best_size=20, max_answer_length=100)
    answers.null_odds["Q1"]                 # score of no answer minus score of the best one
    answers.chosen(threshold=0.0)           # question id -> text, "" for no answer

"No answer" is the span at [CLS]; its score is the sum of both logits there, the least of all windows (Devlin et al.
2019, run_squad.py). The scores are those of SQuAD's evaluate-v2.0.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from finetune.mrc.answers import LogitsById, Span, best_spans, question_logits, softmax
from finetune.mrc.scores import METRICS, segments_of
from propeller.errors import UserError
from reader.squad.reader import SquadReader

if TYPE_CHECKING:
    from finetune.mrc.flags import MrcArgs

NO_CANDIDATE = 1e6  # by how much no answer scores above answers where there is no candidate for one
OFFICIAL = ("exact", "f1", "total")


def check(settings: MrcArgs) -> None:
    """Raise UserError where flags of questions without an answer do not go together."""
    given, how = settings.null_score_diff_threshold, settings.tune_null_threshold
    if not settings.version_2_with_negative and (given is not None or how != "none"):
        name = "tune_null_threshold" if how != "none" else "null_score_diff_threshold"
        raise UserError(f"--{name} is for questions without an answer: give --version_2_with_negative true")
    if given is not None and not np.isfinite(given):
        raise UserError(f"--null_score_diff_threshold {given}: give a finite number")
    if given is not None and how != "none":
        raise UserError(
            f"--null_score_diff_threshold {given:g}: is tuned by --tune_null_threshold: leave one of them out"
        )


def threshold_of(settings: MrcArgs) -> float:
    """The threshold of the null score difference; 0 where none is given and none was tuned."""
    given = settings.null_score_diff_threshold
    return 0.0 if given is None else float(given)


# ---------------------------------------------------------------- predictions


class Answers(NamedTuple):
    """Of all questions by their id. texts: the best answer, "" where there is no candidate; nbest: the n best, no
    answer among them as ""; null_odds: score of no answer minus that of the best answer."""

    texts: dict[str, str]
    nbest: dict[str, list[dict[str, Any]]]
    null_odds: dict[str, float]

    def chosen(self, threshold: float) -> dict[str, str]:
        """Question id -> text, "" where ``null_odds`` is above the threshold."""
        return {name: "" if self.null_odds[name] > threshold else text for name, text in self.texts.items()}


def null_logits(logits: Sequence[Sequence[np.ndarray]]) -> tuple[float, float]:
    """Start and end logit of no answer: those at [CLS] of the window where their sum is least."""
    pairs = [(float(start[0]), float(end[0])) for start, end in logits]
    return min(pairs, key=sum)


def null_odds(spans: Sequence[Span], logits: Sequence[Sequence[np.ndarray]]) -> float:
    """The score of no answer minus that of the best span."""
    if not spans:
        return NO_CANDIDATE
    return sum(null_logits(logits)) - (spans[0].start_logit + spans[0].end_logit)


def with_null(spans: Sequence[Span], logits: Sequence[Sequence[np.ndarray]]) -> tuple[list[Span], float]:
    """(the spans, their probabilities now with no answer among the choices; the probability of no answer)."""
    sums = [span.start_logit + span.end_logit for span in spans]
    *shares, null = softmax([*sums, sum(null_logits(logits))])
    return [span._replace(probability=share) for span, share in zip(spans, shares)], null


def predict(reader: SquadReader, logits: LogitsById, n_best_size: int, max_answer_length: int) -> Answers:
    """The answers to all questions of a reader, see ``answers.predict``."""
    found = Answers({}, {}, {})
    for question, document, windows, own in question_logits(reader, logits):
        plain = best_spans(question.context, document, windows, own, n_best_size, max_answer_length)
        spans, null = with_null(plain, own)
        start, end = null_logits(own)
        entries = [
            {"text": text, "probability": share, "start_logit": first, "end_logit": last}
            for text, _, _, share, first, last in [*spans, Span("", 0, 0, null, start, end)]
        ]
        found.texts[question.id] = spans[0].text if spans else ""
        found.nbest[question.id] = sorted(entries, key=lambda entry: -entry["probability"])
        found.null_odds[question.id] = null_odds(spans, own)
    return found


def decoded(spans: Sequence[Span], logits: Sequence[Sequence[np.ndarray]], threshold: float) -> dict[str, Any]:
    """The prediction of one question, JSON-able.

    ``answer``, ``start`` and ``end`` are null where there is no answer. ``probability`` is that of what is predicted,
    ``no_answer_probability`` that of no answer, both among the answers of ``nbest`` and no answer. ``null_score_diff``
    is what was compared with the threshold.
    """
    found, null = with_null(spans, logits)
    diff = null_odds(spans, logits)
    about = {"no_answer_probability": null, "null_score_diff": diff, "nbest": [span._asdict() for span in found]}
    if diff > threshold or not found:
        return {"answer": None, "start": None, "end": None, "probability": null, **about}
    best = found[0]
    return {"answer": best.text, "start": best.start, "end": best.end, "probability": best.probability, **about}


# ---------------------------------------------------------------- scores


def raw_scores(language: str, answers: Iterable[str], prediction: str) -> tuple[float, float]:
    """(exact match, F1) of one question; "" is right where no answer has a segment, as where there is none."""
    segments = segments_of(language)
    exact, overlap = METRICS[language]
    wanted = [text for text in answers if segments(text)] or [""]
    predicted = segments(prediction)
    f1 = max(
        overlap([text], prediction) if predicted and segments(text) else float(predicted == segments(text))
        for text in wanted
    )
    return float(exact(wanted, prediction)), float(f1)


def score(
    language: str,
    answers: Mapping[str, Sequence[str]],
    texts: Mapping[str, str],
    odds: Mapping[str, float],
    threshold: float,
) -> dict[str, Any]:
    """The scores of evaluate-v2.0.py, in percent, and ``em``, ``avg`` and ``question_num`` as without such questions.

    ``exact`` and ``f1``, of all questions, of those with an answer (``HasAns_``) and of those without (``NoAns_``),
    each with its ``total``; ``best_exact`` and ``best_f1`` with the thresholds (``_thresh``) that give them.

    Args:
        language: ``zh``, ``en`` or ``dureader``.
        answers: question id -> texts of its answers, none for a question without.
        texts: question id -> best answer, whether or not no answer scores above it; one that is missing scores 0.
        odds: question id -> null score difference.
        threshold: no answer is given where the difference is above it.
    """
    table = raw_table(language, answers, texts)
    names = list(answers)
    has_answer = np.array([bool(answers[name]) for name in names])
    given = np.array([odds.get(name, 0.0) > threshold for name in names])
    final = np.where(given[:, None], np.where(has_answer, 0.0, 1.0)[:, None], table)
    found: dict[str, Any] = {}
    for prefix, part in (("", has_answer | True), ("HasAns_", has_answer), ("NoAns_", ~has_answer)):
        if part.any():
            numbers = (*(100.0 * final[part].mean(axis=0)).tolist(), int(part.sum()))
            found.update({f"{prefix}{name}": value for name, value in zip(OFFICIAL, numbers)})
    total = found.pop("total")
    for column, name in enumerate(OFFICIAL[:2]):
        best, limit = official_best(table[:, column], has_answer, names, texts, odds)
        found.update({f"best_{name}": best, f"best_{name}_thresh": limit})
    em, f1 = found["exact"], found["f1"]
    return {"em": em, "f1": f1, "avg": (em + f1) * 0.5, "question_num": total, **found}


def raw_table(language: str, answers: Mapping[str, Sequence[str]], texts: Mapping[str, str]) -> np.ndarray:
    """Exact match and F1 of each question's best answer, float [questions, 2]; 0 for a question that has none."""
    return np.array([raw_scores(language, answers[name], texts[name]) if name in texts else (0.0, 0.0)
                     for name in answers])  # fmt: skip


def official_best(
    scores: np.ndarray,
    has_answer: np.ndarray,
    names: Sequence[str],
    texts: Mapping[str, str],
    odds: Mapping[str, float],
) -> tuple[float, float]:
    """(best score in percent, its threshold), by evaluate-v2.0.py: 0.0 as the threshold where none is better."""
    current = best = float((~has_answer).sum())
    limit = 0.0
    for place in sorted(range(len(names)), key=lambda place: odds.get(names[place], 0.0)):
        if has_answer[place]:
            current += float(scores[place])
        elif texts.get(names[place]):
            current -= 1
        if current > best:
            best, limit = current, odds.get(names[place], 0.0)
    return 100.0 * best / len(names), limit


def best_threshold(scores: np.ndarray, has_answer: np.ndarray, odds: np.ndarray) -> float:
    """The threshold with the highest mean score, half-way between two differences that occur; of equal ones the least.

    Args:
        scores: of each question's best answer, float [n].
        has_answer: bool [n].
        odds: null score differences, float [n].
    """
    order = np.argsort(odds, kind="stable")
    rising = np.asarray(odds, np.float64)[order]
    gains = (scores - ~has_answer)[order]  # by answering instead of giving no answer
    last = np.append(rising[1:] > rising[:-1], True)
    totals = np.concatenate([[0.0], np.cumsum(gains)[last]])
    edges = np.concatenate([[rising[0] - 2.0], rising[last], [rising[-1] + 2.0]])
    best = int(np.argmax(totals))
    return float((edges[best] + edges[best + 1]) / 2)


def evaluate(
    reader: SquadReader,
    logits: LogitsById,
    settings: MrcArgs,
    answers: Mapping[str, Sequence[str]],
    language: str,
    tuned: str,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(name of a file -> its content, scores) of an evaluation.

    Args:
        reader: of the questions.
        logits: unique id of a window -> (start, end), float [n] each.
        settings: the task's own flags, ``MrcArgs``.
        answers: question id -> texts of its answers.
        language: whose rules score the answers, a key of ``finetune.mrc.scores.SCRIPTS``.
        tuned: ``exact`` or ``f1`` to find the threshold by it, which is then among the scores as ``tuned``; or
            ``none``.
    """
    found = predict(reader, logits, settings.n_best_size, settings.max_answer_length)
    threshold, more = threshold_of(settings), {}
    if tuned != "none":
        column = raw_table(language, answers, found.texts)[:, OFFICIAL.index(tuned)]
        has_answer = np.array([bool(texts) for texts in answers.values()])
        odds = np.array([found.null_odds[name] for name in answers])
        threshold = best_threshold(column, has_answer, odds)
        more = {"tuned": {"flags": {"null_score_diff_threshold": threshold}}}
    files = {
        "predictions": found.chosen(threshold),
        "nbest_predictions": found.nbest,
        "null_odds": found.null_odds,
    }
    return files, {**score(language, answers, found.texts, found.null_odds, threshold), **more}


def log_text(scores: Mapping[str, Any]) -> str:
    """What the line of an evaluation has beside em and f1."""
    names = ("HasAns_exact", "HasAns_f1", "NoAns_exact", "best_f1", "best_f1_thresh")
    text = "".join(f", {name}: {scores[name]:f}" for name in names if name in scores)
    tuned = scores.get("tuned", {}).get("flags", {})
    return text + "".join(f", {name}: {value:f}" for name, value in tuned.items())
