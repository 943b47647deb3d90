import dataclasses
import itertools
import tracemalloc

import numpy as np
import pytest
import tiny
from clips import noise, scene
from tiny import CODEC, FPS, RATE_HZ, refused

from sorajax.clip import Clip
from sorajax.codec import codec as codec_lib
from sorajax.codec import linear
from sorajax.codec.codec import in_pieces
from sorajax.geometry import samples_of

FULL = dataclasses.replace(
  CODEC, video_channels=tiny.PATCH_VALUES, audio_channels=tiny.FRAME_VALUES
)
EMPTY = np.zeros((0, 8, 12, 3), np.uint8)


def clip(frames: int = 9, seed: int = 9, channels: int = 1) -> Clip:
  """One that no codec was fitted on."""
  video = scene(seed, frames, 8, 12)
  return Clip(video, noise(seed, samples_of(frames, FPS, RATE_HZ), channels), FPS, RATE_HZ)


def ratio_db(signal: np.ndarray, error: np.ndarray) -> float:
  return 10 * np.log10(np.square(signal).mean() / max(np.square(error).mean(), 1e-30))


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
  return ratio_db(np.array(255.0), a.astype(float) - b.astype(float))


def test_pictures_at_full_rank():
  codec, wild = tiny.codec(FULL), clip()
  pixels = np.random.default_rng(0).integers(0, 256, wild.video.shape, np.uint8)
  for video in (wild.video, pixels):
    made = codec.decode(codec.encode(dataclasses.replace(wild, video=video)))
    assert psnr_db(made.video, video) >= 50


@pytest.mark.parametrize('channels', [1, 2])
@pytest.mark.parametrize('group', [1, 2])
def test_sound_at_full_rank(channels, group):
  config = dataclasses.replace(FULL, group=group, audio_channels=40 * group * channels)
  codec, heard = tiny.codec(config, channels), clip(channels=channels)
  white = np.random.default_rng(0).uniform(-1, 1, heard.audio.shape).astype(np.float32)
  for audio in (heard.audio, white):
    made = codec.decode(codec.encode(dataclasses.replace(heard, audio=audio))).audio
    assert made.shape == audio.shape and ratio_db(audio, made - audio) >= 60


def test_more_channels_never_reconstruct_worse():
  seen = tiny.clips()
  picture, sound = [], []
  for video, audio in ((2, 2), (8, 6), (32, 20), (64, 50), (96, 80)):
    codec = tiny.codec(dataclasses.replace(CODEC, video_channels=video, audio_channels=audio))
    pairs = [(c, codec.decode(codec.encode(c))) for c in seen]
    picture.append(np.mean([np.square(a.video.astype(float) - b.video).mean() for a, b in pairs]))
    sound.append(np.mean([np.square(a.audio - b.audio).mean() for a, b in pairs]))
  for errors in (picture, sound):
    assert all(after <= before * 1.001 for before, after in itertools.pairwise(errors))
    assert errors[-1] < 0.01 * errors[0]


def test_spread_is_measured_on_the_latents():
  codec = tiny.codec()
  latents = [codec.encode(c) for c in tiny.clips()]
  for m, spread in codec.spread.items():
    values = np.concatenate([getattr(x, m).reshape(-1, len(spread)) for x in latents])
    np.testing.assert_allclose(np.sqrt(values.var(axis=0)), spread, rtol=1e-2)


@pytest.mark.parametrize('frames', [1, 3, 5, 9, 17, 31])
@pytest.mark.parametrize('samples', [0, 1, 39, 40, 41, 79, 80, 81, 1000, 2345])
def test_a_clip_comes_back_with_its_very_frames_and_samples(frames, samples):
  codec = tiny.codec()
  whole = Clip(scene(0, frames, 8, 12), noise(0, samples), FPS, RATE_HZ)
  latents = codec.encode(whole)
  f, h, w = codec.geometry.video.latent_size(frames, 8, 12)
  assert latents.video.shape == (f, h, w, 8)
  assert latents.audio.shape == (codec.geometry.audio.latent_length(samples), 6)
  assert (latents.frames, latents.samples) == (frames, samples)
  assert (latents.video.dtype, latents.audio.dtype) == (np.float32, np.float32)
  made = codec.decode(latents)
  assert made.video.shape == whole.video.shape and made.audio.shape == whole.audio.shape
  assert (made.fps, made.sample_rate_hz) == (FPS, RATE_HZ)


