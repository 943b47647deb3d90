"""The one door to attention; kernels stand behind it and are chosen by platform and shape.

Where tokens are split over the mesh's `context` axis, a device must come by the keys of the rest:

| split  | what travels                 | needs                              | a device holds      |
|--------|------------------------------|------------------------------------|---------------------|
| swap   | q, k, v, out: all-to-all     | heads that divide tensor × context | all T, H/c heads    |
| gather | k, v: all-gather             | nothing                            | T/c of q, all k, v  |
| ring   | k, v: from neighbour to next | nothing                            | T/c of q, k and v   |

`swap` (Jacobs et al. 2023, DeepSpeed-Ulysses) moves least, so it is taken where the heads allow it
and `gather` where they do not. `ring` (Liu et al. 2023) is for keys that do not fit otherwise.
"""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from sorajax import sharding
from sorajax.errors import UserError
from sorajax.nn import kernels, layers, param, rope
from sorajax.sharding import divides, reshard


@dataclasses.dataclass(frozen=True)
class AttentionConfig:
  """How attention is computed; all choices give the same values.

  Attributes:
    kernel: one of `sorajax.nn.kernels`; `auto` chooses by platform and shape.
    split: how keys of other devices are come by; `auto` is `swap` where the heads allow it.
    block: tokens of a tile of the kernel for TPU, at most; a multiple of 128.
  """

  kernel: Literal['auto', 'reference', 'chunked', 'by_head', 'splash', 'cudnn'] = 'auto'
  split: Literal['auto', 'swap', 'gather', 'ring'] = 'auto'
  block: int = kernels.BLOCK

  def __post_init__(self) -> None:
    if self.block < kernels.LANES or self.block % kernels.LANES:
      raise ValueError(f'block {self.block} is no multiple of {kernels.LANES}; try {kernels.BLOCK}')


AUTO = AttentionConfig()


def attend(
  q: jax.Array, k: jax.Array, v: jax.Array, q_segment: jax.Array, k_segment: jax.Array,
  config: AttentionConfig = AUTO,
) -> jax.Array:  # fmt: skip
  """Softmax attention within segments (Vaswani et al. 2017).

  A query whose segment no key shares gets 0.

  Args:
    q: [B, T, H, K].
    k: [B, S, H, K].
    v: [B, S, H, K].
    q_segment: int32 [B, T].
    k_segment: int32 [B, S].
    config: how.

  Returns:
    [B, T, H, K] in the type of q; softmax in float32.

  Raises:
    UserError: a split by heads that are too few.
  """
  split = config.split
  if split == 'auto':
    split = 'swap' if divides(q.shape[2], 'swapped_heads') else 'gather'
  if split == 'swap' and not divides(q.shape[2], 'swapped_heads'):
    shards = sharding.shards('swapped_heads')
    raise UserError(f'{q.shape[2]} heads do not divide over {shards} shards; split by gather')
  tokens, heads = (None, 'swapped_heads') if split == 'swap' else ('tokens', 'heads')
  q, k, v = (reshard(x, 'batch', tokens, heads, None) for x in (q, k, v))
  same = q_segment is k_segment
  q_segment, k_segment = (reshard(s, 'batch', tokens) for s in (q_segment, k_segment))
  run = _run(config, split, same, q, k)
  if run is kernels.reference:  # plain products need no more than to know how arrays lie
    out = run(q, k, v, q_segment, k_segment)
  else:
    out = sharding.each_device(run, q, k, v, q_segment, k_segment)
  return reshard(out, 'batch', 'tokens', 'heads', None)


def _run(config: AttentionConfig, split: str, same: bool, q: jax.Array, k: jax.Array):
  """What computes attention on one device's part of all arguments.

  Args:
    config: how.
    split: how keys of other devices are come by.
    same: whether queries and keys are of the same tokens, so that none is without a key.
    q: all queries.
    k: all keys.
  """
  apart = sharding.shards('tokens') > 1
  if split == 'ring' and apart:
    return kernels.ring
  name: str = config.kernel
  platform = sharding.platform()
  if name == 'auto':
    name = kernels.choose(platform, q.dtype, sharding.shape_here(q), k.shape[1])
  kernel = kernels.CALLS[name]
  if name in kernels.FOR_ACCELERATORS:
    kernel = functools.partial(kernel, alone=not same)
  if name == 'splash':
    kernel = functools.partial(kernel, block=config.block, interpret=platform == 'cpu')
  if split == 'gather' and apart:
    return _with_all_keys(kernel)
  return kernel


def _with_all_keys(kernel):
  """The kernel, after the devices along `context` have given one another their keys."""

  def run(q, k, v, q_segment, k_segment):
    k, v, k_segment = (sharding.gather_tokens(x) for x in (k, v, k_segment))
    return kernel(q, k, v, q_segment, k_segment)

  return run


class Attention(nnx.Module):
  """Multi-head attention with RMS-normed queries and keys and a gate per head.

  Queries and keys are normed over the whole inner width H·K before they are turned. Their biases
  begin as `start`: the further above 0, the more a query attends at first to what is at its place.
  """

  def __init__(
    self, width, context_width, heads, head_dim, *, gated: bool,
    how: AttentionConfig = AUTO, start: float = 0.0, rngs: nnx.Rngs,
  ):  # fmt: skip
    inner, axes = (heads, head_dim), ('embed', 'heads', None)
    self.query = param.normal(rngs, (width, *inner), axes, scale=width**-0.5)
    self.key = param.normal(rngs, (context_width, *inner), axes, scale=context_width**-0.5)
    self.value = param.normal(rngs, (context_width, *inner), axes, scale=context_width**-0.5)
    out_scale = (heads * head_dim) ** -0.5
    self.out = param.normal(rngs, (*inner, width), ('heads', None, 'embed'), scale=out_scale)
    self.query_bias, self.key_bias = (param.full(inner, ('heads', None), start) for _ in range(2))
    self.value_bias = param.zeros(inner, ('heads', None))
    self.out_bias = param.zeros((width,), (None,))
    self.query_norm, self.key_norm = (param.ones(inner, ('heads', None)) for _ in range(2))
    self.gate = layers.Linear(width, heads, scale=0.0, rngs=rngs) if gated else None
    self.how = how

  def __call__(self, x, context, segments, ropes=(None, None), skip: jax.Array | None = None):
    """x [B, T, D], context [B, S, D'], their segments and rotations → [B, T, D].

    Where `skip`, a bool [], is true, each token of x gets its own value and no other's; x is then
    the context.
    """
    q = self._heads(x, self.query, self.query_bias, self.query_norm, ropes[0])
    k = self._heads(context, self.key, self.key_bias, self.key_norm, ropes[1])
    v = self._heads(context, self.value, self.value_bias)
    a = attend(q, k, v, segments[0], segments[1], self.how)
    if skip is not None:
      a = jnp.where(skip, v, a)
    if self.gate is not None:
      a = a * reshard(2 * jax.nn.sigmoid(self.gate(x)), 'batch', 'tokens', 'heads')[..., None]
    y = param.einsum('bthk,hkd->btd', a, self.out, 'batch', 'tokens', None)
    return y + param.spread(self.out_bias[...].astype(y.dtype), y)

  def _heads(self, x, kernel, bias, norm=None, turn=None):
    y = param.einsum('btd,dhk->bthk', x, kernel, 'batch', 'tokens', 'heads', None)
    y = y + param.spread(bias[...].astype(y.dtype), y)
    if norm is not None:
      y = layers.rms_norm(y, axis=(-2, -1)) * param.spread(norm[...].astype(y.dtype), y)
    return y if turn is None else rope.rotate(y, turn)
