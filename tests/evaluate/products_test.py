import jax
import jax.numpy as jnp
import pytest

from sorajax.evaluate.products import matrix_products, seconds_alone

A, B = jnp.ones((3, 5)), jnp.ones((5, 7))


def flops(function, *args) -> int:
  return sum(p.flops * n for p, n in matrix_products(function, *args).items())


def test_a_product_costs_two_operations_for_each_term():
  assert flops(jnp.matmul, A, B) == 2 * 3 * 5 * 7
  batched = lambda x, y: jnp.einsum('bhqd,bhkd->bhqk', x, y)
  assert flops(batched, jnp.ones((2, 3, 4, 8)), jnp.ones((2, 3, 6, 8))) == 2 * 2 * 3 * 4 * 6 * 8


def test_a_scan_counts_every_turn_and_a_jitted_function_once():
  square = jnp.ones((4, 4))
  turns = lambda x: jax.lax.scan(lambda c, _: (c @ x, None), x, length=9)[0]
  assert flops(turns, square) == 9 * 2 * 4**3
  assert flops(jax.jit(jnp.matmul), A, B) == flops(jnp.matmul, A, B)


def test_a_gradient_takes_two_products_more_and_remat_a_third():
  """d(ab) = da·b + a·db; remat makes the forward product once more."""
  loss = lambda a, b: jnp.sin(a @ b).sum()
  gradient = lambda f: jax.grad(f, argnums=(0, 1))
  once = flops(loss, A, B)
  assert flops(gradient(loss), A, B) == 3 * once
  assert flops(gradient(jax.checkpoint(loss)), A, B) == 4 * once


def test_a_loop_of_unknown_length_is_refused():
  loop = lambda x: jax.lax.while_loop(lambda c: c[0, 0] < 9, lambda c: c @ x, x)
  with pytest.raises(ValueError, match='how often it turns'):
    matrix_products(loop, jnp.ones((2, 2)))


def test_more_products_take_longer():
  """Sixty-four times the work in the same shape of product."""
  small, large = (
    matrix_products(jnp.matmul, jnp.ones((n, n)), jnp.ones((n, n))) for n in (64, 1024)
  )
  assert seconds_alone(large, 5) > seconds_alone(small, 5) > 0
  assert seconds_alone({p: 10 * n for p, n in large.items()}, 5) > seconds_alone(large, 5)
