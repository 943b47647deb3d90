"""What a run minimises: the seam between the one loop and the things that it trains."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import jax

from sorajax.data.loader import Loader
from sorajax.data.schedule import Place
from sorajax.optim import OptimizerConfig
from sorajax.settings import TrainConfig

Scalars = dict[str, float]
Evaluate = Callable[[Any, Any], Scalars]  # (averaged parameters, frozen) → held-out numbers


class RunSettings(Protocol):
  """As much of a config file as the loop itself reads."""

  @property
  def optimizer(self) -> OptimizerConfig: ...
  @property
  def train(self) -> TrainConfig: ...


class Data(Protocol):
  """As much of a source as the loop itself reads."""

  fingerprint: str


class Objective(Protocol):
  """Parameters, their loss on a batch, where batches come from, and how one looks at the result.

  Attributes:
    settings: how it is minimised, and for how long.
    source: the data.
    batch_spec: how the dimensions of a micro-batch, rows first, lie over the mesh.
  """

  @property
  def settings(self) -> RunSettings: ...
  @property
  def source(self) -> Data: ...
  @property
  def batch_spec(self) -> jax.sharding.PartitionSpec: ...

  def init(self, key: jax.Array) -> Any:
    """Trainable parameters, as plain dicts."""
    ...

  def begun(self) -> Any:
    """Parameters that training goes on from, on the mesh; None for those of `init`."""
    ...

  def frozen(self) -> Any:
    """Parameters that are used and not trained."""
    ...

  def counts(self, batch: Any) -> dict[str, jax.Array]:
    """By what each part of the loss is divided: of a whole batch, over all its micro-batches."""
    ...

  def loss(
    self, params: Any, frozen: Any, batch: Any, key: jax.Array, counts: dict[str, jax.Array]
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """A micro-batch's share of the loss, and of each of its parts."""
    ...

  def values(self, batch: Any) -> dict[str, jax.Array]:
    """The data of a batch by name, to be looked through when something is not finite."""
    ...

  def loader(self, place: Place) -> Loader:
    """Batches from `place` on."""
    ...

  def evaluator(self) -> Evaluate:
    """What measures it on held-out clips; `loss` is among the numbers."""
    ...

  def keep(self, workdir: Path) -> None:
    """Writes what belongs beside the checkpoints."""
    ...

  def sample(self, params: Any, workdir: Path, step: int) -> None:
    """Leaves something to look at under `workdir`."""
    ...

  def finish(self, params: Any, workdir: Path, step: int) -> None:
    """Leaves what the run was for, at its end, and a last sample where any are asked for."""
    ...
