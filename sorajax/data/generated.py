"""Generated clips, written as `launch/prepare.py` writes films."""

import dataclasses
import os
from collections.abc import Callable

import tqdm

from sorajax.clip import Clip
from sorajax.data import index as index_lib
from sorajax.data.prepare_file import PrepareConfig
from sorajax.data.records import Example, discard_unfinished, pack, row_of, write_shard
from sorajax.errors import UserError
from sorajax.media.atomic import make_folder
from sorajax.media.writer import to_bytes

SHARD_CLIPS = 2000
Scene = tuple[Clip, str, str]


def write_clips(
  folder: str | os.PathLike[str],
  config: PrepareConfig,
  make: Callable[[str, int], Scene],
  *,
  name: str,
  count: int,
  seed: int,
) -> None:
  """Writes `count` training clips, and a tenth as many that are held out.

  Args:
    folder: for the shards; what is whole already is not made again.
    config: size and rates of the clips, kept in the index.
    make: split and number → the clip, its caption, and what is true of it as json, or ''.
    name: of the data set, kept beside each clip as where it comes from.
    count: of training clips.
    seed: of which `make` makes use.

  Raises:
    UserError: the folder holds another data set.
  """
  out, identity = make_folder(folder), f'{name} {count} {seed} {config}'
  if (out / index_lib.NAME).is_file():
    if index_lib.load(out).identity != identity:
      raise UserError(f'{out} holds another data set; name a new folder')
    return
  splits = {}
  for split, clips in (('validation', count // 10), ('train', count)):
    rows, shards = [], list[str]()
    with tqdm.tqdm(total=clips, desc=split, unit='clip') as bar:
      for first in range(0, clips, SHARD_CLIPS):
        records = []
        for i in range(first, min(first + SHARD_CLIPS, clips)):
          example = _example(f'{split}/{i:06d}', *make(split, i), name)
          records.append(pack(example))
          rows.append(row_of(example, len(records[-1])))
          bar.update()
        shards.append(f'{split}-{len(shards):05d}-of-{-(-clips // SHARD_CLIPS):05d}.array_record')
        discard_unfinished(out / shards[-1])
        write_shard(out / shards[-1], records)
    splits[split] = index_lib.Split(tuple(shards), tuple(rows))
  index_lib.save(out, index_lib.Index(identity, dataclasses.asdict(config), splits, {}, ()))


def _example(clip_id: str, clip: Clip, caption: str, truth: str, name: str) -> Example:
  frames, height, width, _ = clip.video.shape
  samples, channels = clip.audio.shape
  return Example(
    clip_id, to_bytes(clip), caption, frames, height, width, samples, clip.fps,
    clip.sample_rate_hz, channels, name, 0.0, truth,
  )  # fmt: skip
