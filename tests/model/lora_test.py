import functools
import math
import re

import jax
import numpy as np
import pytest
import tiny
from tiny import refused

from sorajax.model import lora
from sorajax.model.lora import LoraConfig, Sides

SHAPES = jax.eval_shape(lambda: tiny.initial(tiny.transformer()))
EVERYTHING = LoraConfig(3, 6.0, '.')
merged = jax.jit(lora.merged, static_argnums=2)


def changes(config: LoraConfig):
  """Changes of the tiny transformer, none of them zero."""
  return tiny.noisy(lambda: lora.init(config, SHAPES, jax.random.key(0)))


def flat(tree) -> dict[str, np.ndarray]:
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {jax.tree_util.keystr(p, simple=True, separator='/'): np.asarray(x) for p, x in leaves}


def test_fresh_changes_change_nothing():
  params = tiny.parameters(tiny.transformer())
  fresh = jax.jit(lambda key: lora.init(EVERYTHING, SHAPES, key))(jax.random.key(0))
  same = merged(params, fresh, EVERYTHING.scale)
  assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), params, same))


@pytest.mark.parametrize('kept', [True, False])
def test_parameters_that_change_in_turn_are_those_that_change_at_once(kept):
  """Those that do not change stay the arrays that they were, and with `kept` the others do too."""
  params = jax.tree.map(jax.numpy.asarray, tiny.parameters(tiny.transformer()))
  own = changes(LoraConfig(3, 3.0, 'video/.*query'))
  wanted, before = merged(params, own, 1.0), dict(jax.tree_util.tree_leaves_with_path(params))
  made = lora.merged_in_turn(params, jax.tree.map(np.asarray, own), kept)
  moved = 0
  for path, leaf in jax.tree_util.tree_leaves_with_path(made):
    changed = leaf is not before[path]
    assert before[path].is_deleted() == (changed and not kept)
    moved += changed
  assert moved == 3
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), made, wanted)


def test_a_change_adds_the_product_of_its_matrices():
  """By plain products of flattened matrices, layer after layer."""
  params, own = tiny.parameters(tiny.transformer()), changes(EVERYTHING)
  made, before = flat(merged(params, own, 0.5)), flat(params)
  small = flat(own)
  changed = {name.removesuffix('/up') for name in small if name.endswith('/up')}
  assert len(changed) > 40
  for name, value in before.items():
    if name not in changed:
      np.testing.assert_array_equal(made[name], value)
      continue
    its = lora.sides(name, value.shape)
    rank = EVERYTHING.rank
    down = small[f'{name}/down'].reshape(-1, int(np.prod(its.inputs)), rank)
    up = small[f'{name}/up'].reshape(-1, rank, int(np.prod(its.outputs)))
    wanted = value + 0.5 * (down @ up).reshape(value.shape)
    np.testing.assert_allclose(made[name], wanted, rtol=1e-5, atol=1e-6)


def loss_of(of_changes, changes):
  """The sum of squares that the transformer makes of packed rows, changed by one of two ways."""
  config = tiny.transformer()
  tokens, text = tiny.pack(([1, 2], [3], [4]))
  params = of_changes(tiny.parameters(config), changes, EVERYTHING.scale)
  return sum((x * x).sum() for x in tiny.apply(config, params, tokens, text).values())


def test_changes_beside_matrices_are_worth_what_they_are_when_merged():
  """In value and in gradients, of every matrix of the transformer."""
  own = changes(EVERYTHING)
  (a, by_a), (b, by_b) = (
    tiny.quick_jit(jax.value_and_grad(functools.partial(loss_of, way)))(own)
    for way in (lora.beside, lora.merged)
  )
  np.testing.assert_allclose(a, b, rtol=1e-5)
  largest = max(np.abs(x).max() for x in jax.tree.leaves(by_b))
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-4 * largest), by_a, by_b)


def test_no_matrix_has_a_slope_where_its_change_is_trained():
  """Nor is anything of its shape made in a step, which merging makes of each."""
  config = LoraConfig(3, 0.0, 'video/(self_attention/(query|out)|mlp/up/kernel)$')
  named = flat(tiny.parameters(tiny.transformer()))
  shapes = {x.shape[1:] for name, x in named.items() if re.search(config.targets, name)}
  own = changes(config)

  def made(way) -> set[tuple[int, ...]]:
    jaxpr = jax.make_jaxpr(jax.grad(functools.partial(loss_of, way)))(own)
    products = matrix_shapes(jaxpr.jaxpr)
    return {shape for shape in shapes if math.prod(shape) in map(math.prod, products)}

  assert made(lora.merged) == shapes and not made(lora.beside)


def matrix_shapes(jaxpr) -> set[tuple[int, ...]]:
  """The shapes of all that products make, in loops too."""
  found = set()
  for equation in jaxpr.eqns:
    if equation.primitive.name == 'dot_general':
      found.add(tuple(equation.outvars[0].aval.shape))
    for value in equation.params.values():
      for part in value if isinstance(value, (tuple, list)) else (value,):
        inner = getattr(part, 'jaxpr', part)
        found |= matrix_shapes(inner) if hasattr(inner, 'eqns') else set()
  return found


def test_what_is_added_can_be_taken_out_again():
  params, own = tiny.parameters(tiny.transformer()), changes(EVERYTHING)
  back = merged(merged(params, own, 2.0), own, -2.0)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), params, back)


def test_targets_choose_matrices_by_name():
  chosen = flat(changes(LoraConfig(2, 0.0, 'video/self_attention/(query|out)$')))
  stream = 'blocks/streams/video/self_attention'
  assert {n: x.shape for n, x in chosen.items()} == {
    f'{stream}/query/down': (2, 24, 2), f'{stream}/query/up': (2, 2, 2, 12),
    f'{stream}/out/down': (2, 2, 12, 2), f'{stream}/out/up': (2, 2, 24),
  }  # fmt: skip


@pytest.mark.parametrize(
  'name, shape, its',
  [
    ('blocks/streams/video/mlp/up/kernel', (2, 24, 32), Sides((2,), (24,), (32,))),
    ('blocks/streams/video/mlp/up/bias', (2, 32), None),
    ('blocks/streams/audio/table', (2, 6, 16), None),
    ('ends/video/embed/kernel', (5, 24), Sides((), (5,), (24,))),
  ],
)
def test_a_matrix_is_known_by_its_name(name, shape, its):
  assert lora.sides(name, shape) == its


def test_targets_that_are_nowhere_are_refused():
  with refused("config.lora.targets 'elsewhere' is found in no matrix of the network"):
    lora.init(LoraConfig(2, 0.0, 'elsewhere'), SHAPES, jax.random.key(0))
  with pytest.raises(ValueError, match='is no regular expression'):
    LoraConfig(2, 0.0, '(')
  with pytest.raises(ValueError, match='neither may be negative'):
    LoraConfig(-1)
