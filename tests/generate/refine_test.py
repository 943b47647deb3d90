"""Clips made in two stages, by a network that has learned nothing."""

import dataclasses
import functools
import runpy

import jax
import numpy as np
import pytest
from clips import make_clip
from programs import ROOT
from tiny import noisy, refused

from sorajax import build
from sorajax.clip import Clip
from sorajax.codec import linear, plain
from sorajax.codec.upsampler import Enlarger, Upsampler, UpsamplerConfig
from sorajax.generate.refine import Refiner, second_stage
from sorajax.generate.request import REMIX, Request
from sorajax.generate.sampler import Sampler

FPS, SIZE, RATE_HZ, CHANNELS = 8.0, (32, 48), 8_000, 16


@functools.cache
def parts():
  """(settings, network, codec, params)."""
  config = runpy.run_path(str(ROOT / 'configs' / 'tiny.py'))['get_config']()
  settings = build.settings(config)
  films = [make_clip(9, size=SIZE, fps=FPS, rate_hz=RATE_HZ, seed=seed) for seed in range(3)]
  codec = linear.fit_linear(films, settings.codec, RATE_HZ, 1)
  network = build.network(settings, codec)
  return settings, network, codec, noisy(lambda: network.init(jax.random.key(0)), 0.1)


def enlarger(**changes) -> Enlarger:
  config = UpsamplerConfig(**{'channels': CHANNELS, 'width': 32, 'blocks': 1, **changes})
  weights = noisy(lambda: plain.initial(Upsampler, config, jax.random.key(1)), 0.05)
  return Enlarger(config, weights, np.zeros(CHANNELS, 'f4'), np.ones(CHANNELS, 'f4'))


def sampler(refiner: Refiner | None, batch: int = 1) -> Sampler:
  settings, network, codec, _ = parts()
  tasks = dict.fromkeys(
    ('text_to_clip', 'image_to_clip', 'video_to_audio', 'extend', 'keyframes'), 1.0
  )
  train = dataclasses.replace(settings.train, tasks=tasks)
  settings = dataclasses.replace(settings, train=train)
  return Sampler(settings, network, codec, batch, refiner=refiner)


def made(refiner: Refiner | None, **changes) -> Clip:
  (one,) = sampler(refiner)(parts()[3], [request(**changes)])
  return one.clip


def request(**changes) -> Request:
  base = {'prompt': 'a hare', 'seed': 3, 'seconds': 1.0, 'fps': FPS}
  return Request(**{**base, 'height': SIZE[0], 'width': SIZE[1], **changes})


LARGER, MORE = {}, {'ratio': (1, 1), 'doubled': True}


@pytest.mark.parametrize('kind', [LARGER, MORE], ids=['larger', 'more frames'])
def test_a_clip_of_two_stages_is_as_large_and_long_as_asked(kind):
  clip, at_once = made(Refiner(enlarger(**kind))), made(None)
  assert clip.video.shape == at_once.video.shape and clip.audio.shape == at_once.audio.shape
  assert (clip.video != at_once.video).any() and (clip.audio != at_once.audio).any()


@pytest.mark.parametrize('kind', [LARGER, MORE], ids=['larger', 'more frames'])
@pytest.mark.parametrize('task', ['image_to_clip', 'extend', 'video_to_audio'])
def test_what_is_given_is_given_to_both_stages(kind, task):
  """It comes out as it went in, in the space of latents, at its full size."""
  _, _, codec, params = parts()
  given = make_clip(9, size=SIZE, fps=FPS, rate_hz=RATE_HZ, seed=9)
  given_s = {'given_s': 0.5} if task == 'extend' else {}
  own = sampler(Refiner(enlarger(**kind)))
  asked = request(task=task, given=given, **given_s)
  stages = own._stages(asked)
  small = own._latents(params, [stages[0]], own.settings.sample)
  (begun,) = own.refiner.second([stages[1]], small)
  (large,) = own._latents(params, [begun], second_stage(own.settings.sample))
  whole = codec.encode(given)
  for plan, latents in ((stages[0], small[0]), (stages[1], large)):
    for m, mask in plan.given.items():
      np.testing.assert_array_equal(getattr(latents, m)[mask], getattr(plan.latents, m)[mask])
  assert any(mask.any() for mask in stages[1].given.values())
  mask = stages[1].given['video']
  np.testing.assert_allclose(large.video[mask], whole.video[mask], atol=1e-5)


