"""The report of reading comprehension: by length of question, answer and context, and the questions that go wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.mrc import answers as mrc_answers
from finetune.mrc import unanswerable
from finetune.mrc.gold import language_by
from finetune.mrc.predictions import InOrder, own_logits
from finetune.mrc.scores import SCRIPTS, score
from finetune.prediction.run import Progress, ordered_results
from finetune.reporting.parts import Report, Table, as_sure_as_right, bands, by_confidence

if TYPE_CHECKING:
    from finetune.prediction.model import InferenceModel
    from reader.squad.reader import SquadReader


def report(model: InferenceModel, reader: SquadReader, path: str) -> Report:
    """The report of a file with answers, see ``finetune.reporting.classes.report``."""
    settings, questions = model.spec.settings, reader.file.questions
    language = language_by(settings, questions)
    texts, nbest = _predict(model, reader)
    exact, overlap = _scores(questions, texts, language, settings.version_2_with_negative)
    sure = np.array([_probability(nbest[each.id], texts[each.id]) for each in questions])
    windows = [len(reader.windows(number)) for number in range(len(questions))]
    seen = reader.survey()
    made = Report(model.task.name, path)
    made.facts = {
        "questions": len(questions),
        "em": float(exact.mean()),
        "f1": float(overlap.mean()),
        "scored_as": SCRIPTS[language] + (", no answer as in SQuAD 2.0" if settings.version_2_with_negative else ""),
        "wrong": int((overlap < 1).sum()),
        "unknown_share": seen.unknown / max(seen.pieces, 1),
        "several_windows": sum(count > 1 for count in windows),
    }
    about = f"Exact match and F1 as shares of 1, by the rules of {SCRIPTS[language]}."
    made.tables += by_length(questions, windows, about, (exact, overlap, sure))
    wrong = np.flatnonzero(overlap < 1)
    odd = as_sure_as_right(overlap == 0, exact == 1, sure)
    made.facts["suspects"] = len(odd)
    header = ["id", "F1", "confidence", "predicted", "answers", "question"]

    def entry(number):
        each = questions[number]
        return [each.id, overlap[number], sure[number], texts[each.id], " | ".join(each.answers), each.text]

    made.wrong = Table(
        "Wrong answers",
        "Questions whose answer is not wholly right, the surest first.",
        header,
        [entry(number) for number in wrong[by_confidence(sure[wrong])].tolist()],
    )
    made.suspects = Table(
        "Likely label errors",
        "Questions whose predicted answer has nothing of the labelled one, though the model is as sure of it as it is, "
        "on average, of right answers. Use questions that the model was not trained on.",
        header,
        [entry(number) for number in odd.tolist()],
    )
    return made


def _predict(model: InferenceModel, reader: SquadReader) -> tuple[Mapping[str, str], Mapping[str, list]]:
    """Question id -> the predicted answer, and question id -> the best candidates."""
    settings = model.spec.settings
    progress = Progress(model, reader.num_examples, "windows", False)
    results = InOrder(ordered_results(reader, progress, own_logits))
    size = settings.n_best_size, settings.max_answer_length
    if settings.version_2_with_negative:
        found = unanswerable.predict(reader, results, *size)
        return found.chosen(unanswerable.threshold_of(settings)), found.nbest
    return mrc_answers.predict(reader, results, *size)


def _scores(
    questions: Sequence[Any], texts: Mapping[str, str], language: str, has_unanswerable: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Exact match and F1 of each question, float [questions] from 0 to 1."""
    if has_unanswerable:
        scores = [unanswerable.raw_scores(language, each.answers, texts[each.id]) for each in questions]
        exact, overlap = np.array(scores).T
        return exact, overlap
    scored = [score(language, {each.id: each.answers}, {each.id: texts[each.id]}) for each in questions]
    exact, overlap = (np.array([each[name] for each in scored]) / 100 for name in ("em", "f1"))
    return exact, overlap


def by_length(
    questions: Sequence[Any], windows: Sequence[int], about: str, scores: Sequence[np.ndarray]
) -> list[Table]:
    """A table for each length of a question: its scores in bands of that length.

    Args:
        questions: of the file.
        windows: how many each is read in.
        about: what the tables say of themselves.
        scores: exact match, F1 and confidence, float [questions] each.
    """
    lengths = {
        "characters of the question": [len(each.text) for each in questions],
        "characters of the answer": [len(each.answers[0]) if each.answers else 0 for each in questions],
        "characters of the context": [len(each.context) for each in questions],
        "windows": windows,
    }
    header, tables = ["questions", "count", "exact match", "F1", "mean confidence"], []
    for what, values in lengths.items():
        groups = [("all", np.ones(len(questions), bool)), *bands(np.array(values), what)]
        rows = [[name, int(own.sum()), *(float(score[own].mean()) for score in scores)] for name, own in groups]
        tables.append(Table(f"By {what}", about, header, rows))
    return tables


def _probability(nbest, text):
    """That of the text that is predicted, "" where it is no answer."""
    return next((entry["probability"] for entry in nbest if entry["text"] == text), nbest[0]["probability"])