def test_sound_alone_is_a_clip():
  codec = tiny.codec(FULL)
  heard = dataclasses.replace(clip(), video=EMPTY)
  made = codec.decode(codec.encode(heard))
  assert made.video.shape == EMPTY.shape and ratio_db(heard.audio, made.audio - heard.audio) > 60


def test_an_image_is_the_first_frame_of_a_film_and_one_latent_frame():
  codec, film = tiny.codec(), clip()
  image = Clip(film.video[:1], film.audio[:0], FPS, RATE_HZ)
  latents, whole = codec.encode(image), codec.encode(film)
  np.testing.assert_array_equal(latents.video, whole.video[:1])
  np.testing.assert_array_equal(codec.decode(latents).video, codec.decode(whole).video[:1])


def test_a_latent_frame_is_of_its_own_frames_alone():
  codec, film = tiny.codec(), clip()
  other = film.video.copy()
  other[3:5] = 255 - other[3:5]
  before, after = (codec.encode(dataclasses.replace(film, video=v)) for v in (film.video, other))
  changed = (before.video != after.video).any(axis=(1, 2, 3))
  assert changed.tolist() == [False, False, True, False, False]


def chunks_of(whole: Clip, frames: list[int], seed: int) -> list[Clip]:
  """The clip cut at 1 + n·2 frames, and its sound cut anywhere."""
  rng = np.random.default_rng(seed)
  cuts = np.cumsum([0, *frames])
  assert cuts[-1] == len(whole.video)
  inner = np.sort(rng.integers(0, len(whole.audio) + 1, len(frames) - 1))
  sound = np.split(whole.audio, inner)
  return [
    dataclasses.replace(whole, video=whole.video[a:b], audio=s)
    for a, b, s in zip(cuts, cuts[1:], sound)
  ]


@pytest.mark.parametrize(
  'frames', [[1, 2, 6, 2, 12], [7, 16], [23], [1, 0, 22], [3, *[2] * 10]], ids=str
)
def test_encoding_in_pieces_is_encoding_the_whole_bit_for_bit(frames):
  codec, whole = tiny.codec(), clip(frames=23)
  wanted = codec.encode(whole)
  for seed in range(3):
    made = list(codec.encode_stream(chunks_of(whole, frames, seed)))
    np.testing.assert_array_equal(np.concatenate([x.video for x in made]), wanted.video)
    np.testing.assert_array_equal(np.concatenate([x.audio for x in made]), wanted.audio)
    assert sum(x.frames for x in made) == 23 and sum(x.samples for x in made) == len(whole.audio)


def joined(pieces: list[Clip]) -> tuple[np.ndarray, np.ndarray]:
  return np.concatenate([p.video for p in pieces]), np.concatenate([p.audio for p in pieces])


@pytest.mark.parametrize('frames', [1, 2, 5, 12, 100])
def test_decoding_in_pieces_is_decoding_the_whole_bit_for_bit(frames):
  codec, whole = tiny.codec(), clip(frames=23)
  latents = codec.encode(whole)
  wanted = codec.decode(latents)
  video, audio = joined(list(codec.decode_stream(in_pieces(latents, frames))))
  np.testing.assert_array_equal(video, wanted.video)
  np.testing.assert_array_equal(audio, wanted.audio)


@pytest.mark.parametrize('frames', [[1, 2, 6, 2, 12], [7, 16], [1, 0, 22]], ids=str)
def test_one_stream_feeds_the_other(frames):
  """What is encoded in chunks is decoded in those chunks."""
  codec, whole = tiny.codec(), clip(frames=23)
  wanted = codec.decode(codec.encode(whole))
  encoded = codec.encode_stream(chunks_of(whole, frames, 0))
  video, audio = joined(list(codec.decode_stream(encoded)))
  np.testing.assert_array_equal(video, wanted.video)
  np.testing.assert_array_equal(audio, wanted.audio)


