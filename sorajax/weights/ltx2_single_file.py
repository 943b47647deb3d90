"""The one file that Lightricks releases an LTX-2 in ↔ its parts as diffusers has them.

Both hold the same tensors; names differ, and they are written down once, from diffusers' to those
of the file.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sorajax.errors import UserError, cannot_write
from sorajax.media.atomic import replacing
from sorajax.weights import ltx2_parts, ltx2_release, ltx2_released, stored, tensors
from sorajax.weights.ltx2_release import DECODER, Release
from sorajax.weights.stored import Part, Stored

INSIDE: Mapping[str, str] = {  # before all names of a part, but for those of `WHOLE`
  'transformer': 'model.diffusion_model.', 'connectors': 'model.diffusion_model.',
  'vae': 'vae.', 'audio_vae': 'audio_vae.', 'vocoder': 'vocoder.',
}  # fmt: skip
WHOLE: Mapping[str, str] = {  # the first words of names of the connectors
  'text_proj_in': 'text_embedding_projection.aggregate_embed',
  'audio_text_proj_in': 'text_embedding_projection.audio_aggregate_embed',
  'video_text_proj_in': 'text_embedding_projection.video_aggregate_embed',
}
NORMS = {'norm_q': 'q_norm', 'norm_k': 'k_norm'}
LATENTS = {
  'latents_mean': 'per_channel_statistics.mean-of-means',
  'latents_std': 'per_channel_statistics.std-of-means',
}
WORDS: Mapping[str, Mapping[str, str]] = {  # between the dots of names
  'transformer': {
    **NORMS, 'proj_in': 'patchify_proj', 'audio_proj_in': 'audio_patchify_proj',
    'time_embed': 'adaln_single', 'audio_time_embed': 'audio_adaln_single',
    'prompt_adaln': 'prompt_adaln_single', 'audio_prompt_adaln': 'audio_prompt_adaln_single',
    'av_cross_attn_video_scale_shift': 'av_ca_video_scale_shift_adaln_single',
    'av_cross_attn_audio_scale_shift': 'av_ca_audio_scale_shift_adaln_single',
    'av_cross_attn_video_a2v_gate': 'av_ca_a2v_gate_adaln_single',
    'av_cross_attn_audio_v2a_gate': 'av_ca_v2a_gate_adaln_single',
    'video_a2v_cross_attn_scale_shift_table': 'scale_shift_table_a2v_ca_video',
    'audio_a2v_cross_attn_scale_shift_table': 'scale_shift_table_a2v_ca_audio',
  },
  'connectors': {
    **NORMS, 'audio_connector': 'audio_embeddings_connector',
    'video_connector': 'video_embeddings_connector', 'transformer_blocks': 'transformer_1d_blocks',
  },
  'vae': {**LATENTS, 'resnets': 'res_blocks'},
  'audio_vae': LATENTS,
  'vocoder': {
    'upsamplers': 'ups', 'resnets': 'resblocks', 'conv_in': 'conv_pre', 'conv_out': 'conv_post',
    'act_out': 'act_post', 'downsample': 'downsample.lowpass',
  },
}  # fmt: skip
# Blocks of the picture's autoencoder, which the file counts together with the changes of size that
# lie between them: a pattern of diffusers' names, and a · i + b for the i that it finds.
BLOCKS = (
  (r'(encoder\.down_blocks)\.(\d+)\.downsamplers\.0\.', 2, 1),
  (r'(encoder\.down_blocks)\.(\d+)\.', 2, 0),
  (r'(decoder\.up_blocks)\.(\d+)\.upsamplers\.0\.', 2, 1),
  (r'(decoder\.up_blocks)\.(-?\d+)\.', 2, 2),
)
# What no part has in diffusers, and what a folder keeps so that the file can be made again.
ASIDE = (
  'vae.per_channel_statistics.channel', 'vae.per_channel_statistics.mean-of-stds',
  'duration_head.',
)  # fmt: skip
KEPT = Path('original') / 'rest.safetensors'


def name_of(part: str, config: Mapping[str, Any], name: str) -> str:
  """What the file calls a tensor, by the part's config.json and the name that diffusers has."""
  first, dot, last = name.partition('.')
  if part == 'connectors' and first in WHOLE:
    return WHOLE[first] + dot + last
  if part == 'vae':
    name = _counted(name, len(config['block_out_channels']))
  return INSIDE[part] + '.'.join(WORDS[part].get(word, word) for word in name.split('.'))


