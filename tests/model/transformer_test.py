"""Every law holds for parameters without zeros, so that each path through the network is open."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from sorajax.clip import MODALITIES

ROWS = ([1, 2], [1], [2], [3, 1])
PLAIN = tiny.transformer()
# What the released checkpoints switch, beside what they leave as it is.
OPTIONS = {
  'plain': PLAIN,
  'ungated': tiny.transformer(text_modulation=False, gated=False),
  'released': tiny.transformer(
    text_levels=True, cross_gate_level='other', caption_projection=False
  ),
}
each_option = pytest.mark.parametrize('config', OPTIONS.values(), ids=OPTIONS)


@functools.cache
def batch():
  return tiny.pack(ROWS)


def run(config, tokens, text, joined=True, skip=()):
  made = tiny.run(config, tiny.parameters(config), tokens, text, joined=joined, skip=skip)
  return jax.device_get(made)


@functools.cache
def answer(config):
  return run(config, *batch())


def tokens_of(out, row: int, segment: int) -> dict[str, np.ndarray]:
  tokens, _ = batch()
  return {m: out[m][row][tokens[m].segment[row] == segment] for m in MODALITIES}


@each_option
def test_a_packed_row_equals_its_clips_alone(config):
  """Clip 1 lies first, alone, and second; clip 2 second and alone. Padding holds noise."""
  out = answer(config)
  for same in ([(0, 1), (1, 1), (3, 2)], [(0, 2), (2, 1)]):
    first, *others = (tokens_of(out, *place) for place in same)
    for m in MODALITIES:
      for other in others:
        np.testing.assert_allclose(first[m], other[m], atol=1e-5)
      assert first[m].std() > 0.1


def test_permuting_rows_permutes_outputs():
  tokens, text = batch()
  out = run(PLAIN, *jax.tree.map(lambda x: x[::-1], (tokens, text)))
  for m in MODALITIES:
    np.testing.assert_allclose(out[m][::-1], answer(PLAIN)[m], atol=1e-6)


def test_permuting_tokens_permutes_outputs():
  """What a token is, it is by its position and segment, not by its place in the row."""
  tokens, text = batch()
  order = {m: np.random.default_rng(3).permutation(tokens[m].segment.shape[1]) for m in MODALITIES}
  moved = {m: jax.tree.map(lambda x, m=m: x[:, order[m]], tokens[m]) for m in MODALITIES}
  out = run(PLAIN, moved, text)
  for m in MODALITIES:
    real = moved[m].segment > 0
    np.testing.assert_allclose(out[m][real], answer(PLAIN)[m][:, order[m]][real], atol=1e-5)


def shifted(seconds: dict[str, float]):
  tokens, text = batch()
  moved = {
    m: t.replace(position=t.position + np.array([seconds[m], 0, 0], np.float32))
    for m, t in tokens.items()
  }
  return run(PLAIN, moved, text)


def test_only_the_time_between_tokens_matters_and_both_streams_share_it():
  together, apart = shifted({'video': 0.5, 'audio': 0.5}), shifted({'video': 0.5, 'audio': 0.0})
  for m in MODALITIES:
    np.testing.assert_allclose(together[m], answer(PLAIN)[m], atol=2e-4)
    assert np.abs(apart[m] - answer(PLAIN)[m]).max() > 1e-2


@pytest.mark.parametrize('config', [PLAIN, OPTIONS['released']], ids=['plain', 'released'])
@pytest.mark.parametrize('changed', MODALITIES)
def test_a_stream_changes_the_other_only_through_cross_attention(config, changed):
  """Bit for bit: neither its latents, nor its levels, nor its positions."""
  tokens, text = batch()
  (other,) = set(MODALITIES) - {changed}
  t = tokens[changed]
  new = t.replace(latent=t.latent + 1, sigma=0.9 * t.sigma, position=t.position[:, ::-1])
  for joined in (False, True):
    before = run(config, tokens, text, joined)
    after = run(config, {**tokens, changed: new}, text, joined)
    assert np.abs(after[changed] - before[changed]).max() > 0.1
    assert (after[other] == before[other]).all() != joined
    if joined:
      reached = tokens[other].segment > 0
      assert (np.abs(after[other] - before[other]).max(axis=-1)[reached] > 0).all()


def test_a_token_whose_attention_is_skipped_hears_no_other():
  """In every layer and apart from the other stream; in one layer, it hears them in the others."""
  tokens, text = batch()
  first = {m: np.arange(t.segment.shape[1]) == 0 for m, t in tokens.items()}
  moved = {m: t.replace(latent=t.latent + first[m][:, None]) for m, t in tokens.items()}
  for skip, deaf in (((0, 1), True), ((1,), False), ((), False)):
    before, after = (run(PLAIN, given, text, joined=False, skip=skip) for given in (tokens, moved))
    for m in MODALITIES:
      changed = (before[m] != after[m]).any(axis=-1)
      same_clip = (tokens[m].segment == 1) & ~first[m]
      assert changed[:, 0].all() and changed[same_clip].any() != deaf
  assert all((run(PLAIN, *batch(), skip=(0,))[m] != answer(PLAIN)[m]).any() for m in MODALITIES)


def with_text(config, where, joined=True):
  """Which tokens change when text does, where `where(segment, shot)` says."""
  tokens, (hidden, segment, shot) = batch()
  hidden = hidden + where(segment, shot)[..., None].astype(np.float32)
  before = run(config, tokens, (batch()[1]), joined)
  after = run(config, tokens, (hidden, segment, shot), joined)
  return {m: (after[m] != before[m]).any(axis=-1) for m in MODALITIES}


@each_option
def test_text_of_another_clip_does_not_reach_a_token(config):
  tokens, _ = batch()
  changed = with_text(config, lambda segment, shot: segment == 1)
  for m in MODALITIES:
    np.testing.assert_array_equal(changed[m], tokens[m].segment == 1)
  nothing = with_text(config, lambda segment, shot: segment == 0)
  assert not any(c.any() for c in nothing.values())


def test_text_of_another_shot_does_not_reach_a_token():
  """Within one layer and stream; later layers let the shots of a clip see each other."""
  tokens, _ = batch()
  changed = with_text(
    tiny.transformer(layers=1), lambda segment, shot: (segment == 1) & (shot == 1), joined=False
  )
  for m in MODALITIES:
    t = tokens[m]
    np.testing.assert_array_equal(changed[m], (t.segment == 1) & (t.shot == 1))
    assert changed[m].any() and ((t.segment == 1) & ~changed[m]).any()


@functools.cache
def value_and_gradient(config):
  tokens, text = batch()

  def loss(params):
    out = tiny.apply(config, params, tokens, text)
    return sum(jnp.square(x).mean() for x in out.values())

  return jax.device_get(tiny.quick_jit(jax.value_and_grad(loss))(tiny.parameters(PLAIN)))


@pytest.mark.parametrize('remat, unroll', [('dots', 2), ('narrow', 1), ('full', 1), ('offload', 1)])
def test_recomputing_and_unrolling_change_nothing(remat, unroll):
  value, gradient = value_and_gradient(PLAIN)
  other, gradients = value_and_gradient(tiny.transformer(remat=remat, unroll=unroll))
  assert other == pytest.approx(value, rel=1e-6)
  for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(gradients)):
    np.testing.assert_allclose(a, b, atol=1e-5 * max(np.abs(a).max(), 1e-2))


def test_every_parameter_has_a_gradient():
  """No weight is idle."""
  _, gradient = value_and_gradient(PLAIN)
  for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
    assert np.abs(leaf).max() > 1e-9, jax.tree_util.keystr(path)


def test_half_precision_is_near_full_and_answers_in_full():
  tokens, text = batch()
  out = tiny.run(tiny.transformer(compute='bfloat16'), tiny.parameters(PLAIN), tokens, text)
  for m in MODALITIES:
    assert out[m].dtype == jnp.float32
    error = np.sqrt(np.square(out[m] - answer(PLAIN)[m]).mean())
    assert error < 0.05 * answer(PLAIN)[m].std()


def test_products_of_16_bits_are_nearer_to_full_than_all_in_16():
  tokens, text = batch()
  run = lambda **how: tiny.run(tiny.transformer(**how), tiny.parameters(PLAIN), tokens, text)
  products, all_of_it = run(matmul_precision='bfloat16'), run(compute='bfloat16')
  for m in MODALITIES:
    error = lambda out: np.sqrt(np.square(out[m] - answer(PLAIN)[m]).mean())
    assert 0 < error(products) < 0.8 * error(all_of_it)


def test_contradictions_are_refused():
  with pytest.raises(ValueError, match='must be even'):
    tiny.transformer(cross_head_dim=5)
  with pytest.raises(ValueError, match='unroll 3 does not divide layers 4; try 1'):
    tiny.transformer(layers=4, unroll=3)


def test_tokens_of_another_size_are_stopped_at_the_door():
  tokens, text = batch()
  narrow = {**tokens, 'audio': tokens['audio'].replace(latent=tokens['audio'].latent[..., :2])}
  with pytest.raises(AssertionError):
    run(PLAIN, narrow, text)
