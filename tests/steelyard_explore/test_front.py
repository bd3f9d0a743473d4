"""Fronts against the definition, and their order."""

import random
from dataclasses import replace

import pytest

from steelyard_boards import Demand, board
from steelyard_explore import OBJECTIVES, Found, Point, pareto_front, united_fronts

CONFIG = board("ulx3s_25f").default


def found(number: int, cycles: int, luts: int, accuracy: float | None = None, rams: int = 1):
    point = Point(
        number=number, config=CONFIG, batch=1, cycles=cycles, demand=Demand(luts, rams, 1)
    )
    return Found(point=point, board="ulx3s_25f", clock_hz=1000, accuracy=accuracy)


def beats(a: Found, b: Found, objectives) -> bool:
    pairs = [(OBJECTIVES[name](a), OBJECTIVES[name](b)) for name in objectives]
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("objectives", [("fps",), ("fps", "lut"), ("lut", "accuracy", "latency")])
def test_a_front_is_what_nothing_beats(seed, objectives):
    draw = random.Random(seed)
    every = [
        found(n, draw.randrange(1, 15), draw.randrange(10), draw.randrange(5) / 10)
        for n in range(200)
    ]
    front = pareto_front(every, objectives)
    unbeaten = [a for a in every if not any(beats(b, a, objectives) for b in every)]

    def values(each):
        return tuple(OBJECTIVES[name](each) for name in objectives)

    assert {values(each) for each in front} == {values(each) for each in unbeaten}
    assert len({values(each) for each in front}) == len(front)
    assert [values(each) for each in front] == sorted(values(each) for each in front)


def test_of_equals_the_smallest_is_taken_and_then_the_first():
    every = [found(1, 5, 9, rams=3), found(2, 5, 9, rams=2), found(3, 5, 9, rams=2)]
    assert [each.point.number for each in pareto_front(every, ("fps",))] == [2]
    assert pareto_front([], ("fps",)) == []


def test_fewer_weights_do_not_hide_the_network_as_it_is():
    every = [found(1, 8, 9), found(2, 9, 9), found(3, 9, 5)]
    thin = [replace(found(4, 2, 4), k=2), replace(found(5, 3, 4), k=2)]
    assert [each.point.number for each in united_fronts(every + thin, ("fps", "lut"))] == [4, 1, 3]
    assert [each.point.number for each in pareto_front(every + thin, ("fps", "lut"))] == [4]


def test_where_accuracy_counts_it_is_one_front_with_the_network_as_it_is():
    every = [found(1, 8, 9, 0.9), found(2, 9, 9, 0.9)]
    better = [replace(found(3, 4, 4, 0.9), k=4), replace(found(4, 5, 4, 0.8), k=3)]
    worse = [replace(found(5, 2, 4, 0.5), k=2)]
    names = ("fps", "accuracy")

    def numbers(some):
        return [each.point.number for each in united_fronts(some, names)]

    # K = 3 is slower than K = 4 and less accurate; K = 4 is as accurate as all weights are.
    assert numbers(every + better + worse) == [5, 3, 1]
    assert numbers(every + worse) == [5, 1]


def test_frames_a_second_count_the_batch_and_latency_does_not():
    one = found(1, 100, 1)
    assert one.frames_per_second == 10 and one.latency_s == 0.1
    point = Point(number=1, config=CONFIG, batch=4, cycles=100, demand=Demand(1, 1, 1))
    four = Found(point=point, board="ulx3s_25f", clock_hz=1000)
    assert four.frames_per_second == 40 and four.latency_s == 0.1
