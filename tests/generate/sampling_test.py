import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax import sharding
from sorajax.flow import sample, solver
from sorajax.generate import sampling
from sorajax.settings import SampleConfig

SCALES = lambda scale: {'video': scale, 'audio': 1.0}
LEVELS = (1.0, 0.8, 0.5, 0.2, 0.0)
PLAIN = SampleConfig(1.0, 8.0, 8, 8, levels=LEVELS, guidance=SCALES(1.0), solver='euler')
GUIDED = dataclasses.replace(PLAIN, guidance=SCALES(3.0), modality_guidance=SCALES(2.0))


@pytest.mark.parametrize('name', solver.SOLVERS)
def test_evaluations_are_those_of_a_run(name):
  """Counted where the solver asks for v while it runs."""
  asked, config = [], dataclasses.replace(PLAIN, solver=name)

  def velocity(x, t):
    jax.debug.callback(lambda: asked.append(1))
    return -x

  times = jnp.asarray(sampling.times(config, 0.0))
  jax.block_until_ready(sample.sample(velocity, jnp.ones(()), times, solver.SOLVERS[name]))
  jax.effects_barrier()
  ((_, count),) = sampling.evaluations(config, 0.0)
  assert count == len(asked) > 0


@pytest.mark.parametrize('name, count', [('euler', 2), ('heun', 4)])
def test_guidance_adds_passes_within_its_interval_alone(name, count):
  """Heun asks at 0.8 and 0.5 twice, as the end of a step and as the beginning of the next."""
  config = dataclasses.replace(GUIDED, solver=name, interval=(0.3, 0.9))
  (plain, _), *weaker = sampling.evaluations(config, 0.0)
  assert plain.prompted and plain.joined and not plain.away_from
  assert [n for _, n in weaker] == [count] * 2


def test_each_pass_leaves_out_one_thing():
  config = dataclasses.replace(GUIDED, skip_guidance=SCALES(0.5), skip_layers=(3,))
  _, blank, apart, skipping = sampling.passes(config)
  assert (blank.prompted, blank.joined, blank.skip_layers) == (False, True, ())
  assert (apart.prompted, apart.joined, apart.skip_layers) == (True, False, ())
  assert (skipping.prompted, skipping.joined, skipping.skip_layers) == (True, True, (3,))
  pushes = [dict(p.push)['video'] for p in (blank, apart, skipping)]
  assert pushes == [2.0, 1.0, 0.5] and dict(blank.push)['audio'] == 0.0
  assert not any(p.joined for p in sampling.passes(config, joined=False))
  assert len(sampling.passes(config, joined=False)) == 3  # nothing to push streams apart from


def test_levels_of_the_config_take_the_place_of_steps():
  np.testing.assert_array_equal(sampling.times(PLAIN, 2.0), np.float32(LEVELS))
  assert len(sampling.times(dataclasses.replace(PLAIN, levels=(), steps=7), 2.0)) == 8


@pytest.mark.parametrize('wanted', range(1, 14))
def test_batches_are_as_large_as_the_mesh_needs_and_no_larger(wanted):
  rows = sampling.rows_over(sharding.abstract_mesh((2, 3, 2, 2)), wanted)
  assert rows == 6 * math.ceil(wanted / 6)
