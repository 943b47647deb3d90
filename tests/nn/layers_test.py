import jax.numpy as jnp
import numpy as np

from sorajax.nn import layers

X = np.random.default_rng(0).standard_normal((2, 3, 16)).astype(np.float32)


def test_norms_do_not_see_the_size_of_their_input():
  for norm in (layers.rms_norm, layers.layer_norm):
    np.testing.assert_allclose(norm(50 * X), norm(X), atol=1e-4)
  np.testing.assert_allclose(layers.layer_norm(X + 3), layers.layer_norm(X), atol=1e-4)


def test_norms_have_mean_square_one():
  for norm in (layers.rms_norm, layers.layer_norm):
    np.testing.assert_allclose(jnp.square(norm(X)).mean(axis=-1), 1, atol=1e-4)
  np.testing.assert_allclose(layers.layer_norm(X).mean(axis=-1), 0, atol=1e-5)


def test_norms_of_nothing_are_nothing():
  for norm in (layers.rms_norm, layers.layer_norm):
    assert (norm(jnp.zeros((1, 2, 4))) == 0).all()


def test_no_modulation_changes_nothing():
  np.testing.assert_array_equal(layers.modulate(X, jnp.zeros_like(X), jnp.zeros_like(X)), X)


def test_sinusoids_tell_levels_apart_and_keep_their_norm():
  """Two levels are told apart the better, the further apart they are."""
  wave = layers.sinusoid(jnp.linspace(0, 1000, 1001), 256)
  np.testing.assert_allclose(jnp.square(wave).sum(axis=-1), 128, rtol=1e-5)
  likeness = np.asarray(wave @ wave[0]) / 128
  assert likeness[0] > 0.999999 and likeness[1:].max() < 0.995
  assert (likeness[[1, 10, 100, 1000]][:-1] > likeness[[1, 10, 100, 1000]][1:]).all()
