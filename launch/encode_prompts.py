"""Reads prompts by LTX-2's text encoder and stores them, so that it need not share memory.

python launch/encode_prompts.py --checkpoint=LTX2 --latents=LATENTS --out=PROMPTS
python launch/train.py … --config.text.encoded=PROMPTS
python launch/sample.py --checkpoint=LTX2 --encoded=PROMPTS --prompt='a big grey rabbit' --out=CLIPS

A folder that has some prompts gets the others. Killed, the same command goes on.
"""

from absl import flags
from ml_collections import config_flags

from sorajax import build, cli
from sorajax.data import latents
from sorajax.generate import prompts

_CONFIG = config_flags.DEFINE_config_file('config', None, 'Its mesh and text are used.')
_CHECKPOINT = flags.DEFINE_string('checkpoint', None, 'An LTX-2 as diffusers saves it.')
_PROMPT = flags.DEFINE_multi_string('prompt', [], 'A prompt; may be repeated.')
_PROMPTS = flags.DEFINE_string('prompts', None, 'A UTF-8 file with a prompt a line.')
_LATENTS = flags.DEFINE_string('latents', None, 'Folder of launch/encode.py: all its captions.')
_OUT = flags.DEFINE_string('out', None, 'Folder for the encoded prompts.')
_BATCH = flags.DEFINE_integer('batch', 8, 'Prompts read at once.', lower_bound=1)
flags.mark_flags_as_required(['checkpoint', 'out'])


def main() -> None:
  cli.join_hosts()
  asked = list(prompts.read_prompts(_PROMPT.value, _PROMPTS.value))
  if _LATENTS.value:
    asked += latents.captions(_LATENTS.value)
  config = build.settings(_CONFIG.value) if _CONFIG.value else None
  count = prompts.encode_prompts(_CHECKPOINT.value, asked, _OUT.value, config, _BATCH.value)
  print(f'{count} prompts in {_OUT.value}')


if __name__ == '__main__':
  cli.run(main)
