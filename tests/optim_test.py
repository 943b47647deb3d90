import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
from optax import contrib

from sorajax import optim
from sorajax.optim import OptimizerConfig
from sorajax.text.small import SmallEncoder


def rates(config: OptimizerConfig, steps: int) -> np.ndarray:
  schedule = optim.schedule(config, steps)
  return np.array([float(schedule(step)) for step in range(steps + 1)])


@pytest.mark.parametrize('decay', ['linear', 'cosine'])
def test_rate_rises_stays_and_falls_to_zero(decay):
  config = OptimizerConfig(learning_rate=0.5, warmup_steps=10, decay_share=0.4, decay=decay)
  rate = rates(config, 100)
  assert rate[0] == 0 and rate[100] == pytest.approx(0, abs=1e-6)
  np.testing.assert_allclose(rate[:11], np.linspace(0, 0.5, 11), rtol=1e-5)
  np.testing.assert_allclose(rate[10:61], 0.5, rtol=1e-5)
  assert (np.diff(rate[60:]) <= 0).all() and (np.diff(rate[62:99]) < 0).all()
  assert rate[80] == pytest.approx(0.25, rel=1e-4)  # half way, both forms are at a half


def test_a_fall_over_the_whole_run_begins_behind_the_warm_up():
  rate = rates(OptimizerConfig(learning_rate=0.5, warmup_steps=10, decay_share=1.0), 100)
  np.testing.assert_allclose(rate[:11], np.linspace(0, 0.5, 11), rtol=1e-5)
  np.testing.assert_allclose(rate[10:], np.linspace(0.5, 0, 91), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('steps', [1, 2, 5, 20])
def test_a_run_shorter_than_the_warm_up_still_learns(steps):
  rate = rates(OptimizerConfig(learning_rate=0.5, warmup_steps=100), steps)
  assert np.isfinite(rate).all() and rate[:steps].max() > 0 and rate.max() <= 0.5


def test_decay_spares_biases_norms_and_tables():
  config = OptimizerConfig(weight_decay=0.1, warmup_steps=0, decay_share=0.01, learning_rate=1.0)
  names = ('kernel', 'bias', 'query_bias', 'key_norm', 'table', 'cross_table', 'out')
  params = {name: jnp.ones(3) for name in names}
  transform = optim.optimizer(config, 1000)
  state = transform.init({'a': params})
  zero = jax.tree.map(jnp.zeros_like, {'a': params})
  for _ in range(2):
    updates, state = transform.update(zero, state, {'a': params})
  shrunk = {name for name in names if (np.asarray(updates['a'][name]) != 0).all()}
  assert shrunk == {'kernel', 'out'}
  np.testing.assert_allclose(updates['a']['kernel'], -0.1, rtol=1e-4)


def test_gradients_are_clipped_to_their_norm():
  """Adam undoes any factor on the first step, so the clipped moments tell."""
  config = OptimizerConfig(clip_norm=2.0, betas=(0.5, 0.5))
  transform = optim.optimizer(config, 10)
  params = {'a': jnp.zeros(4), 'b': jnp.zeros(5)}
  moments = lambda g: optax.tree.get(transform.update(g, transform.init(params), params)[1], 'mu')
  large = moments(jax.tree.map(lambda p: 100 + p, params))
  assert float(optax.global_norm(large)) == pytest.approx(0.5 * 2.0, rel=1e-5)
  small = moments(jax.tree.map(lambda p: 0.1 + p, params))
  assert float(optax.global_norm(small)) == pytest.approx(0.5 * 0.3, rel=1e-5)


def test_average_of_constant_weights_is_those_weights():
  params, ema = {'w': jnp.full(3, 7.0)}, {'w': jnp.full(3, 7.0)}
  for step in range(20):
    ema = optim.average(ema, params, step, 0.99)
  np.testing.assert_allclose(ema['w'], 7.0, rtol=1e-6)


def test_average_forgets_its_start_faster_early_on_and_ends_at_its_decay():
  kept = [float(optim.average(jnp.ones(()), jnp.zeros(()), step, 0.99)) for step in range(2000)]
  assert kept[0] == pytest.approx(0.1)
  assert all(a <= b for a, b in itertools.pairwise(kept)) and kept[-1] == pytest.approx(0.99)


def test_fitted_parameters_move_by_their_share_of_the_rate():
  params = {'straight': {'kernel': jnp.ones(3)}, 'conv': {'kernel': jnp.ones(3)}}
  for share in (1.0, 0.01):
    transform = optim.optimizer(OptimizerConfig(warmup_steps=0, fitted_share=share), 1000)
    gradients = jax.tree.map(jnp.ones_like, params)
    moved, _ = transform.update(gradients, transform.init(params), params)
    np.testing.assert_allclose(
      moved['straight']['kernel'], share * moved['conv']['kernel'], rtol=1e-6
    )


def test_muon_turns_the_slope_of_a_matrix_into_a_rotation_and_leaves_the_rest_to_adam():
  config = OptimizerConfig(warmup_steps=0, matrix_rate=0.1, learning_rate=1e-3, decay_share=0.01)
  rng = np.random.default_rng(0)
  shapes = {
    'kernel': (3, 3, 3, 4, 16), 'map': (64, 16), 'bias': (8,), 'table': (4, 8), 'straight': (8, 8),
  }  # fmt: skip
  params = {name: jnp.zeros(shape) for name, shape in shapes.items()}
  gradients = {name: jnp.asarray(rng.normal(size=shape)) for name, shape in shapes.items()}
  transform = optim.optimizer(config, 1000)
  moved, _ = transform.update(gradients, transform.init(params), params)
  for name in ('kernel', 'map'):  # all directions alike, however steep; five iterations are rough
    found = np.linalg.svd(np.asarray(moved[name]).reshape(-1, shapes[name][-1]), compute_uv=False)
    assert found.min() > 0.6 * 0.1 and found.max() < 1.3 * 0.1
  for name in ('bias', 'table', 'straight'):  # Adam's first step is the sign
    np.testing.assert_allclose(np.abs(moved[name]), 1e-3, rtol=1e-3)


@pytest.mark.parametrize('rounded', [False, True])
@pytest.mark.parametrize('shape', [(24, 24), (8, 40), (40, 8), (3, 16, 16), (2, 48, 20)])
def test_a_matrix_keeps_its_directions_while_their_lengths_come_near_to_one(shape, rounded):
  """The iteration is a polynomial of them; what 16 bits change is little beside what it leaves."""
  x = np.random.default_rng(0).normal(size=shape)
  left, lengths, right = np.linalg.svd(x, full_matrices=False)
  wanted = lengths / np.linalg.norm(lengths, axis=-1, keepdims=True)
  for _ in range(5):
    wanted = 3.4445 * wanted - 4.7750 * wanted**3 + 2.0315 * wanted**5
  exact, rotation = (left * wanted[..., None, :]) @ right, left @ right
  found = optim.orthogonal(jnp.asarray(1000 * x, jnp.float32), rounded)
  most = np.linalg.norm(exact - rotation) / 4 if rounded else 1e-4 * np.linalg.norm(exact)
  assert found.shape == shape and np.linalg.norm(found - exact) < most


def test_muon_is_that_of_optax():
  config = OptimizerConfig(warmup_steps=0, matrix_rate=0.1, decay_share=0.01, clip_norm=1e9)
  transform = optim.optimizer(config, 1000)
  other = contrib.muon(0.1)
  params = {'map': jnp.ones((12, 20))}
  ours, theirs = transform.init(params), other.init(params)
  update, their_update = jax.jit(transform.update), jax.jit(other.update)
  rng = np.random.default_rng(0)
  for _ in range(200):  # which counts the first gradients otherwise, and soon alike
    gradients = {'map': jnp.asarray(rng.normal(size=(12, 20)), jnp.float32)}
    found, ours = update(gradients, ours, params)
    wanted, theirs = their_update(gradients, theirs, params)
  np.testing.assert_allclose(found['map'], wanted['map'], atol=1e-3 * 0.1)


def test_nothing_to_learn_moves_no_matrix():
  assert not np.asarray(optim.orthogonal(jnp.zeros((4, 6)))).any()


def test_muon_turns_each_layer_of_a_transformer_by_itself_and_heads_as_one_matrix():
  config = OptimizerConfig(1e-3, 0, matrix_rate=0.1, decay_share=0.01, clip_norm=1e9)
  rng = np.random.default_rng(0)
  attention = {'query': (3, 16, 4, 4), 'out': (3, 4, 4, 16), 'query_bias': (3, 4, 4)}
  attention['gate'] = {'kernel': (3, 16, 4)}
  shapes = {
    'transformer': {'blocks': {'attention': attention}, 'ends': {'out': {'kernel': (16, 8)}}},
    'text': {'layers': {'up': {'kernel': (3, 16, 32)}}, 'table': (20, 16)},
  }
  is_shape = lambda x: isinstance(x, tuple)
  gradients = jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s)), shapes, is_leaf=is_shape)
  gradients['transformer']['blocks'] = jax.tree.map(  # a layer may be steeper than the others
    lambda x: x * jnp.array([1.0, 10.0, 100.0]).reshape(3, *[1] * (x.ndim - 1)),
    gradients['transformer']['blocks'],
  )
  params = jax.tree.map(jnp.zeros_like, gradients)
  transform = optim.optimizer(config, 1000)
  moved, _ = transform.update(gradients, transform.init(params), params)
  blocks = moved['transformer']['blocks']['attention']
  matrices = {'query': blocks['query'].reshape(3, 16, 16), 'out': blocks['out'].reshape(3, 16, 16)}
  matrices['up'] = moved['text']['layers']['up']['kernel']
  for name, matrix in matrices.items():
    found = np.linalg.svd(np.asarray(matrix), compute_uv=False)
    wide = max(1, matrix.shape[2] / matrix.shape[1]) ** 0.5
    assert found.max() < 1.3 * 0.1 * wide, name
    assert np.median(found) > 0.6 * 0.1 * wide, name
  rest = (
    blocks['query_bias'],
    blocks['gate'],
    moved['transformer']['ends'],
    moved['text']['table'],
  )
  for leaf in jax.tree.leaves(rest):
    np.testing.assert_allclose(np.abs(leaf), 1e-3, rtol=1e-3)


