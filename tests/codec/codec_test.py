"""Halves of every kind behind the one interface."""

import functools
import itertools

import jax
import numpy as np
import pytest
import sounds
import tiny
from clips import scene
from tiny import refused

from sorajax.clip import Clip
from sorajax.codec import codec as codec_lib
from sorajax.codec import video
from sorajax.codec.codec import Codec, in_pieces
from sorajax.codec.convolutional import ConvCodec
from sorajax.codec.video_config import compact
from sorajax.geometry import samples_of

FPS, FRAMES = 8.0, 23
CONFIG = compact((2, 4, 4), 3, (4, 8), blocks=0, patch=2)


@functools.cache
def picture(kind: str):
  if kind == 'patches':
    return tiny.codec().video
  params = tiny.noisy(lambda: video.init(CONFIG, jax.random.key(0)))
  one = np.ones(3, np.float32)
  return ConvCodec(CONFIG, params, 0 * one, one, one)


KINDS = list(itertools.product(('patches', 'convolutional'), ('squeeze', 'mel')))
each_pair = pytest.mark.parametrize('kinds', KINDS, ids=' + '.join)


def codec(kinds: tuple[str, str]) -> Codec:
  return Codec(picture(kinds[0]), sounds.codec(kinds[1]))


def clip() -> Clip:
  samples = samples_of(FRAMES, FPS, sounds.RATE_HZ)
  return Clip(scene(1, FRAMES, 8, 12), sounds.noise(samples), FPS, sounds.RATE_HZ)


@each_pair
def test_a_clip_comes_back_with_its_very_frames_and_samples(kinds):
  made = codec(kinds).decode(codec(kinds).encode(clip()))
  assert made.video.shape == clip().video.shape and made.video.dtype == np.uint8
  assert made.sample_rate_hz == sounds.codec(kinds[1]).output_rate_hz
  assert made.audio.shape == (samples_of(FRAMES, FPS, made.sample_rate_hz), 2)


@each_pair
def test_pieces_are_those_of_the_whole(kinds):
  own, whole = codec(kinds), clip()
  latents = own.encode(whole)
  cuts = [0, 7, 9, 23]
  inner = np.split(whole.audio, [100, 2000])
  pieces = [
    Clip(whole.video[a:b], sound, FPS, sounds.RATE_HZ)
    for (a, b), sound in zip(itertools.pairwise(cuts), inner)
  ]
  made = list(own.encode_stream(pieces))
  for m in ('video', 'audio'):
    joined = np.concatenate([getattr(p, m) for p in made])
    np.testing.assert_allclose(joined, getattr(latents, m), atol=1e-5)
  wanted = own.decode(latents)
  for frames in (1, 5):
    back = list(own.decode_stream(in_pieces(latents, frames)))
    video_, audio = (np.concatenate([getattr(p, m) for p in back]) for m in ('video', 'audio'))
    assert np.abs(video_.astype(int) - wanted.video).max() <= 1
    np.testing.assert_allclose(audio, wanted.audio, atol=1e-5)


@each_pair
def test_a_saved_codec_comes_back_the_same(kinds, tmp_path):
  own = codec(kinds)
  own.save(tmp_path)
  again = codec_lib.load(tmp_path)
  assert again.fingerprint == own.fingerprint and again.geometry == own.geometry
  a, b = own.encode(clip()), again.encode(clip())
  np.testing.assert_array_equal(a.video, b.video)
  np.testing.assert_array_equal(a.audio, b.audio)


def test_every_pair_has_a_fingerprint_of_its_own():
  assert len({codec(kinds).fingerprint for kinds in KINDS}) == len(KINDS)


def test_a_codec_of_an_unknown_kind_is_refused(tmp_path):
  codec(KINDS[0]).save(tmp_path)
  path = tmp_path / 'codec.json'
  path.write_text(path.read_text().replace('"patches"', '"wavelets"'))
  with refused('cannot read the codec .*wavelets'):
    codec_lib.load(tmp_path)


def test_a_codec_in_half_precision_is_half_as_large_and_nearly_the_same(tmp_path):
  own = codec(KINDS[-1])
  own.save(tmp_path / 'whole')
  own.save(tmp_path / 'half', dtype=np.float16)
  half = codec_lib.load(tmp_path / 'half')
  sizes = [(tmp_path / name / 'codec.npz').stat().st_size for name in ('half', 'whole')]
  assert sizes[0] < 0.75 * sizes[1]  # names weigh much beside so few parameters
  a, b = own.encode(clip()), half.encode(clip())
  np.testing.assert_allclose(a.video, b.video, atol=0.02 * np.abs(a.video).max())
  assert half.fingerprint != own.fingerprint
  half.save(tmp_path / 'again', dtype=np.float16)
  assert codec_lib.load(tmp_path / 'again').fingerprint == half.fingerprint


def test_the_codec_that_comes_along_is_taken_by_its_name():
  film = codec_lib.load('film')
  assert film.geometry.video.stride == (4, 16, 16) and film.audio.output_rate_hz == 16_000
  pixels = scene(1, 5, 32, 32)
  made = film.video.decode(film.video.encode(pixels))
  assert np.abs(made.astype(int) - pixels).mean() < 20


def test_a_folder_hides_a_codec_that_comes_along_only_where_it_holds_one(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'film').mkdir()
  shipped = codec_lib.load(codec_lib.TRAINED / 'film')
  assert codec_lib.load('film').fingerprint == shipped.fingerprint
  tiny.codec().save('film')
  assert codec_lib.load('film').fingerprint == tiny.codec().fingerprint
