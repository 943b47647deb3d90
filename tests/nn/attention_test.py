import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax import nnx

from sorajax.nn.attention import Attention, attend

HEADS, HEAD_DIM = 2, 8


def numbers(seed: int, *shape: int) -> np.ndarray:
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


Q, K, V = (numbers(i, 3, length, HEADS, HEAD_DIM) for i, length in enumerate((6, 9, 9)))
Q_SEGMENT = np.array([[1, 1, 1, 2, 2, 0], [1, 2, 3, 3, 2, 1], [1, 1, 1, 1, 1, 1]])
K_SEGMENT = np.array([[1, 2, 2, 2, 1, 1, 1, 0, 0], [3, 3, 1, 1, 1, 2, 2, 2, 2], [1] * 9])
run = tiny.quick_jit(attend)


def test_one_segment_is_plain_attention():
  ones = np.ones((3, 6), int), np.ones((3, 9), int)
  wanted = jax.nn.dot_product_attention(Q, K, V)
  np.testing.assert_allclose(run(Q, K, V, *ones), wanted, atol=1e-5)


def test_segments_are_plain_attention_with_a_mask():
  mask = Q_SEGMENT[:, :, None] == K_SEGMENT[:, None, :]
  wanted = jax.nn.dot_product_attention(Q, K, V, mask=mask[:, None])
  np.testing.assert_allclose(run(Q, K, V, Q_SEGMENT, K_SEGMENT), wanted, atol=1e-5)


@pytest.mark.parametrize('row, clip', [(0, 1), (0, 2), (1, 1), (1, 2), (1, 3)])
def test_nothing_leaks_from_one_clip_to_another(row, clip):
  """Bit for bit, and even where the other clip holds nearly the largest numbers there are."""
  before = np.asarray(run(Q, K, V, Q_SEGMENT, K_SEGMENT))
  others = jnp.asarray(clip != K_SEGMENT)[..., None, None]
  for wild in (1e4, 3e38):
    after = run(Q, jnp.where(others, wild, K), jnp.where(others, -wild, V), Q_SEGMENT, K_SEGMENT)
    own = Q_SEGMENT[row] == clip
    np.testing.assert_array_equal(np.asarray(after)[row, own], before[row, own])


def test_a_query_without_keys_reads_zero():
  alone = np.where(Q_SEGMENT == 1, 7, Q_SEGMENT)
  out = np.asarray(run(Q, K, V, alone, K_SEGMENT))
  assert (out[alone == 7] == 0).all() and (out[alone == 2] != 0).all()


def test_gradients_are_finite_where_a_query_has_no_keys():
  def total(q, k, v):
    return jnp.square(attend(q, k, v, Q_SEGMENT + 7, K_SEGMENT)).sum()

  assert all(np.isfinite(g).all() for g in tiny.quick_jit(jax.grad(total, (0, 1, 2)))(Q, K, V))


def test_gradients_are_those_of_plain_attention():
  mask = (Q_SEGMENT[:, :, None] == K_SEGMENT[:, None, :])[:, None]
  weight = numbers(3, *Q.shape)

  def ours(q, k, v):
    return (weight * attend(q, k, v, Q_SEGMENT, K_SEGMENT)).sum()

  def plain(q, k, v):
    return (weight * jax.nn.dot_product_attention(q, k, v, mask=mask)).sum()

  slopes = [tiny.quick_jit(jax.grad(f, (0, 1, 2)))(Q, K, V) for f in (ours, plain)]
  for a, b in zip(*slopes):
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_large_scores_stay_finite():
  out = run(100 * Q, 100 * K, V, Q_SEGMENT, K_SEGMENT)
  assert np.isfinite(out).all()


def test_order_of_keys_does_not_matter():
  order = np.random.default_rng(0).permutation(9)
  out = run(Q, K[:, order], V[:, order], Q_SEGMENT, K_SEGMENT[:, order])
  np.testing.assert_allclose(out, run(Q, K, V, Q_SEGMENT, K_SEGMENT), atol=1e-5)


@tiny.initialised_by_waves
def test_a_fresh_gate_is_neutral():
  """2·sigmoid(0) = 1, so that a gated attention begins as one without gates."""
  x = numbers(0, 3, 6, 12)

  def answer(gated: bool):
    module = Attention(12, 12, HEADS, HEAD_DIM, gated=gated, rngs=nnx.Rngs(0))
    return module(x, x, (Q_SEGMENT, Q_SEGMENT))

  gated, plain = (tiny.quick_jit(answer, static_argnums=0)(gated) for gated in (True, False))
  np.testing.assert_allclose(gated, plain, atol=1e-6)
  assert np.abs(plain).max() > 0.1
