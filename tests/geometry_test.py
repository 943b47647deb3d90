import dataclasses

import numpy as np
import pytest
from tiny import refused

from sorajax.clip import Latents
from sorajax.geometry import AudioGeometry, Beside, Geometry, VideoGeometry, samples_of

STRIDES = [(1, 8, 8), (2, 8, 16), (4, 16, 16), (8, 32, 32)]
AUDIO = [(0, 0), (160, 160), (3, 8)]  # lead and tail


def audio_geometry(lead: int = 20, tail: int = 20) -> AudioGeometry:
  return AudioGeometry(
    8_000, audio_channels=1, hop_samples=80, channels=4, lead_samples=lead, tail_samples=tail
  )


@pytest.mark.parametrize('stride', STRIDES)
def test_frames_and_latent_frames_are_inverse(stride):
  video = VideoGeometry(stride, 4)
  for latent_frames in range(40):
    frames = video.pixel_frames(latent_frames)
    assert video.latent_size(frames, stride[1], stride[2]) == (latent_frames, 1, 1)


@pytest.mark.parametrize('stride', STRIDES)
def test_the_least_length_that_holds_is_the_least(stride):
  video = VideoGeometry(stride, 4)
  lengths = [video.pixel_frames(f) for f in range(1, 60)]
  for frames in range(1, 50):
    assert video.frames_at_least(frames) == min(n for n in lengths if n >= frames)


def test_an_image_is_a_clip_of_one_frame():
  for stride in STRIDES:
    assert VideoGeometry(stride, 4).latent_size(1, 64, 32)[0] == 1
    assert VideoGeometry(stride, 4).spans_s(1, fps=10.0).tolist() == [[0.0, 0.1]]


@pytest.mark.parametrize('stride', STRIDES)
@pytest.mark.parametrize('fps', [8.0, 24.0, 30_000 / 1001])
def test_spans_of_the_picture_tile_its_duration(stride, fps):
  video = VideoGeometry(stride, 4)
  for latent_frames in range(1, 20):
    spans = video.spans_s(latent_frames, fps)
    assert spans[0, 0] == 0 and (spans[1:, 0] == spans[:-1, 1]).all()
    assert (spans[:, 1] > spans[:, 0]).all()
    assert spans[-1, 1] * fps == pytest.approx(video.pixel_frames(latent_frames), abs=1e-9)


@pytest.mark.parametrize('lead_tail', AUDIO)
def test_spans_of_the_sound_tile_at_least_its_duration(lead_tail):
  audio = audio_geometry(*lead_tail)
  for samples in [1, 79, 80, 81, 1000, 7999, 8000, 8001]:
    spans = audio.spans_s(audio.latent_length(samples))
    assert spans[0, 0] == 0 and (spans[1:, 0] == spans[:-1, 1]).all()
    assert spans[-1, 1] * audio.sample_rate_hz >= samples + audio.tail_samples - 1e-6
    fewer = audio.spans_s(audio.latent_length(samples) - 1)
    end = fewer[-1, 1] * audio.sample_rate_hz if len(fewer) else 0
    assert end < samples + audio.tail_samples


def test_no_samples_have_no_latents():
  assert audio_geometry().latent_length(0) == 0
  assert audio_geometry().spans_s(0).shape == (0, 2)


def test_positions_are_the_midpoints_in_the_order_of_the_latents():
  video = VideoGeometry((2, 8, 16), 4)
  size = video.latent_size(5, 24, 32)
  position = video.positions(size, fps=10.0).reshape(*size, 3)
  spans = video.spans_s(size[0], 10.0)
  np.testing.assert_allclose(position[:, 0, 0, 0], spans.mean(axis=1), rtol=1e-6)
  np.testing.assert_allclose(position[0, :, 0, 1], [4, 12, 20])
  np.testing.assert_allclose(position[0, 0, :, 2], [8, 24])
  for axis in range(3):  # a coordinate depends on its own index alone
    assert (np.ptp(position[..., axis], axis=tuple({0, 1, 2} - {axis})) == 0).all()


@pytest.mark.parametrize('smaller', [1, 2, 3])
def test_a_reference_lies_over_the_picture_that_is_made_after_it(smaller):
  """Each of its tokens in the middle of those of the picture that it stands for."""
  geometry = Geometry(VideoGeometry((2, 8, 16), 4), audio_geometry())
  video, after = np.zeros((3, 6, 12, 4)), np.zeros((2, 6 // smaller, 12 // smaller, 4))
  latents = Latents(video, np.zeros((0, 4)), 8.0, 5, 0, after)
  found = geometry.positions(latents)['video']
  assert latents.video_tokens == len(found)
  own, other = np.split(found, [video[..., 0].size])
  squares = own.reshape(3, 6 // smaller, smaller, 12 // smaller, smaller, 3).mean(axis=(2, 4))
  np.testing.assert_allclose(other.reshape(*after.shape[:3], 3), squares[:2], rtol=1e-6)
  whole = geometry.tokens(5, 48, 192, 0, Beside(smaller))[0]
  assert whole == video[..., 0].size + 3 * after[0, ..., 0].size


def test_both_streams_are_placed_on_one_clock():
  """A clip of any length: the tokens of both streams lie within it, to a hop of sound."""
  geometry = Geometry(VideoGeometry((2, 8, 8), 4), audio_geometry())
  for latent_frames in (1, 2, 7):
    frames = geometry.video.pixel_frames(latent_frames)
    samples = samples_of(frames, 8.0, 8_000)
    video = np.zeros((*geometry.video.latent_size(frames, 16, 8), 4), np.float32)
    audio = np.zeros((geometry.audio.latent_length(samples), 4), np.float32)
    latents = Latents(video, audio, 8.0, frames, samples)
    position, layout = geometry.positions(latents), geometry.layout(latents)
    assert geometry.tokens(frames, 16, 8, samples) == tuple(
      len(position[m]) for m in ('video', 'audio')
    )
    assert layout.size == video.shape[:3]
    assert layout.video_s[-1, 1] == pytest.approx(frames / 8.0)
    assert abs(layout.audio_s[-1, 1] - frames / 8.0) <= 100 / 8_000
    assert (position['audio'][:, 1:] == 0).all()


def test_sizes_that_do_not_divide_are_refused_with_the_nearest_that_do():
  video = VideoGeometry((4, 16, 16), 4)
  with refused('6 frames do not fit .* try 9'):
    video.latent_size(6, 16, 16)
  with refused('20×33 pixels do not divide by 16×16; try 32×48'):
    video.latent_size(5, 20, 33)
  with refused('0×16 pixels'):
    video.latent_size(5, 0, 16)


def test_samples_last_as_long_as_frames():
  for fps in (8.0, 24.0, 30_000 / 1001):
    for frames in range(1, 100):
      samples = samples_of(frames, fps, 16_000)
      assert abs(samples / 16_000 - frames / fps) <= 0.5 / 16_000 + 1e-12


def test_rate_of_latents():
  assert audio_geometry().latents_per_second == 100
  assert dataclasses.replace(audio_geometry(), hop_samples=160).latents_per_second == 50
