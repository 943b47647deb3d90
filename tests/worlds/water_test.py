"""What floats, what sinks, and that water takes no more energy than its drag."""

import dataclasses

import numpy as np
import pytest
from scipy import integrate

from sorajax.worlds.physics import FLOOR
from sorajax.worlds.water import SURFACE, Basin, Dive, Diver

BASIN = Basin(level=0.5, floor=0.1, gravity=2.0, density=1.5, drag=0.0)
CORK = Diver(radius=0.1, density=1.0, mass=0.1, restitution=0.5, position=(0.5, 0.85))
SOLVER = {'rtol': 1e-9, 'atol': 1e-10, 'max_step': 2e-3}
STONE = dataclasses.replace(CORK, density=3.0)


def lift(diver: Diver, basin: Basin, y: float) -> float:
  """Acceleration by buoyancy: of the share of its height that is below the surface."""
  depth = (basin.level + diver.radius - y) / (2 * diver.radius)
  return basin.gravity * basin.density / diver.density * min(max(depth, 0.0), 1.0)


def energy(diver: Diver, basin: Basin, y: float, v: float) -> float:
  """Per mass: motion, weight, and the work against buoyancy since it left the air."""
  depth, r = basin.level + diver.radius - y, diver.radius
  cut = min(max(depth, 0.0), 2 * r)
  work = cut**2 / (4 * r) + max(depth - 2 * r, 0.0)
  return v * v / 2 + basin.gravity * y + basin.gravity * basin.density / diver.density * work


@pytest.mark.parametrize('diver', [CORK, STONE])
def test_without_drag_energy_does_not_drift_between_contacts(diver):
  dive = Dive(diver, BASIN, 0, 4.0)
  ground = [c.time_s for c in dive.contacts if c.other == FLOOR]
  end = ground[0] if ground else 4.0
  found = [energy(diver, BASIN, *dive.at(t)) for t in np.linspace(0, end * (1 - 1e-9), 300)]
  assert np.ptp(found) <= 1e-9


@pytest.mark.parametrize('density', [0.4, 1.0, 1.45, 1.6, 3.0])
@pytest.mark.parametrize('drag', [0.0, 0.7, 3.0])
def test_it_moves_as_its_equation_says(density, drag):
  diver, basin = dataclasses.replace(CORK, density=density), dataclasses.replace(BASIN, drag=drag)
  dive = Dive(diver, basin, 0, 4.0)
  end = min([c.time_s for c in dive.contacts if c.other == FLOOR] + [3.0]) * (1 - 1e-6)

  def equation(t, state):
    y, v = state
    wet = y < basin.level + diver.radius
    return v, -basin.gravity + lift(diver, basin, y) - drag * v * wet

  solved = integrate.solve_ivp(
    equation, (0, end), (0.85, 0.0), rtol=1e-9, atol=1e-10, max_step=2e-3
  )
  np.testing.assert_allclose(dive.at(end), solved.y[:, -1], atol=2e-3 if drag else 1e-4)


def test_what_is_lighter_comes_to_float_with_its_share_under_water():
  dive = Dive(CORK, dataclasses.replace(BASIN, drag=3.0), 0, 30.0)
  y, v = dive.at(29.9)
  under = (BASIN.level + CORK.radius - y) / (2 * CORK.radius)
  assert abs(v) < 1e-6 and under == pytest.approx(1.0 / 1.5, abs=1e-6)
  assert dive.contacts[0].other == SURFACE


def test_what_is_heavier_comes_to_lie_on_the_ground():
  dive = Dive(STONE, dataclasses.replace(BASIN, drag=2.0), 3, 20.0)
  y, v = dive.at(19.0)
  assert (y, v) == (BASIN.floor + STONE.radius, 0.0)
  assert {c.body for c in dive.contacts} == {3}
  assert [c.other for c in dive.contacts][:2] == [SURFACE, FLOOR]


@pytest.mark.parametrize('diver', [CORK, STONE])
def test_place_and_speed_are_continuous_but_for_the_ground(diver):
  dive = Dive(diver, dataclasses.replace(BASIN, drag=0.7), 0, 4.0)
  times = np.linspace(0, 4, 40_001)
  y, v = np.array([dive.at(t) for t in times]).T
  assert np.abs(np.diff(y)).max() < 2e-4
  jumps = times[1:][np.abs(np.diff(v)) > 2e-3]
  ground = np.array([c.time_s for c in dive.contacts if c.other == FLOOR])
  assert all(np.abs(ground - t).min() < 2e-4 for t in jumps)
