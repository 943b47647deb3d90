"""Tensors of 8-bit floats as checkpoints hold them: beside a weight, the scale that it is times.

LTX-2 is released so too. Two spellings are in use, that of diffusers and that of ComfyUI; beside
them lie scales of activations and hints for kernels that multiply in 8 bits, of which none is
here: a weight is read as bfloat16. Without a scale it is what it says.
"""

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

KINDS: Mapping[str, Any] = {'F8_E4M3': ml_dtypes.float8_e4m3fn, 'F8_E5M2': ml_dtypes.float8_e5m2}
READ_AS = 'BF16'
WEIGHT, MARKER = 'weight', 'scaled_fp8'
SCALES = ('weight_scale', 'scale_weight')
HINTS = ('input_scale', 'scale_input', 'comfy_quant')


def scales_of(kinds: Mapping[str, str]) -> dict[str, str | None]:
  """Name → type of tensors ↦ each weight of 8 bits → the name of its scale, None without one."""
  found: dict[str, str | None] = {}
  for name, kind in kinds.items():
    if kind in KINDS and not _is_marker(name):
      there = [scale for scale in _beside(name, SCALES) if scale in kinds]
      found[name] = there[0] if there else None
  return found


def companions(weights: Mapping[str, str | None], names: Iterable[str]) -> set[str]:
  """What may lie beside such weights, among `names` of all, and is no tensor of the model."""
  beside = {other for name in weights for other in _beside(name, (*SCALES, *HINTS))}
  return beside | {name for name in names if _is_marker(name)}


def _is_marker(name: str) -> bool:
  """Whether a tensor only says that there are such weights; it may lie below a part of a model."""
  return name.rpartition('.')[2] == MARKER


def _beside(name: str, words: tuple[str, ...]) -> list[str]:
  stem, _, last = name.rpartition('.')
  return [f'{stem}.{word}' for word in words] if last == WEIGHT else []


def read(path: str | os.PathLike[str], name: str) -> np.ndarray:
  """A tensor of 8-bit floats of a file, of which safetensors makes no array of numpy."""
  with open(path, 'rb') as file:
    length = int.from_bytes(file.read(8), 'little')
    entry = json.loads(file.read(length))[name]
    start, end = entry['data_offsets']
    file.seek(8 + length + start)
    return np.frombuffer(file.read(end - start), KINDS[entry['dtype']]).reshape(entry['shape'])


def scaled(weight: np.ndarray, scale: np.ndarray) -> np.ndarray:
  """A weight [out, ...] times a scale for all of it or for each output → bfloat16.

  Raises:
    ValueError: a scale of another shape.
  """
  if scale.size not in (1, len(weight)):
    raise ValueError(f'a scale of {scale.shape} for a weight of {weight.shape}')
  by_output = scale.astype(np.float32).reshape(-1, *[1] * (weight.ndim - 1))
  return (weight.astype(np.float32) * by_output).astype(ml_dtypes.bfloat16)
