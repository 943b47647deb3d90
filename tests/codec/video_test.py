"""The convolutional autoencoder: what holds of any parameters."""

import dataclasses
import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from clips import scene
from programs import run
from tiny import refused

from sorajax.codec import convolutional, video, video_config
from sorajax.codec.convolutional import ConvCodec, ConvDecoder, ConvEncoder
from sorajax.codec.patches import fit_patches
from sorajax.codec.tiles import Tiling
from sorajax.codec.video_blocks import fold, folded_means
from sorajax.codec.video_config import HalfConfig, Shift, Stage, VideoConfig, compact
from sorajax.nn import conv

PROGRAM = Path(__file__).with_name('video_on_mesh.py')
# Every kind of change of size, a change of width, a stage that adds nothing.
CAUSAL = VideoConfig(
  3, 2,
  HalfConfig(4, (Stage((2, 2, 2), 8, 1), Stage((2, 1, 1), 8, 0, residual=False)), 1),
  HalfConfig(8, (Stage((2, 1, 1), 4, 1, factor=2), Stage((2, 2, 2), 6, 0, residual=False)), 0),
)  # fmt: skip
CENTRED = dataclasses.replace(
  CAUSAL, decoder=dataclasses.replace(CAUSAL.decoder, causal=False, padding='reflect')
)
ALL_CENTRED = dataclasses.replace(
  CENTRED, encoder=dataclasses.replace(CAUSAL.encoder, causal=False, padding='edge')
)
FACTORED = dataclasses.replace(
  compact((4, 4, 4), 3, (4, 8, 8), patch=1, kernels=video_config.FACTORED), straight=True
)
FACTORED_CENTRED = dataclasses.replace(
  FACTORED, decoder=dataclasses.replace(FACTORED.decoder, causal=False), straight=False
)
SHIFTING = compact((4, 4, 4), 3, (8, 16, 16, 24), patch=1, kernels=Shift(2))
CONFIGS = {
  'causal': CAUSAL, 'centred decoder': CENTRED, 'centred': ALL_CENTRED, 'factored': FACTORED,
  'factored, centred decoder': FACTORED_CENTRED, 'shifting': SHIFTING,
}  # fmt: skip
each_config = pytest.mark.parametrize('config', CONFIGS.values(), ids=CONFIGS)
encode_whole = tiny.quick_jit(video.encode, static_argnums=0)
decode_whole = tiny.quick_jit(video.decode, static_argnums=0)
F, H, W = 13, 8, 12  # of a clip: 4 latent frames of 2×3


@pytest.fixture(autouse=True, scope='module')
def quick():
  """Compiles in a third of the time."""
  with pytest.MonkeyPatch.context() as patch:
    for name in ('encode_next', 'decode_next'):
      plain = getattr(convolutional, name).__wrapped__
      patch.setattr(convolutional, name, tiny.quick_jit(plain, static_argnames=('config', 'last')))
    yield


@functools.cache
def codec(config: VideoConfig = CAUSAL) -> ConvCodec:
  """With noisy parameters and statistics."""
  params = tiny.noisy(lambda: video.init(config, jax.random.key(0)))
  mean, scale = np.float32([0.1, -0.3, 0.2]), np.float32([0.5, 2.0, 1.0])
  return ConvCodec(config, params, mean, scale, np.ones(3, np.float32))


def clip(frames: int = F, height: int = H, width: int = W) -> np.ndarray:
  return scene(3, frames, height, width)


def close(a: np.ndarray, b: np.ndarray) -> bool:
  """Whether latents agree to 1e-5 of the largest value."""
  return a.shape == b.shape and np.abs(a - b).max() <= 1e-5 * max(np.abs(b).max(), 1)


@each_config
@pytest.mark.parametrize('cuts', [[1, 5, 13], [4, 6, 13], [13]], ids=str)
def test_encoding_in_pieces_is_encoding_the_whole(config, cuts):
  pixels = clip()
  wanted, _ = encode_whole(config, codec(config).params, pixels[None] / np.float32(127.5) - 1)
  wanted = (np.asarray(wanted[0]) - codec(config).mean) / codec(config).scale
  encoder = ConvEncoder(codec(config))
  parts = [encoder.push(pixels[a:b]) for a, b in zip([0, *cuts], cuts)]
  assert close(np.concatenate([*parts, encoder.finish()]), wanted)


