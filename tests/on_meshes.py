"""A program for `sharding_test`: on eight devices made of one CPU, prints what it finds as json."""

import concurrent.futures
import dataclasses
import functools
import json
import os
import sys
from pathlib import Path

COUNT = '--xla_force_host_platform_device_count'
if COUNT not in os.environ.get('XLA_FLAGS', ''):
  os.environ['XLA_FLAGS'] = f'{COUNT}=8'
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import jax
import numpy as np
import tiny

from sorajax import sharding
from sorajax.errors import UserError
from sorajax.flow import levels, loss
from sorajax.model.config import StreamConfig
from sorajax.model.lora import LoraConfig
from sorajax.network import Network
from sorajax.nn import int8
from sorajax.text.small import SmallEncoder

SHAPES = ((8, 1, 1, 1), (1, 2, 2, 2), (2, 2, 2, 1))
STREAMS = {
  'video': StreamConfig(tiny.CHANNELS['video'], 24, 4, 6, 32, (4.0, 64.0, 64.0)),
  'audio': StreamConfig(tiny.CHANNELS['audio'], 16, 4, 4, 24, (4.0,)),
}
CONFIG = tiny.transformer(
  streams=STREAMS, text_width=64, cross_heads=4, cross_head_dim=4, text_levels=True,
  cross_gate_level='other', remat='full',
)  # fmt: skip
SPREAD = {'video': (0.3, 1.0, 2.0, 0.5, 0.1), 'audio': (1.5, 0.2, 1.0)}
# Two heads of text: too few to swap on the second mesh.
WHOLE = Network(CONFIG, SmallEncoder(64, 1, 8), SPREAD)
NETWORK = dataclasses.replace(WHOLE, lora=LoraConfig(2, 3.0, '.'))
ROWS = ([1, 2], [3], [4, 5], [6], [7, 1], [2], [], [3, 4])


def batch(video: int = 12, audio: int = 10) -> tuple:
  """Rows of clips of several sizes, some of their tokens given, and their captions."""
  tokens, _ = tiny.pack(ROWS, video=video, audio=audio)
  asked = {m: t.loss_mask * (np.arange(t.sigma.shape[1]) % 3 > 0) for m, t in tokens.items()}
  asked = {m: a.astype(np.float32) for m, a in asked.items()}
  tokens = {m: t.replace(sigma=asked[m], loss_mask=asked[m]) for m, t in tokens.items()}
  return tokens, tiny.text_ids(len(ROWS))


def objective(network, params, tokens, text):
  """The training loss of a network, with levels and noise drawn on the mesh."""
  drawn = loss.draw_levels(jax.random.key(1), tokens, 2, levels.uniform, 0.5)
  noise = loss.draw_noise(jax.random.key(2), tokens)
  read = network.read(params, text)
  velocity = lambda tokens: network.velocity(params, tokens, read)
  return sum(total for total, _ in loss.squared_errors(velocity, tokens, noise, drawn).values())


def tuned_objective(changes, params, tokens, text):
  return objective(NETWORK, {**params, **changes}, tokens, text)


def loss_and_gradient(mesh, params, changes=None):
  """On a mesh, or on one device where it is None; of low-rank changes if there are any."""
  tokens, text = batch()
  run = tiny.quick_jit(jax.value_and_grad(functools.partial(objective, NETWORK)))
  if changes is not None:
    run = functools.partial(tiny.quick_jit(jax.value_and_grad(tuned_objective)), changes)
  if mesh is None:
    return jax.device_get(run(params, tokens, text))
  with jax.set_mesh(mesh):
    shapes = jax.eval_shape(lambda: WHOLE.init(jax.random.key(0)))
    params = jax.device_put(params, sharding.shardings(mesh, shapes))
    if changes is not None:
      run = functools.partial(run.func, sharding.everywhere(changes))
    rows = sharding.rows_here(mesh, len(ROWS))
    place = lambda x: sharding.place_rows(mesh, x, rows, len(ROWS))
    return jax.device_get(run(params, *jax.tree.map(place, (tokens, text))))


