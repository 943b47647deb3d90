import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax import nnx
from programs import run as run_program

from sorajax.evaluate.products import matrix_products
from sorajax.model.transformer import REMAT
from sorajax.nn import kernels, rope
from sorajax.nn.attention import Attention, AttentionConfig, attend
from sorajax.plan.hlo import Program

HEADS, HEAD_DIM = 2, 8


def numbers(seed: int, *shape: int) -> np.ndarray:
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


Q, K, V = (numbers(i, 3, length, HEADS, HEAD_DIM) for i, length in enumerate((6, 9, 9)))
Q_SEGMENT = np.array([[1, 1, 1, 2, 2, 0], [1, 2, 3, 3, 2, 1], [1, 1, 1, 1, 1, 1]])
K_SEGMENT = np.array([[1, 2, 2, 2, 1, 1, 1, 0, 0], [3, 3, 1, 1, 1, 2, 2, 2, 2], [1] * 9])
run = tiny.quick_jit(attend, static_argnames='config')
each_kernel = pytest.mark.parametrize('kernel', ['reference', 'chunked', 'by_head', 'splash'])


def exactly(q, k, v, q_segment, k_segment) -> np.ndarray:
  """Attention in float64, a query at a time."""
  q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
  out = np.zeros(q.shape)
  for b, t, h in np.ndindex(q.shape[:3]):
    heard = k_segment[b] == q_segment[b, t]
    score = k[b, heard, h] @ q[b, t, h] / np.sqrt(q.shape[-1])
    weight = np.exp(score - score.max(initial=-np.inf))
    out[b, t, h] = weight @ v[b, heard, h] / max(weight.sum(), 1e-300)
  return out


@each_kernel
@pytest.mark.parametrize('queries, keys', [(6, 9), (300, 140)])
def test_every_kernel_is_attention_in_float64(kernel, queries, keys):
  """On packed rows of many clips; 300 queries are not a whole number of tiles."""
  q, k, v = (
    numbers(i, 2, length, HEADS, HEAD_DIM) for i, length in enumerate((queries, keys, keys))
  )
  rng = np.random.default_rng(0)
  segments = rng.integers(0, 4, (2, queries)), rng.integers(1, 4, (2, keys))
  out = run(q, k, v, *segments, config=AttentionConfig(kernel, block=128))
  np.testing.assert_allclose(out, exactly(q, k, v, *segments), atol=2e-6)


@each_kernel
def test_every_kernel_has_the_gradients_of_plain_attention(kernel):
  weight, mask = numbers(3, *Q.shape), (Q_SEGMENT[:, :, None] == K_SEGMENT[:, None, :])[:, None]
  how = AttentionConfig(kernel, block=128)
  ours = lambda q, k, v: (weight * attend(q, k, v, Q_SEGMENT, K_SEGMENT, how)).sum()
  heard = mask.any(-1)[:, 0, :, None, None]
  plain = lambda q, k, v: (
    weight * jnp.where(heard, jax.nn.dot_product_attention(q, k, v, mask=mask), 0)
  ).sum()
  gradients = [tiny.quick_jit(jax.grad(f, (0, 1, 2)))(Q, K, V) for f in (ours, plain)]
  for a, b in zip(*gradients):
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_head_in_pieces_has_the_values_and_gradients_of_a_whole_one():
  """300 queries in pieces of 128, the last of which is padded; some are without keys."""
  q, k, v, weight = (numbers(i, 2, n, HEADS, HEAD_DIM) for i, n in enumerate((300, 140, 140, 300)))
  rng = np.random.default_rng(0)
  segments = rng.integers(0, 4, (2, 300)), rng.integers(1, 4, (2, 140))
  total = lambda kernel: lambda *x: (weight * kernel(*x, *map(jnp.asarray, segments))).sum()
  pieces = functools.partial(kernels.by_head, cache=1)
  found, wanted = (
    tiny.quick_jit(jax.value_and_grad(total(kernel), (0, 1, 2)))(q, k, v)
    for kernel in (pieces, kernels.reference)
  )
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, wanted)
  assert 'f32[3,128' in str(jax.make_jaxpr(total(pieces))(q, k, v))


def test_where_layers_keep_their_products_scores_are_neither_kept_nor_computed_for_nothing():
  length, heads = 256, 4
  q, k, v = (numbers(i, 1, length, heads, HEAD_DIM) for i in range(3))
  segment = jnp.ones((1, length), jnp.int32)
  total = lambda *x: jnp.square(kernels.by_head(*x, segment, segment)).sum()
  layer = jax.checkpoint(total, policy=REMAT['dots'], prevent_cse=False)
  kept = jax.tree.leaves(jax.eval_shape(lambda *x: jax.vjp(layer, *x)[1], q, k, v))
  assert sum(x.size for x in kept) < heads * length**2
  products = matrix_products(jax.grad(layer, (0, 1, 2)), q, k, v)
  assert sum(products.values()) == heads * (2 + 5)  # forwards, and scores again and four gradients


