"""When two bodies touch: their outlines summed, so that one of them is a point (Minkowski)."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from scipy import spatial

CLOSE = 1e-9  # how far from touching counts as touching
EARLY = 1e-9  # seconds; a root this close to now is the contact that has just been


class Reach:
  """A convex polygon around the origin with rounded corners, which a point must not enter.

  Args:
    corners: [N, 2] whose hull is the polygon, the same from either side; one for a circle.
    rounding: radius of the discs that are added at every point of it.
  """

  def __init__(self, corners: Sequence[np.ndarray], rounding: float):
    points = np.unique(np.asarray(corners, float), axis=0)
    if len(points) > 1:
      points = points[spatial.ConvexHull(points).vertices]  # counterclockwise
    self._corners, self._rounding = points, rounding
    self._edges = []
    if len(points) > 1:
      for start, end in zip(points, np.roll(points, -1, axis=0)):
        length = math.hypot(*(end - start))
        self._edges.append((start, (end - start) / length, length))

  def next(self, place: np.ndarray, velocity: np.ndarray, bend: np.ndarray) -> float | None:
    """When the point place + velocity·t + bend·t² next enters, in seconds from now."""
    path = np.stack([place, velocity, bend])
    hits = itertools.chain(self._on_edges(path), self._on_corners(path))
    return min(hits, default=None)

  def normal(self, place: np.ndarray) -> np.ndarray:
    """The direction [2] away from it, of length 1, at a point that touches it."""
    for start, along, length in self._edges:
      outward = _outward(along)
      near = abs((place - start) @ outward - self._rounding) < 1e3 * CLOSE
      if near and -CLOSE <= (place - start) @ along <= length + CLOSE:
        return outward
    corner = min(self._corners, key=lambda c: abs(math.hypot(*(place - c)) - self._rounding))
    away = place - corner
    return away / math.hypot(*away)

  def _on_edges(self, path: np.ndarray) -> Iterator[float]:
    for start, along, length in self._edges:
      distance = path @ _outward(along)
      distance[0] -= _outward(along) @ start + self._rounding
      for wait in falls(distance):
        passed = _at(path, wait)
        if -CLOSE <= (passed - start) @ along <= length + CLOSE:
          yield wait
          break

  def _on_corners(self, path: np.ndarray) -> Iterator[float]:
    if not self._rounding:
      return
    for number, corner in enumerate(self._corners):
      p, v, b = path[0] - corner, path[1], path[2]
      distance = [p @ p - self._rounding**2, 2 * p @ v, v @ v + 2 * p @ b, 2 * v @ b, b @ b]
      for wait in falls(distance):
        if self._beyond(number, _at(path, wait) - corner):
          yield wait
          break

  def _beyond(self, number: int, away: np.ndarray) -> bool:
    """Whether a direction from a corner is between those of the edges that meet there."""
    if not self._edges:
      return True
    before, after = self._edges[number - 1][1], self._edges[number][1]
    return bool(away @ before >= -CLOSE and away @ after <= CLOSE)


def falls(rising: Iterable[float]) -> Iterator[float]:
  """The times from now on at which a polynomial falls through 0, in order.

  Args:
    rising: its coefficients, that of the highest power last.
  """
  c = [float(x) for x in rising]
  if abs(c[0]) <= CLOSE:
    if next((x for x in c[1:] if x), 0.0) < 0:
      yield 0.0  # they touch, and are getting closer
    c[0] = 0.0
  while len(c) > 1 and not c[-1]:
    c.pop()
  slope = [i * x for i, x in enumerate(c)][1:]
  for root in _roots(c):
    if root > EARLY and sum(x * root**i for i, x in enumerate(slope)) < 0:
      yield root


def _roots(c: Sequence[float]) -> list[float]:
  """The real roots, rising."""
  if len(c) < 2:
    return []
  if len(c) == 2:
    return [-c[0] / c[1]]
  if len(c) == 3:
    inside = c[1] * c[1] - 4 * c[0] * c[2]
    if inside < 0:
      return []
    far = -(c[1] + math.copysign(math.sqrt(inside), c[1])) / 2  # no difference of near numbers
    return sorted([far / c[2], c[0] / far] if far else [0.0, 0.0])
  return sorted(r.real for r in np.roots(c[::-1]) if abs(r.imag) < EARLY)


def _at(path: np.ndarray, wait: float) -> np.ndarray:
  return path[0] + path[1] * wait + path[2] * wait**2


def _outward(along: np.ndarray) -> np.ndarray:
  """To the right of a direction, which is outside of a polygon that runs counterclockwise."""
  return np.array([along[1], -along[0]])
