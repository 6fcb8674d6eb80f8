"""Where a run begins, and the checkpoints it writes: between the loop and a saver, the same on all ranks.

checkpoints = Checkpointer(learner, saver)
state = checkpoints.start(None)
checkpoints.save(state)
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from propeller.errors import UserError
from propeller.files import is_full
from propeller.train import averaging
from propeller.train.model import RunMode
from propeller.train.saver import DiskFull
from propeller.train.state import TrainState

if TYPE_CHECKING:
    from propeller.train.saver import Saver
    from propeller.train.shared import SharedSaver
    from propeller.train.state import StepSums
    from propeller.train.trainer import Learner


log = logging.getLogger("propeller.train")


class Checkpointer:
    """Restores a run from its last checkpoint and writes further ones.

    Args:
        learner: whose variables are written.
        saver: a ``Saver``.
    """

    def __init__(self, learner: Learner, saver: Saver | SharedSaver) -> None:
        self.learner, self.saver, self.ranks = learner, saver, learner.ranks
        self._held: tuple[int, int | None] | None = None  # (step of a checkpoint to fall back on, the one before it)
        self._without_room: int | None = None  # the step whose checkpoint of ``hold`` found no room

    def start(self, begin: TrainState | None) -> TrainState:
        """Variables from the last checkpoint, what it lacks from the startup Programs; the state to go on from.

        Args:
            begin: the state to begin from where there is no checkpoint; None: step 0.
        """
        learner, restored = self.learner, self.saver.restore()
        state = begin or TrainState()
        if restored:
            parameters, optimizer_state, stored = restored
            learner.write(averaging.restored(parameters, optimizer_state))
            state = TrainState(**stored)
            log.info("continue from step %d, epoch %d, %d rows read in it", state.step, state.epoch, state.rows)
        learner.graphs.initialise()
        state = state if self.ranks.size == 1 else self._start_as_first(state)
        if self.ranks.broadcast(restored is not None):
            self._find_held(state)
        return state

    def _find_held(self, state):
        """A checkpoint that says another one was the last to be kept was written before an evaluation."""
        if state.step and state.saved_step != state.step:
            self._held, state.saved_step = (state.step, state.saved_step), state.step

    def _start_as_first(self, state):
        """The first rank's state and variables, on every rank."""
        learner = self.learner
        self.ranks.barrier()
        state = TrainState(**self.ranks.broadcast(dataclasses.asdict(state)))
        names = list(learner.graphs.parameters(RunMode.TRAIN))
        if state.step:  # else the moments are those of a new run, alike everywhere
            names += learner.graphs.optimizer_variables()
        learner.write(self.ranks.broadcast_arrays(learner.read(names)))
        return state

    def hold(self, state: TrainState) -> None:
        """Write a checkpoint of the present step before an evaluation, so that one that fails loses nothing.

        It is no other than those that are kept until ``save`` takes it over or ``let_go`` removes it.
        """
        if not state.step or state.saved_step == state.step:
            return
        self._held = None
        before = state.saved_step
        if self._write(state, held=True):
            self._held = state.step, before
        else:
            self._without_room = state.step

    def note(self, state: TrainState, facts: Mapping[str, Any]) -> None:
        """Add what an evaluation found of the model to the record of the present step's checkpoint, if there is one."""
        if not self.ranks.first or state.saved_step != state.step:
            return
        try:
            self.saver.note(state.step, facts)
        except UserError as error:
            log.warning("%s; the checkpoint of step %d lacks what its evaluation found", error, state.step)

    def let_go(self, state: TrainState) -> None:
        """After the evaluation: remove the checkpoint of ``hold`` where ``save`` did not take it over."""
        if self._held is None or self._held[0] != state.step:
            return
        step, state.saved_step = self._held
        self._held = None
        if self.ranks.first:
            self.saver.withdraw(step)
        self.ranks.barrier()

    def save(self, state: TrainState, last: bool = False) -> bool:
        """Write a checkpoint of the present step; returns whether there is one.

        Args:
            state: where the run is.
            last: whether it is the last one of the run, for which a full disk is an error.

        Raises:
            UserError: the last one cannot be written.
        """
        if self._held and self._held[0] == state.step:
            self._take_over(state)
            return True
        if state.step == self._without_room and not last:  # said already
            return False
        return state.saved_step == state.step or self._write(state, last)

    def _take_over(self, state):
        """The checkpoint of ``hold`` stays, with what the evaluation found."""
        self._held = None
        if self.ranks.first:
            try:
                self.saver.restate(state.step, {**dataclasses.asdict(state), "stop": None})
            except (OSError, UserError) as error:  # where the run continues from it, it is evaluated once more
                if not is_full(error):
                    raise
                log.warning("no room to note the evaluation of step %d in its checkpoint: make room", state.step)
            self._link_and_prune(state)
        self.ranks.barrier()

    def _link_and_prune(self, state):
        if state.best_step == state.step:  # linked before any other goes: a kill in between costs no best one
            self.saver.link("best", state.step)
        self.saver.prune(state.best_step)

    def _write(self, state, last=False, held=False):
        before, state.saved_step, full = state.saved_step, state.step, None
        learner, saver = self.learner, self.saver
        if self.ranks.first:
            try:
                weights = learner.read(learner.graphs.parameters(RunMode.TRAIN))
                weights, moments = averaging.stored(weights, learner.read(learner.graphs.optimizer_variables()))
                saver.save(
                    state.step,
                    weights,
                    moments,
                    {**dataclasses.asdict(state), "stop": None, "saved_step": before if held else state.step},
                    logging.DEBUG if held else logging.INFO,
                )
                if not held:
                    self._link_and_prune(state)
            except DiskFull as error:
                full = str(error)
        self.ranks.barrier()
        full = self.ranks.broadcast(full)
        if full is None:
            return True
        state.saved_step = before
        if last:
            raise UserError(f"{full}, and run again to continue from there")
        log.warning("%s; training goes on", full)
        return False

    def save_alone(self, state: TrainState) -> None:
        """Write a checkpoint before an error that other ranks do not know of; with several there is none."""
        if self.learner.config.save_at_error and self.ranks.size == 1 and state.step:
            self.save(state)

    def before_error(
        self, batches: Iterable[tuple[Any, Any]], state: TrainState, sums: StepSums
    ) -> Iterator[tuple[Any, Any]]:
        """The batches; where one cannot be read, the steps before it may be saved."""
        try:
            yield from batches
        except UserError:
            if not sums.micro_batches:  # else the gradients of a step under way would be missing
                self.save_alone(state)
            raise