def test_muon_finds_the_matrices_of_a_network_by_their_names():
  """Of which it keeps one moment, where Adam keeps two."""

  def draw():
    text = SmallEncoder(16, 2, 8, 'words').initial_params(jax.random.key(0))
    return {'transformer': tiny.initial(tiny.transformer()), 'text': text}

  params = jax.eval_shape(draw)
  state = jax.eval_shape(optim.optimizer(OptimizerConfig(matrix_rate=0.1), 10).init, params)
  attention, mlp = (r"\['(query|key|value|out)'\]$", r"\['(up|down)'\]\['kernel'\]$")
  whole = moved = 0
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    name = jax.tree_util.keystr(path)
    whole += leaf.size
    in_layers = 'blocks' in name or 'layers' in name
    moved += leaf.size * (in_layers and bool(re.search(f'{attention}|{mlp}', name)))
  kept = jax.tree_util.tree_leaves_with_path(state)
  kept = [x for path, x in kept if x.ndim and 'ns_coeffs' not in jax.tree_util.keystr(path)]
  moments = sum(x.size for x in kept)
  assert moments == 2 * whole - moved
  assert moved


@pytest.mark.parametrize('matrix_rate', [0.0, 0.1])
def test_both_optimisers_find_the_least_squares(matrix_rate):
  config = OptimizerConfig(0.02, 0, matrix_rate, decay_share=0.8, clip_norm=1e9)
  rng = np.random.default_rng(0)
  x, goal = rng.normal(size=(64, 6)), rng.normal(size=(6, 5))
  loss = lambda params: jnp.square(x @ (params['map'] - goal)).mean()
  params, transform = {'map': jnp.zeros((6, 5))}, optim.optimizer(config, 400)
  state = transform.init(params)
  step = jax.jit(lambda p, s: transform.update(jax.grad(loss)(p), s, p))
  for _ in range(400):
    moved, state = step(params, state)
    params = optax.apply_updates(params, moved)
  assert loss(params) < 1e-3 * loss({'map': jnp.zeros((6, 5))})
