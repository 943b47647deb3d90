import dataclasses
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
import sounds
from clips import scene
from programs import ROOT
from tiny import refused

from sorajax.clip import Clip, Latents
from sorajax.codec import video
from sorajax.codec.codec import Codec
from sorajax.codec.convolutional import measured
from sorajax.codec.sound import SqueezeCodec
from sorajax.codec.squeeze import Squeeze
from sorajax.codec.statistics import unmeasured
from sorajax.codec.video_config import compact
from sorajax.data import stored
from sorajax.generate import film
from sorajax.geometry import samples_of
from sorajax.media import reader, writer

FPS, FRAMES, SIZE, RATE_HZ = 12.0, 21, (24, 32), 8000
LONGEST_S = 600
CONFIG = dataclasses.replace(compact((2, 4, 4), 3, (4, 8), blocks=0, patch=2), straight=True)


class Killed(Exception):
  """What stands for a SIGKILL."""


@pytest.fixture(scope='module')
def codec() -> Codec:
  scenes = [scene(seed, 5, *SIZE) for seed in range(3)]
  picture = measured(CONFIG, video.init(CONFIG, jax.random.key(0)), scenes, chunk=2)
  config = dataclasses.replace(sounds.SQUEEZE, sample_rate_hz=RATE_HZ, audio_channels=1)
  params, plain = sounds.drawn(Squeeze, config), unmeasured(config.channels)
  sound = SqueezeCodec(config, params, plain, chunk=3)
  return Codec(picture, sound)


@pytest.fixture(scope='module')
def shown(tmp_path_factory):
  """A film on disk."""
  path = tmp_path_factory.mktemp('film') / 'film.mp4'
  samples = samples_of(FRAMES, FPS, RATE_HZ)
  writer.write(
    path, Clip(scene(9, FRAMES, *SIZE), 0.1 * sounds.noise(samples)[:, :1], FPS, RATE_HZ)
  )
  return path


@pytest.fixture
def small_pieces(monkeypatch):
  monkeypatch.setattr(film, 'PIECE', 3)


def digest(path) -> str:
  return hashlib.sha256(path.read_bytes()).hexdigest()


def killed_after(monkeypatch, saves: int) -> None:
  """From now on, the state is saved so many times before the process dies."""
  left, save = [saves], film.Place.save

  def dying(self, *state):
    if not left[0]:
      raise Killed
    left[0] -= 1
    save(self, *state)

  monkeypatch.setattr(film.Place, 'save', dying)


def test_a_film_in_pieces_has_the_latents_of_the_whole(codec, shown, tmp_path, small_pieces):
  film.encode_film(shown, codec, tmp_path)
  made = stored.open_film(tmp_path).latents
  g = codec.geometry.audio
  clip = reader.read(shown, sample_rate_hz=g.sample_rate_hz, audio_channels=g.audio_channels)
  whole = codec.encode(clip)
  assert (made.frames, made.samples, made.fps) == (whole.frames, whole.samples, whole.fps)
  np.testing.assert_allclose(made.video, whole.video, atol=1e-5)
  np.testing.assert_allclose(made.audio, whole.audio, atol=1e-5)


def test_a_film_decoded_in_pieces_is_the_whole(codec, tmp_path, small_pieces):
  samples = samples_of(FRAMES, FPS, RATE_HZ)
  clip = Clip(scene(4, FRAMES, *SIZE), 0.1 * sounds.noise(samples)[:, :1], FPS, RATE_HZ)
  latents = codec.encode(clip)
  stored.write(tmp_path / 'latents', codec, latents)
  film.decode_film(tmp_path / 'latents', tmp_path / 'out.mp4', crf=0)
  whole, found = codec.decode(latents), reader.read(tmp_path / 'out.mp4')
  assert found.video.shape == whole.video.shape and found.fps == FPS
  assert abs(len(found.audio) - samples) <= 1 and not (tmp_path / 'out.mp4.parts').exists()
  writer.write(tmp_path / 'whole.mp4', whole, crf=0)
  same = reader.read(tmp_path / 'whole.mp4')
  np.testing.assert_array_equal(found.video, same.video)
  np.testing.assert_array_equal(found.audio, same.audio)


@pytest.mark.parametrize('saves', [0, 1, 2, 3])
def test_killed_at_any_piece_the_bytes_are_the_same(
  codec, shown, tmp_path, small_pieces, monkeypatch, saves
):
  film.encode_film(shown, codec, tmp_path / 'a')
  film.decode_film(tmp_path / 'a', tmp_path / 'a.mp4')
  with monkeypatch.context() as during:
    killed_after(during, saves)
    with pytest.raises(Killed):
      film.encode_film(shown, codec, tmp_path / 'b')
  with refused('holds no film latents'):
    stored.open_film(tmp_path / 'b')
  (tmp_path / 'b' / '.state.npz.0.tmp').touch()  # as a SIGKILL leaves it
  film.encode_film(shown, codec, tmp_path / 'b')
  names = lambda folder: {file.name for file in (tmp_path / folder).iterdir()}
  assert names('a') == names('b')
  for name in ('video.npy', 'audio.npy', 'film.json'):
    assert digest(tmp_path / 'a' / name) == digest(tmp_path / 'b' / name)
  with monkeypatch.context() as during:
    killed_after(during, saves)
    with pytest.raises(Killed):
      film.decode_film(tmp_path / 'b', tmp_path / 'b.mp4')
  assert not (tmp_path / 'b.mp4').exists()
  film.decode_film(tmp_path / 'b', tmp_path / 'b.mp4')
  assert digest(tmp_path / 'a.mp4') == digest(tmp_path / 'b.mp4')


