"""A released LTX-2's text encoder and tokenizer, into folders as transformers saves them."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sorajax.errors import UserError
from sorajax.generate.export import link
from sorajax.weights import shards, stored
from sorajax.weights.ltx2_release import Release, TextEncoder
from sorajax.weights.shards import Shards, parsed, read_json
from sorajax.weights.stored import Part

TEXT, TOKENIZER = 'text_encoder', 'tokenizer'
OF_TEXT = ('config.json', 'generation_config.json', 'model')  # what its files begin with
OF_TOKENIZER = ('tokenizer', 'special_tokens_map', 'added_tokens', 'chat_template')


@dataclasses.dataclass(frozen=True)
class Gemma:
  """A text encoder with its tokenizer.

  Attributes:
    config: what its config.json says.
    words: the same of its tokenizer.
    source: the folder that it lies in, or what the files of a release hold of it.
  """

  config: Mapping[str, Any]
  words: Mapping[str, Any]
  source: Path | TextEncoder

  @property
  def bytes(self) -> int:
    """How much is to be written; what lies in a folder is linked where it can be."""
    return 0 if isinstance(self.source, Path) else sum(t.bytes for t in self.source.tensors)

  @property
  def classes(self) -> tuple[str, str]:
    """The names of the classes of the text encoder and of its tokenizer."""
    try:
      return self.config['architectures'][0], self.words['tokenizer_class']
    except (KeyError, IndexError) as error:
      name = self.source if isinstance(self.source, Path) else 'the text encoder of the release'
      raise UserError(f'{name} names no classes; give it as transformers saves it') from error

  def write(self, folder: Path, shard_bytes: int) -> None:
    """Writes or links the folders of both."""
    (folder / TOKENIZER).mkdir()
    if isinstance(self.source, Path):
      (folder / TEXT).mkdir()
      for path in filter(Path.is_file, self.source.iterdir()):
        for below in _places_of(path.name):
          link(path, folder / below / path.name)
      return
    part = Part(self.config, self.source.tensors)
    stored.write_folder(folder / TEXT, part, shard_bytes, shards.NAMES[1])
    for name, content in self.source.files.items():
      for below in _places_of(name):
        (folder / below / name).write_bytes(content)


def _places_of(file: str) -> list[str]:
  """The folders in which a file of a text encoder has its place."""
  begins = ((TEXT, OF_TEXT), (TOKENIZER, OF_TOKENIZER))
  return [folder for folder, begin in begins if file.startswith(begin)]


def of(release: Release, folder: str | None) -> Gemma | None:
  """The text encoder of a folder or of a release.

  Raises:
    UserError: both have one, or a folder that lacks a file or is damaged.
  """
  if folder is None and release.text is None:
    return None
  if folder is None:
    text = release.text
    assert text is not None
    try:
      words = parsed(text.files['tokenizer_config.json'])
    except (KeyError, ValueError) as error:
      raise UserError(
        f'the text encoder of {release.name} lacks its tokenizer_config.json; download it again'
      ) from error
    return Gemma(text.config, words, text)
  if release.text is not None:
    raise UserError(f'{release.name} hold a text encoder; leave --text_encoder={folder} out')
  path = Path(folder)
  config, words = (read_json(path / f'{name}.json') for name in ('config', 'tokenizer_config'))
  Shards(path)
  return Gemma(config, words, path)
