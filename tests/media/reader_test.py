from fractions import Fraction

import av
import numpy as np
import pytest
from clips import make_clip, noise, scene
from PIL import Image

from sorajax.clip import Clip
from sorajax.errors import UserError
from sorajax.geometry import samples_of
from sorajax.media import reader, sound, writer


@pytest.mark.parametrize(
  'asked',
  [
    {},
    {'fps': 12.0},
    {'fps': 10.0, 'size': (32, 32)},
    {'sample_rate_hz': 16_000, 'audio_channels': 1},
    {'sample_rate_hz': 44_100},
  ],
  ids=str,
)
def test_a_span_equals_the_same_span_of_the_whole(film, asked):
  whole = reader.read(film, **asked)
  for first, frames in ((0, 4), (5, 3), (9, 7)):
    span = reader.read(film, start_s=first / whole.fps, frames=frames, **asked)
    np.testing.assert_array_equal(span.video, whole.video[first : first + frames])
    begin = samples_of(first, whole.fps, whole.sample_rate_hz)
    assert len(span.audio) == samples_of(frames, whole.fps, whole.sample_rate_hz)
    np.testing.assert_array_equal(span.audio, whole.audio[begin : begin + len(span.audio)])


def test_spans_in_one_pass_equal_spans_read_one_by_one(film):
  asked = {'fps': 12.0, 'size': (32, 32), 'sample_rate_hz': 16_000, 'audio_channels': 1}
  spans = [(0.0, 5), (0.5, 4), (1.2, 5)]
  for (start_s, frames), clip in zip(spans, reader.read_spans(film, spans, **asked)):
    alone = reader.read(film, start_s=start_s, frames=frames, **asked)
    np.testing.assert_array_equal(clip.video, alone.video)
    np.testing.assert_array_equal(clip.audio, alone.audio)


@pytest.mark.parametrize('sound_codec, container', [('aac', 'matroska'), ('libopus', 'webm')])
def test_a_span_is_exact_although_stamps_are_whole_milliseconds(tmp_path, sound_codec, container):
  clip = make_clip(48, fps=24.0, rate_hz=48_000)
  path = tmp_path / 'film'
  with av.open(str(path), 'w', format=container) as out:
    picture = out.add_stream('libvpx-vp9', rate=24, options={'deadline': 'realtime'})
    picture.height, picture.width = clip.video.shape[1:3]
    options = {'aac_pns': '0'} if sound_codec == 'aac' else {}
    track = out.add_stream(sound_codec, rate=48_000, layout='mono', options=options)
    for image in clip.video:
      out.mux(picture.encode(av.VideoFrame.from_ndarray(image, format='rgb24')))
    wave = np.ascontiguousarray(clip.audio.T)
    frame = av.AudioFrame.from_ndarray(wave, format='fltp', layout='mono')
    frame.sample_rate, frame.pts = 48_000, 0
    out.mux(track.encode(frame))
    out.mux(picture.encode(None))
    out.mux(track.encode(None))
  whole = reader.read(path)
  for first in (10, 24, 37):
    span = reader.read(path, start_s=first / 24, frames=10)
    np.testing.assert_array_equal(span.video, whole.video[first : first + 10])
    heard = whole.audio[first * 2000 :][: len(span.audio)]
    np.testing.assert_allclose(span.audio, heard, atol=1e-6)


def test_a_slower_grid_shows_every_second_frame(film):
  np.testing.assert_array_equal(reader.read(film, fps=12.0).video, reader.read(film).video[::2])


def test_a_frame_stays_on_screen_for_as_long_as_its_time_stamps_say(tmp_path):
  shades, stamps = (40, 90, 140, 190, 240), (0, 100, 150, 400, 700)  # ms: a variable frame rate
  path = tmp_path / 'variable.mkv'
  with av.open(str(path), 'w') as container:
    stream = container.add_stream('libx264', rate=20)
    stream.width = stream.height = 32
    stream.codec_context.time_base = Fraction(1, 1000)
    for shade, stamp in zip(shades, stamps):
      frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), shade, np.uint8), format='rgb24')
      frame.pts, frame.time_base = stamp, Fraction(1, 1000)
      container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
  seen = reader.read(path, fps=20.0, frames=14).video.mean((1, 2, 3))
  expected = [40, 40, 90, 140, 140, 140, 140, 140, 190, 190, 190, 190, 190, 190]
  np.testing.assert_allclose(seen, expected, atol=4)


def test_resizing_covers_the_size_and_keeps_the_centre(tmp_path):
  video = np.zeros((3, 48, 96, 3), np.uint8)
  video[:, :, 24:72] = (0, 200, 0)  # the centre square; what is cut off is black
  path = tmp_path / 'wide.mp4'
  writer.write(path, Clip(video, np.zeros((0, 1), np.float32), 12.0, 16_000), crf=5)
  small = reader.read(path, size=(24, 24)).video
  assert small.shape == (3, 24, 24, 3)
  assert small[:, :, 2:-2, 1].min() > 190