def decoding(latents: Path, out: Path) -> subprocess.Popen:
  command = [sys.executable, 'launch/decode_film.py', f'--input={latents}', f'--out={out}']
  environment = {**os.environ, 'JAX_PLATFORMS': 'cpu'}
  return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)


def kill_once(seen: Callable[[], bool], process: subprocess.Popen) -> None:
  """Ends the process with SIGKILL as soon as something is seen, which must be before its end."""
  until = time.monotonic() + LONGEST_S
  while not seen():
    assert process.poll() is None and time.monotonic() < until
    time.sleep(0.002)
  process.kill()
  assert process.wait() == -9


@pytest.mark.slow
def test_after_three_sigkills_the_bytes_are_the_same_and_nothing_is_left(codec, tmp_path):
  """At the first segment, midway, and while segments are joined."""
  latents, out = tmp_path / 'latents', tmp_path / 'killed.mp4'
  count, rng = 401, np.random.default_rng(0)
  frames = codec.geometry.video.pixel_frames(count)
  samples = samples_of(frames, FPS, RATE_HZ)
  size = codec.geometry.audio.latent_length(samples), codec.geometry.audio.channels
  pictures = rng.standard_normal((count, 6, 8, CONFIG.channels)).astype(np.float32)
  sound = 0.1 * rng.standard_normal(size).astype(np.float32)
  stored.write(latents, codec, Latents(pictures, sound, FPS, frames, samples))
  assert decoding(latents, tmp_path / 'whole.mp4').wait() == 0
  parts = tmp_path / 'killed.mp4.parts'
  segments = lambda: len([*parts.glob('[0-9]*.mp4')])
  for seen in (
    lambda: (parts / film.STATE).is_file(),
    lambda: segments() > 20,
    lambda: any(parts.glob(f'.{film.WHOLE}.*.tmp')),
  ):
    kill_once(seen, decoding(latents, out))
    assert segments() and not out.exists()
  assert decoding(latents, out).wait() == 0
  assert digest(out) == digest(tmp_path / 'whole.mp4')
  assert {path.name for path in tmp_path.iterdir()} == {'latents', 'whole.mp4', 'killed.mp4'}


def test_large_pictures_are_cut_and_come_out_as_if_they_were_not(codec, monkeypatch):
  monkeypatch.setattr(film, 'TILE', 18)
  cut = film.tiled(codec, 120, 128)
  assert cut.video.tiling is not None and film.tiled(codec, *SIZE) is codec
  pixels = scene(3, 5, 120, 128)
  latents = codec.video.encode(pixels)
  np.testing.assert_allclose(cut.video.encode(pixels), latents, atol=1e-4)
  apart = np.abs(cut.video.decode(latents).astype(int) - codec.video.decode(latents))
  assert apart.max() <= 1


def test_another_film_is_not_mixed_in(codec, shown, tmp_path):
  film.encode_film(shown, codec, tmp_path)
  before = digest(tmp_path / 'video.npy')
  film.encode_film(shown, codec, tmp_path)  # whole already
  with refused('holds another film, or another codec; name a new folder'):
    film.encode_film(shown, codec, tmp_path, size=(16, 16))
  assert digest(tmp_path / 'video.npy') == before


def test_parts_of_other_latents_are_thrown_away(codec, shown, tmp_path, small_pieces, monkeypatch):
  film.encode_film(shown, codec, tmp_path / 'a')
  film.encode_film(shown, codec, tmp_path / 'b', size=(16, 16))
  with monkeypatch.context() as during:
    killed_after(during, 2)
    with pytest.raises(Killed):
      film.decode_film(tmp_path / 'a', tmp_path / 'out.mp4')
  film.decode_film(tmp_path / 'b', tmp_path / 'out.mp4')
  assert reader.probe(tmp_path / 'out.mp4').height == 16


def test_bad_places_are_refused(codec, shown, tmp_path):
  with refused('holds no film latents'):
    film.decode_film(tmp_path, tmp_path / 'out.mp4')
  film.encode_film(shown, codec, tmp_path / 'a')
  with refused('decode to a file that ends in .mp4'):
    film.decode_film(tmp_path / 'a', tmp_path / 'out.mov')
  (tmp_path / 'a' / 'audio.npy').write_bytes(b'nothing')
  with refused('encode again'):
    film.decode_film(tmp_path / 'a', tmp_path / 'out.mp4')


def test_a_silent_film_stays_silent(codec, tmp_path):
  clip = Clip(scene(1, 5, *SIZE), np.zeros((0, 1), np.float32), FPS, RATE_HZ)
  writer.write(tmp_path / 'in.mp4', clip)
  film.encode_film(tmp_path / 'in.mp4', codec, tmp_path / 'a')
  film.decode_film(tmp_path / 'a', tmp_path / 'out.mp4')
  assert reader.probe(tmp_path / 'out.mp4').sample_rate_hz == 0
  assert dataclasses.asdict(reader.probe(tmp_path / 'out.mp4'))['frames'] == 5
