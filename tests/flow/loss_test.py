"""Tests on draws compare with a bound of 5 standard errors; a check fails by chance less than once
in a million runs, were the seed not fixed."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import pack

from sorajax.flow import levels, loss, path

ROWS = ([1, 2], [3], [4, 5], [6])


def streams(rows=ROWS):
  """Clean tokens, noise asked for on all but the first of each row."""
  tokens, _ = pack(rows)
  asked = {
    m: np.where(np.arange(t.segment.shape[1]) > 0, t.loss_mask, 0) for m, t in tokens.items()
  }
  asked = {m: a.astype(np.float32) for m, a in asked.items()}
  return {m: t.replace(sigma=asked[m], loss_mask=asked[m]) for m, t in tokens.items()}


def drawn(tokens, together=1.0, clips=2, key=0, sampler=levels.uniform):
  return loss.draw_levels(jax.random.key(key), tokens, clips, sampler, together)


def velocity(tokens):
  """Stands for a network: each token's output depends on that token alone."""
  return {m: jnp.sin(3 * t.latent) + t.sigma[..., None] for m, t in tokens.items()}


def test_spread_gives_every_token_its_clip_and_padding_zero():
  by_clip = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]], np.float32)
  segment = np.array([[1, 1, 2, 0], [3, 0, 1, 2]])
  wanted = np.array([[0.1, 0.1, 0.2, 0], [0.6, 0, 0.4, 0.5]], np.float32)
  np.testing.assert_array_equal(loss.spread(by_clip, segment), wanted)


def test_a_clip_has_one_level_where_noise_is_asked_for_and_zero_elsewhere():
  tokens = streams()
  noise = loss.draw_noise(jax.random.key(0), tokens)
  for m, reached in loss.noised(tokens, noise, drawn(tokens, together=0.5)).items():
    t, level = tokens[m], np.asarray(reached.sigma)
    assert (level[t.sigma == 0] == 0).all() and (level[t.sigma == 1] > 0).all()
    for b in range(len(ROWS)):
      for clip in (1, 2):
        inside = level[b][(t.segment[b] == clip) & (t.sigma[b] == 1)]
        assert (inside == inside[:1]).all()


def first_levels(together: float, rows: int = 4000) -> np.ndarray:
  """[streams, clips] of the levels of many rows of two clips."""
  tokens, _ = pack([[1, 2]])
  many = {m: jax.tree.map(lambda x: np.repeat(x, rows, 0), t) for m, t in tokens.items()}
  return np.stack([level.T.reshape(-1) for _, level in sorted(drawn(many, together).items())])


def test_streams_share_their_level_when_together():
  audio, video = first_levels(1.0)
  np.testing.assert_array_equal(audio, video)


def test_streams_are_independent_when_not_together():
  audio, video = first_levels(0.0)
  assert not (audio == video).any()
  assert abs(np.corrcoef(audio, video)[0, 1]) < 5 / np.sqrt(len(audio))


def test_clips_of_a_row_are_independent():
  for level in first_levels(1.0):
    assert abs(np.corrcoef(*level.reshape(2, -1))[0, 1]) < 5 / np.sqrt(len(level) / 2)


def test_a_share_of_the_clips_is_together():
  audio, video = first_levels(0.3)
  assert (audio == video).mean() == pytest.approx(0.3, abs=5 * np.sqrt(0.21 / len(audio)))


def test_each_level_is_drawn_by_the_sampler():
  sampler = levels.shifted(levels.uniform, 1.0)
  tokens = streams()
  for together in (0.0, 1.0):
    plain, moved = drawn(tokens, together), drawn(tokens, together, sampler=sampler)
    for m in tokens:
      np.testing.assert_allclose(moved[m], levels.shift(plain[m], 1.0), rtol=1e-5)


def test_noise_is_standard_normal_and_other_for_each_stream():
  tokens, _ = pack([[1]] * 2000, video=5, audio=5)
  noise = loss.draw_noise(jax.random.key(0), tokens)
  for m, x in noise.items():
    assert x.shape == tokens[m].latent.shape
    count = x.size
    assert abs(x.mean()) < 5 / np.sqrt(count)
    assert abs(x.std() - 1) < 5 / np.sqrt(2 * count)
  a, b = noise['audio'][..., 0].reshape(-1), noise['video'][..., 0].reshape(-1)
  assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(len(a))


def test_given_tokens_reach_the_network_clean():
  tokens = streams()
  noise = loss.draw_noise(jax.random.key(0), tokens)
  for m, t in loss.noised(tokens, noise, drawn(tokens)).items():
    given = tokens[m].sigma == 0
    np.testing.assert_array_equal(np.asarray(t.latent)[given], tokens[m].latent[given])
    assert (np.asarray(t.sigma)[given] == 0).all()
    assert (np.asarray(t.latent)[~given] != tokens[m].latent[~given]).all()


def test_given_tokens_and_padding_do_not_count():
  tokens = streams()
  noise, level = loss.draw_noise(jax.random.key(0), tokens), drawn(tokens)
  before = loss.squared_errors(velocity, tokens, noise, level)
  elsewhere = lambda t: (np.asarray(t.loss_mask) == 0)[..., None]
  wild = lambda x: {m: v + 1e3 * elsewhere(tokens[m]) for m, v in velocity(x).items()}
  after = loss.squared_errors(wild, tokens, noise, level)
  for m, t in tokens.items():
    assert before[m] == after[m]
    assert before[m][1] == t.loss_mask.sum() > 0


def test_the_right_velocity_has_no_error_and_zero_the_square_of_the_path():
  tokens = streams()
  noise, level = loss.draw_noise(jax.random.key(0), tokens), drawn(tokens)
  wanted = {m: path.velocity(t.latent, noise[m]) for m, t in tokens.items()}
  assert all(
    s == 0 for s, _ in loss.squared_errors(lambda _: wanted, tokens, noise, level).values()
  )
  zero = lambda x: {m: jnp.zeros_like(t.latent) for m, t in x.items()}
  for m, (total, _) in loss.squared_errors(zero, tokens, noise, level).items():
    each = np.square(wanted[m]).mean(axis=-1)
    assert total == pytest.approx((each * tokens[m].loss_mask).sum(), rel=1e-5)


@pytest.mark.parametrize('cuts', [(1, 3), (2,), (1, 2, 3)])
def test_sums_of_micro_batches_add_up_to_the_batch(cuts):
  tokens = streams()
  noise, level = loss.draw_noise(jax.random.key(0), tokens), drawn(tokens)
  whole = loss.squared_errors(velocity, tokens, noise, level)
  edges = [0, *cuts, len(ROWS)]
  parts = [
    loss.squared_errors(velocity, *jax.tree.map(lambda x: x[a:b], (tokens, noise, level)))
    for a, b in itertools.pairwise(edges)
  ]
  for m in tokens:
    for i in range(2):
      assert sum(float(p[m][i]) for p in parts) == pytest.approx(float(whole[m][i]), rel=1e-6)
