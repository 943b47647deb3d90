"""Autoencoders begin as the linear codec, and noise belongs to training alone."""

import dataclasses
import runpy
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny

from sorajax import build, sharding
from sorajax.clip import Clip
from sorajax.data import clips as clips_lib
from sorajax.evaluate.fidelity import psnr_db, snr_db
from sorajax.train import reconstruction
from sorajax.train.pictures import PictureObjective
from sorajax.train.sounds import SoundObjective

CONFIG = Path(__file__).parents[2] / 'configs' / 'tiny_codec.py'
FRAMES = 9
HALVES = {'picture': PictureObjective, 'sound': SoundObjective}
each_half = pytest.mark.parametrize('half', HALVES)


class Films(tiny.Source):
  """Clips in memory, of the size that the config cuts."""

  def __init__(self, count: int, seed: int):
    super().__init__([FRAMES] * count)
    self.rows = tuple(dataclasses.replace(row, height=16, width=16) for row in self.rows)
    self.clips = [
      tiny.make_clip(FRAMES, seed=seed + i, size=(16, 16), fps=8.0, rate_hz=8000)
      for i in range(count)
    ]

  def __getitem__(self, number) -> Clip:
    return self.clips[number]


@pytest.fixture(autouse=True)
def in_memory(monkeypatch):
  for module in (clips_lib, reconstruction):
    monkeypatch.setattr(module, 'clip_of', lambda clip: clip)
  monkeypatch.setattr(reconstruction, 'open_source', lambda path, split: Films(4, 100))


def objective(half: str, **loss):
  settings = build.codec_settings(runpy.run_path(str(CONFIG))['get_config'](half))
  settings = dataclasses.replace(settings, loss=dataclasses.replace(settings.loss, **loss))
  mesh = sharding.make_mesh(sharding.MeshConfig())
  return HALVES[half](settings, Films(6, 0), mesh)


def held_out(made, params) -> dict[str, float]:
  with jax.set_mesh(made.mesh):
    return made.evaluator()(params, made.frozen())


@each_half
def test_it_begins_as_the_linear_codec(half):
  made = objective(half)
  found = held_out(made, made.init(jax.random.key(0)))
  linear, clips = made.linear, list(made.held(4))
  if half == 'picture':
    wanted = [psnr_db(c.video, linear.video.decode(linear.video.encode(c.video))) for c in clips]
    name = 'psnr_db'
  else:
    coded = lambda c: linear.audio.decode(linear.audio.encode(c.audio), len(c.audio))
    wanted, name = [snr_db(c.audio, coded(c)) for c in clips], 'snr_db'
  np.testing.assert_allclose(found[name], np.mean(wanted), atol=0.1)


@each_half
def test_the_finished_codec_codes_as_the_evaluation_says(half):
  made = objective(half)
  drawn = made.init(jax.random.key(0))
  params = jax.tree.map(lambda x: x + 0.02 * np.sin(np.arange(x.size)).reshape(x.shape), drawn)
  found, codec = held_out(made, params), made.codec(jax.device_get(params))
  pairs = [(clip, codec.decode(codec.encode(clip))) for clip in made.held(4)]
  if half == 'picture':
    wanted, name = [psnr_db(a.video, b.video) for a, b in pairs], 'psnr_db'
  else:
    wanted, name = [snr_db(a.audio, b.audio) for a, b in pairs], 'snr_db'
  np.testing.assert_allclose(found[name], np.mean(wanted), atol=0.05)


def test_noise_on_the_latents_is_felt_in_training_alone():
  plain, noisy = objective('picture', noise=0.0), objective('picture', noise=20.0)
  params = plain.init(jax.random.key(0))
  a, b = held_out(plain, params), held_out(noisy, params)
  assert a['psnr_db'] == b['psnr_db'] and b['loss'] > 1.2 * a['loss']


@each_half
def test_a_batch_brings_only_what_is_coded(half):
  made = objective(half)
  batch, _ = made.loader(clips_lib.Place()).feed(0)
  assert list(batch) == [made.modality]
