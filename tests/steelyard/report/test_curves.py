"""Methods at equal accuracy: what is read off curves, and its error."""

import numpy as np
import pytest

from steelyard.report import Curve, at_loss, over

IMAGES = 1000


def hits(*counts: int) -> np.ndarray:
    """One seed, so many of the first images recognized: bool (points, 1, images)."""
    return np.array([[np.arange(IMAGES) < count] for count in counts])


def curve(gains: list[float], counts: list[int]) -> Curve:
    return Curve(np.array(gains)[:, None], hits(*counts))


DENSE = hits(950)[0, 0]


@pytest.mark.parametrize(
    ("loss", "gain"), [(0.01, 2.0), (0.03, 8.0), (0.02, 4.0), (0.015, 2 * 2**0.5)]
)
def test_a_gain_is_interpolated_between_points_as_a_power(loss, gain):
    found = at_loss(curve([2, 8], [940, 920]), DENSE, loss)
    assert found.value == pytest.approx(gain)


@pytest.mark.parametrize("loss", [0.005, 0.04])
def test_nothing_is_read_off_where_a_curve_does_not_reach(loss):
    found = at_loss(curve([2, 8], [940, 920]), DENSE, loss)
    assert found.value is None
    assert found.error is None


def test_points_out_of_order_and_accuracies_that_rise_are_taken_together():
    # The two middle points count as 930 each, and the sparser of them is reached at that.
    found = at_loss(curve([8, 2, 5, 4], [900, 950, 940, 920]), DENSE, 0.02)
    assert found.value == pytest.approx(5.0)


def test_a_method_is_compared_at_equal_accuracy_not_at_equal_points():
    own, other = curve([4, 16], [940, 920]), curve([2, 4], [940, 920])
    assert over(own, other, DENSE, 0.01).value == pytest.approx(2.0)
    assert over(own, other, DENSE, 0.03).value == pytest.approx(4.0)
    # The mean over all that both reach lies between.
    assert over(own, other, DENSE, None).value == pytest.approx(8**0.5)
    assert over(own, curve([2, 4], [900, 800]), DENSE, None).value is None


def test_the_error_is_that_of_experiments_with_other_images():
    """Against curves of many independent samples of images, the same for both curves."""
    generator = np.random.default_rng(7)
    print("seed 7")
    difficulty = np.linspace(0, 1, 4000)

    def sample() -> tuple[Curve, Curve, np.ndarray]:
        images = generator.choice(difficulty, 4000)
        seen = [images < limit for limit in (0.95, 0.92, 0.90, 0.87, 0.80)]
        own = Curve(np.array([[2.0], [4.0], [16.0]]), np.array(seen)[[0, 2, 4], None])
        other = Curve(np.array([[2.0], [4.0], [16.0]]), np.array(seen)[[1, 3, 4], None])
        return own, other, seen[0]

    samples = [sample() for _ in range(80)]
    values = [over(own, other, dense, 0.06, draws=0).value for own, other, dense in samples]
    errors = [over(own, other, dense, 0.06, draws=100).error for own, other, dense in samples[:5]]
    assert np.mean([e for e in errors if e]) == pytest.approx(np.std(values), rel=0.3)


def test_seeds_that_differ_widen_the_error():
    gains = np.array([[2.0, 2.0], [8.0, 8.0]])
    alike = np.repeat(hits(940, 900), 2, axis=1)
    apart = np.concatenate([hits(948, 908), hits(932, 892)], axis=1)
    narrow = at_loss(Curve(gains, alike), DENSE, 0.02)
    wide = at_loss(Curve(gains, apart), DENSE, 0.02)
    assert wide.value == pytest.approx(narrow.value)
    assert wide.error > 1.2 * narrow.error


def test_there_is_no_error_where_few_samples_reach():
    # Just at the end of the curve: about half of the samples of images lie outside.
    generator = np.random.default_rng(3)
    seen = generator.random((2, 1, IMAGES)) < np.array([0.94, 0.92])[:, None, None]
    dense = generator.random(IMAGES) < 0.95
    loss = float(dense.mean() - seen[1].mean())
    found = at_loss(Curve(np.array([[2.0], [8.0]]), seen), dense, loss - 1e-9)
    assert found.value == pytest.approx(8.0, rel=1e-3)
    assert found.error is None
