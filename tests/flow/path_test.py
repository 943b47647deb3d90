"""Tests on draws compare with a bound of 5 standard errors; a check fails by chance less than once
in a million runs, were the seed not fixed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.flow import path

TIMES = [0.02, 0.3, 0.5, 0.8, 0.98]


def pair(count: int = 4, channels: int = 3) -> np.ndarray:
  return np.random.default_rng(0).standard_normal((2, count, channels)).astype(np.float32)


def test_the_path_runs_from_data_to_noise():
  data, noise = pair()
  np.testing.assert_array_equal(path.interpolate(data, noise, jnp.zeros(4)), data)
  np.testing.assert_array_equal(path.interpolate(data, noise, jnp.ones(4)), noise)


@pytest.mark.parametrize('t', TIMES)
def test_velocity_is_the_derivative_of_the_path(t):
  data, noise = pair()
  along = lambda t: path.interpolate(data, noise, jnp.broadcast_to(t, 4))
  _, slope = jax.jvp(along, (jnp.float32(t),), (jnp.float32(1),))
  np.testing.assert_allclose(slope, path.velocity(data, noise), atol=1e-6)


@pytest.mark.parametrize('t', TIMES)
def test_the_line_through_a_point_of_the_path_ends_at_the_data(t):
  data, noise = pair()
  level = jnp.full(4, t)
  x = path.interpolate(data, noise, level)
  end = path.data_from_velocity(x, path.velocity(data, noise), level)
  np.testing.assert_allclose(end, data, atol=1e-6)


def test_every_token_has_its_own_level():
  data, noise = pair()
  level = jnp.array([0.0, 0.25, 0.5, 1.0])
  whole = path.interpolate(data, noise, level)
  for i in range(4):
    alone = path.interpolate(data[i : i + 1], noise[i : i + 1], level[i : i + 1])
    np.testing.assert_array_equal(whole[i : i + 1], alone)


@pytest.mark.parametrize('t', TIMES)
@pytest.mark.parametrize('spread', [0.3, 1.0, 2.5])
def test_linear_guess_is_the_best_on_gaussian_data(t, spread):
  """Against the least-squares line through 200,000 draws of (x_t, v)."""
  count = 200_000
  rng = np.random.default_rng([int(100 * t), int(10 * spread)])
  data, noise = spread * rng.standard_normal((count, 1)), rng.standard_normal((count, 1))
  x = np.asarray(path.interpolate(data, noise, np.full(count, t)))[:, 0]
  v = path.velocity(data, noise)[:, 0]
  whiten, slope, missed = (
    float(a[0]) for a in path.linear_guess(jnp.float32(t), jnp.array([spread]))
  )
  assert whiten * x.std() == pytest.approx(1, abs=5 / np.sqrt(2 * count))
  best = (x * v).sum() / (x * x).sum()
  residual = v - slope * x
  assert slope == pytest.approx(best, abs=5 * residual.std() / x.std() / np.sqrt(count))
  assert residual.std() / missed == pytest.approx(1, abs=5 / np.sqrt(2 * count))


def test_linear_guess_is_finite_at_both_ends():
  for spread in (0.0, 1e-4, 1.0):
    for t in (0.0, 1.0):
      guess = path.linear_guess(jnp.float32(t), jnp.array([spread]))
      assert all(np.isfinite(a).all() for a in guess)
  _, slope, missed = path.linear_guess(jnp.float32(1), jnp.array([2.0]))
  assert float(slope[0]) == pytest.approx(1) and float(missed[0]) == pytest.approx(2)
  _, slope, missed = path.linear_guess(jnp.float32(0), jnp.array([2.0]))
  assert float(slope[0]) == pytest.approx(-1) and float(missed[0]) == pytest.approx(1)
