"""Attention of every place of a volume to the box of places around it (Hassani et al. 2023).

Places are cut into blocks. All windows of a block lie in one box of keys, so that a block is a
matrix product and a mask, and no matrix of all places with all places is ever made.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

Size = tuple[int, int, int]

BLOCK = (4, 8, 8)  # of queries
SCORES = 2**26  # that are in memory at once
NEVER = -1e30  # a score that weighs nothing


def attend(
  q: jax.Array, k: jax.Array, v: jax.Array, window: Size, block: Sequence[int] = BLOCK
) -> jax.Array:
  """softmax(q·k)·v over the window of each query; nothing is scaled.

  A window begins half its size, rounded down, before its query. At the edges it is moved inwards,
  so that it always holds all its places.

  Args:
    q: [B, T, H, W, N, K] of N heads.
    k: the same.
    v: the same.
    window: how many places of each axis; none may be more than there are.
    block: queries that go together.

  Returns:
    [B, T, H, W, N, K] in the type of v.
  """
  size = q.shape[1:4]
  if any(w > s for w, s in zip(window, size)):
    raise ValueError(f'windows of {window} do not fit into {size} places')
  block = [min(b, s) for b, s in zip(block, size)]
  span = [min(b + w - 1, s) for b, w, s in zip(block, window, size)]
  counts = tuple(-(-s // b) for s, b in zip(size, block))
  spare = [(0, n * b - s) for n, b, s in zip(counts, block, size)]
  q = jnp.pad(q, ((0, 0), *spare, (0, 0), (0, 0)))

  def of_block(number: jax.Array) -> jax.Array:
    place = jnp.unravel_index(number, counts)
    first = [p * b for p, b in zip(place, block)]
    keys = [jnp.clip(f - w // 2, 0, s - n) for f, w, s, n in zip(first, window, size, span)]
    seen = [_seen(*axis) for axis in zip(first, keys, block, span, window, size)]
    mask = jnp.einsum('ai,bj,ck->abcijk', *seen).reshape(math.prod(block), math.prod(span))
    queries, (here, values) = _cut(q, first, block), (_cut(x, keys, span) for x in (k, v))
    scores = jnp.einsum('bfnk,blnk->bnfl', queries, here, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(jnp.where(mask, scores, NEVER), axis=-1)
    return jnp.einsum('bnfl,blnk->bfnk', weights.astype(v.dtype), values)

  of_one = len(q) * q.shape[4] * math.prod(block) * math.prod(span)
  together = max(min(SCORES // of_one, math.prod(counts)), 1)
  made = jax.lax.map(of_block, jnp.arange(math.prod(counts)), batch_size=together)
  made = made.reshape(*counts, len(q), *block, *q.shape[4:]).transpose(3, 0, 4, 1, 5, 2, 6, 7, 8)
  whole = made.reshape(len(q), *(n * b for n, b in zip(counts, block)), *q.shape[4:])
  return whole[:, : size[0], : size[1], : size[2]]


def _seen(first, keys, block: int, span: int, window: int, size: int) -> jax.Array:
  """Which of `span` keys from `keys` on each of `block` queries from `first` on sees, one axis."""
  begin = jnp.clip(first + jnp.arange(block) - window // 2, 0, size - window)[:, None]
  key = keys + jnp.arange(span)
  return (begin <= key) & (key < begin + window)


def _cut(x: jax.Array, first, size: Sequence[int]) -> jax.Array:
  """A box of [B, T, H, W, N, K] as [B, L, N, K]."""
  box = jax.lax.dynamic_slice(x, (0, *first, 0, 0), (len(x), *size, *x.shape[4:]))
  return box.reshape(len(x), math.prod(size), *x.shape[4:])