@each_config
@pytest.mark.parametrize('cuts', [[1, 2, 4], [3, 4], [4]], ids=str)
def test_decoding_in_pieces_is_decoding_the_whole(config, cuts, unrounded):
  c = codec(config)
  latents = np.random.default_rng(0).standard_normal((4, 2, 3, 3)).astype(np.float32)
  wanted = np.asarray(decode_whole(config, c.params, (latents * c.scale + c.mean)[None])[0])
  decoder = ConvDecoder(c)
  parts = [decoder.push(latents[a:b]) for a, b in zip([0, *cuts], cuts)]
  assert close(np.concatenate([*parts, decoder.finish()]), wanted)
  assert len(wanted) == F


def test_a_long_clip_runs_in_chunks_and_frames_come_as_soon_as_they_can():
  short = dataclasses.replace(codec(), chunk=1)
  encoder, decoder = ConvEncoder(short), ConvDecoder(short)
  pixels, wanted = clip(), codec().encode(clip())
  latents = [encoder.push(frame[None]) for frame in pixels]
  assert [len(part) for part in latents] == [1, *[0, 0, 0, 1] * 3]
  assert close(np.concatenate(latents), wanted)
  frames = [decoder.push(latent[None]) for latent in wanted]
  assert [len(part) for part in frames] == [1, 4, 4, 4]
  assert np.abs(np.concatenate(frames).astype(int) - codec().decode(wanted)).max() <= 1
  assert not len(encoder.finish()) and not len(decoder.finish())


def test_a_stream_compiles_a_program_for_its_first_chunk_and_one_for_the_rest(monkeypatch):
  traced, real = [], video.encode_chunk

  def spy(config, params, pixels, carried, *, last):
    traced.append(pixels.shape)
    return real(config, params, pixels, carried, last=last)

  monkeypatch.setattr(video, 'encode_chunk', spy)
  encoder = ConvEncoder(dataclasses.replace(codec(), chunk=2))
  for frames in (5, 8, 8, 8):
    encoder.push(clip(frames, 4, 4))
  assert traced == [(1, 5, 4, 4, 3), (1, 8, 4, 4, 3)]


def test_bfloat16_runs_through():
  pixels = (clip(5)[None] / np.float32(127.5) - 1).astype(jax.numpy.bfloat16)
  mean, _ = encode_whole(CENTRED, codec(CENTRED).params, pixels)
  made = decode_whole(CENTRED, codec(CENTRED).params, mean)
  assert mean.dtype == made.dtype == pixels.dtype
  wanted, _ = encode_whole(CENTRED, codec(CENTRED).params, pixels.astype(np.float32))
  assert np.abs(np.asarray(mean, np.float32) - wanted).max() <= 0.05 * np.abs(wanted).max()


def test_a_decoder_that_is_not_causal_waits_for_its_lead():
  lead, decoder = video_config.decoder_lead(CENTRED.decoder), ConvDecoder(codec(CENTRED))
  heard = [len(decoder.push(np.zeros((1, 2, 3, 3), np.float32))) for _ in range(lead + 1)]
  assert not any(heard[:-2]) and 0 < heard[-2] <= 4 and heard[-1] == 4
  assert sum(heard) + len(decoder.finish()) == 1 + 4 * lead


def test_an_image_is_a_clip_of_one_frame():
  whole = codec().encode(clip())
  image = codec().encode(clip()[:1])
  assert close(image, whole[:1])
  frame, frames = codec().decode(image), codec().decode(whole)
  assert frame.shape == (1, H, W, 3) and frames.shape == (F, H, W, 3)
  assert np.abs(frame.astype(int) - frames[:1]).max() <= 1


def test_no_frame_is_no_latent():
  assert codec().encode(clip()[:0]).shape == (0, 2, 3, 3)
  assert codec().decode(np.zeros((0, 2, 3, 3), np.float32)).shape == (0, H, W, 3)


def test_later_frames_cannot_change_earlier_latents_at_all(monkeypatch):
  """But for minimal filtering, which takes frames together; see the test below."""
  monkeypatch.setattr(conv, 'choose', lambda *_: 'stacked')
  encode = jax.jit(lambda params, pixels: video.encode(CAUSAL, params, pixels)[0])
  pixels = jnp.asarray(clip()[None] / 127.5 - 1, jnp.float32)
  latents = encode(codec().params, pixels)
  for frame in (1, 5, 8, 12):
    other = encode(codec().params, pixels.at[:, frame:].multiply(-1))
    changed = np.asarray(latents != other).any(axis=(0, 2, 3, 4))
    of_latent = (frame + 3) // 4
    assert not changed[:of_latent].any() and changed[of_latent]