@pytest.mark.parametrize('keys, products', [(256, 2 + 5), (128, 2 + 2 + 5)])
def test_splash_is_computed_once_where_its_results_are_dear_to_make(keys, products):
  """Dearer than a product by weights as large; of few keys they are cheap, and not kept."""
  q, k, v = (numbers(i, 1, length, 4, 128) for i, length in enumerate((128, keys, keys)))
  segments = jnp.ones((1, 128), jnp.int32), jnp.ones((1, keys), jnp.int32)
  layer = lambda x, _: (kernels.splash(x, k, v, *segments, alone=False, interpret=True), None)
  layer = jax.checkpoint(layer, policy=REMAT['dots'], prevent_cse=False)
  gradients = jax.grad(lambda x: jax.lax.scan(layer, x, None, length=3)[0].sum())
  program = Program(jax.jit(gradients).lower(q).compile().as_text(), {'data': 1})
  counted = sum(work.flops * work.times for work in program.work())
  assert counted == 3 * products * 2 * 128 * keys * 128 * 4


@pytest.mark.parametrize('tiles, parts', [(1, 4), (2, 2), (4, 1)])
def test_gradients_of_queries_are_the_sum_of_their_parts(tiles, parts, monkeypatch):
  """500 keys in tiles of 128, of which so many lie in scratch memory at once."""
  monkeypatch.setattr(kernels, 'SCRATCH_BYTES', (32 + 40 * tiles) * 128 * 128)
  q, k, v, weight = (numbers(i, 1, n, HEADS, HEAD_DIM) for i, n in enumerate((40, 500, 500, 40)))
  rng = np.random.default_rng(0)
  segments = rng.integers(1, 4, (1, 40)), rng.integers(1, 4, (1, 500))
  total = lambda kernel: lambda *x: (weight * kernel(*x, *map(jnp.asarray, segments))).sum()
  splash = functools.partial(kernels.splash, block=128, interpret=True)
  found, wanted = (
    tiny.quick_jit(jax.grad(total(kernel), (0, 1, 2)))(q, k, v)
    for kernel in (splash, kernels.reference)
  )
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, wanted)
  made = str(jax.make_jaxpr(jax.grad(total(splash)))(q, k, v))
  assert f'f32[{parts},{HEADS},128,{HEAD_DIM}]' in made.replace('f32[1,', 'f32[')


@pytest.mark.parametrize('width', [64, 128, 256])
@pytest.mark.parametrize('length', [1, 128, 1025, 6144, 14_720, 75_600])
def test_tiles_of_keys_fit_scratch_memory_and_make_few_parts(length, width):
  padded, some, tile = kernels._tiles_of_keys(length, kernels.BLOCK, 640, width)
  assert padded >= length and padded % some == some % tile == tile % kernels.LANES == 0
  lanes = max(width, kernels.LANES)
  assert some == tile or 640 * (24 * lanes + 8 * tile) + 40 * lanes * some <= kernels.SCRATCH_BYTES
  assert padded <= 1.05 * length + kernels.BLOCK
  if length > 4096 and width <= 128:
    assert padded // some <= padded / 1280


