"""A program for `prompts_test`: on four devices made of one CPU, prints json."""

import json
import os
import sys
from pathlib import Path

os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=4'
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import jax
import numpy as np

from sorajax import sharding
from sorajax.clip import Text
from sorajax.weights.encoded import EncodedText, store
from sorajax.weights.prompts import ReleasedText


def main(folder: str, table: str, stack: str) -> None:
  encoder = ReleasedText(folder, 8, 'float32')
  prompts = ('two old trees', 'a rabbit', '', 'grey')
  ids = np.stack([encoder.tokenize(prompt) for prompt in prompts])
  text = Text(ids, np.ones_like(ids), np.zeros_like(ids))
  with jax.set_mesh(sharding.make_mesh(sharding.MeshConfig(data=2, fsdp=2))):
    store(encoder, prompts, table, batch=4)
  made = {}
  for name, sizes in {'one': (4, 1, 1), 'cut': (1, 2, 2), 'heads': (1, 1, 4)}.items():
    data, fsdp, tensor = sizes
    mesh = sharding.make_mesh(sharding.MeshConfig(data=data, fsdp=fsdp, tensor=tensor))
    with jax.set_mesh(mesh):
      params = encoder.initial_params()
      made[name] = np.asarray(jax.jit(encoder.encode)(params, sharding.everywhere(text)))
      query = params['gemma'][stack]['query']
      beforehand = EncodedText(table, encoder)
      places = np.stack([beforehand.tokenize(prompt) for prompt in prompts])
      placed = sharding.everywhere(Text(places, text.segment, text.shot))
      made[f'{name} before'] = np.asarray(
        jax.jit(beforehand.encode)(beforehand.initial_params(), placed)
      )
    if name == 'cut':
      part = query.addressable_shards[0].data.shape
  apart = [float(np.abs(x - made['one']).max()) for x in made.values()]
  print(
    json.dumps({'apart': apart, 'whole': query.shape, 'part': part, 'shape': made['one'].shape})
  )


if __name__ == '__main__':
  main(*sys.argv[1:])
