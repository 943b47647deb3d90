"""The generated world as a TFDS data set: `sorajax_world`, in ArrayRecord files.

  import tensorflow_datasets as tfds
  from sorajax.data import tfds_world

  clips = tfds.data_source('sorajax_world/room', split='train')

makes the clips where TFDS keeps its data sets, unless they are there, and needs no TensorFlow. A
clip is a dict of what `worlds.world.generate` gives: video uint8 [F, H, W, 3], audio float32
[S, A], caption, and truth as json, both bytes. Configs are named after the kinds of scenes; 'any'
has all kinds but the solid one. Another size, or another number of clips:

  builder = tfds.builder('sorajax_world', config=tfds_world.config('200,height=32,width=32'))
  builder.download_and_prepare()
  clips = builder.as_data_source(split='train')
"""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from sorajax.data.worlds import WorldSource
from sorajax.worlds.draw import PLAYS
from sorajax.worlds.world import SPLITS

CLIPS = 10_000  # for training


@dataclasses.dataclass
class WorldTfdsConfig(tfds.core.BuilderConfig):
  """Which clips there are.

  Attributes:
    asked: their number and form, as `data.worlds.WorldSource` takes them.
  """

  asked: str = str(CLIPS)


def config(asked: str) -> WorldTfdsConfig:
  """A config of clips that no kind is named after, for instance '200,height=32'."""
  return WorldTfdsConfig(name=re.sub(r'\W', '_', asked), asked=asked)


class SorajaxWorld(tfds.core.GeneratorBasedBuilder):
  """Clips of a generated world with their sound, captions and truth.

  Raises:
    UserError: as `data.worlds.WorldSource`.
  """

  VERSION = tfds.core.Version('1.0.0')
  BUILDER_CONFIGS: ClassVar = [
    WorldTfdsConfig(name='any'),
    *(WorldTfdsConfig(name=kind, asked=f'{CLIPS},kind={kind}') for kind in PLAYS),
  ]
  code_path = None  # nothing of the data set lies beside this module, so TFDS need not look

  def _info(self) -> Any:
    row = WorldSource(self.builder_config.asked, 'train').rows[0]
    array = lambda shape, dtype: tfds.features.Tensor(shape=shape, dtype=dtype, encoding='zlib')
    features = {
      'video': array((row.frames, row.height, row.width, 3), np.uint8),
      'audio': array((row.samples, row.audio_channels), np.float32),
      'caption': tfds.features.Text(),
      'truth': tfds.features.Text(),
    }
    rates = tfds.core.MetadataDict({'fps': row.fps, 'sample_rate_hz': row.sample_rate_hz})
    info = tfds.core.DatasetInfo(
      builder=self, features=tfds.features.FeaturesDict(features), metadata=rates,
      disable_shuffling=True,
    )  # fmt: skip
    info.set_file_format('array_record')  # others need TensorFlow
    return info

  def _split_generators(self, download_manager: Any) -> dict[str, Any]:
    return {split: self._generate_examples(split) for split in SPLITS}

  def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
    source = WorldSource(self.builder_config.asked, split)
    for number in range(len(source)):
      made = source[number]
      arrays = {'video': made.clip.video, 'audio': made.clip.audio}
      yield number, arrays | {'caption': made.caption, 'truth': made.truth}
