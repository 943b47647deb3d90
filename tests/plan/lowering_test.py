"""The programs of training and sampling are lowered for accelerators that are not here."""

import dataclasses
import runpy
from pathlib import Path

import jax
import pytest

from sorajax import build, sharding
from sorajax.plan import program, work

CONFIG = Path(__file__).parents[2] / 'configs' / 'film.py'


def small():
  """The settings of film with a single layer."""
  settings = build.settings(runpy.run_path(str(CONFIG))['get_config']())
  transformer = dataclasses.replace(settings.transformer, layers=1)
  return dataclasses.replace(settings, transformer=transformer)


def made(mode: str, mesh: jax.sharding.Mesh):
  """A program and the shapes of its arguments."""
  settings = small()
  if mode == 'train':
    (bucket,) = settings.data.in_order()
    return program.training_program(settings, bucket, mesh)
  run, _, args = program.sampling_program(work.clips_of(settings, 2, mesh), mesh)
  return run, args


@pytest.mark.parametrize('mode', ['train', 'sample'])
def test_a_program_is_lowered_for_gpus_and_for_tpus(mode):
  mesh = sharding.make_mesh(small().mesh)
  with jax.set_mesh(mesh):
    run, args = made(mode, mesh)
    exported = jax.export.export(run, platforms=('cuda', 'tpu'))(*args)
    outputs = jax.tree.leaves(jax.eval_shape(run, *args))
  assert exported.platforms == ('cuda', 'tpu')
  assert [a.shape for a in exported.out_avals] == [a.shape for a in outputs]
