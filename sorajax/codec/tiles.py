"""A picture in overlapping tiles: memory is bounded by a tile, and no seam shows."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sorajax.errors import UserError

Cell = tuple[int, int]
Step = Callable[[np.ndarray, Any, bool], tuple[np.ndarray, Any]]


@dataclasses.dataclass(frozen=True)
class Tiling:
  """How a picture is cut, in latents.

  Where `overlap` is at least twice what the codec sees beyond a latent (`video_config.*_reach`),
  the tiled result is the whole one. Where it is less, a value differs by no more than the tile
  does that differs most there, since it is a weighted mean of them.

  Attributes:
    size: (height, width) of a tile.
    overlap: what neighbours share.
  """

  size: tuple[int, int]
  overlap: int

  def __post_init__(self) -> None:
    if not 0 <= self.overlap < min(self.size):
      raise UserError(f'tiles of {self.size} cannot overlap by {self.overlap}; overlap by less')


class Tiled:
  """Runs a chunk after a chunk of a clip, tile by tile, each with the state that it carries."""

  def __init__(self, step: Step, tiling: Tiling | None, reach: int, cells: tuple[Cell, Cell]):
    """Prepares a clip.

    Args:
      step: (input [F, H, W, C], carried, last) → (float32 output [F', H', W', C'], carried).
      tiling: None for a single tile.
      reach: how many latents beyond its own a result sees.
      cells: (height, width) of a latent in the input and in the output.
    """
    self._step, self._tiling, self._reach = step, tiling, reach
    self._into, self._out = cells
    self._carried: dict[Cell, Any] = {}

  def push(self, x: np.ndarray, last: bool) -> np.ndarray:
    """The next frames [F, H, W, C] → the frames [F', H', W', C'] that they complete."""
    latents = [n // c for n, c in zip(x.shape[1:3], self._into)]
    size = self._tiling.size if self._tiling else latents
    rows, columns = (self._spans(n, s, c) for n, s, c in zip(latents, size, self._out))
    whole: np.ndarray | None = None
    for top, row_weight in rows:
      for left, column_weight in columns:
        y = self._tile(x, (top, left), size, last)
        if len(rows) == len(columns) == 1:
          return y
        if whole is None:
          shape = [n * c for n, c in zip(latents, self._out)]
          whole = np.zeros((len(y), *shape, y.shape[3]), np.float32)
        at = (slice(None), *_area((top, left), y.shape[1:3], self._out))
        whole[at] += y * (row_weight[:, None, None] * column_weight[:, None])
    assert whole is not None
    return whole

  def state(self) -> dict[str, np.ndarray]:
    """All that is carried, by name."""
    return {
      f'{top}/{left}/{i}/{len(carried)}': np.asarray(array)
      for (top, left), carried in self._carried.items()
      for i, array in enumerate(carried)
      if array is not None
    }

  def resume(self, state: Mapping[str, np.ndarray]) -> None:
    """Goes on from what `state` gave."""
    self._carried = {}
    for name, array in state.items():
      top, left, i, count = map(int, name.split('/'))
      self._carried.setdefault((top, left), [None] * count)[i] = array

  def _tile(self, x, corner, size, last):
    bottom_right = [s * c for s, c in zip(size, self._into)]
    part = x[(slice(None), *_area(corner, bottom_right, self._into))]
    y, self._carried[corner] = self._step(part, self._carried.get(corner), last)
    return np.asarray(y)

  def _spans(self, length: int, size: int, cell: int) -> list[tuple[int, np.ndarray]]:
    overlap = self._tiling.overlap if self._tiling else 0
    return spans(length, size, overlap, self._reach, cell)


def spans(
  length: int, size: int, overlap: int, reach: int, cell: int
) -> list[tuple[int, np.ndarray]]:
  """Where tiles start along one axis, and the weight of each of their values.

  At an inner edge, a tile's values that see beyond it weigh nothing, if `overlap` allows that;
  else the outer quarter of the overlap does. Then the weight grows linearly. At every place the
  weights of all tiles sum to 1.

  Args:
    length: of the axis, in latents.
    size: of a tile.
    overlap: of neighbours; the last tile may overlap more.
    reach: how many latents beyond its own a result sees.
    cell: values for each latent.

  Returns:
    (start in latents, float32 [min(size, length) · cell]) of each tile.
  """
  step, size = size - overlap, min(size, length)
  starts = sorted({*range(0, length - size, step), length - size})
  ignored = cell * (reach if overlap >= 2 * reach else overlap // 4)
  grows = max(cell * overlap - 2 * ignored, 1e-6)
  inside = np.arange(size * cell) + 0.5
  weights, total = [], np.zeros(length * cell)
  for start in starts:
    weight = np.ones(size * cell)
    if start > 0:
      weight *= np.clip((inside - ignored) / grows, 0, 1)
    if start < length - size:
      weight *= np.clip((size * cell - inside - ignored) / grows, 0, 1)
    total[start * cell : (start + size) * cell] += weight
    weights.append(weight)
  parts = (total[start * cell : (start + size) * cell] for start in starts)
  return [(s, (w / t).astype(np.float32)) for s, w, t in zip(starts, weights, parts)]


def _area(corner: Cell, size, cell: Cell) -> tuple[slice, slice]:
  (top, left), (height, width) = ((a * c for a, c in zip(corner, cell)), size)
  return slice(top, top + height), slice(left, left + width)
