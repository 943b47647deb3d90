"""Overlapping tiles of a picture, and how they become one picture again."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Tile:
  """Rows and columns of latents, each from a start to an end."""

  rows: tuple[int, int]
  columns: tuple[int, int]

  def slices(self, cell: int) -> tuple[slice, slice]:
    """Where the tile lies in an array with `cell` values to a latent's side."""
    return tuple(slice(a * cell, b * cell) for a, b in (self.rows, self.columns))  # type: ignore[return-value]


def tiles(height: int, width: int, side: int, overlap: int) -> list[Tile]:
  """Tiles of equal size that cover height × width latents, neighbours sharing `overlap` or more.

  Args:
    height: in latents.
    width: in latents.
    side: of a tile; a picture no larger is one tile.
    overlap: below `side`.
  """
  rows, columns = (_spans(size, side, overlap) for size in (height, width))
  return [Tile(r, c) for r in rows for c in columns]


def _spans(size: int, side: int, overlap: int) -> list[tuple[int, int]]:
  if size <= side:
    return [(0, size)]
  count = -(-(size - overlap) // (side - overlap))
  starts = np.linspace(0, size - side, count).round().astype(int)
  return [(int(s), int(s) + side) for s in starts]


def blend(parts: Sequence[tuple[Tile, np.ndarray]], cell: int, margin: int) -> np.ndarray:
  """Coded tiles → the whole picture [F, H, W, C].

  Where tiles overlap, each fades out towards its edge and is unheard in the last `margin` latents,
  where what lies beyond the tile is missing most. The weights sum to 1 everywhere.

  Args:
    parts: tiles and their values [F, H', W', C].
    cell: values to a latent's side.
    margin: in latents.
  """
  height, width = (max(span) for span in zip(*((t.rows[1], t.columns[1]) for t, _ in parts)))
  frames, channels = parts[0][1].shape[0], parts[0][1].shape[-1]
  total = np.zeros((frames, height * cell, width * cell, channels), np.float32)
  weight = np.zeros((1, height * cell, width * cell, 1), np.float32)
  for tile, values in parts:
    rows = _ramp(tile.rows, height, cell, margin)
    columns = _ramp(tile.columns, width, cell, margin)
    own = (rows[:, None] * columns)[None, ..., None]
    where = (slice(None), *tile.slices(cell))
    total[where] += values * own
    weight[where] += own
  return total / weight


def _ramp(span: tuple[int, int], size: int, cell: int, margin: int) -> np.ndarray:
  """Weights along a side of a tile: 0 in the margin, then rising; flat at an end of the picture."""
  start, stop = span
  place = np.arange((stop - start) * cell, dtype=np.float32) + 0.5
  far = np.float32(np.inf)
  left = place - margin * cell if start > 0 else far
  right = place[::-1] - margin * cell if stop < size else far
  ramp = np.minimum(left, right) * np.ones_like(place)
  return np.clip(np.minimum(ramp, np.float32(2**20)), 0, None)
