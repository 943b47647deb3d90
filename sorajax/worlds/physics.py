"""Bodies under gravity between a floor and two walls, followed exactly from event to event.

Between events every body moves with constant acceleration, so its path is a parabola in closed form
and the moment of the next contact is the root of a polynomial of degree 4 at most. Nothing is
stepped; energy drifts by rounding alone. Lengths are in heights of the picture, y points up.

A body is a circle, or a polygon that keeps its orientation (it slides and never tumbles).
"""

import bisect
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from sorajax.worlds.reach import CLOSE, Reach, falls

AT_REST = 0.25  # a body that leaves the floor more slowly stays there
APART = 0.05  # the speed at which bodies that meet more slowly part, lest they meet without end
MOST_EVENTS = 400
MOVES = ('position', 'velocity', 'acceleration')

# Positions [N, 2], velocities [N, 2], angles [N]; with depth [N, 3], [N, 3], quaternions [N, 4].
Placed = tuple[np.ndarray, np.ndarray, np.ndarray]

FLOOR, LEFT, RIGHT = 'floor', 'left', 'right'


@dataclasses.dataclass(frozen=True)
class Mover:
  """What mechanics knows of a body.

  Attributes:
    radius: half its height and half its width.
    mass: against other bodies'.
    restitution: share of the speed that is left after the floor or a wall; between two bodies the
      smaller one of theirs counts.
    friction: deceleration on the floor, in units of gravity.
    position: (x, y) of the centre at the start.
    velocity: at the start.
    spins: whether it rolls on the floor, turning as it goes.
    corners: of its outline around the centre, convex and the same from either side; () of a circle.
  """

  radius: float
  mass: float
  restitution: float
  friction: float
  position: tuple[float, float]
  velocity: tuple[float, float]
  spins: bool = True
  corners: tuple[tuple[float, float], ...] = ()


@dataclasses.dataclass(frozen=True)
class Room:
  """Where they move.

  Attributes:
    gravity: heights a second².
    floor: its y.
    left: x of the left wall.
    right: x of the right wall.
  """

  gravity: float
  floor: float
  left: float
  right: float


@dataclasses.dataclass(frozen=True)
class Contact:
  """Two things that met.

  Attributes:
    time_s: when.
    body: number of a body.
    other: number of another, or `FLOOR`, `LEFT` or `RIGHT`, or what else the scene has.
    speed: at which they came together.
    impulse: that they exchanged.
    place: (x, y) where they touched; with depth (x, y, z).
  """

  time_s: float
  body: int
  other: int | str
  speed: float
  impulse: float
  place: tuple[float, ...]


@dataclasses.dataclass
class _State:
  """All bodies at one moment, and how they go on from there: arrays [N, 2], and [N]."""

  time_s: float
  position: np.ndarray
  velocity: np.ndarray
  acceleration: np.ndarray
  angle: np.ndarray
  turning: np.ndarray  # radians a second
  faster: np.ndarray  # by which `turning` grows, radians a second²
  resting: np.ndarray  # on the floor

  def placed(self, time_s: float) -> Placed:
    t = time_s - self.time_s
    position = self.position + self.velocity * t + self.acceleration * (t * t / 2)
    velocity = self.velocity + self.acceleration * t
    return position, velocity, self.angle + self.turning * t + self.faster * (t * t / 2)

  def later(self, time_s: float) -> '_State':
    position, velocity, angle = self.placed(time_s)
    turning = self.turning + self.faster * (time_s - self.time_s)
    kept = self.acceleration.copy(), angle, turning, self.faster.copy(), self.resting.copy()
    return _State(time_s, position, velocity, *kept)


class Motion(NamedTuple):
  """What becomes of the bodies.

  Attributes:
    at: what `Placed` says at a moment in seconds.
    contacts: in the order of their times.
  """

  at: Callable[[float], Placed]
  contacts: tuple[Contact, ...]


class TooManyEvents(Exception):
  """Bodies met so often that no clip could show it; draw another scene."""


def follow(movers: Sequence[Mover], room: Room, seconds: float) -> Motion:
  """The motion of bodies for `seconds`.

  Raises:
    TooManyEvents: more than `MOST_EVENTS` contacts.
  """
  world = _World(movers, room)
  states, contacts = [world.start()], list[Contact]()
  while True:
    now = states[-1]
    due = min(world.events(now), key=lambda e: e[0], default=None)
    if due is None or now.time_s + due[0] >= seconds:
      return Motion(_between(states), tuple(contacts))
    if len(states) > MOST_EVENTS:
      raise TooManyEvents(f'more than {MOST_EVENTS} events in {seconds} s')
    wait, body, other = due
    after = now.later(now.time_s + wait)
    contacts += world.meet(after, body, other)
    states.append(after)


def _between(states: Sequence[_State]) -> Callable[[float], Placed]:
  """The bodies at a moment, by the last event before it."""
  starts = [s.time_s for s in states]
  return lambda time_s: states[max(bisect.bisect(starts, time_s) - 1, 0)].placed(time_s)


def reach_of(one: Mover, two: Mover) -> Reach:
  """Where the centre of one body may not be, seen from the centre of another."""
  around = lambda m: (m.corners or ((0.0, 0.0),), 0.0 if m.corners else m.radius)
  (first, one_round), (second, two_round) = around(one), around(two)
  return Reach([np.add(a, b) for a in first for b in second], one_round + two_round)


