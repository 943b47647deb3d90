"""A body dropped into water, exactly: in each of three regions its motion has a closed form.

In the air it falls; while the surface cuts it, buoyancy grows with its depth, so that it is a
damped oscillator; below, a constant lessens its weight. Drag is proportional to speed.
"""

import cmath
import dataclasses
import math

import numpy as np
from scipy import optimize

from sorajax.worlds.physics import FLOOR, Contact

SURFACE = 'water'  # what a body meets that falls in
STILL = 0.03  # a body that leaves the ground under water more slowly stays there
GRID_S = 1 / 240  # in which a region is left once at most


@dataclasses.dataclass(frozen=True)
class Basin:
  """The water.

  Attributes:
    level: y of its surface.
    floor: y of its ground.
    gravity: heights a second².
    density: of the water, in the unit of the bodies'.
    drag: deceleration ÷ speed of what is in it, 1/s.
  """

  level: float
  floor: float
  gravity: float
  density: float
  drag: float


@dataclasses.dataclass(frozen=True)
class Diver:
  """A body that moves up and down alone.

  Attributes:
    radius: half its height.
    density: above that of the water it sinks.
    mass: for impulses.
    restitution: share of the speed that is left after the ground.
    position: (x, y) of the centre at the start, all of it above the water.
  """

  radius: float
  density: float
  mass: float
  restitution: float
  position: tuple[float, float]


AIR, CUT, UNDER = range(3)  # above the water, at its surface, below


@dataclasses.dataclass(frozen=True)
class _Piece:
  """The motion in one region: y = start + steady·t + bend·t² + Re Σ weight·(exp(rate·t) − 1).

  Here t is the time since `begin_s`.
  """

  region: int
  begin_s: float
  start: float
  steady: float = 0.0
  bend: float = 0.0
  rates: tuple[complex, ...] = ()
  weights: tuple[complex, ...] = ()

  def place(self, time_s):
    t = time_s - self.begin_s
    swing = sum((w * np.expm1(r * t)).real for r, w in zip(self.rates, self.weights))
    return self.start + self.steady * t + self.bend * t * t + swing

  def speed(self, time_s):
    t = time_s - self.begin_s
    swing = sum((w * r * np.exp(r * t)).real for r, w in zip(self.rates, self.weights))
    return self.steady + 2 * self.bend * t + swing


class Dive:
  """What becomes of one diver.

  Args:
    diver: a body.
    basin: what it falls into.
    number: of the body, as contacts name it.
    seconds: how long to follow it.

  Attributes:
    contacts: with the surface, from above, and with the ground, in order.
  """

  def __init__(self, diver: Diver, basin: Basin, number: int, seconds: float):
    self._diver, self._basin, self._number, self._seconds = diver, basin, number, seconds
    self.contacts = list[Contact]()
    self._pieces = [self._piece(AIR, 0.0, diver.position[1], 0.0)]
    while (following := self._next()) is not None:
      self._pieces.append(following)

  def at(self, time_s: float) -> tuple[float, float]:
    """y and its rate of change."""
    piece = next(p for p in reversed(self._pieces) if p.begin_s <= max(time_s, 0.0))
    return float(piece.place(time_s)), float(piece.speed(time_s))

  def _next(self) -> _Piece | None:
    """The piece after the last; None where there is none in time."""
    last, r = self._pieces[-1], self._diver.radius
    top, bottom = self._basin.level + r, self._basin.level - r
    high = (math.inf, top, bottom)[last.region]
    low = (top, bottom, self._basin.floor + r)[last.region]
    times = np.arange(last.begin_s, self._seconds + GRID_S, GRID_S)[1:]
    y = last.place(times)
    out = np.flatnonzero((y > high) | (y < low))
    if not len(out):
      return None
    late, edge = float(times[out[0]]), low if y[out[0]] < low else high
    over = lambda t: float(last.place(t)) - edge
    early = late - GRID_S
    when = optimize.brentq(over, early, late, xtol=1e-14) if over(early) * over(late) < 0 else early
    speed = float(last.speed(when))
    if when >= self._seconds:
      return None
    if edge == high:
      return self._piece(last.region - 1, when, edge, speed)
    if last.region == UNDER:
      return self._bounce(when, edge, speed)
    if last.region == AIR:
      self._touch(SURFACE, when, -speed, self._basin.level, -speed)
    return self._piece(last.region + 1, when, edge, speed)

  def _bounce(self, time_s: float, y: float, speed: float) -> _Piece:
    back = -self._diver.restitution * speed
    stays = back < STILL and self._diver.density > self._basin.density
    back = 0.0 if stays else back
    self._touch(FLOOR, time_s, -speed, self._basin.floor, back - speed)
    return _Piece(UNDER, time_s, y) if stays else self._piece(UNDER, time_s, y, back)

  def _touch(self, other: str, time_s: float, speed: float, y: float, change: float) -> None:
    place = (self._diver.position[0], y)
    impulse = self._diver.mass * change
    self.contacts.append(Contact(time_s, self._number, other, speed, impulse, place))

  def _piece(self, region: int, time_s: float, y: float, v: float) -> _Piece:
    b, d = self._basin, self._diver
    lift = b.density / d.density
    pull = b.gravity if region == AIR else b.gravity * (1 - lift)  # when it is wholly there
    drag = 0.0 if region == AIR else b.drag
    if region == CUT:
      middle = b.level + d.radius - 2 * d.radius / lift  # where it would float
      root = cmath.sqrt(drag * drag - 2 * b.gravity * lift / d.radius)
      one, two = (-drag + root) / 2, (-drag - root) / 2
      weight = (v - two * (y - middle)) / (one - two)
      return _Piece(region, time_s, y, rates=(one, two), weights=(weight, y - middle - weight))
    if not drag:
      return _Piece(region, time_s, y, steady=v, bend=-pull / 2)
    steady = -pull / drag
    return _Piece(region, time_s, y, steady, rates=(-drag,), weights=((steady - v) / drag,))
