import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
import tiny

from sorajax.nn.conv import FORMS, conv3d

X = np.random.default_rng(0).standard_normal((2, 5, 6, 7, 4)).astype(np.float32)


def kernel(shape: tuple[int, ...]) -> np.ndarray:
  return 0.3 * np.random.default_rng(1).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize('edges', ['zeros', 'reflect'])
def test_plain_form_is_a_sum_over_shifted_clips(edges):
  """Against SciPy in float64, one pair of channels at a time."""
  k = kernel((3, 3, 3, 4, 2))
  mode = {'zeros': 'constant', 'reflect': 'reflect'}[edges]
  padded = np.pad(X.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), mode)
  wanted = np.zeros((2, 3, 6, 7, 2))
  for b, c, o in np.ndindex(2, 4, 2):
    wanted[b, ..., o] += scipy.signal.correlate(padded[b, ..., c], k[..., c, o], 'valid')
  np.testing.assert_allclose(conv3d(X, k, edges=edges, form='direct'), wanted, atol=1e-5)


@pytest.mark.parametrize('edges', ['zeros', 'reflect'])
@pytest.mark.parametrize('size', [(3, 3, 3), (1, 3, 3), (3, 1, 1), (2, 5, 3)], ids=str)
@pytest.mark.parametrize('form', [f for f in FORMS if f != 'direct'])
def test_every_form_is_the_plain_one_with_its_gradients(form, size, edges):
  k = kernel((*size, 4, 3))

  def value_and_slopes(form):
    run = lambda x, k: jnp.sin(conv3d(x, k, edges=edges, form=form)).sum()
    return conv3d(X, k, edges=edges, form=form), *tiny.quick_jit(jax.grad(run, (0, 1)))(X, k)

  for value, wanted in zip(value_and_slopes(form), value_and_slopes('direct')):
    assert np.abs(value - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_the_chosen_form_keeps_the_type():
  assert conv3d(X.astype(jnp.bfloat16), kernel((3, 3, 3, 4, 2))).dtype == jnp.bfloat16
