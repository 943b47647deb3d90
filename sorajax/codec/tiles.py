"""A picture in overlapping tiles: memory is bounded by a tile, and no seam shows."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sorajax import sharding
from sorajax.errors import UserError

Cell = tuple[int, int]
Carried = list[Any]
Step = Callable[[Any, Carried | None, bool], tuple[Any, Carried]]


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
  """Runs a chunk after a chunk of a clip, tile by tile, each with the state that it carries.

  Where the mesh has several devices, as many tiles run at once, each on its own; the last ones are
  filled up with repeats. What is put away does not say how many devices there were.
  """

  def __init__(self, step: Step, tiling: Tiling | None, reach: int, cells: tuple[Cell, Cell]):
    """Prepares a clip.

    Args:
      step: (input [B, F, H, W, C], carried, last) → (float32 output [B, F', H', W', C'], carried);
        what is carried is a list of arrays [B, …] or None.
      tiling: None for a single tile.
      reach: how many latents beyond its own a result sees.
      cells: (height, width) of a latent in the input and in the output.
    """
    self._step, self._tiling, self._reach = step, tiling, reach
    self._into, self._out = cells
    self._carried: dict[tuple[Cell, ...], Carried] = {}  # of tiles that run together, on devices
    self._resumed: dict[Cell, Carried] = {}  # of each tile, on the host, until it runs

  def push(self, x: np.ndarray, last: bool) -> np.ndarray:
    """The next frames [F, H, W, C] → the frames [F', H', W', C'] that they complete."""
    latents = [n // c for n, c in zip(x.shape[1:3], self._into)]
    size = self._tiling.size if self._tiling else latents
    axes = (self._spans(n, s, c) for n, s, c in zip(latents, size, self._out))
    tiles = list(itertools.product(*axes))
    whole: np.ndarray | None = None
    together = sharding.shards('batch') if len(tiles) > 1 else 1
    for first in range(0, len(tiles), together):
      some = tiles[first : first + together]
      corners = tuple((top, left) for (top, _), (left, _) in some)
      made = self._together(x, corners + corners[-1:] * (together - len(some)), size, last)
      if len(tiles) == 1:
        return made[0]
      if whole is None:
        shape = [n * c for n, c in zip(latents, self._out)]
        whole = np.zeros((made.shape[1], *shape, made.shape[4]), np.float32)
      for ((top, row_weight), (left, column_weight)), y in zip(some, made):
        at = (slice(None), *_area((top, left), y.shape[1:3], self._out))
        whole[at] += y * (row_weight[:, None, None] * column_weight[:, None])
    assert whole is not None
    return whole

  def state(self) -> dict[str, np.ndarray]:
    """All that is carried, by name: '{top}/{left}/{i}/{count}' → [1, …]."""
    apart = dict(self._resumed)
    for corners, carried in self._carried.items():
      arrays = sharding.gathered(carried)
      for row, corner in enumerate(corners):
        apart[corner] = [None if a is None else a[row : row + 1] for a in arrays]
    return {
      f'{top}/{left}/{i}/{len(carried)}': array
      for (top, left), carried in apart.items()
      for i, array in enumerate(carried)
      if array is not None
    }

  def resume(self, state: Mapping[str, np.ndarray]) -> None:
    """Goes on from what `state` gave, on any number of devices."""
    self._carried, self._resumed = {}, {}
    for name, array in state.items():
      top, left, i, count = map(int, name.split('/'))
      self._resumed.setdefault((top, left), [None] * count)[i] = array

  def _together(self, x, corners: tuple[Cell, ...], size, last: bool) -> np.ndarray:
    """What the tiles at the corners give, [B, F', H', W', C'], a row each."""
    bottom_right = [s * c for s, c in zip(size, self._into)]
    areas = (_area(corner, bottom_right, self._into) for corner in corners)
    parts = sharding.by_rows(np.stack([x[(slice(None), *area)] for area in areas]))
    y, self._carried[corners] = self._step(parts, self._before(corners), last)
    for corner in corners:
      self._resumed.pop(corner, None)
    return sharding.gathered(y)

  def _before(self, corners: tuple[Cell, ...]) -> Carried | None:
    if corners in self._carried or not self._resumed:
      return self._carried.get(corners)
    rows = zip(*(self._resumed[corner] for corner in corners))
    return [None if r[0] is None else sharding.by_rows(np.concatenate(r)) for r in rows]

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
