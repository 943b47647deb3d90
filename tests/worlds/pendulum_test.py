"""A swing keeps its energy and its period."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import integrate

from sorajax.worlds.pendulum import Pendulum

SWING = Pendulum(pivot=(0.5, 0.95), length=0.6, widest=1.2, side=1, gravity=2.0, mass=0.5)
WIDEST = (0.05, 1.2, 3.0)


@pytest.mark.parametrize('widest', WIDEST)
def test_energy_does_not_drift(widest):
  swing = dataclasses.replace(SWING, widest=widest)
  found = []
  for t in np.linspace(0, 20, 200):
    position, velocity, _ = swing.at(t)
    found.append(2.0 * position[0, 1] + (velocity**2).sum() / 2)
  assert np.ptp(found) <= 1e-9


@pytest.mark.parametrize('widest', WIDEST)
def test_it_moves_as_its_equation_says(widest):
  swing = dataclasses.replace(SWING, widest=widest)
  pull = lambda t, y: (y[1], -swing.gravity / swing.length * math.sin(y[0]))
  solved = integrate.solve_ivp(pull, (0, 4), (widest, 0.0), rtol=1e-11, atol=1e-12, max_step=0.01)
  np.testing.assert_allclose(swing.swing(4.0), solved.y[:, -1], atol=1e-7)


def test_a_small_swing_has_the_textbook_period():
  small = dataclasses.replace(SWING, widest=1e-3)
  assert small.period_s == pytest.approx(2 * math.pi * math.sqrt(0.6 / 2.0), rel=1e-6)


def test_it_touches_the_chime_straight_below_the_pivot_at_full_speed():
  contacts = SWING.contacts(6.0)
  assert len(contacts) == math.floor(6.0 / (SWING.period_s / 2) + 0.5)
  for contact in contacts:
    position, velocity, _ = SWING.at(contact.time_s)
    np.testing.assert_allclose(position[0], contact.place, atol=1e-9)
    assert np.linalg.norm(velocity) == pytest.approx(contact.speed, rel=1e-9)


def test_sides_mirror_each_other():
  left = dataclasses.replace(SWING, side=-1)
  (p, _, a), (q, _, b) = SWING.at(0.7), left.at(0.7)
  assert a == -b and p[0, 0] - 0.5 == pytest.approx(0.5 - q[0, 0], rel=1e-12)
