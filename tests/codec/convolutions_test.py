import dataclasses
import functools

import numpy as np
import pytest
import tiny
from clips import scene
from flax import nnx
from tiny import refused

from sorajax.codec import codec as codec_lib
from sorajax.codec import convolutions
from sorajax.codec.codec import Codec
from sorajax.codec.convolutions import ConvolutionCodec
from sorajax.codec.video import Autoencoder, AutoencoderConfig, Level

CONFIG = AutoencoderConfig(
  channels=5, patch=2, stem=4,
  encoder=(Level(4, 0), Level(16, 0, (2, 2, 2))), decoder=(Level(16, 0, (2, 2, 2)), Level(4, 0)),
)  # fmt: skip


@functools.cache
def codec(**changes) -> ConvolutionCodec:
  with tiny.initialised_by_waves:
    module = Autoencoder(CONFIG, rngs=nnx.Rngs(0))
  params = tiny.noisy(lambda: nnx.to_pure_dict(nnx.state(module, nnx.Param)))
  rng = np.random.default_rng(3)
  mean, scale, spread = (rng.uniform(0.5, 2, 5).astype(np.float32) for _ in range(3))
  return ConvolutionCodec(CONFIG, params, mean, scale, spread, **changes)


def film(frames: int = 9, height: int = 16, width: int = 24) -> np.ndarray:
  return scene(5, frames, height, width)


def coded(coder, pieces) -> np.ndarray:
  return np.concatenate([*(coder.push(piece) for piece in pieces), coder.finish()])


def encoded(c: ConvolutionCodec, video) -> np.ndarray:
  return coded(c.encoder(), [video])


@pytest.mark.parametrize('frames', [[9], [1, 8], [3, 2, 4], [5, 0, 4]], ids=str)
def test_pieces_are_those_of_the_whole(frames, monkeypatch):
  video = film()
  whole = encoded(codec(), video)
  assert whole.shape == (5, 4, 6, 5)
  pixels = coded(codec().decoder(), [whole])
  assert pixels.shape == video.shape and pixels.dtype == np.uint8
  cuts = np.cumsum(frames)[:-1]
  np.testing.assert_allclose(coded(codec().encoder(), np.split(video, cuts)), whole, atol=1e-5)
  latent_cuts = [-(-(c - 1) // 2) + 1 for c in cuts]
  made = coded(codec().decoder(), np.split(whole, latent_cuts))
  assert np.abs(made.astype(int) - pixels).max() <= 1
  monkeypatch.setattr(convolutions, 'PIECE_PIXELS', 1)  # a latent frame at a time
  np.testing.assert_allclose(encoded(codec(), video), whole, atol=1e-5)


@pytest.mark.parametrize('tile, overlap', [(14, 2 * CONFIG.reach + 1), (9, 7)])
def test_tiles_are_the_whole_and_nearly_so_where_they_overlap_little(tile, overlap):
  cut, whole = codec(tile=tile, overlap=overlap), codec(tile=99)
  video = film(frames=3, height=80, width=100)
  latents = encoded(whole, video)
  apart = np.abs(encoded(cut, video) - latents).max() / latents.std()
  pixels = coded(whole.decoder(), [latents]).astype(int)
  seam = np.abs(coded(cut.decoder(), [latents]) - pixels).max()
  exact = overlap > 2 * CONFIG.reach
  assert apart < (1e-4 if exact else 0.05) and seam <= (1 if exact else 8)


def test_an_image_is_the_first_frame_of_a_film():
  first = encoded(codec(), film()[:1])
  np.testing.assert_allclose(first, encoded(codec(), film())[:1], atol=1e-5)


def test_a_saved_codec_comes_back_the_same(tmp_path):
  whole = Codec(codec(tile=20, overlap=3), tiny.codec().audio)
  whole.save(tmp_path)
  again = codec_lib.load(tmp_path)
  assert again.fingerprint == whole.fingerprint and again.video.config == CONFIG
  np.testing.assert_array_equal(encoded(again.video, film()), encoded(whole.video, film()))
  other = dataclasses.replace(codec(), mean=codec().mean + 1)
  assert Codec(other, whole.audio).fingerprint != whole.fingerprint


def test_sizes_that_do_not_divide_are_refused():
  with refused('10 frames do not fit a codec of 1 . 2·n frames; try 11'):
    codec().encoder().push(film(frames=10))
  with refused('16×18 pixels do not divide by 4×4; try 16×20'):
    codec().encoder().push(film(width=18))
  begun = codec().encoder()
  begun.push(film(frames=3))
  with refused('frames do not fit'):
    begun.push(film(frames=3))
