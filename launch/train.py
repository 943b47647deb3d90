"""Trains a model: python launch/train.py --config=configs/film.py --workdir=runs/film.

Killed at any moment, the same command goes on from the newest checkpoint. On several hosts, start
it once on each; Cloud TPU, Slurm and GKE are recognised, elsewhere give --coordinator,
--processes and --process.
"""

from absl import flags
from ml_collections import config_flags

from sorajax import cli
from sorajax.train import velocity

_CONFIG = config_flags.DEFINE_config_file('config', None, 'What to train; see configs/.')
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of checkpoints, curves and samples.')
flags.mark_flags_as_required(['config', 'workdir'])


def main() -> None:
  cli.join_hosts()
  velocity.train(_CONFIG.value, _WORKDIR.value)


if __name__ == '__main__':
  cli.run(main)