def test_later_frames_change_earlier_latents_by_rounding_alone():
  pixels = clip()
  for frame in (1, 5, 8, 12):
    other = pixels.copy()
    other[frame:] = 255 - other[frame:]
    change = np.abs(codec().encode(pixels) - codec().encode(other)).max(axis=(1, 2, 3))
    of_latent = (frame + 3) // 4
    assert change[:of_latent].max() <= 1e-5 and change[of_latent] > 1e-2


def test_later_latents_cannot_change_earlier_frames_of_a_causal_decoder_alone():
  latents = np.random.default_rng(0).standard_normal((4, 2, 3, 3)).astype(np.float32)
  other = latents.copy()
  other[2:] *= -1
  for config, first in ((CAUSAL, 5), (CENTRED, 0)):
    changed = codec(config).decode(latents) != codec(config).decode(other)  # whole numbers
    assert changed.any(axis=(1, 2, 3)).argmax() == first


def tiled_and_whole(size, overlap, direction, config=CAUSAL):
  """(tiled, whole) latents or decoded floats of a clip of 20×6 latents, tiles in two chunks."""
  cut = dataclasses.replace(codec(config), tiling=Tiling(size, overlap), chunk=1)
  pixels = clip(5, 20 * 4, 6 * 4)
  if direction == 'encode':
    return cut.encode(pixels), codec(config).encode(pixels)
  latents = np.random.default_rng(1).standard_normal((2, 20, 6, 3)).astype(np.float32)
  return cut.decode(latents), codec(config).decode(latents)


REACH = {
  'encode': video_config.encoder_reach(CAUSAL),
  'decode': video_config.decoder_reach(CAUSAL),
}


@pytest.mark.parametrize('config', [CAUSAL, CENTRED], ids=['causal', 'centred'])
@pytest.mark.parametrize('direction', REACH)
def test_tiles_that_overlap_by_what_is_seen_are_the_whole(direction, config, unrounded):
  overlap = 2 * REACH[direction]
  tiled, whole = tiled_and_whole((overlap + 3, 40), overlap, direction, config)
  assert close(tiled, whole)


@pytest.mark.parametrize('direction', REACH)
def test_the_reach_is_no_larger_than_it_must_be(direction, unrounded):
  """With one latent less of overlap on either side, values begin to differ."""
  less = REACH[direction] - 1
  left = 20 - (less + 1)
  half = dataclasses.replace(codec(), tiling=None)
  rng = np.random.default_rng(0)
  if direction == 'encode':
    pixels = rng.uniform(-1, 1, (1, 80, 24, 3)).astype(np.float32)
    seen = half.encode(pixels)[:, :1] - half.encode(pixels[:, : 4 * (less + 1)])[:, :1]
  else:
    latents = rng.standard_normal((1, 20, 6, 3)).astype(np.float32)
    seen = half.decode(latents)[:, :4] - half.decode(latents[:, : less + 1])[:, :4]
  assert left > 0 and np.abs(seen).max() > 0


@pytest.mark.parametrize('direction', REACH)
def test_tiles_that_overlap_less_differ_no_more_than_their_parts(direction, unrounded):
  size, reach = 10, REACH[direction]
  tiled, whole = tiled_and_whole((size, 40), 2, direction)
  cell = 1 if direction == 'encode' else 4
  starts = (0, 8, 10)
  worst = 0.0
  for start in starts:
    if direction == 'encode':
      part = codec().encode(clip(5, 80, 24)[:, start * 4 : (start + size) * 4])
    else:
      latents = np.random.default_rng(1).standard_normal((2, 20, 6, 3)).astype(np.float32)
      part = codec().decode(latents[:, start : start + size])
    span = slice(start * cell, (start + size) * cell)
    worst = max(worst, np.abs(part - whole[:, span]).max())
  apart = np.abs(tiled - whole).max(axis=(0, 2, 3))
  assert 0 < apart.max() <= worst + 1e-5
  assert apart[: (size - reach) * cell].max() <= 1e-5  # the first tile's edge is not seen there


def test_a_picture_of_one_tile_is_not_cut():
  cut = dataclasses.replace(codec(), tiling=Tiling((20, 6), 3))
  tiled, whole = (c.encode(clip(5, 80, 24)) for c in (cut, codec()))
  np.testing.assert_array_equal(tiled, whole)


