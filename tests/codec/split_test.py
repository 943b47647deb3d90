"""Batches of sound split over a mesh keep their split from end to end, forwards and backwards."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
import sounds

from sorajax import sharding
from sorajax.codec import moments, plain
from sorajax.codec.audio import Autoencoder
from sorajax.codec.mel import log_mel
from sorajax.codec.past import Past
from sorajax.codec.squeeze import Squeeze, padded
from sorajax.codec.vocoder import Vocoder, flattened

SNAKE = dataclasses.replace(sounds.VOCODER, activation='snakebeta', oversampling=2)
GROUPED = dataclasses.replace(
  sounds.AUTOENCODER, norm='group', groups=2, causal=False, middle_attention=True
)


def squeeze(params, audio):
  module = plain.joined(Squeeze, sounds.SQUEEZE, params)
  mean, logvar = module.encode(padded(audio, sounds.SQUEEZE.geometry), Past())
  latents = moments.draw(jax.random.key(0), mean, logvar)
  return module.decode(latents, Past()) ** 2


def autoencode(config, params, audio):
  module, mel = plain.joined(Autoencoder, config, params), log_mel(audio, sounds.MEL)
  mean, logvar = module.encode(mel, Past())
  return module.decode(moments.draw(jax.random.key(0), mean, logvar), Past()) ** 2


def vocode(params, audio):
  return plain.joined(Vocoder, SNAKE, params)(flattened(log_mel(audio, sounds.MEL))) ** 2


CASES = {
  'squeeze': (Squeeze, sounds.SQUEEZE, squeeze),
  'streaming': (Autoencoder, sounds.AUTOENCODER, lambda p, x: autoencode(sounds.AUTOENCODER, p, x)),
  'grouped': (Autoencoder, GROUPED, lambda p, x: autoencode(GROUPED, p, x)),
  'vocoder': (Vocoder, SNAKE, vocode),
}


@pytest.mark.parametrize('name', CASES)
def test_rows_stay_split(name):
  module, config, apply = CASES[name]
  kinds = (jax.sharding.AxisType.Explicit,) * 4
  mesh = jax.sharding.AbstractMesh((2, 2, 1, 1), sharding.AXES, axis_types=kinds)
  whole = jax.NamedSharding(mesh, jax.P())
  params = jax.tree.map(lambda p: p.update(sharding=whole), plain.shapes(module, config))
  with jax.sharding.use_abstract_mesh(mesh):
    rows = jax.NamedSharding(mesh, sharding.spec('batch', None, None))
    audio = jax.ShapeDtypeStruct((4, 100, 2), jnp.float32, sharding=rows)
    made = jax.eval_shape(apply, params, audio)
    assert made.sharding.spec[0] == ('data', 'fsdp')
    gradient = jax.grad(lambda p, x: jnp.sum(apply(p, x)))
    assert jax.tree.map(jnp.shape, jax.eval_shape(gradient, params, audio)) == jax.tree.map(
      jnp.shape, params
    )
