import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax import sharding
from sorajax.nn import param

DRAWN = np.random.default_rng(0)


def drawn(*shape: int) -> jax.Array:
  return jnp.asarray(DRAWN.standard_normal(shape), jnp.float32)


def with_slopes(function, *args):
  """Its values, and how a weighted sum of them changes with each argument."""

  def objective(*args):
    y = function(*args)
    return (jnp.sin(jnp.arange(y.size)).reshape(y.shape) * y).sum(), y

  slopes, values = jax.jit(jax.grad(objective, tuple(range(len(args))), has_aux=True))(*args)
  return values, *slopes


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
def test_a_product_is_the_einsum_with_its_slopes(equation, of_x, of_w, axes, rows, meshed):
  x, w = drawn(rows, *of_x), drawn(*of_w)
  wanted = with_slopes(functools.partial(jnp.einsum, equation), x, w)
  product = lambda x, w: param.einsum(equation, x, w, *axes)
  if meshed:
    with jax.set_mesh(sharding.make_mesh(sharding.MeshConfig())):
      found = with_slopes(product, *sharding.everywhere((x, w)))
  else:
    found = with_slopes(product, x, w)
  for a, b in zip(found, wanted):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('meshed', [False, True])
@pytest.mark.parametrize('rows', [1, 2])
@pytest.mark.parametrize('shape', [(6,), (2, 3), ('rows', 1, 6), ('rows', 7, 6)], ids=str)
def test_what_is_spread_is_broadcast_with_its_slope(shape, rows, meshed):
  x = drawn(*(rows if size == 'rows' else size for size in shape))
  like = drawn(rows, 7, *(shape[2:] if 'rows' in shape else shape))
  wanted = with_slopes(lambda x: jnp.broadcast_to(x, like.shape), x)
  spread = lambda x, like: param.spread(x, like) + 0 * like
  if meshed:
    with jax.set_mesh(sharding.make_mesh(sharding.MeshConfig())):
      found = with_slopes(spread, *sharding.everywhere((x, like)))
  else:
    found = with_slopes(spread, x, like)
  for a, b in zip(found[:2], wanted):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_slopes_of_a_single_row_are_products_alone():
  x, w, bias = drawn(1, 64, 8), drawn(8, 2, 4), drawn(2, 4)

  def objective(x, w, bias):
    y = param.einsum('btd,dhk->bthk', x, w, 'batch', 'tokens', 'heads', None)
    return y + param.spread(bias, y)

  text = jax.jit(jax.grad(lambda *args: objective(*args).sum(), (1, 2))).lower(x, w, bias).as_text()
  assert text.count('stablehlo.dot_general') >= 2
  assert 'stablehlo.reduce' not in text.replace('stablehlo.reduce_precision', '')