def part_and_name(name: str) -> tuple[str, str]:
  """The part, and diffusers' name, of what the file has in a transformer or in connectors.

  Args:
    name: in the file, without what stands before all names of a transformer.
  """
  for ours, theirs in WHOLE.items():
    if name.startswith(f'{theirs}.'):
      return 'connectors', ours + name.removeprefix(theirs)
  first = name.partition('.')[0]
  part = 'connectors' if first in WORDS['connectors'].values() else 'transformer'
  back = {theirs: ours for ours, theirs in WORDS[part].items()}
  return part, '.'.join(back.get(word, word) for word in name.split('.'))


def _counted(name: str, blocks: int) -> str:
  """The middle is the block after the encoder's last and the one before the decoder's first."""
  name = name.replace('encoder.mid_block.', f'encoder.down_blocks.{blocks}.')
  name = name.replace('decoder.mid_block.', 'decoder.up_blocks.-1.')
  for pattern, a, b in BLOCKS:
    found = re.match(pattern, name)
    if found:
      return f'{found[1]}.{a * int(found[2]) + b}.{name[found.end() :]}'
  return name


def names_of(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
  """Part → name in the file → name in diffusers, of all tensors that the configs describe."""
  return {
    part: {name_of(part, config, name): name for name in ltx2_parts.shapes_of(part, config)}
    for part, config in configs.items()
  }


def read(
  release: Release, configs: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, Part], list[Stored]]:
  """The parts that a release holds but for its one-step decoder, none of which is in memory yet.

  Where there is such a decoder and no convolutional one, the picture's autoencoder has none.

  Args:
    release: its files.
    configs: part → what its config.json says; a part of which there is nothing is left out.

  Returns:
    the parts; tensors that no part has, by their names in the file.

  Raises:
    UserError: tensors that are missing, misshaped or unknown, or a one-step decoder alone.
  """
  given = {n: t for n, t in release.tensors.items() if not n.startswith(ltx2_release.ONE_STEP)}
  known = names_of(configs)
  if len(given) < len(release.tensors) and not any(n.startswith(DECODER) for n in given):
    known['vae'] = {n: name for n, name in known['vae'].items() if not n.startswith(DECODER)}
  aside = [name for name in given if name.startswith(ASIDE)]
  here = {part: names for part, names in known.items() if not given.keys().isdisjoint(names)}
  if 'vae' not in here and len(given) < len(release.tensors):
    raise UserError(
      f'{release.name} has a one-step decoder without the autoencoder of its latents; give the '
      'whole file of the decoder, or that of the autoencoder too'
    )
  wanted: ltx2_parts.Shapes = {}
  for part, names in here.items():
    sizes = ltx2_parts.shapes_of(part, configs[part])
    wanted |= {theirs: sizes[name] for theirs, name in names.items()}
  odd = tensors.difference(wanted, {n: t.shape for n, t in given.items() if n not in aside})
  if odd or not here:
    reason = odd or 'it holds no part of one'
    raise UserError(f'{release.name} is no LTX-2 of this version: {reason}; give its release')
  by_name = lambda names: sorted(names.items(), key=lambda pair: pair[1])
  parts = {
    part: Part(configs[part], [given[theirs].named(name) for theirs, name in by_name(here[part])])
    for part in here
  }
  return parts, [given[name] for name in aside]


def write(
  path: str | os.PathLike[str], parts: Mapping[str, Part], rest: list[Stored],
  metadata: Mapping[str, str],
) -> None:  # fmt: skip
  """The inverse of `read`; the file appears whole or not at all.

  Raises:
    UserError: tensors that are not those of their config.json, a full disk, or a place that may
      not be written to.
  """
  made = list(rest)
  for part, (config, given) in ((part, (p.config, p.tensors)) for part, p in parts.items()):
    odd = tensors.difference(ltx2_parts.shapes_of(part, config), {t.name: t.shape for t in given})
    if odd:
      raise UserError(f'{part} is not as its config.json says: {odd}; download it again')
    made += [tensor.named(name_of(part, config, tensor.name)) for tensor in given]
  try:
    with replacing(path) as temporary:
      stored.check_room(Path(path).absolute().parent, sum(tensor.bytes for tensor in made))
      stored.write_file(temporary, sorted(made, key=lambda tensor: tensor.name), metadata)
  except OSError as error:
    raise cannot_write(path, error) from error


def version_of(release: Release) -> str | None:
  """The version whose names a release has; None where no version has them all."""
  given = {n for n in release.tensors if not n.startswith((*ASIDE, ltx2_release.ONE_STEP))}
  for version in ltx2_released.VERSIONS:
    known = names_of(ltx2_released.configs_of(version))
    here = [set(names) for names in known.values() if not given.isdisjoint(names)]
    if here and set().union(*here) == given:
      return version
  return None
