"""Latents → a film: python launch/decode_film.py --input=FOLDER --out=FILM.mp4.

Decodes piece by piece, each straight into a segment, and joins the segments. Killed, the
same command goes on, and the film has the same bytes.
"""

from absl import flags

from sorajax import cli
from sorajax.generate import film

_INPUT = flags.DEFINE_string('input', None, 'Folder that launch/encode_film.py wrote.')
_OUT = flags.DEFINE_string('out', None, 'An mp4 file.')
flags.mark_flags_as_required(['input', 'out'])


def main() -> None:
  cli.stay_alone()
  cli.use_cores()
  film.decode_film(_INPUT.value, _OUT.value)
  print(_OUT.value)


if __name__ == '__main__':
  cli.run(main)
