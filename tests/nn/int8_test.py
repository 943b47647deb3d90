import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from sorajax.nn import int8

CONFIG = tiny.transformer()


def is_rounded(x) -> bool:
  return isinstance(x, int8.Int8)


@pytest.mark.parametrize(('shape', 'inputs'), [((3, 4, 5), (-2,)), ((2, 3, 4, 5), (-3, -2))])
def test_a_matrix_is_off_by_half_a_step_of_its_output_at_most(shape, inputs):
  w = jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)
  made = int8.rounded(w, inputs)
  step = np.abs(w).max(axis=inputs, keepdims=True) / 127
  assert made.values.dtype == jnp.int8 and made.scale.shape == step.shape
  assert (np.abs(made.astype(jnp.float32) - w) <= 0.5001 * step).all()
  np.testing.assert_allclose(np.abs(made.astype(jnp.float32)).max(inputs), np.abs(w).max(inputs))


def test_an_output_of_nothing_stays_nothing():
  made = int8.rounded(jnp.zeros((2, 3, 4)), (-2,))
  np.testing.assert_array_equal(made.astype(jnp.float32), 0)


def test_a_transformer_computes_with_the_rounded_matrices_and_little_is_lost():
  params = jax.tree.map(jnp.asarray, tiny.parameters(CONFIG))
  rounded = int8.tree(params)
  leaves = jax.tree.leaves(rounded, is_leaf=is_rounded)
  matrices = [x for x in leaves if is_rounded(x)]
  assert len(matrices) == 2 * (3 * 5 + 2)  # three attentions with gates and an MLP a stream
  assert not any(map(is_rounded, jax.tree.leaves(rounded['ends'], is_leaf=is_rounded)))
  spread = jax.tree.map(
    lambda x: x.astype(jnp.float32) if is_rounded(x) else x, rounded, is_leaf=is_rounded
  )
  tokens, text = tiny.pack([[0, 1], [2]])
  made, same, exact = (tiny.run(CONFIG, p, tokens, text) for p in (rounded, spread, params))
  for m in exact:
    np.testing.assert_allclose(made[m], same[m], atol=1e-6)
    apart = np.linalg.norm(made[m] - exact[m]) / np.linalg.norm(exact[m])
    assert 1e-4 < apart < 0.02


def test_what_two_trees_share_is_rounded_once():
  w = jnp.ones((2, 3, 4))
  known: dict = {}
  one, other = ({'layer': {'kernel': w}} for _ in range(2))
  assert int8.tree(one, known)['layer']['kernel'] is int8.tree(other, known)['layer']['kernel']
