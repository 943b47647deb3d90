import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.nn import neighbourhood

CASES = [  # size, window, block
  ((5, 6, 7), (3, 5, 4), (2, 4, 3)),
  ((5, 6, 7), (5, 6, 7), (4, 8, 8)),
  ((1, 9, 2), (1, 3, 2), (4, 2, 1)),
  ((7, 4, 8), (2, 1, 7), (3, 3, 3)),
  ((4, 4, 4), (1, 1, 1), (1, 1, 1)),
]


def masked(q, k, v, window):
  """All places with all places, of which those within the window count."""
  size = q.shape[1:4]
  places = np.array(list(itertools.product(*map(range, size))))
  begin = np.clip(places - np.array(window) // 2, 0, np.array(size) - window)[:, None]
  mask = ((places >= begin) & (places < begin + window)).all(axis=-1)
  assert (mask.sum(axis=1) == np.prod(window)).all()
  q, k, v = (x.reshape(len(x), -1, *x.shape[4:]).astype(np.float64) for x in (q, k, v))
  scores = np.exp(np.einsum('bfnk,blnk->bnfl', q, k)) * mask
  weights = scores / scores.sum(axis=-1, keepdims=True)
  return np.einsum('bnfl,blnk->bfnk', weights, v)


@pytest.mark.parametrize('together', [1, 2**26], ids=['block by block', 'all at once'])
@pytest.mark.parametrize(('size', 'window', 'block'), CASES)
def test_it_is_full_attention_under_a_mask(size, window, block, together, monkeypatch):
  monkeypatch.setattr(neighbourhood, 'SCORES', together)
  rng = np.random.default_rng(0)
  q, k, v = (rng.standard_normal((2, *size, 3, 4)).astype(np.float32) for _ in range(3))
  made = jax.jit(lambda *of: neighbourhood.attend(*of, window, block))(q, k, v)
  assert made.shape == v.shape
  np.testing.assert_allclose(made.reshape(2, -1, 3, 4), masked(q, k, v, window), atol=1e-5)


def test_its_memory_grows_with_places_and_not_with_their_square():
  def scratch(frames: int) -> int:
    x = jax.ShapeDtypeStruct((1, frames, 64, 64, 1, 8), jnp.float32)
    run = jax.jit(lambda q, k, v: neighbourhood.attend(q, k, v, (3, 5, 5)))
    return run.lower(x, x, x).compile().memory_analysis().temp_size_in_bytes

  few, many = scratch(8), scratch(32)
  scores = 4 * neighbourhood.SCORES
  assert many < 4 * 4 * scores < (32 * 64 * 64) ** 2 * 4 / 8 and many <= 4 * few + scores


def test_windows_larger_than_the_volume_are_refused():
  x = np.zeros((1, 2, 3, 4, 1, 8), np.float32)
  with pytest.raises(ValueError, match=r'windows of \(3, 3, 3\) do not fit into \(2, 3, 4\)'):
    neighbourhood.attend(x, x, x, (3, 3, 3))
