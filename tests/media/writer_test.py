import itertools

import numpy as np
import pytest
from clips import join, make_clip

from sorajax.clip import Clip
from sorajax.errors import UserError
from sorajax.media import reader, writer


def lag_of(heard: np.ndarray, meant: np.ndarray, reach: int = 64) -> tuple[int, float]:
  """The shift (samples) of `heard` that fits `meant` best, and the correlation there."""
  inner = meant[reach:-reach, 0]
  fits = {
    lag: np.corrcoef(heard[reach + lag : len(heard) - reach + lag, 0], inner)[0, 1]
    for lag in range(-reach, reach + 1)
  }
  best = max(fits, key=lambda lag: fits[lag])
  return best, fits[best]


@pytest.mark.parametrize('frames, fps', [(25, 12.0), (24, 24000 / 1001), (1, 24.0), (31, 30.0)])
@pytest.mark.parametrize('rate_hz, channels', [(48_000, 2), (16_000, 1), (44_100, 2)])
def test_a_written_clip_reads_back_in_full_and_in_time(tmp_path, frames, fps, rate_hz, channels):
  clip = make_clip(frames, fps=fps, rate_hz=rate_hz, channels=channels)
  path = tmp_path / 'clip.mp4'
  writer.write(path, clip)
  back = reader.read(path)
  assert back.video.shape == clip.video.shape and back.audio.shape == clip.audio.shape
  assert back.fps == pytest.approx(fps) and back.sample_rate_hz == rate_hz
  assert np.abs(back.video.astype(int) - clip.video).mean() < 3
  lag, fit = lag_of(back.audio, clip.audio)
  assert lag == 0 and fit > 0.9


@pytest.mark.parametrize('frames, size', [(25, (64, 64)), (1, (64, 64)), (5, (33, 47))])
def test_the_stored_form_keeps_every_sample_and_nearly_every_shade(frames, size):
  clip = make_clip(frames, size=size)
  back = reader.read(writer.to_bytes(clip))
  assert back.video.shape == clip.video.shape and back.audio.shape == clip.audio.shape
  np.testing.assert_allclose(back.audio, clip.audio, atol=0.5 / 32768)
  error = np.mean((back.video.astype(float) - clip.video) ** 2)
  assert 10 * np.log10(255**2 / error) > 36


def test_colours_come_back(tmp_path):
  path = tmp_path / 'colour.mp4'
  silence = np.zeros((0, 1), np.float32)
  for colour in itertools.product((0, 128, 255), repeat=3):
    clip = Clip(np.full((2, 32, 32, 3), colour, np.uint8), silence, 24.0, 48_000)
    writer.write(path, clip)
    for source in (path, writer.to_bytes(clip)):
      assert np.abs(reader.read(source).video.astype(int) - clip.video).max() <= 2


def test_the_same_clip_gives_the_same_bytes(tmp_path):
  clip = make_clip()
  one, two = tmp_path / '1.mp4', tmp_path / '2.mp4'
  writer.write(one, clip)
  writer.write(two, clip)
  assert one.read_bytes() == two.read_bytes()
  assert len({writer.to_bytes(clip) for _ in range(5)}) == 1


def test_a_film_written_in_chunks_equals_one_written_whole(tmp_path):
  chunks = [make_clip(12, seed=seed) for seed in range(3)]
  writer.write_stream(tmp_path / 'chunks.mp4', iter(chunks))
  writer.write(tmp_path / 'whole.mp4', join(*chunks))
  assert (tmp_path / 'chunks.mp4').read_bytes() == (tmp_path / 'whole.mp4').read_bytes()


def test_a_failure_leaves_what_was_there(tmp_path):
  path = tmp_path / 'clip.mp4'
  writer.write(path, make_clip(5))
  before = path.read_bytes()

  def chunks():
    yield make_clip(5, seed=1)
    raise RuntimeError('the sampler failed')

  with pytest.raises(RuntimeError):
    writer.write_stream(path, chunks())
  assert path.read_bytes() == before
  assert [file.name for file in tmp_path.iterdir()] == ['clip.mp4']


def test_a_silent_clip_has_no_sound_track(tmp_path):
  path = tmp_path / 'silent.mp4'
  writer.write(path, make_clip(5, channels=0))
  assert reader.probe(path).audio_channels == 0


def test_sound_alone_is_written_as_wav(tmp_path):
  clip = make_clip(12, channels=2)
  writer.write(tmp_path / 'sound.wav', clip)
  back = reader.read_sound(tmp_path / 'sound.wav')
  np.testing.assert_allclose(back.audio, clip.audio, atol=0.5 / 32768)


@pytest.mark.parametrize(
  'name, clip, words',
  [
    ('clip.avi', make_clip(2), 'end it in .mp4'),
    ('none/clip.mp4', make_clip(2), 'make it first'),
    ('clip.mp4', make_clip(2, size=(63, 64)), 'resize to 64×64'),
    ('clip.mp4', make_clip(2, rate_hz=20_000), 'resample to 22050'),
    ('clip.mp4', make_clip(2, channels=3), r'not \[S, 1\] or \[S, 2\]'),
    ('clip.wav', make_clip(2, channels=0), 'no sound'),
    (
      'clip.mp4',
      Clip(np.zeros((0, 2, 2, 3), np.uint8), np.ones((9, 1)), 1.0, 48_000),
      'no picture',
    ),
    ('clip.mp4', Clip(make_clip(1).video, np.full((9, 1), np.nan), 1.0, 48_000), 'NaN'),
  ],
)
def test_what_cannot_be_written_is_refused_in_one_line(tmp_path, name, clip, words):
  with pytest.raises(UserError, match=words) as error:
    writer.write(tmp_path / name, clip)
  assert '\n' not in str(error.value)
  assert not list(tmp_path.iterdir())


def test_chunks_that_do_not_belong_together_are_refused(tmp_path):
  with pytest.raises(UserError, match='a chunk of 32×32'):
    writer.write_stream(tmp_path / 'x.mp4', [make_clip(2), make_clip(2, size=(32, 32))])
  with pytest.raises(UserError, match='no frames'):
    writer.write_stream(tmp_path / 'x.mp4', [])
