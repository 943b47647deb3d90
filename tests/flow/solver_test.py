import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.flow.sample import sample
from sorajax.flow.solver import SOLVERS, adams_bashforth, euler, heun

START = {'a': np.array([1.0, -2.0], np.float32), 'b': np.float32(0.5)}


def even(steps: int) -> np.ndarray:
  return np.linspace(1, 0, steps + 1).astype(np.float32)


def ragged(steps: int) -> np.ndarray:
  """Times whose steps are alternately twice as long as the next, and three times shorter."""
  lengths = np.resize([2.0, 1.0, 3.0], steps)
  return np.concatenate([[1], 1 - np.cumsum(lengths / lengths.sum())]).astype(np.float32)


def error(solver, times: np.ndarray) -> float:
  """Of dx/dt = −x from t = 1 to t = 0, whose answer is x·e."""
  run = jax.jit(lambda x: sample(lambda x, t: jax.tree.map(jnp.negative, x), x, times, solver))
  made = run(START)
  wanted = jax.tree.map(lambda x: x * np.e, START)
  return max(np.abs(m - w).max() for m, w in zip(jax.tree.leaves(made), jax.tree.leaves(wanted)))


def order(solver, times, steps: int) -> float:
  return np.log2(error(solver, times(steps)) / error(solver, times(2 * steps)))


@pytest.mark.parametrize('name', SOLVERS)
def test_every_solver_is_exact_on_a_constant_field(name):
  """Steps and values are dyadic, so not even rounding stands between noise and data."""
  data, noise = np.array([3.0, -1.5]), np.array([0.25, 2.0])
  for steps in (1, 8):
    made = sample(lambda x, t: noise - data, noise, even(steps), SOLVERS[name])
    np.testing.assert_array_equal(made, data)


@pytest.mark.parametrize('times', [even, ragged])
def test_euler_is_of_first_order(times):
  assert order(euler, times, 48) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize('times', [even, ragged])
@pytest.mark.parametrize('solver', [heun, adams_bashforth])
def test_heun_and_adams_bashforth_are_of_second_order(solver, times):
  assert order(solver, times, 24) == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize('solver', [heun, adams_bashforth])
def test_a_field_linear_in_time_is_exact_after_the_first_step(solver):
  """v = t: both rules have no error there, but for the one Euler step that begins the second."""
  times = ragged(12)
  made = sample(lambda x, t: jnp.broadcast_to(t, x.shape), jnp.zeros(2), times, solver)
  first = 0 if solver is heun else (times[1] - times[0]) ** 2 / 2
  np.testing.assert_allclose(made, -0.5 - first, atol=1e-6)


@pytest.mark.parametrize('name', SOLVERS)
def test_branches_with_times_of_their_own_go_as_if_alone(name):
  """One waits for three steps and one is done before, and a pause is no step of a solver."""
  field, rest = lambda x, t: jax.tree.map(lambda x, t: t - x, x, t), np.zeros(3, np.float32)
  times = {'a': np.append(ragged(6), rest), 'b': np.append(1 + rest, even(6))}
  together = sample(field, START, times, SOLVERS[name])
  for branch, own in (('a', ragged(6)), ('b', even(6))):
    alone = sample(field, START[branch], own, SOLVERS[name])
    np.testing.assert_allclose(together[branch], alone, rtol=1e-6)


def test_the_field_is_asked_only_between_the_times():
  seen = []

  def velocity(x, t):
    jax.debug.callback(lambda t: seen.append(float(t)), t)
    return x

  jax.block_until_ready(sample(velocity, jnp.ones(2), even(4), adams_bashforth))
  jax.effects_barrier()
  assert sorted(seen, reverse=True) == [1.0, 0.75, 0.5, 0.25]
