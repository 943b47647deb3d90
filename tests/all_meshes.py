"""A program for `sharding_test`: all meshes of eight devices made of one CPU, found as json.

They may be those of several processes, which `--coordinator` joins; process 0 tells, and meshes are
those on which each axis, by itself and beside others, lies within processes and across them.
"""

import concurrent.futures
import dataclasses
import functools
import json
from typing import Any

import jax
import numpy as np
import on_meshes  # makes the devices
import tiny

from sorajax import cli, sharding
from sorajax.generate.sampling import sampling
from sorajax.model.config import StreamConfig
from sorajax.network import Network
from sorajax.plan.search import meshes
from sorajax.settings import SampleConfig
from sorajax.text.small import SmallEncoder

STREAMS = {
  'video': StreamConfig(tiny.CHANNELS['video'], 24, 8, 6, 32, (4.0, 64.0, 64.0)),
  'audio': StreamConfig(tiny.CHANNELS['audio'], 16, 8, 4, 24, (4.0,)),
}
CONFIG = dataclasses.replace(on_meshes.CONFIG, streams=STREAMS, cross_heads=8, text_width=256)
NETWORK = Network(CONFIG, SmallEncoder(256, 1, 8), on_meshes.SPREAD)  # of eight heads, too
ACROSS = ((8, 1, 1, 1), (1, 8, 1, 1), (1, 1, 8, 1), (1, 1, 1, 8), (1, 2, 2, 2), (2, 1, 2, 2))
BOTH = lambda value: {'video': value, 'audio': value}
SAMPLE = SampleConfig(1.0, 8.0, 8, 8, levels=(1.0, 0.7, 0.3, 0.0), guidance=BOTH(2.0))


def found_on(params: Any, mesh: jax.sharding.Mesh | None) -> tuple[Any, Any, Any]:
  """Loss, gradient and sampled latents on a mesh, or on one device where it is None."""
  tokens, text = on_meshes.batch(video=16, audio=16)  # which divide over any mesh
  seeds = np.arange(len(on_meshes.ROWS), dtype=np.uint32)
  gradient = tiny.quick_jit(jax.value_and_grad(functools.partial(on_meshes.objective, NETWORK)))
  run = sampling(NETWORK, SAMPLE, 0.0)

  def found(params, tokens, text):
    loss, gradients = gradient(params, tokens, text)
    return sharding.gathered((loss, gradients, run(params, tokens, text, text, seeds)))

  if mesh is None:
    return found(params, tokens, text)
  with jax.set_mesh(mesh):
    shapes = jax.eval_shape(lambda: NETWORK.init(jax.random.key(0)))
    params = jax.device_put(params, sharding.shardings(mesh, shapes))
    rows = sharding.rows_here(mesh, len(seeds))
    place = lambda x: sharding.place_rows(mesh, np.asarray(x)[list(rows)], rows, len(seeds))
    return found(params, *jax.tree.map(place, (tokens, text)))


def main() -> None:
  cli.join_hosts()
  params = tiny.noisy(lambda: NETWORK.init(jax.random.key(0)))
  alone = jax.process_count() == 1  # several must all do the same in the same order
  chosen = meshes(8) if alone else (sharding.MeshConfig(*sizes) for sizes in ACROSS)
  every = [sharding.make_mesh(config) for config in chosen]
  with concurrent.futures.ThreadPoolExecutor(1 + alone) as pool:
    wanted, *answers = pool.map(functools.partial(found_on, params), (None, *every))
  told = []
  for mesh, answer in zip(every, answers):
    apart = [on_meshes.apart(one, other) for one, other in zip(wanted, answer)]
    told.append({'shape': list(mesh.shape.values()), 'apart': apart})
  if jax.process_index() == 0:
    print(json.dumps(told))


if __name__ == '__main__':
  cli.run(main)
