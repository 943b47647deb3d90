"""Writes what sampling needs of a run: python tools/ship_run.py --checkpoint=RUN --out=FOLDER.

Weights as float16, the config without the place of its data and without the run that it started
from, and the codec unless config.trained names one that comes along.
"""

import numpy as np
from absl import flags

from sorajax import checkpoint, cli, sharding
from sorajax.generate import service
from sorajax.media.atomic import make_folder

_CHECKPOINT = flags.DEFINE_string('checkpoint', None, 'Workdir of a run, or one of its steps.')
_OUT = flags.DEFINE_string('out', None, 'Folder for weights.npz, config.json and the codec.')
flags.mark_flags_as_required(['checkpoint', 'out'])


def main() -> None:
  model, out = service.load(_CHECKPOINT.value), make_folder(_OUT.value)
  config = checkpoint.read_config(model.workdir) or {}
  config['data']['path'] = config['start'] = ''
  config.pop('lora', None)  # merged
  frozen = model.network.frozen()
  trained = {name: part for name, part in model.params.items() if name not in frozen}
  checkpoint.write_weights(out, model.step, sharding.gathered(trained))
  checkpoint.write_config(out, config)
  if not model.settings.trained:
    model.codec.save(out / 'codec', dtype=np.float16)
  size = sum(file.stat().st_size for file in out.rglob('*') if file.is_file())
  print(f'{out}: step {model.step}, {size / 1e6:.1f} MB')


if __name__ == '__main__':
  cli.run(main)
