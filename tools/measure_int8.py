"""What 8 bits for the matrices of all layers cost a model, on clips that it was not trained on.

  python tools/measure_int8.py --checkpoint=world --latents=WORLD_LATENTS

The held-out loss of training, over all noise levels and at each, of the weights as they are and as
they are rounded; and what the parameters take in memory.
"""

import jax
from absl import flags

from sorajax import cli
from sorajax.data.latents import open_latents
from sorajax.generate import service
from sorajax.train.held_out import LEVELS, HeldOut

_CHECKPOINT = flags.DEFINE_string('checkpoint', 'world', 'Workdir or name of a run.')
_LATENTS = flags.DEFINE_string('latents', None, 'Folder of launch/encode.py.')
flags.mark_flag_as_required('latents')


def main() -> None:
  model = service.load(_CHECKPOINT.value)
  held = open_latents(_LATENTS.value, 'validation')
  print('| | MiB | loss | ' + ' | '.join(f'at {level}' for level in LEVELS) + ' |')
  print('|---' * (3 + len(LEVELS)) + '|')
  with jax.set_mesh(model.mesh):
    measure = HeldOut(model.settings, model.network, held, model.mesh)
    for name, own in (('as they are', model), ('8 bits', service.of_8_bits(model))):
      found = measure(own.params, {})
      size = sum(leaf.nbytes for leaf in jax.tree.leaves(own.params)) / 2**20
      losses = [found['loss'], *(found[f'loss_at_{level}'] for level in LEVELS)]
      print(f'| {name} | {size:.1f} | ' + ' | '.join(f'{loss:.4f}' for loss in losses) + ' |')


if __name__ == '__main__':
  cli.run(main)