def test_tiles_are_no_larger_than_asked(monkeypatch):
  sizes = []
  real = convolutional.encode_next

  def spy(config, params, statistics, pixels, carried, *, last):
    sizes.append(pixels.shape[2:4])
    return real(config, params, statistics, pixels, carried, last=last)

  monkeypatch.setattr(convolutional, 'encode_next', spy)
  cut = dataclasses.replace(codec(), tiling=Tiling((3, 4), 1))
  cut.encode(clip(1, 7 * 4, 6 * 4))
  assert set(sizes) == {(3 * 4, 4 * 4)} and len(sizes) == 3 * 2


def test_saved_and_restored_it_is_the_same():
  saved = dataclasses.replace(codec(CENTRED), tiling=Tiling((9, 9), 2), chunk=3)
  shape = json.loads(json.dumps(saved.shape()))
  made = ConvCodec.restored(shape, saved.arrays())
  assert (made.config, made.tiling, made.chunk) == (saved.config, saved.tiling, saved.chunk)
  arrays, again = saved.arrays(), made.arrays()
  assert arrays.keys() == again.keys() and all(a.dtype == np.float32 for a in again.values())
  assert all((arrays[name] == again[name]).all() for name in arrays)
  assert jax.tree.structure(made.params) == jax.tree.structure(saved.params)


def test_a_damaged_codec_is_refused():
  shape, arrays = codec().shape(), codec().arrays()
  name = 'encoder/stem/kernel'
  with refused(f'the first that differs is {name}'):
    ConvCodec.restored(shape, {k: v for k, v in arrays.items() if k != name})
  with refused('lacks the array spread'):
    ConvCodec.restored(shape, {k: v for k, v in arrays.items() if k != 'spread'})
  with refused(rf'{name} has shape \(2, 2\) and the config asks for \(3, 3, 3, 12, 4\)'):
    ConvCodec.restored(shape, {**arrays, name: np.zeros((2, 2), np.float32)})


def test_measured_latents_have_mean_0_and_mean_square_1():
  videos = [clip(), clip(5)]
  made = convolutional.measured(CAUSAL, codec().params, iter(videos))
  flat = np.concatenate([made.encode(v).reshape(-1, 3) for v in videos])
  np.testing.assert_allclose(flat.mean(axis=0), 0, atol=1e-3)
  np.testing.assert_allclose(flat.std(axis=0), made.spread, rtol=1e-3)
  np.testing.assert_allclose(np.mean(made.spread**2), 1, rtol=1e-3)
  assert len(set(made.scale)) == 1  # channels keep their proportions
  with refused('0 latents to measure'):
    convolutional.measured(CAUSAL, codec().params, [])


def test_floats_are_the_same_pixels():
  floats = clip().astype(np.float32) / 127.5 - 1
  assert close(codec().encode(floats), codec().encode(clip()))


def test_bad_pixels_are_refused():
  c, pixels = codec(), clip()
  floats = pixels.astype(np.float32) / 255
  with refused(r'12 frames do not fit a codec of 1 \+ 4·n frames; try 13'):
    c.encode(pixels[:12])
  with refused('10×12 pixels do not divide by 4×4; try 12×12'):
    c.encode(clip(1, 10, 12))
  with refused(r'uint16 \(13, 8, 12, 3\); give uint8'):
    c.encode(pixels.astype(np.uint16))
  with refused(r'uint8 \(13, 8, 12\); give uint8 \[F, H, W, 3\]'):
    c.encode(pixels[..., 0])
  floats[2, 3, 4] = np.nan
  with refused(f'3 values of {floats.size} that are not finite'):
    c.encode(floats)
  with refused('float pixels reach from 0.* to 2.*; bring them to -1 to 1'):
    c.encode(np.linspace(0, 255, pixels.size, dtype=np.float32).reshape(pixels.shape))


def test_bad_streams_are_refused():
  encoder = ConvEncoder(codec())
  encoder.push(clip(3))
  with refused(r'frames of uint8 \(12, 12, 3\) follow frames of uint8 \(8, 12, 3\)'):
    encoder.push(clip(1, 12, 12))
  with refused(r'3 frames do not fit a codec of 1 \+ 4·n frames; try 5'):
    encoder.finish()


def test_bad_latents_are_refused():
  latents = np.zeros((1, 2, 3, 3), np.float32)
  with refused(r'the latents are \(1, 2, 3, 2\) and the codec takes \[f, h, w, 3\]'):
    codec().decode(latents[..., :2])
  latents[0, 0, 0, 0] = np.inf
  with refused('1 values of 18 that are not finite'):
    codec().decode(latents)


