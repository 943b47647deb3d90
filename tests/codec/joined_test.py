"""An autoencoder some of whose places share a latent."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny
from clips import scene
from tiny import refused

from sorajax import build
from sorajax.codec import video, video_config
from sorajax.codec.convolutional import ConvCodec
from sorajax.codec.patches import fit_patches
from sorajax.codec.tiles import Tiling
from sorajax.codec.video_blocks import fold, unfold
from sorajax.codec.video_config import Shift, compact
from sorajax.settings import PictureConfig

APART = compact((4, 4, 4), 3, (8, 16, 16), patch=1, kernels=Shift(2))
JOINED = dataclasses.replace(APART, channels=12, join=2)
SIDE = (1, 2, 2)


def codec(config: video_config.VideoConfig) -> ConvCodec:
  params = tiny.noisy(lambda: video.init(config, jax.random.key(0)))
  zero, one = np.zeros(config.channels, 'f4'), np.ones(config.channels, 'f4')
  return ConvCodec(config, params, zero, one, one)


def test_places_that_share_a_latent_are_coded_as_they_are_apart(unrounded):
  pixels = scene(3, 9, 16, 24)
  latents, apart = codec(JOINED).encode(pixels), codec(APART).encode(pixels)
  assert JOINED.geometry.stride == (4, 8, 8) and latents.shape == (3, 2, 3, 12)
  np.testing.assert_allclose(latents, fold(apart[None], SIDE)[0], atol=1e-5)
  again = unfold(latents[None], SIDE)[0]
  np.testing.assert_allclose(codec(JOINED).decode(latents), codec(APART).decode(again), atol=1e-5)


def test_tiles_that_overlap_by_what_is_seen_are_the_whole(unrounded):
  whole, overlap = codec(JOINED), 2 * video_config.reach(JOINED)
  assert video_config.reach(JOINED) < video_config.reach(APART)
  cut = dataclasses.replace(whole, tiling=Tiling((overlap + 1, 40), overlap))
  pixels = scene(1, 5, 8 * (overlap + 5), 16)
  latents = whole.encode(pixels)
  np.testing.assert_allclose(cut.encode(pixels), latents, atol=1e-5)
  np.testing.assert_allclose(cut.decode(latents), whole.decode(latents), atol=1e-5)


def test_what_starts_as_a_linear_codec_codes_as_it_does():
  config = dataclasses.replace(JOINED, straight=True)
  linear = fit_patches([scene(seed, 9, 16, 24) for seed in range(4)], (4, 8, 8), 12, whiten=0.5)
  params = video.from_linear(video.init(config, jax.random.key(0)), config, linear)
  learned = dataclasses.replace(codec(JOINED), config=config, params=params)
  pixels = scene(0, 9, 16, 24)
  np.testing.assert_allclose(learned.encode(pixels), linear.encode(pixels), atol=1e-4)


def test_a_config_says_what_is_shared():
  config = PictureConfig((4, 64, 64), 192, (8, 8, 8, 8), shift=2, straight=False, join=2)
  made = build.autoencoder(config)
  assert made.geometry.stride == config.stride and made.geometry.channels == 192
  with refused(r'stride \(4, 64, 64\) must divide by join=3 in space'):
    build.autoencoder(dataclasses.replace(config, join=3))
  with pytest.raises(ValueError, match='10 channels cannot be those of 4 places in turn'):
    dataclasses.replace(JOINED, channels=10)