def velocity_of_8_bits(mesh, params):
  """Of a transformer of rounded matrices, on a mesh, or on one device where it is None."""
  tokens, text = batch()

  def run(params, tokens, text):
    return WHOLE.velocity(params, tokens, WHOLE.read(params, text))

  if mesh is None:
    rounded = {**params, 'transformer': int8.tree(params['transformer'])}
    return jax.device_get(tiny.quick_jit(run)(rounded, tokens, text))
  with jax.set_mesh(mesh):
    shapes = jax.eval_shape(lambda: WHOLE.init(jax.random.key(0)))
    params = jax.device_put(params, sharding.shardings(mesh, shapes))
    rounded = {**params, 'transformer': int8.tree(params['transformer'])}
    rows = sharding.rows_here(mesh, len(ROWS))
    place = lambda x: sharding.place_rows(mesh, x, rows, len(ROWS))
    return jax.device_get(tiny.quick_jit(run)(rounded, *jax.tree.map(place, (tokens, text))))


def rows_found(mesh) -> dict:
  """Whether rows that are placed on a mesh come back, and lie where the mesh says."""
  rows = sharding.rows_here(mesh, 16)
  x = np.arange(3 * 16 * 4 * 2).reshape(3, 16, 4, 2)
  placed = sharding.place_rows(mesh, x, rows, 16, batch_dim=1)
  return {
    'rows': rows,
    'same': bool((np.asarray(placed) == x).all()),
    'shards': all((np.asarray(s.data) == x[s.index]).all() for s in placed.addressable_shards),
    'shard_shape': placed.addressable_shards[0].data.shape,
  }


def apart(wanted, made) -> float:
  """The largest difference of two trees, in parts of the largest value."""
  largest = max(np.abs(x).max() for x in jax.tree.leaves(wanted))
  differences = jax.tree.map(lambda a, b: float(np.abs(a - b).max() / largest), wanted, made)
  return max(jax.tree.leaves(differences))


def main() -> None:
  params = tiny.noisy(lambda: WHOLE.init(jax.random.key(0)))
  changes = tiny.noisy(lambda: NETWORK.init(jax.random.key(0)))
  meshes = [sharding.make_mesh(sharding.MeshConfig(*shape)) for shape in SHAPES]
  cases = [(mesh, params, None) for mesh in (None, *meshes)]
  cases += [(mesh, params, changes) for mesh in (None, meshes[1])]
  with concurrent.futures.ThreadPoolExecutor(2) as pool:  # most of the time goes into compiling
    *answers, one, cut = pool.map(lambda case: loss_and_gradient(*case), cases)
  (wanted, gradient), *others = answers
  found: dict = {'without': float(wanted), 'meshes': []}
  found['changes'] = [abs(float(one[0] / cut[0]) - 1), apart(one[1], cut[1])]
  eight = [velocity_of_8_bits(mesh, params) for mesh in (None, meshes[1])]
  found['eight_bits'] = apart(*eight)
  for mesh, (value, gradients) in zip(meshes, others):
    same = {'loss': float(value), 'gradient_apart': apart(gradient, gradients)}
    found['meshes'].append({'shape': list(mesh.shape.values()), **same, **rows_found(mesh)})
  found['rest'] = dict(sharding.make_mesh(sharding.MeshConfig(-1, 2, 2, 1)).shape)
  found['errors'] = []
  for sizes in ((3, 1, 1, 1), (-1, 3, 1, 1), (-1, -1, 1, 1), (0, 1, 1, 1), (2, 2, 2, 2)):
    try:
      sharding.make_mesh(sharding.MeshConfig(*sizes))
    except UserError as error:
      found['errors'].append(str(error))
  found['indivisible'] = []
  for rows in (6, 2):
    try:
      sharding.check_divides(meshes[-1], 'global batch', rows, 'batch')
    except UserError as error:
      found['indivisible'].append(str(error))
  print(json.dumps(found))


if __name__ == '__main__':
  main()