def peak_bytes(seconds: int) -> int:
  """Of the memory that coding a clip there and back takes, chunk by chunk."""
  codec = tiny.codec()
  rng = np.random.default_rng(0)

  def chunks():
    for i in range(2 * seconds):
      frames = 5 if i == 0 else 4
      video = rng.integers(0, 256, (frames, 8, 12, 3), np.uint8)
      yield Clip(video, rng.uniform(-1, 1, (RATE_HZ // 2, 1)).astype(np.float32), FPS, RATE_HZ)

  tracemalloc.start()
  frames = sum(len(c.video) for c in codec.decode_stream(codec.encode_stream(chunks())))
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert frames == 1 + 8 * seconds
  return peak


def test_memory_does_not_grow_with_duration():
  peak_bytes(1)  # what is made once, such as the basis
  assert peak_bytes(40) < 1.3 * peak_bytes(4)


def test_a_saved_codec_comes_back_the_same(tmp_path):
  codec = tiny.codec()
  codec.save(tmp_path / 'new' / 'codec')
  again = codec_lib.load(tmp_path / 'new' / 'codec')
  assert again.geometry == codec.geometry and again.fingerprint == codec.fingerprint
  a, b = codec.encode(clip()), again.encode(clip())
  np.testing.assert_array_equal(a.video, b.video)
  np.testing.assert_array_equal(a.audio, b.audio)
  np.testing.assert_array_equal(codec.decode(a).audio, again.decode(b).audio)
  assert again.spread.keys() == codec.spread.keys()


def test_other_codecs_have_other_fingerprints():
  changes = [
    {}, {'video_whiten': 0.4}, {'audio_whiten': 0.4}, {'audio_rms': 0.4}, {'video_channels': 7},
    {'group': 3},
  ]  # fmt: skip
  codecs = [tiny.codec(dataclasses.replace(CODEC, **c)) for c in changes]
  assert len({c.fingerprint for c in codecs}) == len(changes)


@pytest.mark.parametrize('mels', [0, 20])
def test_how_latents_lie_is_known_before_anything_is_fitted(mels):
  config = dataclasses.replace(CODEC, mels=mels)
  assert tiny.codec(config).geometry == linear.linear_geometry(config, RATE_HZ, 1)


def test_a_missing_or_damaged_codec_is_refused(tmp_path):
  with refused('holds no codec'):
    codec_lib.load(tmp_path)
  tiny.codec().save(tmp_path)
  (tmp_path / 'codec.npz').write_bytes(b'not an archive')
  with refused('cannot read the codec .*'):
    codec_lib.load(tmp_path)


def test_clips_that_are_not_the_codecs_are_refused():
  codec, good = tiny.codec(), clip()
  cases = {
    'has 16000 Hz and the codec 8000 Hz': {'sample_rate_hz': 16_000},
    r'takes \[samples, 1\]': {'audio': np.repeat(good.audio, 2, 1)},
    'the sound has shape': {'audio': good.audio[:, 0]},
    'give uint8': {'video': good.video.astype(np.float32)},
    'the picture is uint8': {'video': good.video[0]},
    r'give uint8 \[F, H, W, 3\]': {'video': good.video[..., :1]},
    'not finite': {'audio': np.where(good.audio == good.audio[50], np.nan, good.audio)},
    '10 frames do not fit': {'video': scene(0, 10, 8, 12)},
    'do not divide by 4×4': {'video': good.video[:, :7]},
  }
  for match, change in cases.items():
    with refused(match):
      codec.encode(dataclasses.replace(good, **change))
    with refused(match):
      list(codec.encode_stream([dataclasses.replace(good, **change)]))


def test_too_many_channels_and_no_clips_are_refused():
  with refused('config.codec: 97 channels are more than the 96'):
    tiny.codec(dataclasses.replace(CODEC, video_channels=97))
  with refused('config.codec: 81 channels are more than the 80'):
    tiny.codec(dataclasses.replace(CODEC, audio_channels=81))
  with refused('nothing to fit'):
    linear.fit_linear([], CODEC, RATE_HZ, 1)


def test_chunks_hold_everything_once():
  latents = tiny.codec().encode(clip(frames=23))
  for frames in (1, 5, 50):
    parts = list(in_pieces(latents, frames))
    assert all(len(p.video) <= frames for p in parts)
    for m in ('video', 'audio'):
      np.testing.assert_array_equal(
        np.concatenate([getattr(p, m) for p in parts]), getattr(latents, m)
      )
    assert sum(p.samples for p in parts) == latents.samples
    assert sum(p.frames for p in parts) == latents.frames


def test_silence_stays_silent():
  silent = dataclasses.replace(clip(), audio=np.zeros_like(clip().audio))
  codec = tiny.codec(FULL)
  assert np.abs(codec.decode(codec.encode(silent)).audio).max() < 1e-6
