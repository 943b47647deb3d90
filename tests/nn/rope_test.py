import functools
from typing import get_args

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from sorajax.model.transformer import REMAT
from sorajax.nn import rope

HEADS, HEAD_DIM, THETA = 3, 8, 30.0
VIDEO, AUDIO = (4.0, 64.0, 64.0), (4.0,)


def positions(seed: int, count: int = 5) -> np.ndarray:
  return (np.random.default_rng(seed).uniform(0, 1, (2, count, 3)) * [4, 64, 64]).astype(np.float32)


def vectors(seed: int, *shape: int) -> np.ndarray:
  shape = shape or (2, 5, HEADS, HEAD_DIM)
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def table(position, maximum=VIDEO, pairs='split'):
  return rope.table(position, HEADS, HEAD_DIM, maximum, THETA, pairs)


@functools.partial(tiny.quick_jit, static_argnums=2)
def scores(q_position, k_position, maximum):
  q = rope.rotate(vectors(0), table(q_position, maximum))
  k = rope.rotate(vectors(1), table(k_position, maximum))
  return jnp.einsum('bthk,bshk->bhts', q, k)


@pytest.mark.parametrize('maximum', [VIDEO, AUDIO])
def test_scores_depend_on_the_difference_of_positions_alone(maximum):
  q, k = positions(0), positions(1)
  moved = np.array([1.25, -30.0, 17.0], np.float32)
  here, there = scores(q, k, maximum), scores(q + moved, k + moved, maximum)
  np.testing.assert_allclose(here, there, atol=2e-4)
  assert float(jnp.abs(here - scores(q + moved, k, maximum)).max()) > 0.1


@pytest.mark.parametrize('axis', range(3))
def test_every_axis_is_told_apart(axis):
  step = np.zeros(3, np.float32)
  step[axis] = 1.0
  here, there = positions(0), positions(0) + step
  changed = jnp.abs(scores(here, here, VIDEO) - scores(there, here, VIDEO)).max(axis=(0, 2, 3))
  assert (changed > 1e-3).all()  # in every head


def test_sound_turns_by_its_seconds_alone():
  position = positions(0)
  elsewhere = position * np.array([1, 0, 0], np.float32)
  chex.assert_trees_all_equal(table(position, AUDIO), table(elsewhere, AUDIO))


def test_norms_are_kept():
  x = vectors(0)
  turned = rope.rotate(x, table(positions(0)))
  np.testing.assert_allclose(
    jnp.linalg.norm(turned, axis=-1), jnp.linalg.norm(x, axis=-1), rtol=1e-5
  )


def test_turning_back_undoes_turning():
  x, turn = vectors(0), table(positions(0))
  np.testing.assert_allclose(rope.rotate(rope.rotate(x, turn), turn.back), x, atol=1e-5)


def test_pairs_that_the_axes_leave_over_stand_still():
  """16 pairs over 3 axes: one is left over, the first pair of the first head."""
  position = positions(0)
  x = vectors(0, 2, 5, 4, 8)
  turned = rope.rotate(x, rope.table(position, 4, 8, VIDEO, THETA))
  same = np.asarray(turned == x).all(axis=(0, 1))
  assert np.argwhere(same).tolist() == [[0, 0], [0, 4]]


def test_angles_are_those_of_their_definition():
  """Of one axis, one head: θ^e · π/2 · (2p/max − 1) with e from 0 to 1."""
  position = np.array([[[1.5, 0, 0]]], np.float32)
  turn = rope.table(position, 1, 8, (4.0,), THETA)
  angle = THETA ** np.linspace(0, 1, 4) * np.pi / 2 * (2 * 1.5 / 4 - 1)
  first, second = np.split(np.asarray(turn.sin[0, 0, 0]), 2)
  np.testing.assert_allclose(turn.cos[0, 0, 0], np.cos(np.tile(angle, 2)), atol=1e-5)
  np.testing.assert_allclose([-first, second], [np.sin(angle)] * 2, atol=1e-5)


def test_interleaved_pairs_are_split_pairs_in_another_order():
  x, turn = vectors(0), table(positions(0))
  order = np.arange(HEAD_DIM).reshape(-1, 2).T.ravel()  # the first of each pair, then the second
  split = rope.rotate(x[..., order], turn)
  others = rope.rotate(x, table(positions(0), pairs='interleaved'))
  np.testing.assert_array_equal(others[..., order], split)


def test_half_precision_stays_half_precision():
  x = jnp.asarray(vectors(0), jnp.bfloat16)
  turned = rope.rotate(x, table(positions(0)))
  assert turned.dtype == jnp.bfloat16
  exact = rope.rotate(x.astype(jnp.float32), table(positions(0)))
  np.testing.assert_allclose(turned.astype(jnp.float32), exact, rtol=2**-8)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('pairs', get_args(rope.Pairs))
def test_the_form_for_a_tpu_turns_and_gradients_alike(pairs, dtype, monkeypatch):
  x, turn = jnp.asarray(vectors(0), dtype), table(positions(0), pairs=pairs)

  def both():
    turned, back = jax.vjp(lambda x: rope.rotate(x, turn), x)
    return turned.astype(jnp.float32), back(jnp.asarray(vectors(1), dtype))[0].astype(jnp.float32)

  turned, slope = both()
  monkeypatch.setattr(rope.sharding, 'platform', lambda: 'tpu')
  turned_there, slope_there = both()
  np.testing.assert_array_equal(turned_there, turned)
  np.testing.assert_allclose(
    slope_there, slope, rtol=2**-8, atol=2**-8 if dtype == 'bfloat16' else 1e-6
  )


@pytest.mark.parametrize('remat', ['dots', 'narrow', 'attention', 'full'])
def test_what_is_turned_for_a_tpu_is_turned_again_and_not_kept(remat, monkeypatch):
  """The product by which channels change places is none of those that layers keep."""
  monkeypatch.setattr(rope.sharding, 'platform', lambda: 'tpu')
  turn, x = table(positions(0)), vectors(0)
  layer = jax.checkpoint(lambda x: jnp.square(rope.rotate(x, turn)).sum(), policy=REMAT[remat])
  kept = jax.tree.leaves(jax.eval_shape(lambda x: jax.vjp(layer, x)[1], x))
  needed = x.size, turn.cos.size, turn.sin.size, HEAD_DIM**2  # the last are ones and zeros
  assert sum(leaf.size for leaf in kept) == sum(needed)