STOP = 'stop'  # a body on the floor comes to a halt
Event = tuple[float, int, int | str]  # seconds from now, a body, and what it meets


class _World:
  def __init__(self, movers: Sequence[Mover], room: Room):
    self._movers, self._room = movers, room
    self._radius = np.array([m.radius for m in movers])
    pairs = itertools.combinations(range(len(movers)), 2)
    self._reaches = {(a, b): reach_of(movers[a], movers[b]) for a, b in pairs}

  def start(self) -> _State:
    position = np.array([m.position for m in self._movers], float).reshape(-1, 2)
    velocity = np.array([m.velocity for m in self._movers], float).reshape(-1, 2)
    none = lambda: np.zeros(len(position))
    resting = np.zeros(len(position), bool)
    state = _State(
      0.0, position, velocity, np.zeros_like(position), none(), none(), none(), resting
    )
    for body in range(len(position)):
      self._grip(state, body)
      self._let_go(state, body)
    return state

  def events(self, s: _State) -> Iterator[Event]:
    """All that could come next, each on its own."""
    room = self._room
    for body, radius in enumerate(self._radius):
      (x, y), (vx, vy), (ax, _) = s.position[body], s.velocity[body], s.acceleration[body]
      if not s.resting[body]:
        height = max(y - radius - room.floor, 0.0)
        yield (vy + math.sqrt(vy * vy + 2 * room.gravity * height)) / room.gravity, body, FLOOR
      elif ax:
        yield -vx / ax, body, STOP
      for wall, way, gap in (
        (LEFT, -1, x - radius - room.left), (RIGHT, 1, room.right - x - radius),
      ):  # fmt: skip
        wait = next(falls([max(gap, 0.0), -way * vx, -way * ax / 2]), None)
        if wait is not None:
          yield wait, body, wall
    for (a, b), reach in self._reaches.items():
      apart = [getattr(s, name)[a] - getattr(s, name)[b] for name in MOVES]
      wait = reach.next(apart[0], apart[1], apart[2] / 2)
      if wait is not None:
        yield wait, a, b

  def meet(self, s: _State, body: int, other: int | str) -> Iterator[Contact]:
    """Changes the velocities as the meeting does; tells of it unless it is a halt."""
    if other == STOP:
      s.velocity[body] = 0.0
      self._let_go(s, body)
    elif isinstance(other, str):
      yield from self._meet_room(s, body, other)
    else:
      yield from self._meet_body(s, body, other)

  def _meet_room(self, s: _State, body: int, side: str) -> Iterator[Contact]:
    room, mover = self._room, self._movers[body]
    axis, way, edge = {
      FLOOR: (1, -1, room.floor),
      LEFT: (0, -1, room.left),
      RIGHT: (0, 1, room.right),
    }[side]
    s.position[body, axis] = edge - way * mover.radius
    speed = way * s.velocity[body, axis]
    s.velocity[body, axis] = -way * mover.restitution * speed
    if side == FLOOR:
      self._grip(s, body)
    else:
      s.turning[body] *= -mover.restitution
    self._let_go(s, body)
    place = s.position[body].copy()
    place[axis] = edge
    impulse = mover.mass * (speed - way * s.velocity[body, axis])
    yield Contact(s.time_s, body, side, speed, float(impulse), tuple(place.tolist()))

  def _meet_body(self, s: _State, a: int, b: int) -> Iterator[Contact]:
    one, two = self._movers[a], self._movers[b]
    normal = -self._reaches[a, b].normal(s.position[a] - s.position[b])
    speed = float((s.velocity[a] - s.velocity[b]) @ normal)
    after = max(min(one.restitution, two.restitution) * speed, APART)
    impulse = (speed + after) / (1 / one.mass + 1 / two.mass)
    s.velocity[a] -= impulse / one.mass * normal
    s.velocity[b] += impulse / two.mass * normal
    for body in (a, b):
      if s.resting[body] and s.velocity[body, 1] < 0:  # the floor throws it back at once
        s.velocity[body, 1] *= -self._movers[body].restitution
      self._let_go(s, body)
    place = (two.radius * s.position[a] + one.radius * s.position[b]) / (one.radius + two.radius)
    yield Contact(s.time_s, a, b, speed, impulse, tuple(place.tolist()))

  def _let_go(self, s: _State, body: int) -> None:
    """Decides whether a body rests on the floor, and sets its acceleration."""
    mover, (vx, vy) = self._movers[body], s.velocity[body]
    low = s.position[body, 1] - mover.radius - self._room.floor < CLOSE
    s.resting[body] = low and abs(vy) < AT_REST
    if s.resting[body]:
      s.velocity[body, 1] = 0.0
      s.position[body, 1] = self._room.floor + mover.radius
      s.acceleration[body] = -np.sign(vx) * mover.friction * self._room.gravity, 0.0
      self._grip(s, body)
    else:
      s.acceleration[body] = 0.0, -self._room.gravity
      s.faster[body] = 0.0

  def _grip(self, s: _State, body: int) -> None:
    """Turns a body that touches the floor, and can roll, as fast as it goes."""
    mover = self._movers[body]
    if mover.spins:
      s.turning[body] = -s.velocity[body, 0] / mover.radius
      s.faster[body] = -s.acceleration[body, 0] / mover.radius
