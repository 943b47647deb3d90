"""A film → latents: python launch/encode_film.py --codec=CODEC --input=FILM.mp4 --output=FOLDER.

Takes a film of any length piece by piece, and lays its codec beside the latents. Killed, the same
command goes on.
"""

from absl import flags

from sorajax import cli
from sorajax.codec import codec as codec_lib
from sorajax.generate import film
from sorajax.generate.ask import parse_size

_CODEC = flags.DEFINE_string('codec', None, 'Folder of a codec.')
_INPUT = flags.DEFINE_string('input', None, 'A film.')
_OUTPUT = flags.DEFINE_string('output', None, 'Folder for the latents.')
_FPS = flags.DEFINE_float('fps', None, "Frames a second; default: the film's own.")
_SIZE = flags.DEFINE_string(
  'size', None, 'HEIGHTxWIDTH in pixels; default: the film in whole latents.'
)
flags.mark_flags_as_required(['codec', 'input', 'output'])


def main() -> None:
  cli.stay_alone()
  cli.use_cores()
  size = parse_size(_SIZE.value) if _SIZE.value else None
  codec = codec_lib.load(_CODEC.value)
  film.encode_film(_INPUT.value, codec, _OUTPUT.value, fps=_FPS.value, size=size)
  print(f'latents in {_OUTPUT.value}')


if __name__ == '__main__':
  cli.run(main)
