"""The files that Lightricks releases an LTX-2 in, as if they were one.

Up to 2.3 there is one of all parts; 2.5 comes in a file for each. Such a file of the picture's
autoencoder leaves out the first word of its names, and has the convolutional decoder or the
one-step one; that of the text encoder holds Gemma, its tokenizer and what projects its output.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sorajax.errors import UserError, cannot_read, one_line
from sorajax.weights import stored, tensors
from sorajax.weights.shards import File, parsed
from sorajax.weights.stored import Stored

PICTURE = 'vae.'  # before the names of the picture's autoencoder in a file of all parts
ALONE = ('encoder.', 'decoder.', 'per_channel_statistics.')  # and what they begin with in its own
TWICE = ('vae.encoder.', 'vae.per_channel_statistics.')  # beside either decoder
DECODER, STAGES = 'vae.decoder.', 'vae.decoder.det_stages.'  # of any, and of a one-step one alone
ONE_STEP = 'diffusion_decoder.'  # which is called so here, where both kinds may lie side by side
TRANSFORMER, PROJECTION = 'model.diffusion_model.', 'text_embedding_projection.'
# Of the text encoder's file: its config in the head, and files of the tokenizer, byte for byte as
# tensors or as texts of the head.
GEMMA, TOKENIZER, ASSET = 'gemma_config', 'tokenizer_json', 'hf_asset__'
IN_HEAD = ('tokenizer_config.json', 'chat_template.jinja', 'generation_config.json')
FLAT = 'model.layers.'  # how names begin where the language model lies right below the whole
UNFOLDED: Mapping[str, str] = {  # then, what they begin with → the same in transformers
  FLAT: 'model.language_model.layers.',
  'model.embed_tokens.': 'model.language_model.embed_tokens.',
  'model.norm.': 'model.language_model.norm.',
  'vision_model.': 'model.vision_embedder.',
  'multi_modal_projector.': 'model.embed_vision.',
  'audio_projector.': 'model.embed_audio.',
}


@dataclasses.dataclass(frozen=True)
class TextEncoder:
  """A Gemma that lies in a file of its own.

  Attributes:
    config: what its config.json says.
    tensors: by transformers' names.
    files: name → content of what else transformers saves, such as tokenizer.json.
  """

  config: Mapping[str, Any]
  tensors: Sequence[Stored]
  files: Mapping[str, bytes]


@dataclasses.dataclass(frozen=True)
class Release:
  """What files hold, none of which is in memory yet.

  Attributes:
    name: of the files, for errors.
    tensors: by their names in a file of all parts.
    text: the text encoder; None where no file holds it.
    metadata: the texts in the head of the file of the transformer, or of the first.
  """

  name: str
  tensors: Mapping[str, Stored]
  text: TextEncoder | None
  metadata: Mapping[str, str]


def opened(*paths: str | os.PathLike[str]) -> Release:
  """The release that files are of, one or several.

  Raises:
    UserError: a file that cannot be read, or two that hold the same part.
  """
  found: dict[str, Stored] = {}
  holder: dict[str, Path] = {}
  text, metadata = None, None
  for path in map(Path, paths):
    file = File(path)
    held = {tensor.name: tensor for tensor in stored.of(file)}
    if GEMMA in file.metadata:
      if text is not None:
        raise UserError(f'{path} holds a text encoder, as another file does; give one of them')
      text, held = _text_of(path, held, file.metadata)
    held = _named(held)
    again = sorted(name for name in held if name in found and not name.startswith(TWICE))
    if again:
      other = holder[again[0]]
      raise UserError(f'{path} holds {tensors.listed(again)}, as {other} does; give one of them')
    if metadata is None or any(name.startswith(TRANSFORMER) for name in held):
      metadata = file.metadata
    holder |= dict.fromkeys(held, path)
    found |= held
  return Release(', '.join(map(str, paths)), found, text, metadata or {})


def _named(held: Mapping[str, Stored]) -> dict[str, Stored]:
  """Tensors of a file by their names in a file of all parts."""
  alone = any(name.startswith(ALONE) for name in held)
  named = {PICTURE + name if alone else name: tensor for name, tensor in held.items()}
  if not any(name.startswith(STAGES) for name in named):
    return named
  return {
    name.replace(DECODER, ONE_STEP, 1) if name.startswith(DECODER) else name: tensor
    for name, tensor in named.items()
  }


def _text_of(
  path: Path, held: Mapping[str, Stored], head: Mapping[str, str]
) -> tuple[TextEncoder, dict[str, Stored]]:
  """The text encoder in a file, and what else lies there.

  Raises:
    UserError: a config that is no json, or no tokenizer.
  """
  try:
    config = parsed(head[GEMMA])
  except ValueError as error:
    raise cannot_read(path, f'the config of its text encoder: {one_line(error)}') from error
  if TOKENIZER not in held:
    raise UserError(f'{path} holds a text encoder without {TOKENIZER}; download it again')
  files = {name: head[name].encode() for name in IN_HEAD if name in head}
  files |= {
    name.removeprefix(ASSET): tensor.read().tobytes()
    for name, tensor in held.items()
    if name.startswith(ASSET)
  }
  files['tokenizer.json'] = held[TOKENIZER].read().tobytes()
  rest = {name: tensor for name, tensor in held.items() if name.startswith(PROJECTION)}
  aside = (PROJECTION, ASSET, TOKENIZER)
  own = {name: tensor for name, tensor in held.items() if not name.startswith(aside)}
  if any(name.startswith(FLAT) for name in own):
    own = {_unfolded(name): tensor for name, tensor in own.items()}
  return TextEncoder(config, [t.named(name) for name, t in own.items()], files), rest


def _unfolded(name: str) -> str:
  """transformers' name of a tensor of a Gemma whose language model lies right below the whole."""
  for begin, instead in UNFOLDED.items():
    if name.startswith(begin):
      return instead + name.removeprefix(begin)
  return name
