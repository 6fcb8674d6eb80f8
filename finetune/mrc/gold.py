"""Answers in a file to predict: the predictions are scored against them, as in an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from finetune.mrc import unanswerable
from finetune.mrc.scores import language_of, score
from finetune.prediction.gold import Gold
from reader.squad.file import SquadFile

if TYPE_CHECKING:
    from finetune.mrc.flags import MrcArgs
    from reader.squad.file import Question
    from reader.squad.reader import Questions


def language_by(settings: MrcArgs, questions: Sequence[Question]) -> str:
    """The rules of the scores: as ``--mrc_language`` says, else by the questions."""
    language = settings.mrc_language
    return language_of([question.text for question in questions]) if language == "auto" else language


class AnswerGold(Gold):
    """The answers of the questions that have one; with questions without an answer (SQuAD 2.0) of all.

    Args:
        file: the questions, read without their answers.
        settings: the task's settings.
        texts: question id -> predicted answer, with ``odds`` whether or not no answer scores above it.
        odds: question id -> null score difference, or None without such questions.
    """

    what = "questions"

    def __init__(
        self,
        file: SquadFile | Questions,
        settings: MrcArgs,
        texts: Mapping[str, str],
        odds: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.settings, self.texts, self.odds = settings, texts, odds
        self.questions: list[Question] = []
        if isinstance(file, SquadFile) and file.has_answers:
            labelled = SquadFile(file.path, "score", "skip", unanswerable=odds is not None)
            self.questions = [question for question in labelled.questions if question.id in texts]
        self.read, self.sure = len(self.questions), bool(self.questions)

    def scores(self) -> Mapping[str, float]:
        language = language_by(self.settings, self.questions)
        answers = {question.id: question.answers for question in self.questions}
        texts = {name: self.texts[name] for name in answers}
        if self.odds is None:
            return score(language, answers, texts)
        return unanswerable.score(language, answers, texts, self.odds, unanswerable.threshold_of(self.settings))
