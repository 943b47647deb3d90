"""Models that come along."""

import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax import build
from sorajax.clip import MODALITIES
from sorajax.flow import loss, path
from sorajax.generate import service
from sorajax.generate.request import Plan, Request
from sorajax.generate.sampler import Sampler
from sorajax.tasks import capabilities
from sorajax.worlds.world import WorldConfig, generate

NAMES = sorted(folder.name for folder in service.TRAINED.iterdir())
LEVEL = 0.5
CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.mark.parametrize('name', NAMES)
def test_it_is_whole_and_small_and_names_no_place(name):
  files = list((service.TRAINED / name).rglob('*'))
  assert sum(file.stat().st_size for file in files) < 40e6
  model = service.load(name)
  assert model.step > 0 and model.settings.data.path == model.settings.start == ''
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(model.params))


@pytest.mark.parametrize('name', NAMES)
def test_it_is_and_is_sampled_as_its_config_says(name):
  """Whoever trains by the config samples as the figures of the model were made."""
  model = service.load(name).settings
  config = build.settings(runpy.run_path(str(CONFIGS / f'{model.name}.py'))['get_config']())
  assert model.sample == config.sample
  assert (model.codec, model.text, model.transformer) == (
    config.codec,
    config.text,
    config.transformer,
  )


def test_the_model_of_the_world_knows_the_latents_of_its_codec():
  """On clips that it has not seen, it errs by far less than the best linear guess."""
  model = service.load('world')
  plans = []
  for number in range(4):
    clip, caption, _ = generate(WorldConfig(), 'validation', 0, number)
    request = Request(caption, number, clip.seconds, clip.fps, *clip.video.shape[1:3])
    latents = model.codec.encode(clip)
    given = capabilities.text_to_clip(model.codec.geometry.layout(latents), 0.0)
    plans.append(Plan(request, latents, given))
  batch = Sampler(model.settings, model.network, model.codec, len(plans)).tokens(plans)
  noise = loss.draw_noise(jax.random.key(0), batch.tokens)
  levels = {m: LEVEL * t.sigma for m, t in batch.tokens.items()}

  def learned(tokens):
    read = model.network.read(model.params, batch.text)
    return model.network.velocity(model.params, tokens, read)

  def guessed(tokens):
    spread = {m: jnp.asarray(s) for m, s in model.codec.spread.items()}
    slope = {m: path.linear_guess(t.sigma, spread[m])[1] for m, t in tokens.items()}
    return {m: slope[m] * t.latent for m, t in tokens.items()}

  error = jax.jit(loss.squared_errors, static_argnums=0)
  with jax.set_mesh(model.mesh):
    errors = [error(v, batch.tokens, noise, levels) for v in (learned, guessed)]
  for m in MODALITIES:
    ours, linear = (float(one[m][0]) for one in errors)
    assert ours < 0.5 * linear
