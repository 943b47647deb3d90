import numpy as np
import pytest

from sorajax.codec.tiles import blend, tiles

PICTURE = np.random.default_rng(0).standard_normal((2, 40, 60, 3)).astype(np.float32)


@pytest.mark.parametrize('cell', [1, 4])
@pytest.mark.parametrize('overlap, margin', [(1, 0), (2, 0), (3, 1), (4, 1), (6, 2)])
@pytest.mark.parametrize('side', [7, 8, 10, 100])
def test_a_picture_cut_into_tiles_comes_back(side, overlap, margin, cell):
  height, width = 40 // cell, 60 // cell
  plan = tiles(height, width, side, overlap)
  parts = [(t, PICTURE[(slice(None), *t.slices(cell))]) for t in plan]
  assert all(p.shape[1] <= side * cell and p.shape[2] <= side * cell for _, p in parts)
  np.testing.assert_allclose(blend(parts, cell, margin), PICTURE, atol=1e-5)


def test_a_tile_is_not_heard_in_its_margin():
  plan = tiles(10, 10, 7, 5)
  for number, tile in enumerate(plan):
    parts = [(t, np.zeros((1, 7, 7, 1), np.float32)) for t in plan]
    parts[number] = tile, np.full((1, 7, 7, 1), 1.0, np.float32)
    heard = blend(parts, 1, 2)[0, ..., 0]
    rows, columns = tile.slices(1)
    inner = heard[rows, columns]
    for side, edge in ((inner[:2], tile.rows[0]), (inner[:, :2], tile.columns[0])):
      assert (side == 0).all() == (edge > 0)


def test_neighbours_fade_into_each_other_without_a_step():
  plan = tiles(4, 16, 10, 4)
  parts = [(t, np.full((1, 16, 40, 1), float(i), np.float32)) for i, t in enumerate(plan)]
  row = blend(parts, 4, 1)[0, 0, :, 0]
  assert row[0] == 0 and row[-1] == 1 and (np.diff(row) >= 0).all() and np.diff(row).max() < 0.2
