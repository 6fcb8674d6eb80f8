"""What distillation adds to a student's task: the reader of both kinds of rows, the inputs, checks of the flags.

class Student(Teaching, StudentNetworks, Classifier): ...
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from distill.layers import LayerTeacher, check_layers, layers_digest, load_layers
from distill.losses import teaching_inputs
from distill.mixture import FOREVER, Mixture
from distill.rows import TEACHER_COLUMNS, open_table
from distill.soft_labels import SoftLabels, folder_of
from distill.sources import Asked, Source, Stored
from distill.students.flags import StudentFlags
from distill.taught import Taught, TaughtReader
from distill.teacher import CLASSES, NUMBERS, TASKS
from finetune.spec import ModelSpec, Reading
from finetune.task import FinetuneTask
from propeller.errors import UserError
from reader.tables.form import TableForm

if TYPE_CHECKING:
    from propeller.train.model import Input, RunMode
    from propeller.train.trainer import Learner
    from reader.batch_reader import BatchReader
    from reader.tokenizer import Tokenizer


class Weights(NamedTuple):
    """Of the terms of a loss, see ``distill.losses``."""

    gold_weight: float
    soft_weight: float
    mse_weight: float
    hard_weight: float
    temperature: float


class Teaching(FinetuneTask):
    """A task that may learn from a teacher: ``spec.settings`` are ``TeachingFlags``.

    Attributes:
        learns: what a teacher of it tells, see ``distill.teacher``.
        taught_reader: the class of the readers of its training files.
    """

    flags: type = StudentFlags
    learns = CLASSES
    taught_reader: type[Taught] = TaughtReader
    more_columns = tuple(TEACHER_COLUMNS.values())
    # No script of 2019 knows students.
    job = "finetune.prediction.run:PredictionJob"
    script = "python -m finetune.prediction"

    def __init__(self, config: Any, spec: ModelSpec, mode: RunMode, optimizer: Any = None) -> None:
        super().__init__(config, spec, mode, optimizer)
        self.distils = self.training_mode and spec.settings is not None and spec.settings.distils
        if self.distils:
            self.inputs = (*self.inputs, *self.teaching_inputs(spec.num_labels))
        learns_layers = self.training_mode and spec.settings is not None and spec.settings.layer_teacher
        self.layers = LayerTeacher(config, spec.settings) if learns_layers else None

    @classmethod
    def teaching_inputs(cls, columns: int) -> tuple[Input, ...]:
        """The inputs that a teacher of so many logits adds."""
        return teaching_inputs(columns)

    def token_states(self, features: dict[str, Any]) -> Any:
        """The vector of each token; where layers are learnt, what that costs is kept for ``layer_loss``."""
        if self.layers is None:
            return super().token_states(features)
        states = self.encoder.all_states(features)
        self._layer_loss = self.layers.loss(self.encoder, states, features)
        return states[-1]

    def pooled(self, features: dict[str, Any]) -> Any:
        """The vector of each example; see ``token_states``."""
        if self.layers is None:
            return super().pooled(features)
        return self.encoder.pool(self.token_states(features))

    def layer_loss(self) -> Any:
        """Of a train Program, the mean over its rows of what layers cost; 0 where none are learnt."""
        return 0.0 if self.layers is None else self._layer_loss.mean()

    @classmethod
    def knows_loss_flag(cls, name: str, spec: ModelSpec) -> bool:
        """Not where a teacher has a say: its part of the loss is of another form."""
        return super().knows_loss_flag(name, spec) and not (spec.settings.distils or spec.settings.layer_teacher)

    @classmethod
    def weights(cls, spec: ModelSpec) -> Weights:
        """The weights that the flags come to; of a number there is nothing but the squared distance."""
        given, number = spec.settings, cls.learns == NUMBERS
        return Weights(
            given.gold_weight,
            _first(given.soft_weight, 0.0 if number else 1.0),
            _first(given.mse_weight, 1.0 if number else 0.0),
            given.hard_weight,
            given.temperature,
        )

    @classmethod
    def check_teaching(cls, spec: ModelSpec) -> None:
        """Raise UserError where the flags of distillation do not go together."""
        given = spec.settings
        cls._check_layers(spec)
        if not given.distils:
            for name in ("teacher", "teacher_labels"):
                if getattr(given, name):
                    raise UserError(f"--{name} needs --unlabelled_set, the rows it is for, or --teach_labelled true")
            return
        weights = cls.weights(spec)
        for name, value in weights._asdict().items():
            if name != "temperature" and not 0 <= value < float("inf"):
                raise UserError(f"--{name} must be 0 or more, not {value:g}")
        if not 0 < weights.temperature < float("inf"):
            raise UserError(f"--temperature must be above 0, not {weights.temperature:g}")
        if not weights.soft_weight + weights.mse_weight + weights.hard_weight:
            raise UserError("all weights of the teacher are 0: give --soft_weight, --mse_weight or --hard_weight")
        if cls.learns == NUMBERS and (weights.soft_weight or weights.hard_weight):
            raise UserError("--soft_weight and --hard_weight are for classes: of a number there is --mse_weight alone")
        if given.unlabelled_ratio < 1:
            raise UserError(f"--unlabelled_ratio must be at least 1, not {given.unlabelled_ratio}")
        if given.teacher_retries < 0:
            raise UserError(f"--teacher_retries must be 0 or more, not {given.teacher_retries}")
        if given.unlabelled_set and given.teach_labelled and given.teacher_labels:
            raise UserError(
                "--teacher_labels names the logits of one file, and two are taught: leave it out, each has them in a "
                "folder beside it"
            )

    @classmethod
    def _check_layers(cls, spec):
        given = spec.settings
        for name in ("hidden_weight", "relation_weight"):
            if not 0 <= getattr(given, name) < float("inf"):
                raise UserError(f"--{name} must be 0 or more, not {getattr(given, name):g}")
        weighs = given.hidden_weight or given.relation_weight
        if weighs and not given.layer_teacher:
            raise UserError(
                "--hidden_weight and --relation_weight need --layer_teacher, the model whose layers are learnt"
            )
        if given.layer_teacher and not weighs:
            raise UserError("--layer_teacher without a weight: give --hidden_weight or --relation_weight")
        if given.relation_heads is not None and given.relation_heads < 1:
            raise UserError(f"--relation_heads must be at least 1, not {given.relation_heads}")
        if given.layer_teacher and spec.network is not None:
            check_layers(cls.read_config(spec.network), given, spec.tokenizer_fingerprint)

    @classmethod
    def prepare(cls, learner: Learner, spec: ModelSpec) -> None:
        """Loads the layers that are learnt from."""
        if spec.settings.layer_teacher and spec.network is not None:
            check_layers(cls.read_config(spec.network), spec.settings, spec.tokenizer_fingerprint)
            load_layers(learner, spec.settings.layer_teacher)

    @classmethod
    def known_by(cls, spec: ModelSpec) -> dict[str, Any]:
        """The weights of the layers that are learnt from."""
        source = spec.settings.layer_teacher
        return {"layer_teacher": layers_digest(source)} if source else {}

    @classmethod
    def tells_waiting(cls, spec: ModelSpec) -> bool:
        """A teacher is asked, which takes its time."""
        return bool(spec.settings.teacher)

    @classmethod
    def saves_at_error(cls, spec: ModelSpec) -> bool:
        """A teacher that does not answer may be started again."""
        return bool(spec.settings.teacher)

    @classmethod
    def open_reader(cls, path: str, tokenizer: Tokenizer, spec: ModelSpec, reading: Reading) -> BatchReader:
        """While training with a teacher a ``Mixture``; else the task's own reader."""
        if not (reading.training and reading.labelled and spec.settings.distils):
            return super().open_reader(path, tokenizer, spec, reading)
        given = spec.settings
        source = _source(path, spec, cls, reading.form) if given.teach_labelled else None
        labelled = cls._taught(path, tokenizer, spec, reading, source, True)
        unlabelled = None
        if given.unlabelled_set:
            loose = replace(reading, form=reading.form.beside())
            source = _source(given.unlabelled_set, spec, cls, loose.form)
            unlabelled = cls._taught(given.unlabelled_set, tokenizer, spec, loose, source, False)
        return Mixture(labelled, unlabelled, given.unlabelled_ratio)

    @classmethod
    def _taught(cls, path, tokenizer, spec, reading, source, is_labelled):
        """A ``Taught`` reader of one of the files."""
        others = cls.taught_arguments(spec, reading, is_labelled)
        if not is_labelled:
            others.update(epochs=FOREVER, max_rows=None)
        return cls.taught_reader(
            path, tokenizer, source=source, columns=spec.num_labels, is_labelled=is_labelled, **others
        )

    @classmethod
    def taught_arguments(cls, spec: ModelSpec, reading: Reading, is_labelled: bool) -> dict[str, Any]:
        """The keyword arguments of a ``Taught`` reader that its base class takes."""
        return {
            "label_map": None if spec.label_map is None else dict(spec.label_map),
            "num_labels": spec.num_labels,
            "label_origin": spec.label_origin,
            "label_kind": cls.label_kind if is_labelled else None,
            "token_cache_dir": reading.token_cache_dir,
            "max_seq_len": spec.max_seq_len,
            "task_id": spec.task_id,
            **reading.batching(),
        }

    @classmethod
    def check_teacher(cls, facts: Mapping[str, Any], where: str, spec: ModelSpec) -> None:
        """Raise UserError where a student cannot learn from a teacher.

        Args:
            facts: of the teacher.
            where: the teacher or its labels, for messages.
        """
        if TASKS[facts["task"]] != cls.learns:
            raise UserError(
                f"{where}: the teacher is of the task {facts['task']!r}, the student {cls.name!r}: give another"
            )
        if facts["columns"] != spec.num_labels:
            raise UserError(
                f"{where}: the teacher tells {facts['columns']} classes apart, the student {spec.num_labels}: give "
                f"--num_labels {facts['columns']}, or another teacher"
            )
        theirs, ours = facts["labels"], cls.labels(spec)
        numbers = [str(number) for number in range(spec.num_labels)]
        if cls.learns != NUMBERS and theirs != ours and numbers not in (theirs, ours):
            raise UserError(
                f"{where}: the teacher's classes are {', '.join(theirs)}, the student's {', '.join(ours)}: give the "
                "teacher's --label_map_config"
            )


def _source(path: str, spec: ModelSpec, task: type[Teaching], form: TableForm) -> Source:
    """Where the logits of a file come from. Raises UserError: there are none, or of another kind of teacher."""
    given = spec.settings
    folder, table = given.teacher_labels or folder_of(path), open_table(path, form=form, lists=task.tags_tokens)
    source: Source
    if given.teacher:
        is_server = "://" in given.teacher
        source = Asked(table, given.teacher, folder, **({"retries": given.teacher_retries} if is_server else {}))
    else:
        source = Stored(table, SoftLabels.read(folder, table.text_identity, path))
    task.check_teacher(source.facts, given.teacher or folder, spec)
    return source


def _first(value, default):
    return default if value is None else value
