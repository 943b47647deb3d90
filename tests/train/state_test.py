"""The laws of a step, on a line that is fitted to points."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax import sharding
from sorajax.optim import OptimizerConfig
from sorajax.settings import TrainConfig
from sorajax.train.guard import diagnose
from sorajax.train.state import initial_state, make_step

POINTS = 8


@dataclasses.dataclass(frozen=True)
class Settings:
  """As much of a config as a step needs."""

  optimizer: OptimizerConfig
  train: TrainConfig


SETTINGS = Settings(OptimizerConfig(learning_rate=0.1, warmup_steps=0), TrainConfig(steps=10))
BY_ROWS = sharding.spec('batch')


@dataclasses.dataclass(frozen=True)
class Line:
  """As much of an objective as a step needs: least squares, and a part that may be rooted."""

  settings: Settings = SETTINGS
  batch_spec: jax.sharding.PartitionSpec = BY_ROWS
  rooted: bool = False

  def init(self, key):
    return {'slope': jax.random.normal(key, (2,))}

  def begun(self):
    return None

  def counts(self, batch):
    return {'points': jnp.asarray(batch['y'].size, jnp.float32)}

  def values(self, batch):
    return batch

  def loss(self, params, frozen, batch, key, counts):
    error = jnp.square(batch['x'] @ params['slope'] - batch['y'])
    part = (jnp.sqrt(error) if self.rooted else error).sum() / counts['points']
    return part, {'points': part}


def points(micro_batches: int = 1) -> dict[str, np.ndarray]:
  rng = np.random.default_rng(0)
  x = rng.standard_normal((POINTS, 2)).astype(np.float32)
  batch = {'x': x, 'y': x @ np.array([2.0, -1.0], np.float32) + 0.1}
  return {k: v.reshape(micro_batches, -1, *v.shape[1:]) for k, v in batch.items()}


def stepped(objective: Line, batch, change=lambda state: state):
  """The state before a step, after it, and what the step tells of itself."""
  mesh = sharding.make_mesh(sharding.MeshConfig())
  with jax.set_mesh(mesh):
    state, layout = sharding.jit_init(mesh, initial_state(objective))
    state = change(state)
    before = jax.device_get(state)
    after, metrics = make_step(objective, mesh, layout)(state, {}, batch)
    return before, jax.device_get(after), jax.device_get(metrics)


@pytest.mark.parametrize('micro_batches', [2, 4, 8])
def test_micro_batches_add_up_to_the_whole(micro_batches):
  _, whole, told = stepped(Line(), points())
  _, split, told_split = stepped(Line(), points(micro_batches))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), whole, split)
  np.testing.assert_allclose(told['loss'], told_split['loss'], rtol=1e-5)


def test_a_step_goes_downhill():
  state, batch = None, points()
  losses = []
  for _ in range(3):
    keep = (lambda s: s) if state is None else (lambda s, kept=state: kept)
    _, state, told = stepped(Line(), batch, keep)
    losses.append(float(told['loss']))
  assert losses[2] < losses[1] < losses[0]


def spoilt(name: str) -> dict[str, np.ndarray]:
  batch = points()
  batch[name].flat[3] = np.nan
  return batch


def exact(state):
  """At the solution, where the root of the error has no slope."""
  return {**state, 'params': {'slope': jnp.array([2.0, -1.0])}}


def torn(state):
  return {**state, 'params': {'slope': state['params']['slope'].at[1].set(jnp.inf)}}


ON_THE_LINE = {'x': np.ones((1, 4, 2), np.float32), 'y': np.ones((1, 4), np.float32)}
HUGE = {'x': np.full((1, 4, 2), 3e30, np.float32), 'y': np.zeros((1, 4), np.float32)}
FAULTS = {
  'x': (Line(), spoilt('x'), lambda s: s, 'the batch: its x'),
  'y': (Line(), spoilt('y'), lambda s: s, 'the batch: its y'),
  'parameter': (Line(), points(), torn, 'the parameter slope'),
  'loss': (Line(), HUGE, lambda s: s, 'the loss of points'),
  'gradient': (Line(rooted=True), ON_THE_LINE, exact, 'the gradient of slope'),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_a_step_that_is_not_finite_changes_nothing_and_its_fault_is_named(fault):
  objective, batch, change, says = FAULTS[fault]
  before, after, told = stepped(objective, batch, change)
  assert not told['finite'] and after['step'] == before['step'] + 1
  for name in ('params', 'ema', 'optimizer'):
    jax.tree.map(np.testing.assert_array_equal, after[name], before[name])
  mesh = sharding.make_mesh(sharding.MeshConfig())
  with jax.set_mesh(mesh):
    assert diagnose(objective, before['params'], {}, batch, 0) == says


def test_what_a_run_begins_with_is_trained_in_the_types_of_what_it_would_draw():
  """Weights of 16 bits would not feel the steps of a small learning rate."""
  drawn, begun = Line().init(jax.random.key(0)), {'slope': jnp.asarray([0.5, -3.0], jnp.bfloat16)}
  state = jax.jit(initial_state(Line()))(begun)
  for part in ('params', 'ema'):
    np.testing.assert_array_equal(state[part]['slope'], [0.5, -3.0])
    assert state[part]['slope'].dtype == drawn['slope'].dtype == jnp.float32
  moments = [leaf for leaf in jax.tree.leaves(state['optimizer']) if leaf.shape == (2,)]
  assert moments and all(leaf.dtype == jnp.float32 for leaf in moments)
