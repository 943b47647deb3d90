"""The laws of a run, on a number that is drawn to another."""

import dataclasses
import itertools
import signal
import types

import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from tiny import refused

from sorajax import sharding
from sorajax.data.schedule import Place
from sorajax.optim import OptimizerConfig
from sorajax.settings import TrainConfig
from sorajax.train import loop, metrics

BY_ROWS = sharding.spec('batch')
OPTIMIZER = OptimizerConfig(learning_rate=0.1, warmup_steps=0)


@dataclasses.dataclass(frozen=True)
class Settings:
  """As much of a config as a run needs."""

  train: TrainConfig
  optimizer: OptimizerConfig = OPTIMIZER


@dataclasses.dataclass(frozen=True)
class Ones:
  """A loader of the same batch at every step."""

  first: Place
  schedule = types.SimpleNamespace(left_out=0)

  def place(self, step: int) -> Place:
    return Place(step)

  def __iter__(self):
    for step in itertools.count(self.first.step):
      yield {'ones': np.ones((1, 8, 1), np.float32)}, {'step': step, 'clips': [0]}


class Number:
  """An objective that remembers what was left to look at, and may fail to."""

  source = types.SimpleNamespace(fingerprint='ones')
  batch_spec = BY_ROWS

  def __init__(self, fails_at: int | None = None, **train):
    asked = {'log_every': 1, 'save_every': 2, 'evaluate_every': 0, **train}
    self.settings, self.fails_at = Settings(TrainConfig(**asked)), fails_at
    self.seen: list[int] = []

  def init(self, key):
    return {'number': jnp.zeros(1)}

  def begun(self):
    return None

  def frozen(self):
    return {}

  def counts(self, batch):
    return {}

  def loss(self, params, frozen, batch, key, counts):
    error = jnp.square(params['number'] - batch['ones']).mean()
    return error, {'number': error}

  def loader(self, place):
    return Ones(place)

  def evaluator(self):
    return lambda params, frozen: {'loss': float(params['number'][0])}

  def keep(self, workdir):
    """Nothing belongs beside the checkpoints."""

  def sample(self, params, workdir, step):
    if step == self.fails_at:
      raise ValueError('no sample')
    self.seen.append(step)

  def finish(self, params, workdir, step):
    self.seen.append(-step)


@pytest.fixture
def run(tmp_path):
  """Runs an objective in one and the same workdir."""
  handler = signal.getsignal(signal.SIGTERM)
  yield lambda made: loop.run(
    lambda mesh: made, sharding.MeshConfig(), ml_collections.ConfigDict(), tmp_path
  )
  signal.signal(signal.SIGTERM, handler)


def test_a_run_goes_on_to_as_many_steps_as_it_has_made_or_more(run, tmp_path):
  run(Number(steps=4, evaluate_every=2))
  before = metrics.read(tmp_path)
  run(Number(steps=4, evaluate_every=2))
  assert metrics.read(tmp_path) == before
  with refused('has made 4 steps and config.train.steps is 3; give 4 or more'):
    run(Number(steps=3, evaluate_every=2))
  assert metrics.read(tmp_path) == before
  run(Number(steps=6, evaluate_every=2))
  assert metrics.read(tmp_path)[-1]['step'] == 6


def test_samples_are_made_where_they_are_asked_for_and_what_a_run_is_for_at_its_end(run):
  made = Number(steps=5, sample_every=2)
  run(made)
  assert made.seen == [2, 4, -5]


@pytest.mark.parametrize('save_every', [2, 100])
def test_a_sample_that_fails_does_not_fail_again_at_the_next_start(run, save_every):
  every = {'sample_every': 2, 'save_every': save_every}
  with pytest.raises(ValueError, match='no sample'):
    run(Number(steps=6, fails_at=4, **every))
  again = Number(steps=6, fails_at=4, **every)
  run(again)
  assert again.seen == [-6]
