"""What the released transformers have beside this project's own."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
import tiny

from sorajax.clip import MODALITIES
from sorajax.flow.loss import spread

WIDTHS = {'audio': 5, 'video': tiny.TEXT_WIDTH - 5}  # in their order among the text's channels
SPAN = {'audio': slice(0, 5), 'video': slice(5, None)}


def config(**changes):
  """Streams that read text of their own, and marked frames."""
  plain = tiny.transformer(**changes)
  streams = {
    m: dataclasses.replace(s, text_width=WIDTHS[m], keyframes=m == 'video')
    for m, s in plain.streams.items()
  }
  return dataclasses.replace(plain, streams=streams)


@functools.cache
def batch():
  return tiny.pack(([1, 2], [3, 1]))


def run(c, tokens, text, joined=True):
  return jax.device_get(tiny.run(c, tiny.parameters(c), tokens, text, joined=joined))


@pytest.mark.parametrize('projected', [True, False])
def test_a_stream_reads_its_own_part_of_the_text(projected):
  c = config(caption_projection=projected)
  tokens, (hidden, *where) = batch()
  before = run(c, tokens, (hidden, *where), joined=False)
  for changed in MODALITIES:
    other = hidden.copy()
    other[..., SPAN[changed]] += 1
    after = run(c, tokens, (other, *where), joined=False)
    for m in MODALITIES:
      assert (before[m] == after[m]).all() == (m != changed)


def test_marked_tokens_and_their_clip_alone_are_changed():
  """In another stream, too, as far as it hears the picture."""
  tokens, text = batch()
  video = tokens['video']
  marked = np.zeros(video.segment.shape, bool)
  marked[:, 0] = True  # of the first clip
  before = run(config(), tokens, text)
  none = run(config(), {**tokens, 'video': video.replace(keyframe=marked & False)}, text)
  after = run(config(), {**tokens, 'video': video.replace(keyframe=marked)}, text)
  for m in MODALITIES:
    np.testing.assert_array_equal(before[m], none[m])
    reached = tokens[m].segment == 1
    np.testing.assert_array_equal((before[m] != after[m]).any(axis=-1), reached)


def test_whose_level_it_is_matters_where_the_streams_are_not_equally_noisy():
  tokens, text = batch()
  even = {m: t.replace(sigma=np.full_like(t.sigma, 0.7)) for m, t in tokens.items()}
  of_each = config()
  for way in ('cross_level', 'cross_gate_level'):
    of_other = config(**{way: 'other'})
    for m in MODALITIES:
      near = run(of_each, even, text)[m] - run(of_other, even, text)[m]
      apart = run(of_each, tokens, text)[m] - run(of_other, tokens, text)[m]
      real = tokens[m].segment > 0
      assert np.abs(near[real]).max() < 1e-5 < 1e-3 < np.abs(apart[real]).max()


def test_the_gate_s_level_may_be_scaled():
  tokens, text = batch()
  here, there = (run(config(cross_gate_scale=s), tokens, text) for s in (1000.0, 1.0))
  apart = [run(config(cross_gate_scale=s), tokens, text, False) for s in (1000.0, 1.0)]
  for m in MODALITIES:
    assert np.abs(here[m] - there[m]).max() > 1e-4
    np.testing.assert_array_equal(apart[0][m], apart[1][m])


@tiny.initialised_by_waves
def test_aligned_streams_hear_each_other_from_the_start():
  tokens, text = batch()
  for aligned in (0.0, 2.0):
    c = config(aligned=aligned)
    fresh = tiny.initial(c)
    for m in MODALITIES:  # else it says nothing yet
      fresh['ends'][m]['out'] = tiny.parameters(c)['ends'][m]['out']
    together, apart = (
      jax.device_get(tiny.run(c, fresh, tokens, text, joined=joined)) for joined in (True, False)
    )
    for m in MODALITIES:
      assert (np.abs(together[m] - apart[m]).max() > 1e-4) == (aligned > 0)


def test_parts_of_the_text_that_do_not_add_up_are_refused():
  with pytest.raises(ValueError, match=r"text_width 13 is not the sum of the streams' \[7, 5\]"):
    dataclasses.replace(config(), text_width=13)


@pytest.mark.parametrize('whose', ['own', 'other'])
@pytest.mark.parametrize('rows', [([1, 2], [3], [4, 5]), ([1], [2], [])])
def test_levels_of_clips_give_what_the_same_levels_of_tokens_give(whose, rows):
  """With given tokens, padding, and a row that has fewer clips than others or none."""
  c = tiny.transformer(
    cross_level=whose, cross_gate_level=whose, text_levels=True, caption_projection=False
  )
  tokens, text = tiny.pack(rows)
  rng, apart = np.random.default_rng(0), {}
  for m, t in tokens.items():
    levels = rng.uniform(0.1, 1, (len(rows), max(map(len, rows)))).astype(np.float32)
    asked = t.loss_mask * (rng.uniform(size=t.sigma.shape) > 0.3)
    apart[m] = t.replace(sigma=np.asarray(asked * spread(levels, t.segment)), levels=levels)
  alike = {m: t.replace(levels=None) for m, t in apart.items()}
  answers = run(c, apart, text), run(c, alike, text)
  for m, t in tokens.items():
    real = t.segment > 0
    np.testing.assert_allclose(*(a[m][real] for a in answers), atol=1e-5)
    assert np.abs(answers[0][m][real]).max() > 0.1
