"""The rate of an update is that of Paddle's scheduler after as many steps, whichever update is asked for first."""

import pytest
from paddle.optimizer import lr

from propeller.errors import UserError
from propeller.train.rates import Rates

SCHEDULERS = {
    "linear": lambda: lr.LinearLR(0.3, 20, start_factor=0.5),
    "warmup, linear": lambda: lr.LinearWarmup(lr.LinearLR(0.3, 20), 4, 0.0, 0.3),
    "warmup, polynomial": lambda: lr.LinearWarmup(lr.PolynomialDecay(0.3, 20, 0.0), 4, 0.0, 0.3),
    "cosine": lambda: lr.CosineAnnealingDecay(0.3, 8),
    "warm restarts": lambda: lr.CosineAnnealingWarmRestarts(0.3, 3, 2),
    "multiplicative": lambda: lr.MultiplicativeDecay(0.3, lambda epoch: 0.9),
    "noam": lambda: lr.NoamDecay(64, 5),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_rate_belongs_to_its_update(name):
    scheduler, expected = SCHEDULERS[name](), []
    for _ in range(30):
        expected.append(scheduler())
        scheduler.step()
    rates = Rates(SCHEDULERS[name]())
    twice = [rates(update) for update in range(30) for _ in range(2)]
    assert twice == pytest.approx([rate for rate in expected for _ in range(2)], rel=1e-9)
    assert [Rates(SCHEDULERS[name]())(update) for update in (0, 7, 29)] == pytest.approx(
        [expected[update] for update in (0, 7, 29)], rel=1e-9
    ), "a run that continues"
    assert rates(7) == pytest.approx(expected[7], rel=1e-9), "an earlier one"


def test_a_linear_rate_is_linear():
    rates = Rates(lr.LinearLR(0.3, 20, start_factor=0.5))
    assert [rates(update) for update in (10, 10, 0, 25)] == pytest.approx([0.225, 0.225, 0.15, 0.3])


def test_a_scheduler_that_began_later():
    assert Rates(lr.ExponentialDecay(0.3, 0.9, last_epoch=9))(2) == pytest.approx(0.3 * 0.9**2)


@pytest.mark.parametrize("warmups", [0, 1, 2])
def test_a_rate_that_depends_on_scores_is_an_error(warmups):
    scheduler = lr.ReduceOnPlateau(0.3)
    for _ in range(warmups):
        scheduler = lr.LinearWarmup(scheduler, 4, 0.0, 0.3)
    with pytest.raises(UserError, match="ReduceOnPlateau: its rate is not known by the step"):
        Rates(scheduler)
