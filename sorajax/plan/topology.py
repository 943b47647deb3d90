"""Devices that are not here, as their compilers describe them."""

import importlib.util
import math
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
from jax.experimental import topologies

from sorajax.cluster.commands import GPU_SHARE
from sorajax.errors import UserError, one_line
from sorajax.plan.chips import chip_of, sides_of

# What the compiler for TPUs is told where there is none: no chip to hold, no cloud to ask.
ALONE = {
  'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
  'TPU_SKIP_MDS_QUERY': '1',
  'TPU_ACCELERATOR_TYPE': 'v5p-8',
  'TPU_WORKER_HOSTNAMES': 'localhost',
  'TPU_STDERR_LOG_LEVEL': '3',
}
MOST = 8  # GPUs of a machine
# What the compiler for GPUs asks of a card: both have the chip of NVIDIA's H100.
_HOPPER = """
gpu_device_info {{
  cuda_compute_capability {{ major: 9 }}
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  registers_per_block_limit: 65536 registers_per_core_limit: 65536
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472 l2_cache_size: 52428800
  device_memory_size: {memory} memory_bandwidth: {speed}
}}
platform_name: "CUDA"
device_description_str: "{name}"
dnn_version_info {{ major: 9 minor: 7 }}
runtime_version {{ major: 13 }}
"""
NAMES: Mapping[str, str] = MappingProxyType(
  {'h100': 'NVIDIA H100 80GB HBM3', 'h200': 'NVIDIA H200'}
)


def describe(topology: str, slices: int = 1) -> Any:
  """The devices of a topology such as v5p:4x4x8, or h100:2x8 of two machines.

  Args:
    topology: of a slice.
    slices: how many of it, of TPUs.

  Raises:
    UserError: there is no such, or no compiler for it here.
  """
  jax.config.update('jax_platforms', 'cpu')
  try:
    if chip_of(topology).platform != 'cuda':
      return _tpus(topology, slices)
    if slices > 1:
      raise UserError(f'slices are of TPUs; write machines of GPUs as {topology.split(":")[0]}:2x8')
    return _gpus(topology)
  except UserError:
    raise
  except Exception as error:  # plug-ins raise whatever they like
    raise UserError(f'no topology {topology!r}: {one_line(error)}; try v5p:4x4x4') from error


def _tpus(topology: str, slices: int) -> Any:
  for name, value in ALONE.items():
    os.environ.setdefault(name, value)
  one = {'chips_per_host_bounds': (1, 1, 1)} if math.prod(sides_of(topology)) == 1 else {}
  try:
    return topologies.get_topology_desc(
      platform='tpu', topology_name=topology, num_slices=slices, **one
    )  # fmt: skip
  except Exception as error:
    if not (importlib.util.find_spec('libtpu') or os.environ.get('TPU_LIBRARY_PATH')):
      raise UserError("no compiler for TPUs here; pip install 'sorajax[tpu]'") from error
    raise


def _gpus(topology: str) -> Any:
  name, sides = topology.partition(':')[0], sides_of(topology)
  if len(sides) > 2 or not 0 < sides[-1] <= MOST or sides[0] < 1:
    raise UserError(f'no topology {topology!r}; write {name}:GPUS or {name}:MACHINESxGPUS, up to 8')
  missing = [m for m in ('jax_plugins.xla_cuda13', 'nvidia.cudnn') if not _is_here(m)]
  if missing:
    raise UserError(f"no {missing[0]}, the compiler for GPUs; pip install 'sorajax[gpu]'")
  if os.environ.get('TF_CPP_MIN_LOG_LEVEL') == '1':  # as JAX sets it: warnings of what is not here
    os.environ['TF_CPP_MIN_LOG_LEVEL'] = '2'
  jax.config.update('jax_enable_compilation_cache', False)  # its programs are read by GPUs alone
  machines, each = sides if len(sides) == 2 else (1, sides[0])
  chip = chip_of(topology)
  card = _HOPPER.format(
    name=NAMES[name], memory=round(chip.memory / GPU_SHARE), speed=round(chip.memory_speed)
  )
  return topologies.get_topology_desc(
    platform='cuda', topology_name=name, topology=f'1x{machines}x{each}',
    target_config=card,
  )  # fmt: skip


def _is_here(module: str) -> bool:
  try:
    return importlib.util.find_spec(module) is not None
  except ModuleNotFoundError:
    return False