@pytest.mark.parametrize('kind', [LARGER, MORE], ids=['larger', 'more frames'])
def test_a_remix_begins_with_its_source_in_the_first_stage_alone(kind):
  given = make_clip(9, size=SIZE, fps=FPS, rate_hz=RATE_HZ, seed=9)
  own = sampler(Refiner(enlarger(**kind)))
  first, last = own._stages(request(task=REMIX, given=given, strength=0.5))
  (begun,) = own.refiner.second([last], [first.latents])
  assert first.begins == {'video': 0.5, 'audio': 0.5} and begun.begins == {}
  assert np.abs(first.latents.video).max() > 0 and (begun.latents.video != last.latents.video).any()


@pytest.mark.parametrize('kind', [LARGER, MORE], ids=['larger', 'more frames'])
def test_both_stages_come_by_their_keyframes(kind):
  film = make_clip(9, size=SIZE, fps=FPS, rate_hz=RATE_HZ, seed=5)
  by = {'keyframes': film.video[[2, 7]], 'keyframe_paths': ('a', 'b'), 'keyframe_s': (0.25, 1.0)}
  first, last = sampler(Refiner(enlarger(**kind)))._stages(request(**by))
  plain = sampler(Refiner(enlarger(**kind)))._stages(request())
  assert last.latents.keyframe_at == (2, 7)
  assert first.latents.keyframe_at == ((1, 4) if kind is MORE else (2, 7))
  for stage, without in zip((first, last), plain):
    frames, size = stage.latents.keyframes.shape[0], stage.latents.keyframes.shape[1:]
    assert frames == 2 and size == without.latents.video.shape[1:]
  changed = made(Refiner(enlarger(**kind)), **by).video != made(Refiner(enlarger(**kind))).video
  assert changed.any()


@pytest.mark.parametrize('kind', [LARGER, MORE], ids=['larger', 'more frames'])
def test_the_small_clip_alone_is_made_after_a_reference(kind):
  film = make_clip(9, size=SIZE, fps=FPS, rate_hz=RATE_HZ, seed=5)
  asked = request(reference=film, reference_path='a.mp4')
  first, last = sampler(Refiner(enlarger(**kind)))._stages(asked)
  assert last.latents.reference is None and last.request.reference is film
  assert first.latents.reference.shape == first.latents.video.shape
  changed = made(Refiner(enlarger(**kind)), reference=film).video
  assert (changed != made(Refiner(enlarger(**kind))).video).any()


def test_the_second_stage_begins_with_the_first():
  """With next to no noise left, it ends where the enlarged latents are."""
  own, params = sampler(Refiner(enlarger())), parts()[3]
  stages = own._stages(request())
  small = own._latents(params, [stages[0]], own.settings.sample)
  (begun,) = own.refiner.second([stages[1]], small)
  near = dataclasses.replace(second_stage(own.settings.sample), levels=(1e-6, 0.0))
  (large,) = own._latents(params, [begun], near)
  np.testing.assert_allclose(large.video, begun.latents.video, atol=1e-3)
  np.testing.assert_allclose(large.audio, small[0].audio, atol=1e-3)


@pytest.mark.long
def test_every_row_is_its_own_clip_again():
  own, params = sampler(Refiner(enlarger()), batch=2), parts()[3]
  requests = [request(seed=seed) for seed in range(3)]
  for one in own(params, requests):
    again = own.again(params, one.request, one.row)
    np.testing.assert_array_equal(again.clip.video, one.clip.video)
    np.testing.assert_array_equal(again.clip.audio, one.clip.audio)


@pytest.mark.long
def test_other_weights_refine_otherwise():
  one = Refiner(enlarger())
  other = dataclasses.replace(one, params=jax.tree.map(lambda p: 0.5 * p, parts()[3]))
  a, b = made(one), made(other)
  assert (a.video != b.video).any() and (a.audio != b.audio).any()


def test_a_size_that_cannot_be_enlarged_to_is_refused_before_anything_is_made():
  own = sampler(Refiner(enlarger()))
  with refused('24 pixels in height or width .* ask for 16 or 32'):
    own(parts()[3], [request(), request(height=24)])
