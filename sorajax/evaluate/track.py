"""Finds the bodies of the generated world in a clip, by their colours, as a viewer would.

A body is a patch of pixels as bright as paint and of the hue of one of `scene.COLOURS`; walls and
floors are darker. Places are in heights of the picture, y up, as in `worlds`.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from scipy import ndimage, spatial

from sorajax.worlds.scene import COLOURS

BRIGHT = 112  # of 255, of the strongest of red, green and blue
APART = 0.09  # radians between the hue of a pixel and that of its colour, at most
SMALLEST = 0.2  # share of the area of the smallest body that a patch must have
WHOLE = 0.9  # share of its usual area that a body at the edge of the picture shows
SMALLEST_AREA = np.pi * 0.08**2  # of a body, in square heights
NAMES = tuple(COLOURS)
_HUES = np.array([COLOURS[name] for name in NAMES], float)
_HUES /= np.linalg.norm(_HUES, axis=1, keepdims=True)


@dataclasses.dataclass(frozen=True)
class Patch:
  """One patch of paint in one frame.

  Attributes:
    colour: a key of `scene.COLOURS`.
    place: (x, y) of its middle.
    area: in square heights.
    size: (width, height) of the box around it.
    cut: whether it touches the edge of the picture.
  """

  colour: str
  place: tuple[float, float]
  area: float
  size: tuple[float, float]
  cut: bool


@dataclasses.dataclass(frozen=True)
class Track:
  """The patches of one colour through a clip, the largest of each frame.

  Attributes:
    seen: [F] bool.
    place: [F, 2], NaN where it is not seen.
    area: [F], 0 where it is not seen.
    radius: [F], half of the larger side of the box around it, 0 where it is not seen.
    whole: [F] bool, whether all of it is in view.
  """

  seen: np.ndarray
  place: np.ndarray
  area: np.ndarray
  radius: np.ndarray
  whole: np.ndarray

  @property
  def usual_radius(self) -> float:
    """The median of `radius` over the frames that show it; 0 where none does."""
    return float(np.median(self.radius[self.seen])) if self.seen.any() else 0.0


def patches(frame: np.ndarray) -> list[Patch]:
  """The patches of paint in a picture, uint8 [H, W, 3]."""
  height, width, _ = frame.shape
  pixels = frame.astype(float)
  length = np.maximum(np.linalg.norm(pixels, axis=-1, keepdims=True), 1.0)
  likeness = (pixels / length) @ _HUES.T
  name = likeness.argmax(axis=-1)
  painted = (likeness.max(axis=-1) > np.cos(APART)) & (pixels.max(axis=-1) > BRIGHT)
  found = []
  for number in np.unique(name[painted]):
    mask = ndimage.binary_fill_holes(painted & (name == number))
    parts, count = ndimage.label(mask, structure=np.ones((3, 3)))
    for part, window in zip(range(1, count + 1), ndimage.find_objects(parts)):
      rows, columns = np.nonzero(parts[window] == part)
      area = len(rows) / height**2
      if area < SMALLEST * SMALLEST_AREA:
        continue
      rows, columns = rows + window[0].start, columns + window[1].start
      x, y = _middle(columns, rows)
      place = (x + 0.5) / height, 1 - (y + 0.5) / height
      size = tuple(float(np.ptp(i) + 1) / height for i in (columns, rows))
      cut = not (
        rows.min() and columns.min() and columns.max() < width - 1 and rows.max() < height - 1
      )
      found.append(Patch(NAMES[number], place, area, size, cut))
  return found


def _middle(columns: np.ndarray, rows: np.ndarray) -> tuple[float, float]:
  """Of the convex hull of pixels: bodies are convex, whatever is painted on them."""
  points = np.stack([columns, rows], axis=-1).astype(float)
  if np.ptp(columns) == 0 or np.ptp(rows) == 0:
    x, y = points.mean(axis=0)
    return float(x), float(y)
  corners = points[spatial.ConvexHull(points).vertices]
  following = np.roll(corners, -1, axis=0)
  cross = corners[:, 0] * following[:, 1] - following[:, 0] * corners[:, 1]
  x, y = ((corners + following) * cross[:, None]).sum(axis=0) / (3 * cross.sum())
  return float(x), float(y)


def largest(found: Sequence[Patch], colour: str) -> Patch | None:
  """The largest patch of a colour; None where there is none."""
  return max((p for p in found if p.colour == colour), key=lambda p: p.area, default=None)


def follow(frames: Sequence[Sequence[Patch]], colours: Iterable[str]) -> dict[str, Track]:
  """Where each of some colours is, from the patches of every frame."""
  found = {}
  for colour in colours:
    own = [largest(frame, colour) for frame in frames]
    seen = np.array([p is not None for p in own])
    place = np.array([p.place if p else (np.nan, np.nan) for p in own])
    area = np.array([p.area if p else 0.0 for p in own])
    radius = np.array([max(p.size) / 2 if p else 0.0 for p in own])
    inside = np.array([p is not None and not p.cut for p in own])
    usual = np.median(area[inside]) if inside.any() else np.inf
    whole = inside | (area > WHOLE * usual)  # a body at a wall touches the edge of the picture
    found[colour] = Track(seen, place, area, radius, whole)
  return found
