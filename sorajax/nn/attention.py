"""The one door to attention; kernels stand behind it and are chosen by platform and shape."""

import jax
import jax.numpy as jnp
from flax import nnx

from sorajax.nn import layers, param, rope
from sorajax.sharding import divides, reshard


def attend(
  q: jax.Array, k: jax.Array, v: jax.Array, q_segment: jax.Array, k_segment: jax.Array
) -> jax.Array:
  """Softmax attention within segments (Vaswani et al. 2017).

  A query whose segment no key shares gets 0. Tokens sharded over the mesh are swapped for heads
  and back around the kernel (Jacobs et al. 2023, DeepSpeed-Ulysses), so a kernel sees whole rows.
  Where there are too few heads for that (a small text encoder), every context shard takes them all.

  Args:
    q: [B, T, H, K].
    k: [B, S, H, K].
    v: [B, S, H, K].
    q_segment: int32 [B, T].
    k_segment: int32 [B, S].

  Returns:
    [B, T, H, K] in the type of q; softmax in float32.
  """
  heads = 'swapped_heads' if divides(q.shape[2], 'swapped_heads') else 'heads'
  q, k, v = (reshard(x, 'batch', None, heads, None) for x in (q, k, v))
  q_segment, k_segment = (reshard(s, 'batch', None) for s in (q_segment, k_segment))
  out = _reference(q, k, v, q_segment, k_segment)
  return reshard(out, 'batch', 'tokens', 'heads', None)


def _reference(q, k, v, q_segment, k_segment):
  """Plain matrix products, with the division after the second: fastest on CPU."""
  q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
  allowed = q_segment[:, None, :, None] == k_segment[:, None, None, :]
  score = jnp.einsum('bhtk,bhsk->bhts', q * q.shape[-1] ** -0.5, k)
  score = jnp.where(allowed, score.astype(jnp.float32), -1e30)
  weight = jnp.exp(score - jax.lax.stop_gradient(score.max(axis=-1, keepdims=True)))
  weight = jnp.where(allowed, weight, 0.0)
  total = jnp.maximum(weight.sum(axis=-1, keepdims=True), 1e-6)  # at least 1 where there is a key
  out = jnp.einsum('bhts,bhsk->bhtk', weight.astype(v.dtype), v)
  return (out / total.astype(out.dtype)).swapaxes(1, 2)


class Attention(nnx.Module):
  """Multi-head attention with RMS-normed queries and keys and a gate per head.

  Queries and keys are normed over the whole inner width H·K before `rotate` turns them.
  """

  def __init__(
    self, width, context_width, heads, head_dim, *, gated: bool, rotate=rope.rotate, rngs: nnx.Rngs
  ):  # fmt: skip
    inner, axes = (heads, head_dim), ('embed', 'heads', None)
    self.query = param.normal(rngs, (width, *inner), axes, scale=width**-0.5)
    self.key = param.normal(rngs, (context_width, *inner), axes, scale=context_width**-0.5)
    self.value = param.normal(rngs, (context_width, *inner), axes, scale=context_width**-0.5)
    out_scale = (heads * head_dim) ** -0.5
    self.out = param.normal(rngs, (*inner, width), ('heads', None, 'embed'), scale=out_scale)
    self.query_bias, self.key_bias, self.value_bias = (
      param.zeros(inner, ('heads', None)) for _ in range(3)
    )
    self.out_bias = param.zeros((width,), (None,))
    self.query_norm, self.key_norm = (param.ones(inner, ('heads', None)) for _ in range(2))
    self.gate = layers.Linear(width, heads, scale=0.0, rngs=rngs) if gated else None
    self.rotate = rotate

  def __call__(self, x, context, segments, ropes=(None, None), skip: jax.Array | None = None):
    """x [B, T, D], context [B, S, D'], their segments and rotations → [B, T, D].

    Where `skip`, a bool [], is true, each token of x gets its own value and no other's; x is then
    the context.
    """
    q = self._heads(x, self.query, self.query_bias, self.query_norm, ropes[0])
    k = self._heads(context, self.key, self.key_bias, self.key_norm, ropes[1])
    v = self._heads(context, self.value, self.value_bias)
    a = attend(q, k, v, *segments)
    if skip is not None:
      a = jnp.where(skip, v, a)
    if self.gate is not None:
      a = a * reshard(2 * jax.nn.sigmoid(self.gate(x)), 'batch', 'tokens', 'heads')[..., None]
    y = param.einsum('bthk,hkd->btd', a, self.out, 'batch', 'tokens', None)
    return y + self.out_bias[...].astype(y.dtype)

  def _heads(self, x, kernel, bias, norm=None, turn=None):
    y = param.einsum('btd,dhk->bthk', x, kernel, 'batch', 'tokens', 'heads', None)
    y = y + bias[...].astype(y.dtype)
    if norm is not None:
      y = layers.rms_norm(y, axis=(-2, -1)) * norm[...].astype(y.dtype)
    return y if turn is None else self.rotate(y, turn)
