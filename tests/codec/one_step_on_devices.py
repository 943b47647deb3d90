"""A program for `one_step_test`: on four devices made of one CPU, prints what it finds as json."""

import json
import os
import sys
from pathlib import Path

os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=4'
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import jax
import numpy as np
import one_steps

from sorajax import sharding
from sorajax.codec import one_step_codec

SIZE = (5, 6, 4)  # two tiles in time; of three in space, two are alike


def main() -> None:
  one_steps.prepare(setattr)
  run, held = one_step_codec._pixels, set()

  def watched(*args, **ways):
    made = run(*args, **ways)
    held.add(tuple(sorted((s.device.id, len(s.data)) for s in made.addressable_shards)))
    return made

  one_step_codec._pixels = watched
  latents = one_steps.latents(*SIZE)
  codec = one_steps.codec(tile=one_steps.TILE, step=one_steps.STEP)
  meshes = {'rows': sharding.MeshConfig(2, 2), 'all axes': sharding.MeshConfig(1, 2, 1, 2)}
  alone, found = codec.decode(latents), {}
  for name, config in meshes.items():
    held.clear()
    with jax.set_mesh(sharding.make_mesh(config)):
      made = codec.decode(latents)
    apart = float(np.abs(made - alone).max() / np.abs(alone).max())
    found[name] = {'apart': apart, 'held': sorted(held)}
  decoder = codec.decoder()
  first = decoder.push(latents[:5])
  with jax.set_mesh(sharding.make_mesh(meshes['rows'])):
    later = codec.decoder()
    later.resume({name: np.asarray(a) for name, a in decoder.state().items()})
    made = np.concatenate([first, later.push(latents[5:]), later.finish()])
  found['moved'] = {
    'first': len(first), 'apart': float(np.abs(made - alone).max() / np.abs(alone).max())
  }  # fmt: skip
  print(json.dumps(found))


if __name__ == '__main__':
  main()