def test_tiles_that_overlap_by_their_size_are_refused():
  with refused(r'tiles of \(4, 6\) cannot overlap by 4; overlap by less'):
    Tiling((4, 6), 4)


@pytest.mark.parametrize(
  'stride, widths',
  [((4, 8, 8), (32, 32, 64)), ((4, 16, 16), (32, 64, 128)), ((8, 16, 16), (32, 32, 64, 128)),
   ((4, 32, 32), (32, 32, 64, 128))], ids=str,
)  # fmt: skip
def test_compact_autoencoders_have_their_stride_and_a_few_million_parameters(stride, widths):
  for channels in (16, 64):
    config = video_config.compact(stride, channels, widths)
    assert config.geometry.stride == stride and config.geometry.channels == channels
    assert config.decoder.stages[-1].width == widths[0]
    params = jax.eval_shape(lambda: video.init(config, jax.random.key(0)))
    assert 1e6 < sum(leaf.size for leaf in jax.tree.leaves(params)) < 6e6


def test_what_starts_as_a_linear_codec_codes_as_it_does():
  clips = [scene(seed, F, H, W) for seed in range(4)]
  linear = fit_patches(clips, (4, 4, 4), 3, whiten=0.5)
  params = video.from_linear(video.init(FACTORED, jax.random.key(0)), FACTORED, linear)
  statistics = np.zeros(3, 'f4'), np.ones(3, 'f4'), np.ones(3, 'f4')
  learned = ConvCodec(FACTORED, params, *statistics)
  latents = linear.encode(clip())
  np.testing.assert_allclose(learned.encode(clip()), latents, atol=1e-4)
  apart = np.abs(learned.decode(latents).astype(int) - linear.decode(latents))
  assert apart.max() <= 1
  with refused('is not the .* of the codec; fit it anew'):
    video.from_linear(params, dataclasses.replace(FACTORED, patch=2), linear)


def test_a_straight_path_does_not_go_with_halves_that_look_ahead():
  with pytest.raises(ValueError, match='out of step'):
    dataclasses.replace(FACTORED_CENTRED, straight=True)


def test_ltx2_covers_8_frames_of_32_pixels_by_128_channels():
  config = video_config.ltx2()
  assert config.geometry.stride == (8, 32, 32) and config.geometry.channels == 128


@pytest.mark.parametrize('config', [*CONFIGS.values(), video_config.ltx2()], ids=[*CONFIGS, 'ltx2'])
def test_a_config_survives_its_json(config):
  assert video_config.from_dict(json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_sizes_that_do_not_fit_together_are_refused():
  with pytest.raises(ValueError, match='needs 2 to 4 stages, not 1'):
    video_config.compact((4, 16, 16), 8, (16, 32))
  with pytest.raises(ValueError, match='must be powers of 2'):
    video_config.compact((3, 8, 8), 8, (16, 32))
  with pytest.raises(ValueError, match='16 channels cannot become 20'):
    video_config.compact((2, 8, 8), 8, (16, 20))
  with pytest.raises(ValueError, match='must be causal'):
    dataclasses.replace(SHIFTING.decoder, causal=False)
  with pytest.raises(ValueError, match='encoder stride'):
    dataclasses.replace(CAUSAL, decoder=dataclasses.replace(CAUSAL.decoder, stages=()))


@pytest.mark.parametrize('stride', [(1, 2, 2), (2, 1, 1), (2, 2, 2)])
@pytest.mark.parametrize('many', [1, 2, 4, 8, 16])
def test_means_of_folded_channels_are_those_of_fold(stride, many):
  """Taken before folding where they are of columns, rows or frames, after it else (16, and 1×1)."""
  x = np.random.default_rng(0).standard_normal((2, 4, 6, 8, 16)).astype(np.float32)
  folded = fold(jnp.asarray(x), stride)
  wanted = folded.reshape(*folded.shape[:4], -1, many).mean(axis=-1)
  np.testing.assert_allclose(folded_means(x, stride, wanted.shape[4]), wanted, atol=1e-6)


def test_a_mesh_gives_the_same_values_gradients_and_steps():
  found = json.loads(run(str(PROGRAM)))
  assert found['loss'] == pytest.approx(found['without'], rel=1e-5)
  assert found['moved_apart'] < 1e-3
  assert found['gradient_apart'] < 1e-5 and found['split'] == [1, 5, 8, 8, 3]