@pytest.mark.parametrize('length', [1, 128, 1025, 6144, 14_720, 15_000])
@pytest.mark.parametrize('block', [128, 512, 1024])
def test_tiles_of_splash_pad_least(length, block):
  """14,720 tokens are 23 tiles of 640, not 15 of 1,024 and a tenth more scores."""
  padded, tile = kernels._tiles(length, block)
  assert tile % kernels.LANES == 0 and tile <= block
  assert padded % tile == 0 and 0 <= padded - length < tile
  for other in range(max(block // 2, kernels.LANES), block + 1, kernels.LANES):
    assert padded <= -(-length // other) * other


@each_kernel
def test_no_kernel_lets_a_clip_hear_another(kernel):
  """To the last bit, forwards and in the gradients of what the other clip holds."""
  how = AttentionConfig(kernel, block=128)
  own = (Q_SEGMENT == 1)[..., None, None]
  others = jnp.asarray(K_SEGMENT != 1)[..., None, None]

  def heard(k, v):
    return jnp.where(own, attend(Q, k, v, Q_SEGMENT, K_SEGMENT, how), 0.0)

  before = tiny.quick_jit(heard)(K, V)
  np.testing.assert_array_equal(
    tiny.quick_jit(heard)(*(jnp.where(others, 1e4, x) for x in (K, V))), before
  )
  gradients = tiny.quick_jit(jax.grad(lambda k, v: jnp.square(heard(k, v)).sum(), (0, 1)))(K, V)
  for gradient in gradients:
    assert (jnp.where(others, gradient, 0.0) == 0).all() and (gradient != 0).any()


@pytest.fixture(scope='module')
def on_meshes() -> list[dict]:
  return json.loads(run_program(str(Path(__file__).with_name('attention_on_mesh.py'))))


def test_every_split_over_devices_gives_the_same_answer_and_gradients(on_meshes):
  done = [found for found in on_meshes if 'apart' in found]
  assert {tuple(found['how']) for found in done} == {
    ('reference', 'swap'), ('reference', 'gather'), ('reference', 'ring'), ('chunked', 'gather'),
    ('splash', 'swap'), ('splash', 'gather'),
  }  # fmt: skip
  for found in done:
    assert max(found['apart']) < 1e-5, found


def test_a_swap_of_too_few_heads_is_refused(on_meshes):
  refused = [found for found in on_meshes if 'refused' in found]
  assert [(f['shape'], f['how'][1]) for f in refused] == [([1, 1, 8, 1], 'swap')] * 2
  assert refused[0]['refused'] == '4 heads do not divide over 8 shards; split by gather'


@pytest.mark.parametrize(
  'platform, dtype, queries, keys, wanted',
  [
    ('cpu', 'float32', (1, 100, 4, 64), 100, 'reference'),
    ('cpu', 'float32', (1, 1024, 16, 64), 1024, 'by_head'),
    ('cpu', 'float32', (1, 60_000, 32, 128), 60_000, 'by_head'),
    ('tpu', 'bfloat16', (1, 144, 32, 64), 144, 'reference'),
    ('tpu', 'bfloat16', (1, 6144, 32, 128), 6144, 'splash'),
    ('gpu', 'bfloat16', (1, 6144, 32, 128), 6144, 'cudnn'),
    ('gpu', 'bfloat16', (1, 6144, 32, 100), 6144, 'chunked'),
    ('gpu', 'float32', (1, 6144, 32, 128), 6144, 'chunked'),
    ('gpu', 'bfloat16', (1, 60_000, 32, 128), 60_000, 'chunked'),
  ],
)
def test_the_kernel_follows_platform_type_and_size(platform, dtype, queries, keys, wanted):
  assert kernels.choose(platform, jnp.dtype(dtype), queries, keys) == wanted


@pytest.mark.parametrize('queries, keys', [(6, 8), (7, 9), (5, 4)])
def test_cudnn_is_asked_for_even_numbers_of_tokens(monkeypatch, queries, keys):
  """As its backward pass must be; here JAX's own products stand in for it."""
  plain, asked = jax.nn.dot_product_attention, []

  def stand_in(q, k, v, *, mask, implementation):
    asked.append((implementation, q.shape[1], k.shape[1]))
    return plain(q, k, v, mask=mask)

  monkeypatch.setattr(jax.nn, 'dot_product_attention', stand_in)
  q, k, v = (
    numbers(i, 2, length, HEADS, HEAD_DIM) for i, length in enumerate((queries, keys, keys))
  )
  rng = np.random.default_rng(0)
  segments = rng.integers(0, 3, (2, queries)), rng.integers(1, 3, (2, keys))
  out = kernels.cudnn(q, k, v, *segments)
  np.testing.assert_allclose(out, exactly(q, k, v, *segments), atol=2e-6)
  slopes = [
    jax.grad(lambda *args: (kernel(*args, *segments) ** 2).sum(), (0, 1, 2))(q, k, v)
    for kernel in (kernels.cudnn, kernels.reference)
  ]
  for ours, wanted in zip(*slopes):
    np.testing.assert_allclose(ours, wanted, atol=1e-5)
  assert set(asked) == {('cudnn', queries + queries % 2, keys + keys % 2)}


def test_a_tile_that_no_tpu_has_is_refused():
  with pytest.raises(ValueError, match='block 100 is no multiple of 128; try 1024'):
    AttentionConfig(block=100)


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


@pytest.mark.parametrize('start', [0.0, 2.0])
def test_a_bias_to_start_with_has_tokens_hear_their_own_moment(start):
  """Where contents say nothing, as here, each query of five hears most of the key at its time."""
  queries, keys = np.linspace(0.3, 3.9, 5), np.linspace(0, 4, 16)
  module = Attention(5, 16, 1, 16, gated=False, start=start, rngs=nnx.Rngs(0))
  module.query[...], module.key[...] = 0 * module.query[...], 0 * module.key[...]
  module.value[...], module.out[...] = jnp.eye(16)[:, None, :], jnp.eye(16, 5)[None]
  turns = [
    rope.table(np.stack([t] * 3, -1)[None].astype(np.float32), 1, 16, (4.0,), 10.0)
    for t in (queries, keys)
  ]
  segments = np.ones((1, 5), np.int32), np.ones((1, 16), np.int32)
  shares = [
    module(jnp.zeros((1, 5, 5)), jnp.roll(jnp.eye(16), -k, axis=1)[None], segments, turns)[0]
    for k in range(0, 16, 5)
  ]
  heard = np.concatenate(shares, axis=1)[:, :16]  # how much of each key
  np.testing.assert_allclose(heard.sum(axis=1), 1, atol=1e-5)
  nearest = np.abs(queries[:, None] - keys).argmin(axis=1)
  if start:
    np.testing.assert_array_equal(heard.argmax(axis=1), nearest)
  else:
    np.testing.assert_allclose(heard, 1 / 16, atol=1e-6)