@pytest.mark.parametrize('height, matrix', [(64, 6), (720, 1)])
def test_an_untagged_film_has_the_colours_of_its_height(tmp_path, height, matrix):
  colour = np.full((height, 64, 3), (200, 60, 30), np.uint8)
  path = tmp_path / 'untagged.mp4'
  with av.open(str(path), 'w') as container:
    stream = container.add_stream('libx264', rate=12, options={'crf': '1'})
    stream.height, stream.width, stream.pix_fmt = height, 64, 'yuv444p'
    frame = av.VideoFrame.from_ndarray(colour, format='rgb24')
    yuv = frame.reformat(format='yuv444p', dst_colorspace={6: 5, 1: 1}[matrix], dst_color_range=1)
    yuv.colorspace, yuv.color_range = 2, 0
    container.mux(stream.encode(yuv))
    container.mux(stream.encode(None))
  np.testing.assert_allclose(reader.read(path).video[0, 10, 10], (200, 60, 30), atol=3)


def test_the_same_sound_has_the_same_values_in_one_channel_or_two():
  stereo = noise(0, 100, 2)
  mono = sound.mix(stereo, ('FL', 'FR'), 1)
  np.testing.assert_allclose(mono[:, 0], stereo.mean(1), atol=1e-6)
  surround = np.ones((5, 6), np.float32)
  names = ('FL', 'FR', 'FC', 'LFE', 'BL', 'BR')
  np.testing.assert_allclose(sound.mix(surround, names, 2), 1.0, atol=1e-6)
  with pytest.raises(UserError, match='6 sound channels into 3'):
    sound.mix(surround, names, 3)


def test_resampling_keeps_a_tone_in_its_place(tmp_path):
  seconds = np.arange(48_000) / 48_000
  tone = 0.5 * np.sin(2 * np.pi * 440 * seconds).astype(np.float32)[:, None]
  path = tmp_path / 'tone.wav'
  writer.write(path, Clip(np.zeros((0, 0, 0, 3), np.uint8), tone, 1.0, 48_000))
  clip = reader.read_sound(path, sample_rate_hz=16_000)
  assert len(clip.video) == 0 and clip.audio.shape == (16_000, 1) and clip.seconds == 1.0
  np.testing.assert_allclose(clip.audio[100:-100], tone[::3][100:-100], atol=2e-3)


@pytest.mark.parametrize('channels', range(1, 9))
def test_every_loudspeaker_has_its_own_sound(tmp_path, channels):
  path = tmp_path / 'many.wav'
  wave = noise(0, 4800, channels)
  names = ('mono', 'stereo', '2.1', 'quad', '5.0', '5.1', '6.1', '7.1')
  with av.open(str(path), 'w') as container:
    track = container.add_stream('pcm_f32le', rate=48_000, layout=names[channels - 1])
    frame = av.AudioFrame.from_ndarray(wave.reshape(1, -1), 'flt', names[channels - 1])
    frame.sample_rate, frame.pts = 48_000, 0
    container.mux(track.encode(frame))
    container.mux(track.encode(None))
  np.testing.assert_array_equal(reader.read_sound(path).audio, wave)
  assert reader.read_sound(path, audio_channels=1).audio.shape == (4800, 1)


def test_a_film_gives_its_sound_alone(film):
  np.testing.assert_array_equal(
    reader.read_sound(film, start_s=0.5, seconds=0.25).audio,
    reader.read(film, start_s=0.5, frames=6).audio,
  )


def test_probe_tells_what_a_read_gives(film):
  probe, clip = reader.probe(film), reader.read(film)
  assert (probe.frames, probe.height, probe.width) == clip.video.shape[:3]
  assert (probe.fps, probe.seconds) == (clip.fps, clip.seconds)
  assert (probe.sample_rate_hz, probe.audio_channels) == (clip.sample_rate_hz, clip.audio.shape[1])


def _live(path, container, starts_s=0.0, *, seekable=True):
  """A film of 36 frames at 12 fps and its sound, as it would be written while it is seen."""
  clip = make_clip(36, rate_hz=48_000)

  class Pipe:
    def __init__(self):
      self.written = b''

    def write(self, data):
      self.written += data

  pipe = Pipe()
  with av.open(str(path) if seekable else pipe, 'w', format=container) as out:
    picture = out.add_stream('libx264', rate=12, options={'bf': '0'})
    picture.height, picture.width = clip.video.shape[1:3]
    track = out.add_stream('aac', rate=48_000, layout='mono')
    wave = np.ascontiguousarray(clip.audio.T)
    heard = av.AudioFrame.from_ndarray(wave, format='fltp', layout='mono')
    heard.sample_rate, heard.pts = 48_000, 0
    out.mux(track.encode(heard))
    for number, image in enumerate(clip.video):
      frame = av.VideoFrame.from_ndarray(image, format='rgb24')
      frame.pts, frame.time_base = number + round(12 * starts_s), Fraction(1, 12)
      out.mux(picture.encode(frame))
    out.mux(picture.encode(None))
    out.mux(track.encode(None))
  if not seekable:
    path.write_bytes(pipe.written)


