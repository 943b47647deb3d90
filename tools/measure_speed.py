"""How fast is a training step, and how fast could it be?

  python tools/measure_speed.py --config=configs/film.py --config.data.path=LATENTS

In turns, so that all share the machine's mood: the training step; the very matrix products that it
is made of, alone; the loader, alone. Medians, on random weights.
"""

import itertools
import statistics
import time

import jax
from absl import flags
from ml_collections import config_flags

from sorajax import build, cli, sharding
from sorajax.data.latents import open_latents
from sorajax.data.loader import Loader
from sorajax.data.schedule import Place
from sorajax.errors import UserError
from sorajax.evaluate.products import matrix_products, seconds_alone
from sorajax.train.state import initial_state, make_step
from sorajax.train.velocity import VelocityObjective

_CONFIG = config_flags.DEFINE_config_file('config', None, 'What is trained.')
_STEPS = flags.DEFINE_integer('steps', 5, 'Steps in each turn.', 1)
_TURNS = flags.DEFINE_integer('turns', 3, 'Turns.', 1)
flags.mark_flag_as_required('config')


def main() -> None:
  if jax.device_count() > 1:
    raise UserError(
      f'there are {jax.device_count()} devices and products are timed on one; show one'
    )
  settings = build.settings(_CONFIG.value)
  mesh = sharding.make_mesh(settings.mesh)
  source = open_latents(settings.data.path, 'train')
  objective = VelocityObjective(settings, build.network(settings, source.codec), source, mesh)
  with jax.set_mesh(mesh):
    state, layout = sharding.jit_init(mesh, initial_state(objective))
    frozen = jax.device_put(objective.frozen(), jax.NamedSharding(mesh, sharding.P()))
    loader = objective.loader(Place())
    batch, _ = next(iter(loader))
    step = make_step(objective, mesh, layout)
    products = matrix_products(step, state, frozen, batch)
    state, _ = jax.block_until_ready(step(state, frozen, batch))
    seconds: dict[str, list[float]] = {'step': [], 'products': [], 'loader': []}
    for _ in range(_TURNS.value):
      for _ in range(_STEPS.value):
        began = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, frozen, batch))
        seconds['step'].append(time.perf_counter() - began)
      seconds['products'].append(seconds_alone(products, _STEPS.value))
      seconds['loader'] += _read(loader, _STEPS.value)
  median = {name: statistics.median(values) for name, values in seconds.items()}
  flops = sum(p.flops * count for p, count in products.items())
  device = jax.devices()[0].device_kind
  print(f'one {device}; {flops / 1e9:.1f} GFLOP of products a step')
  print(f'training step        {median["step"] * 1e3:9.1f} ms')
  share = median['products'] / median['step']
  print(f'its matmuls alone   {median["products"] * 1e3:9.1f} ms: the step reaches {share:.0%}')
  ratio = median['step'] / median['loader']
  print(f'a batch, loaded alone{median["loader"] * 1e3:9.1f} ms: {ratio:.0f}× faster than the step')


def _read(loader: Loader, count: int) -> list[float]:
  """Seconds a batch, without those read ahead at the start."""
  batches = loader.local()
  for _ in itertools.islice(batches, 8):
    pass
  began = time.perf_counter()
  for _ in itertools.islice(batches, 4 * count):
    pass
  return [(time.perf_counter() - began) / (4 * count)]


if __name__ == '__main__':
  cli.run(main)
