import dataclasses
import functools
import json
import subprocess
import types
from pathlib import Path

import jax
import numpy as np
import pytest
from programs import ROOT, environment, run
from tiny import refused

from sorajax import sharding
from sorajax.cluster import processes
from sorajax.sharding import MeshConfig

PROGRAM = Path(__file__).with_name('on_meshes.py')


@pytest.fixture(scope='module')
def found() -> dict:
  return json.loads(run(str(PROGRAM)))


def test_every_mesh_gives_the_same_loss_and_gradient(found):
  assert len(found['meshes']) == 3
  for mesh in found['meshes']:
    assert mesh['loss'] == pytest.approx(found['without'], rel=1e-5), mesh['shape']
    assert mesh['gradient_apart'] < 1e-5, mesh['shape']


@pytest.mark.slow
def test_all_meshes_of_eight_devices_give_the_same_loss_gradient_and_clips():
  told = json.loads(run(str(PROGRAM.with_name('all_meshes.py'))))
  assert len({tuple(mesh['shape']) for mesh in told}) == 20
  for mesh in told:
    assert max(mesh['apart']) < 1e-5, mesh


@pytest.mark.slow
@pytest.mark.parametrize('count', [2, 4])
def test_processes_give_the_same_loss_gradient_and_clips_as_one_device(count):
  commands = processes.side_by_side(str(PROGRAM.with_name('all_meshes.py')), count)
  devices = environment(f'--xla_force_host_platform_device_count={8 // count}')
  start = functools.partial(subprocess.Popen, cwd=ROOT, env=devices, stdout=subprocess.PIPE)
  running = [start(command) for command in commands]
  said = [process.communicate()[0] for process in running]
  assert [process.returncode for process in running] == [0] * count
  (told,) = [line for line in said[0].splitlines() if line.startswith(b'[{')]  # beside Gloo's own
  told = json.loads(told)
  assert len(told) == 6
  for mesh in told:
    assert max(mesh['apart']) < 1e-5, mesh


def test_low_rank_changes_have_the_same_loss_and_gradient_on_a_mesh(found):
  assert max(found['changes']) < 1e-5


def test_matrices_of_8_bits_give_the_same_velocity_on_a_mesh(found):
  assert found['eight_bits'] < 1e-5


def test_the_devices_of_a_process_hold_its_rows_and_only_their_part(found):
  """One process has all devices, so it holds every row."""
  for mesh in found['meshes']:
    data, fsdp, context, _ = mesh['shape']
    assert mesh['rows'] == list(range(16)) and mesh['same'] and mesh['shards']
    assert mesh['shard_shape'] == [3, 16 // (data * fsdp), 4 // context, 2]


def test_the_rest_of_the_devices_fill_an_axis(found):
  assert found['rest'] == {'data': 2, 'fsdp': 2, 'context': 2, 'tensor': 1}


def test_meshes_that_do_not_fit_are_refused(found):
  three, odd, two_rests, zero, many = found['errors']
  assert three.startswith('mesh data=3 × fsdp=1 × context=1 × tensor=1 needs 3 devices')
  assert 'needs 3 devices and there are 8' in three and 'set data=-1' in three
  assert 'needs a multiple of 3 devices and there are 8; choose sizes that divide 8' in odd
  assert 'at most one of them -1' in two_rests and 'give positive sizes' in zero
  assert 'needs 16 devices and there are 8; set data=-1' in many
  assert not any('\n' in error for error in found['errors'])


def test_a_size_that_does_not_divide_is_refused_with_the_nearest(found):
  many, few = found['indivisible']
  assert many == 'global batch 6 does not divide over 4 shards (data=2 × fsdp=2); try 8'
  assert few == (
    'global batch 2 does not divide over 4 shards (data=2 × fsdp=2); try 4, or have 2 devices '
    'share a row by config.mesh.context'
  )


@dataclasses.dataclass(frozen=True)
class Chip:
  """What JAX tells of a TPU."""

  id: int
  slice_index: int
  coords: tuple[int, int, int]
  core_on_chip: int = 0
  process_index: int = 0
  platform: str = 'tpu'
  device_kind: str = 'TPU v5'


def test_slices_lie_along_data_in_their_order():
  chips = [Chip(s, s, (x, y, 0)) for s in (1, 0) for y in range(2) for x in range(2)]
  topology = types.SimpleNamespace(devices=chips)
  mesh = sharding.make_mesh(MeshConfig(-1, 2, 1, 1), topology)
  assert mesh.devices.shape == (4, 2, 1, 1)
  slices = np.vectorize(lambda chip: chip.slice_index)(mesh.devices[:, :, 0, 0])
  assert slices.tolist() == [[0, 0], [0, 0], [1, 1], [1, 1]]
  assert len(set(mesh.devices.flat)) == 8
  with refused('mesh data=1 does not divide over 2 slices, which lie along it; choose a multiple'):
    sharding.make_mesh(MeshConfig(-1, 8, 1, 1), topology)


@pytest.mark.parametrize(
  'rows, axes',
  [(32, ('data', 'fsdp', 'context')), (34, ('data',)), (12, ('fsdp',)), (7, ()), (1, ()), (2, ())],
)
def test_rows_of_a_picture_lie_over_the_axes_that_share_out_most(rows, axes):
  """Of 2 × 4 × 2 devices, at least two rows to each; of few rows every device has all."""
  with jax.sharding.use_abstract_mesh(sharding.abstract_mesh((2, 4, 2, 1))):
    found = sharding.axes_for_rows(rows, least=2)
    assert sharding.shards_along(found) == sharding.shards_along(axes)
  assert sharding.axes_for_rows(rows, least=2) == ()


def test_one_device_needs_no_mesh():
  x = jax.numpy.ones((2, 3))
  assert sharding.reshard(x, 'batch', 'tokens') is x
  assert sharding.rows_here(sharding.make_mesh(MeshConfig()), 5) == (0, 1, 2, 3, 4)


def test_logical_axes_are_mesh_axes_by_one_table():
  assert sharding.spec('batch', None, 'heads') == jax.P(('data', 'fsdp'), None, 'tensor')
  with pytest.raises(KeyError):
    sharding.spec('nonsense')


def test_more_devices_than_there_are_is_refused():
  with refused(f'needs 4096 devices and there are {jax.device_count()}'):
    sharding.make_mesh(MeshConfig(4096, 1, 1, 1))