def test_a_film_that_does_not_say_how_long_it_is_is_measured(tmp_path):
  path = tmp_path / 'live.mkv'
  _live(path, 'matroska', seekable=False)
  probe = reader.probe(path)
  assert (probe.frames, round(probe.seconds, 2)) == (36, 3.0) == (len(reader.read(path).video), 3.0)
  assert reader.read_sound(path).seconds == pytest.approx(3.0, abs=0.05)


@pytest.mark.parametrize('container', ['matroska', 'mp4'])
def test_a_picture_that_begins_after_its_sound_is_whole(tmp_path, container):
  path = tmp_path / 'late.film'
  _live(path, container, starts_s=0.5)
  assert len(reader.read(path).video) == reader.probe(path).frames == 36


@pytest.mark.parametrize('name', ['12:30:01.mp4', 'Movie: one.mp4', 'file:.mp4'])
def test_a_colon_in_a_name_is_no_protocol(tmp_path, monkeypatch, name):
  monkeypatch.chdir(tmp_path)
  writer.write(name, make_clip())
  assert (tmp_path / name).is_file() and len(reader.read(name).video) == 25


def test_sixteen_bits_of_grey_are_as_bright_as_eight(tmp_path):
  eight = np.arange(256, dtype=np.uint8).reshape(16, 16)
  path = tmp_path / 'deep.png'
  Image.fromarray(eight.astype(np.uint16) * 257).save(path)
  np.testing.assert_array_equal(reader.read_image(path), np.repeat(eight[..., None], 3, 2))


def test_an_image_is_a_clip_of_one_frame(tmp_path):
  pixels = scene(3, 1, 48, 64)
  path = tmp_path / 'image.png'
  Image.fromarray(pixels[0]).save(path)
  for source in (path, path.read_bytes()):
    clip = reader.read(source, fps=24.0)
    np.testing.assert_array_equal(clip.video, pixels)
    assert len(clip.audio) == 0
  assert reader.read_image(path, (20, 20)).shape == (20, 20, 3)
  assert reader.probe(path).frames == 1


def test_a_turned_photograph_is_read_upright(tmp_path):
  path = tmp_path / 'turned.png'
  exif = Image.Exif()
  exif[0x0112] = 6  # turned a quarter to the right to be upright
  Image.fromarray(scene(0, 1, 20, 40)[0]).save(path, exif=exif)
  assert reader.read_image(path).shape == (40, 20, 3)


@pytest.mark.parametrize(
  'content, words',
  [
    (None, 'No such file'),
    (b'', 'empty'),
    (b'hello, this is no film', 'not media'),
    ('cut', 'cut short'),
    ('sound', 'no picture'),
  ],
  ids=['missing', 'empty', 'text', 'cut', 'sound'],
)
def test_what_cannot_be_read_is_named_in_one_line(film, tmp_path, content, words):
  path = tmp_path / 'given.mp4'
  if content == 'cut':
    whole = film.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
  elif content == 'sound':
    path = tmp_path / 'given.wav'
    writer.write(path, make_clip())
  elif content is not None:
    path.write_bytes(content)
  with pytest.raises(UserError, match=words) as error:
    reader.read(path)
  assert 'given' in str(error.value) and '\n' not in str(error.value)


def test_a_span_past_the_end_is_refused_with_what_there_is(film):
  with pytest.raises(UserError, match='ends before 99 frames at 24 fps from 1 s; it gave 16'):
    reader.read(film, start_s=1.0, frames=99)


def test_a_film_without_sound_has_no_samples(tmp_path):
  path = tmp_path / 'silent.mp4'
  writer.write(path, make_clip(channels=0))
  assert len(reader.read(path).audio) == 0
  with pytest.raises(UserError, match='no sound'):
    reader.read_sound(path)


@pytest.mark.parametrize('kind, coded', [('mp3', 'mp3'), ('ac3', 'ac3')])
def test_a_file_that_cannot_be_entered_before_its_start_is_read_from_there(tmp_path, kind, coded):
  """Their demuxers refuse what else leaves room for what primes a decoder."""
  rate, path = 32_000, tmp_path / f'a.{kind}'
  clicks_s, wave = (0.5, 1.0, 1.5), np.zeros(2 * rate, np.float32)
  for at_s in clicks_s:
    wave[int(at_s * rate) :][:40] = 0.6
  with av.open(str(path), 'w') as out:
    track = out.add_stream(coded, rate=rate, layout='mono')
    frame = av.AudioFrame.from_ndarray(wave[None], format='fltp', layout='mono')
    frame.sample_rate, frame.pts = rate, 0
    out.mux(track.encode(frame))
    out.mux(track.encode(None))
  heard = np.abs(reader.read_sound(path).audio[:, 0]) > 0.2
  loud_s = np.flatnonzero(heard) / rate
  begins_s = loud_s[np.diff(loud_s, prepend=-1) > 0.1]
  np.testing.assert_allclose(begins_s, clicks_s, atol=0.01)
