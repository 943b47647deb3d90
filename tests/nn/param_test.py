import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax import sharding
from sorajax.evaluate.products import matrix_products
from sorajax.nn import param

DRAWN = np.random.default_rng(0)
WEIGHTS = jnp.sin(jnp.arange(1000)).astype(jnp.bfloat16).astype(jnp.float32)  # exact in 16 bits


def drawn(*shape: int) -> jax.Array:
  return jnp.asarray(DRAWN.standard_normal(shape), jnp.float32)


def with_gradients(function, *args):
  """Its values, and how a weighted sum of them changes with each argument."""

  def objective(*args):
    y = function(*args)
    return (WEIGHTS[: y.size].reshape(y.shape) * y).sum(), y

  gradients, values = jax.jit(jax.grad(objective, tuple(range(len(args))), has_aux=True))(*args)
  return values, *gradients


def on(meshed: bool, function, *args):
  """`with_gradients`, over a mesh or without one."""
  if not meshed:
    return with_gradients(function, *args)
  with jax.set_mesh(sharding.make_mesh(sharding.MeshConfig())):
    return with_gradients(function, *sharding.everywhere(args))


@pytest.mark.parametrize('meshed', [False, True])
@pytest.mark.parametrize('rows', [1, 2])
@pytest.mark.parametrize(
  ('equation', 'of_x', 'of_w', 'axes'),
  [
    ('bti,io->bto', (7, 6), (6, 5), ('batch', 'tokens', None)),
    ('btd,dhk->bthk', (7, 6), (6, 2, 4), ('batch', 'tokens', 'heads', None)),
    ('bthk,hkd->btd', (7, 2, 4), (2, 4, 6), ('batch', 'tokens', None)),
  ],
)
def test_a_product_is_the_einsum_with_its_gradients(equation, of_x, of_w, axes, rows, meshed):
  x, w = drawn(rows, *of_x), drawn(*of_w)
  wanted = with_gradients(functools.partial(jnp.einsum, equation), x, w)
  product = lambda x, w: param.einsum(equation, x, w, *axes)
  found = on(meshed, product, x, w)
  for a, b in zip(found, wanted):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('meshed', [False, True])
@pytest.mark.parametrize(
  ('equation', 'of_x', 'of_w', 'axes'),
  [
    ('bti,io->bto', (7, 6), (6, 5), ('batch', 'tokens', None)),
    ('bti,io->bto', (7, 5), (5, 1), ('batch', 'tokens', None)),
    ('bthk,hkd->btd', (7, 2, 4), (2, 4, 6), ('batch', 'tokens', None)),
  ],
)
def test_products_of_16_bits_lose_no_more_than_their_rounding(equation, of_x, of_w, axes, meshed):
  x, w = drawn(2, *of_x).astype(jnp.bfloat16), drawn(*of_w)
  as_rounded = w.astype(jnp.bfloat16).astype(jnp.float32)
  wanted = with_gradients(
    functools.partial(jnp.einsum, equation), x.astype(jnp.float32), as_rounded
  )
  product = lambda x, w: param.einsum(equation, x, w, *axes).astype(jnp.float32)
  found = on(meshed, product, x, w)
  assert [a.dtype for a in found] == [jnp.float32, jnp.bfloat16, jnp.float32]
  for a, b in zip(found, wanted):
    np.testing.assert_allclose(a.astype(jnp.float32), b, rtol=2**-8, atol=1e-5)


@pytest.mark.skipif(jax.default_backend() != 'cpu', reason='elsewhere XLA knows by itself')
@pytest.mark.parametrize('meshed', [False, True])
def test_on_a_cpu_the_precision_asked_of_jax_is_kept(meshed):
  x, w = drawn(2, 7, 6), drawn(6, 2, 4)
  rounded = lambda a: a.astype(jnp.bfloat16).astype(jnp.float32)
  wanted = with_gradients(functools.partial(jnp.einsum, 'btd,dhk->bthk'), rounded(x), rounded(w))

  def product(x, w):
    with jax.default_matmul_precision('bfloat16'):
      return param.einsum('btd,dhk->bthk', x, w, 'batch', 'tokens', 'heads', None)

  found = on(meshed, product, x, w)
  for a, b in zip(found, wanted):
    assert a.dtype == jnp.float32
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
  products = matrix_products(product, x, w)
  assert {(p.dtype, p.sums) for p in products} == {('bfloat16', 'float32')}


@pytest.mark.skipif(jax.default_backend() != 'cpu', reason='elsewhere XLA knows by itself')
def test_on_a_cpu_products_of_16_bits_give_sums_of_32():
  x, w = drawn(2, 8, 16).astype(jnp.bfloat16), drawn(16, 32)
  product = lambda x, w: param.einsum('bti,io->bto', x, w, 'batch', 'tokens', None)
  gradients = jax.jit(jax.grad(lambda x, w: product(x, w).astype(jnp.float32).sum(), (0, 1)))
  products = [*matrix_products(product, x, w), *matrix_products(gradients, x, w)]
  assert {(p.dtype, p.sums) for p in products} == {('bfloat16', 'float32')}


@pytest.mark.parametrize('meshed', [False, True])
@pytest.mark.parametrize('rows', [1, 2])
@pytest.mark.parametrize('shape', [(6,), (2, 3), ('rows', 1, 6), ('rows', 7, 6)], ids=str)
def test_what_is_spread_is_broadcast_with_its_slope(shape, rows, meshed):
  x = drawn(*(rows if size == 'rows' else size for size in shape))
  like = drawn(rows, 7, *(shape[2:] if 'rows' in shape else shape))
  wanted = with_gradients(lambda x: jnp.broadcast_to(x, like.shape), x)
  spread = lambda x, like: param.spread(x, like) + 0 * like
  found = on(meshed, spread, x, like)
  for a, b in zip(found[:2], wanted):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_gradients_of_a_single_row_are_products_alone():
  x, w, bias = drawn(1, 64, 8), drawn(8, 2, 4), drawn(2, 4)

  def objective(x, w, bias):
    y = param.einsum('btd,dhk->bthk', x, w, 'batch', 'tokens', 'heads', None)
    return y + param.spread(bias, y)

  text = jax.jit(jax.grad(lambda *args: objective(*args).sum(), (1, 2))).lower(x, w, bias).as_text()
  assert text.count('stablehlo.dot_general') >= 2
  assert 'stablehlo.reduce' not in text.replace('stablehlo.reduce_precision', '')
