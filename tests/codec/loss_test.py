import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.codec import loss

A, B = np.random.default_rng(0).uniform(-1, 1, (2, 2, 5, 16, 24, 3)).astype(np.float32)
DISTANCES = ('absolute', 'squared', 'pyramid', 'edges', 'spectrum', 'flicker')
each = pytest.mark.parametrize('name', DISTANCES)


@each
def test_a_picture_is_no_distance_from_itself_and_the_way_back_is_as_far(name):
  distance = getattr(loss, name)
  assert distance(A, A) < 1e-5 < distance(A, B)
  np.testing.assert_allclose(distance(A, B), distance(B, A), rtol=1e-6)


@each
def test_twice_the_difference_is_twice_the_distance_or_four_times_its_square(name):
  distance, factor = getattr(loss, name), 4 if name == 'squared' else 2
  np.testing.assert_allclose(distance(A, A + 2 * B), factor * distance(A, A + B), rtol=1e-4)


@each
def test_clips_of_a_batch_count_alike(name):
  distance = getattr(loss, name)
  apart = [distance(A[i : i + 1], B[i : i + 1]) for i in range(2)]
  np.testing.assert_allclose(distance(A, B), np.mean(apart), rtol=1e-5)


def test_each_sees_what_it_is_for():
  """An even shift has no edges and no flicker; noise is small in small pictures."""
  shifted = A + 0.1
  assert loss.edges(A, shifted) < 1e-6 and loss.flicker(A, shifted) < 1e-6
  np.testing.assert_allclose(loss.pyramid(A, shifted), 0.1, rtol=1e-4)
  assert loss.pyramid(A, A + B) < 0.5 * loss.absolute(A, A + B)
  still = A + B[:, :1]
  assert loss.flicker(A, still) < 1e-6 < loss.edges(A, still)


def test_an_image_does_not_flicker():
  assert loss.flicker(A[:, :1], B[:, :1]) == 0 and loss.roughness(A[:, :1]) == 0


def test_divergence_is_least_and_zero_for_the_standard_normal():
  mean, logvar = jnp.zeros((2, 3)), jnp.zeros((2, 3))
  assert loss.divergence(mean, logvar) == 0
  gradients = jax.grad(loss.divergence, (0, 1))(mean, logvar)
  assert all((gradient == 0).all() for gradient in gradients)
  assert loss.divergence(mean + 1, logvar) > 0 and loss.divergence(mean, logvar - 1) > 0


def test_divergence_is_that_of_many_draws():
  """Against log-densities of a million draws; wrong by chance once in 15,000 runs."""
  rng = np.random.default_rng(0)
  mean, logvar = 0.7, -1.2
  z = mean + np.exp(logvar / 2) * rng.standard_normal(1_000_000)
  own = -0.5 * (logvar + np.square(z - mean) / np.exp(logvar))
  gaps = own + 0.5 * np.square(z)
  four_sigma = 4 * gaps.std() / np.sqrt(len(gaps))
  found = loss.divergence(jnp.array([mean]), jnp.array([logvar]))
  assert abs(found - gaps.mean()) < four_sigma
