"""Attention as one device computes it on the rows and heads that it holds.

| kernel    | where          | memory of its scores            | speed                             |
|-----------|----------------|---------------------------------|-----------------------------------|
| reference | everywhere     | B·H·T·S                         | best where they fit in a cache    |
| chunked   | everywhere     | B·H·512·S; recomputed backwards | that of matrix products           |
| by_head   | CPU            | a head's part that fits a cache | best on CPU from some 256 tokens  |
| splash    | TPU            | a tile                          | best on TPU from some 512 tokens  |
| cudnn     | NVIDIA, 16-bit | B·T·S for the mask of segments  | best on GPU while that mask fits  |

All take q [B, T, H, K], k and v [B, S, H, K] and the segments int32 [B, T] and [B, S], and return
[B, T, H, K] in the type of q, with the softmax in float32. A query whose segment no key shares
gets 0. `choose` picks one.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

FOR_ACCELERATORS = ('splash', 'cudnn')  # these give a query without keys a mean of all
CHUNK = 512  # queries whose scores `chunked` holds at once
CACHE_BYTES = 8 * 2**20  # of scores that `by_head` holds at once
KEPT = 'attention'  # the name of what its backward pass reads, for remat policies
FEWEST = 128  # queries that it takes at once all the same
BLOCK = 1024  # tokens of a tile of splash, at most
SMALL_BLOCK = 512  # of its keys, in numbers of 32 bits or heads of more than a tile
SCRATCH_BYTES = 16 * 2**20  # of splash, on the chips that have least
# Keys that splash meets while a part of the gradients is added up, or a tile begins; by assumption.
PART, TURN = 96, 64
LANES = 128  # a tile of a TPU is a multiple of so many
SMALL_BYTES = 64 * 2**20  # of scores in float32; below, plain products are as fast as any kernel
SMALL_BYTES_ON_CPU = 16 * 2**20
LARGE_BYTES = 2**30  # of scores, and of a mask of segments, above which they are not kept whole


def choose(platform: str, dtype, queries: tuple[int, ...], keys: int) -> str:
  """The kernel for queries [B, T, H, K] of a type and `keys` keys, as one device holds them."""
  batch, length, heads, width = queries
  pairs = batch * length * keys
  if platform == 'cpu':
    return 'reference' if 4 * heads * pairs <= SMALL_BYTES_ON_CPU else 'by_head'
  if 4 * heads * pairs <= SMALL_BYTES:
    return 'reference'
  if platform == 'tpu':
    return 'splash'
  half = dtype in (jnp.bfloat16, jnp.float16)
  fits = half and width <= 128 and width % 8 == 0 and 2 * pairs <= LARGE_BYTES
  if platform in ('gpu', 'cuda') and fits:
    return 'cudnn'
  return 'reference' if 4 * heads * pairs <= LARGE_BYTES else 'chunked'


def reference(q, k, v, q_segment, k_segment):
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


def chunked(q, k, v, q_segment, k_segment, chunk: int = CHUNK):
  """`reference` for `chunk` queries after the other; the backward pass computes scores again."""
  length = q.shape[1]
  count = -(-length // chunk)
  pad = count * chunk - length
  q, q_segment = (jnp.pad(x, ((0, 0), (0, pad)) + ((0, 0),) * (x.ndim - 2)) for x in (q, q_segment))
  cut = lambda x: x.reshape(x.shape[0], count, chunk, *x.shape[2:]).swapaxes(0, 1)
  some = jax.checkpoint(lambda turn: reference(turn[0], k, v, turn[1], k_segment))
  out = jax.lax.map(some, (cut(q), cut(q_segment)))
  return out.swapaxes(0, 1).reshape(q.shape)[:, :length]


def by_head(q, k, v, q_segment, k_segment, cache: int = CACHE_BYTES):
  """One head after the other, and of its queries as many at once as have `cache` bytes of scores.

  So scores never leave the processor's cache, and all products are of two plain matrices. The
  backward pass finds the weights again from scores and the logarithm of their sum, as Dao et al.
  (2022, FlashAttention, appendix B.4) do.
  """
  (B, T, H, K), S = q.shape, k.shape[1]
  rows = min(T, max(cache // (4 * S), FEWEST))
  count = -(-T // rows)
  heads_first = lambda x: x.swapaxes(1, 2).reshape(B * H, x.shape[1], K)
  apart = lambda x, value=0: _padded(x, count * rows, value).reshape(
    len(x), count, rows, *x.shape[2:]
  )
  nothing = jnp.iinfo(jnp.int32).min  # a segment that no key has
  own = jnp.arange(B * H) // H
  q, k, v = heads_first(q * K**-0.5), heads_first(k), heads_first(v)
  turns = apart(q), k, v, apart(q_segment, nothing)[own], jnp.asarray(k_segment)[own]
  out = jax.lax.map(lambda turn: _one_head(*turn), turns)
  return out.reshape(B, H, count * rows, K)[:, :, :T].swapaxes(1, 2)


@jax.custom_vjp
def _one_head(q, k, v, q_segment, k_segment):
  """q [N, T, K] in N pieces, k and v [S, K] and the segments [N, T] and [S] → [N, T, K]."""
  return _one_head_forwards(q, k, v, q_segment, k_segment)[0]


def _one_head_forwards(q, k, v, q_segment, k_segment):
  def piece(turn):
    q, segment = turn
    allowed = segment[:, None] == k_segment
    score = jnp.where(allowed, _scores(q, k), -1e30)
    top = score.max(axis=-1, keepdims=True)
    weight = jnp.where(allowed, jnp.exp(score - top), 0.0)
    total = jnp.maximum(weight.sum(axis=-1, keepdims=True), 1e-6)
    summed = jnp.matmul(weight.astype(v.dtype), v, preferred_element_type=jnp.float32)
    out = (summed / total).astype(q.dtype)
    return checkpoint_name((out, top + jnp.log(total)), KEPT)

  out, size = jax.lax.map(piece, (q, q_segment))
  return out, (q, k, v, q_segment, k_segment, out, size)


def _scores(q, k):
  """[T, K] and [S, K] → float32 [T, S].

  Written as a batch of one, since a policy that keeps the products of layers keeps those without.
  """
  batched = (((2,), (2,)), ((0,), (0,)))
  return jax.lax.dot_general(q[None], k[None], batched, preferred_element_type=jnp.float32)[0]


def _one_head_backwards(saved, cotangent):
  q, k, v, q_segment, k_segment, out, size = saved
  shared = (cotangent * out).astype(jnp.float32).sum(axis=-1, keepdims=True)

  def piece(sums, turn):
    q, cotangent, segment, size, shared = turn
    allowed = segment[:, None] == k_segment
    score = jnp.matmul(q, k.T, preferred_element_type=jnp.float32)
    weight = jnp.where(allowed, jnp.exp(score - size), 0.0)
    of_weight = jnp.matmul(cotangent, v.T, preferred_element_type=jnp.float32)
    pull = jnp.where(allowed, weight * (of_weight - shared), 0.0).astype(q.dtype)
    return (sums[0] + pull.T @ q, sums[1] + weight.astype(q.dtype).T @ cotangent), pull @ k

  sums, q_gradient = jax.lax.scan(piece, (0 * k, 0 * v), (q, cotangent, q_segment, size, shared))
  return q_gradient, *sums, None, None


_one_head.defvjp(_one_head_forwards, _one_head_backwards)


def splash(
  q, k, v, q_segment, k_segment, *, alone=True, block: int = BLOCK, interpret: bool = False
):
  """JAX's Pallas kernel for TPU, on tokens padded to whole tiles (Dao et al. 2022, FlashAttention).

  Args:
    q: [B, T, H, K].
    k: [B, S, H, K].
    v: [B, S, H, K].
    q_segment: int32 [B, T].
    k_segment: int32 [B, S].
    alone: whether a query may be without keys.
    block: tokens of a tile, at most; a multiple of 128.
    interpret: whether to compute without a TPU, slowly.
  """
  from jax.experimental.pallas.ops.tpu import splash_attention as kernel

  T, tile = _tiles(q.shape[1], block)
  fewer = tile // 2 if tile % (2 * LANES) == 0 else tile  # which leaves more room for keys
  small = block if k.dtype.itemsize <= 2 and k.shape[-1] <= LANES else min(block, SMALL_BLOCK)
  S, some, at_once = _tiles_of_keys(k.shape[1], small, fewer, k.shape[-1])
  sizes = kernel.BlockSizes(
    block_q=tile, block_kv=at_once, block_q_dkv=tile if some == at_once else fewer,
    block_kv_dkv=some, block_kv_dkv_compute=at_once, use_fused_bwd_kernel=True,
  )  # fmt: skip
  mask = kernel.MultiHeadMask([kernel.FullMask((T, S))] * q.shape[2])
  dear = q.shape[2] * q.shape[3] <= 2 * S  # a result costs more than one of a product by weights
  run = kernel.make_splash_mha(
    mask, block_sizes=sizes, head_shards=1, q_seq_shards=1, interpret=interpret,
    residual_checkpoint_name=KEPT if dear else None,
  )  # fmt: skip
  lowest = jnp.iinfo(jnp.int32).min  # padding is of segments that nothing else has
  q_ids, k_ids = _padded(q_segment, T, lowest), _padded(k_segment, S, lowest + 1)
  heads_first = lambda x, length: _padded(x, length).swapaxes(1, 2)
  args = heads_first(q * q.shape[-1] ** -0.5, T), heads_first(k, S), heads_first(v, S)
  out = jax.vmap(run)(*args, kernel.SegmentIds(q_ids, k_ids))
  out = out.swapaxes(1, 2)[:, : q.shape[1]].astype(q.dtype)
  return _zero_where_alone(out, q_segment, k_segment) if alone else out


def cudnn(q, k, v, q_segment, k_segment, *, alone=True):
  """The kernel of NVIDIA's cuDNN, through `jax.nn.dot_product_attention`.

  Its gradients with a mask are there for even numbers of tokens alone.
  """
  even = lambda length: length + length % 2
  T, S = even(q.shape[1]), even(k.shape[1])
  lowest = jnp.iinfo(jnp.int32).min
  q_ids, k_ids = _padded(q_segment, T, lowest), _padded(k_segment, S, lowest + 1)
  allowed = (q_ids[:, :, None] == k_ids[:, None, :])[:, None]
  args = _padded(q, T), _padded(k, S), _padded(v, S)
  out = jax.nn.dot_product_attention(*args, mask=allowed, implementation='cudnn')
  out = out[:, : q.shape[1]]
  return _zero_where_alone(out, q_segment, k_segment) if alone else out


def ring(q, k, v, q_segment, k_segment, axis: str = 'context'):
  """Attention to the keys of all devices along a mesh axis, which pass by one after the other.

  Sums of exponentials and of values are corrected as the largest score grows (Milakov & Gimelshein
  2018), so that a device never holds other keys than those passing; the backward pass sends them
  round again. All arguments are one device's tokens.
  """
  count = jax.lax.axis_size(axis)
  onward = [(i, (i + 1) % count) for i in range(count)]
  batch, length, heads, width = q.shape
  q = q * width**-0.5

  @jax.checkpoint
  def turn(carry, _):
    (top, total, out), (k, v, segment) = carry
    allowed = (q_segment[:, :, None] == segment[:, None, :])[:, None]
    score = jnp.einsum('bthk,bshk->bhts', q, k).astype(jnp.float32)
    score = jnp.where(allowed, score, -1e30)
    now = jax.lax.stop_gradient(jnp.maximum(top, score.max(axis=-1)))
    weight = jnp.where(allowed, jnp.exp(score - now[..., None]), 0.0)
    kept = jnp.exp(top - now)
    total = kept * total + weight.sum(axis=-1)
    summed = jnp.einsum('bhts,bshk->bhtk', weight.astype(v.dtype), v)
    out = kept[..., None] * out + summed.astype(jnp.float32)
    passed = jax.tree.map(lambda x: jax.lax.ppermute(x, axis, onward), (k, v, segment))
    return ((now, total, out), passed), None

  first = jnp.full((batch, heads, length), -1e30), jnp.zeros((batch, heads, length))
  start = (*first, jnp.zeros((batch, heads, length, width)))
  ((_, total, out), _), _ = jax.lax.scan(turn, (start, (k, v, k_segment)), length=count)
  out = out / jnp.maximum(total, 1e-6)[..., None]
  return out.swapaxes(1, 2).astype(q.dtype)


CALLS: Mapping[str, Callable[..., jax.Array]] = MappingProxyType(
  {kernel.__name__: kernel for kernel in (reference, chunked, by_head, splash, cudnn)}
)


def _tiles(length: int, block: int) -> tuple[int, int]:
  """(padded length, tile): the largest tile, of half a block to a block, that pads least."""
  largest = min(block, -(-length // LANES) * LANES)
  tiles = range(largest, largest // 2 - 1, -LANES)
  return min(((-(-length // tile) * tile, tile) for tile in tiles), key=lambda made: made[0])


def _tiles_of_keys(length: int, block: int, queries: int, width: int) -> tuple[int, int, int]:
  """(padded length, keys in scratch memory, keys of a tile), for tiles of so many queries.

  The backward pass makes a part of the gradients of queries for all keys that lie in scratch memory
  together, which XLA adds up then. So few parts are worth some padding; and large tiles, since each
  takes some time to begin. Bytes are by what the compiler asked for, or a little more.
  """
  largest = min(block, -(-length // LANES) * LANES)
  lanes = -(-width // LANES) * LANES
  found = []
  for tile in range(largest, largest // 2 - 1, -LANES):
    room = SCRATCH_BYTES - queries * (24 * lanes + 8 * tile)  # with scores and their gradients
    most = max(room // (40 * lanes * tile), 1) if lanes == LANES else 1  # with gradients and sums
    for several in range(1, min(most, -(-length // tile)) + 1):
      padded = -(-length // (several * tile)) * several * tile
      cost = padded + PART * padded // (several * tile) + TURN * padded // tile
      found.append((cost, padded, several * tile, tile))
  return min(found, key=lambda one: one[0])[1:]


def _padded(x: jax.Array, length: int, value: int = 0) -> jax.Array:
  """x [B, T, …] → [B, length, …]."""
  pad = ((0, 0), (0, length - x.shape[1])) + ((0, 0),) * (x.ndim - 2)
  return jnp.pad(x, pad, constant_values=value)


def _zero_where_alone(out, q_segment, k_segment):
  """0 in place of the mean that kernels give to a query without keys."""
  attends = (q_segment[:, :, None] == k_segment[:, None, :]).any(axis=-1)
  return jnp.where(attends[..., None, None], out, 0)
