"""Trains a learned codec: python launch/train_codec.py --config=configs/codec.py --workdir=RUN.

Killed at any moment, the same command goes on from the newest checkpoint. The finished codec is
RUN/codec; give it to launch/encode.py as --codec=RUN/codec.
"""

from absl import flags
from ml_collections import config_flags

from sorajax import cli
from sorajax.train import codecs

_CONFIG = config_flags.DEFINE_config_file('config', None, 'Such as configs/codec.py.')
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of checkpoints, curves and pictures.')
flags.mark_flags_as_required(['config', 'workdir'])


def main() -> None:
  cli.join_hosts()
  codecs.train(_CONFIG.value, _WORKDIR.value)


if __name__ == '__main__':
  cli.run(main)
