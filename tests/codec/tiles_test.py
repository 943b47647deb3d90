import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from programs import run

from sorajax.codec.tiles import spans

PROGRAM = Path(__file__).with_name('tiles_on_devices.py')
CASES = [
  (length, size, overlap, reach, cell)
  for length, size, overlap, reach, cell in itertools.product(
    (1, 5, 9, 20), (3, 5, 8), (0, 1, 2, 4, 6), (0, 1, 3), (1, 3, 8)
  )
  if overlap < size
]


def test_weights_of_all_tiles_sum_to_1_and_every_tile_has_the_size_asked():
  for length, size, overlap, reach, cell in CASES:
    total = np.zeros(length * cell)
    for start, weight in spans(length, size, overlap, reach, cell):
      assert len(weight) == min(size, length) * cell and 0 <= start <= length - min(size, length)
      assert weight.min() >= 0
      total[start * cell : start * cell + len(weight)] += weight
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_what_sees_beyond_a_tile_weighs_nothing_where_the_overlap_allows_it():
  seen = 0
  for length, size, overlap, reach, cell in CASES:
    if overlap < 2 * reach:
      continue
    for start, weight in spans(length, size, overlap, reach, cell):
      seen += start > 0
      assert start == 0 or not weight[: reach * cell].any()
      assert start + size >= length or not weight[len(weight) - reach * cell :].any()
  assert seen > 100


@pytest.mark.parametrize('cell', [1, 8])
def test_neighbours_fade_into_each_other(cell):
  """No step between two values is larger than the ramp's."""
  for _, weight in spans(20, 8, 4, 10, cell):
    assert np.abs(np.diff(weight)).max() <= 1 / (2 * cell) + 1e-6


@pytest.fixture(scope='module')
def on_devices() -> dict:
  """What four devices found, for each way of coding."""
  return json.loads(run(str(PROGRAM)))


TILES = ('encode', 'decode', 'decode, centred')
WHOLE = (
  'encode, whole', 'decode, whole', 'decode, centred, whole', 'decode, edge, whole',
  'encode, shifting, whole', 'decode, shifting, whole',
)  # fmt: skip
HALVES = ('decode, centred, halves', 'decode, shifting, halves')
WAYS = TILES + WHOLE + HALVES


@pytest.mark.parametrize('way', WAYS)
def test_pictures_on_four_devices_are_those_of_one(on_devices, way):
  assert on_devices[way]['apart'] < 1e-5


@pytest.mark.parametrize('way', TILES)
def test_every_device_holds_a_tile_and_what_it_carries(on_devices, way):
  held = on_devices[way]['held']
  assert len(held) > 10
  for array in held:
    assert sorted(array) == [[device, device, 1, 0] for device in range(4)]


@pytest.mark.parametrize('way', WHOLE)
def test_every_device_holds_its_rows_of_a_single_tile_and_what_it_carries(on_devices, way):
  held = on_devices[way]['held']
  assert len(held) > 5
  for array in held:
    assert sorted(array) == [[device, 0, 1, device / 4] for device in range(4)]


@pytest.mark.parametrize('way', HALVES)
def test_rows_that_four_do_not_divide_are_shared_by_two_and_two(on_devices, way):
  """Along the first axis of a mesh of 2 × 2."""
  held = on_devices[way]['held']
  assert len(held) > 5
  for array in held:
    assert sorted(array) == [[device, 0, 1, device // 2 / 2] for device in range(4)]


@pytest.mark.parametrize('way', WAYS)
def test_begun_on_four_devices_it_goes_on_on_one_and_the_other_way_round(on_devices, way):
  assert len(on_devices[way]['moved']) == 2 and max(on_devices[way]['moved']) < 1e-5


def test_a_film_is_coded_on_all_devices(on_devices):
  found = on_devices['film']
  assert found['apart'] < 1e-5 and found['frames'] == 7 and min(found['steps']) > 2
  for array in found['held']:
    assert sorted(array) == [[device, device, 1, 0] for device in range(4)]
