"""The ladder of configs, by formula; tools/plan_ladder.py compiles it."""

import math
import runpy
from pathlib import Path

import jax
import pytest

from sorajax import build, sharding
from sorajax.plan import chips, formula, work
from sorajax.plan.search import step_of

LADDER = runpy.run_path(str(Path(__file__).parents[2] / 'configs' / 'ladder.py'))
UNITS = {'m': 1e6, 'b': 1e9}


@pytest.mark.parametrize('name', LADDER['RUNGS'])
def test_a_rung_is_as_large_as_it_is_called_and_fits_its_slice(name):
  rung, settings = LADDER['RUNGS'][name], build.settings(LADDER['get_config'](name))
  shapes = formula.shapes_of(settings)
  parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes['transformer']))
  assert parameters == pytest.approx(int(name[:-1]) * UNITS[name[-1]], rel=0.03)

  chip, sides = chips.chip_of(rung.topology), chips.sides_of(rung.topology)
  sizes = (math.prod(sides) * chip.devices // rung.fsdp, rung.fsdp, 1, 1)
  mesh = sharding.abstract_mesh(sizes)
  build.check_mesh(settings, mesh)
  step = step_of(settings, rung.rows, mesh)
  assert isinstance(step, work.Step) and step.bucket.rows == rung.rows
  planned = formula.Formula(step, dict(mesh.shape), shapes, tile=chip.tile)
  assert planned.memory().peak < 0.9 * chip.memory / chip.devices


def test_a_distilled_rung_is_sampled_in_few_steps_without_guidance():
  settings = build.settings(LADDER['get_config']('20m-distilled'))
  plain = build.settings(LADDER['get_config']('20m'))
  assert settings.transformer == plain.transformer and len(settings.sample.levels) == 9
  assert set(settings.sample.guidance.values()) == {1.0} != set(plain.sample.guidance.values())


def test_a_rung_that_is_not_there_is_refused():
  with pytest.raises(ValueError, match="no rung '1t'; choose one of 20m, 100m, 400m, 2b, 7b, 22b"):
    LADDER['get_config']('1t')
