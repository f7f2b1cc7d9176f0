"""A reward head that says more than the reward: column 0 is the reward, further columns come of the same forward.

An ensemble of heads keeps their mean as `score.weight` and each head's distance from it as `score.deviations`. The
mean of linear heads is the linear head of the mean, so a tool that knows nothing of the others loads the ensemble's
mean from the same file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from rewardsmith.errors import CheckpointError, ConfigError, one_line
from rewardsmith.models import heads
from rewardsmith.models.foreign.folder import open_folder, read_config

DEVIATIONS = "deviations"
# The distribution of a head, of `rewardsmith.scoring.laplace`, beside the weights.
LAPLACE_FILE = "laplace.npz"


class WideHead(nn.Linear):
    """A linear head that gives more columns beside the reward; `weight` and `bias` are those of `like`."""

    def __init__(self, like: nn.Linear) -> None:
        super().__init__(like.in_features, like.out_features, like.bias is not None, device="meta")
        self.weight, self.bias = like.weight, like.bias

    def plain(self) -> nn.Linear:
        """Return the linear head of the reward alone."""
        found = nn.Linear(self.in_features, 1, self.bias is not None, device="meta")
        found.weight, found.bias = self.weight, self.bias
        return found


class HeadEnsemble(WideHead):
    """A linear head that is the mean of H heads. Shapes: [..., D] -> [..., 1 + H], the mean first."""

    def __init__(self, like: nn.Linear, num_heads: int) -> None:
        super().__init__(like)
        # As a new head is drawn; heads that begin alike and share a backbone would stay alike.
        drawn = torch.randn(num_heads, like.in_features) * (like.in_features + 1) ** -0.5
        self.deviations = nn.Parameter(drawn.to(like.weight))

    def forward(self, input: Tensor) -> Tensor:
        """Return the mean's reward and that of every head, in fp32."""
        deviations_HD = self.deviations.float()
        weight_D = self.weight.float()
        rows = torch.cat([weight_D, weight_D + deviations_HD - deviations_HD.mean(0)])
        bias = None if self.bias is None else self.bias.float().expand(len(rows))
        return F.linear(input.float(), rows, bias)


class LaplaceHead(WideHead):
    """A linear head with a normal distribution over its weights. Shapes: [..., D] -> [..., 1 + D].

    The columns after the reward are `(x - centre) @ factor` with `factor factor^T` the covariance of the weights, so
    the standard deviation of a reward is their length, and that of a difference the length of the difference.
    """

    centre: Tensor
    factor: Tensor

    def __init__(self, like: nn.Linear, centre_D: Tensor, factor_DD: Tensor) -> None:
        super().__init__(like)
        # No parameters, and no part of what is saved with the model.
        self.register_buffer("centre", centre_D.float().to(like.weight.device), persistent=False)
        self.register_buffer("factor", factor_DD.float().to(like.weight.device), persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        """Return the reward and the columns of its deviation, in fp32."""
        bias = None if self.bias is None else self.bias.float()
        reward = F.linear(input.float(), self.weight.float(), bias)
        return torch.cat([reward, (input.float() - self.centre) @ self.factor.float()], dim=-1)


def linear_head(model: PreTrainedModel) -> tuple[nn.Module, str, nn.Linear]:
    """Return the module that holds the last linear layer of a head, its name there, and the layer.

    Raises:
        ConfigError: the head has no linear layer.
    """
    head = heads.find_head(model)
    parent: nn.Module = model
    wrapped = getattr(head, "modules_to_save", None)
    if wrapped is not None:
        # PEFT keeps the trained copy of a head in a dictionary of adapters.
        name = next(iter(wrapped.keys()))
        return wrapped, name, wrapped[name]
    if isinstance(head, nn.Linear):
        last = next(name for name, child in model.named_children() if child is head)
    else:
        found = [name for name, module in head.named_modules() if isinstance(module, nn.Linear)]
        if not found:
            raise ConfigError(f"{type(model).__name__} has no linear layer in its head; take ensemble_kind='models'")
        place, _, last = found[-1].rpartition(".")
        parent = head.get_submodule(place)
    return parent, last, getattr(parent, last)


def one_row(model: PreTrainedModel) -> tuple[nn.Module, str, nn.Linear]:
    """Return what `linear_head` does. Raises ConfigError for a head of several rows."""
    parent, name, layer = linear_head(model)
    if layer.out_features != 1:
        raise ConfigError(
            f"the head of {type(model).__name__} gives {layer.out_features} numbers; it must give 1: of ratings, "
            "`rewardsmith export` makes the head of their weighted sum"
        )
    return parent, name, layer


def put_layer(parent: nn.Module, name: str, layer: nn.Linear) -> None:
    """Put a layer in the place that `linear_head` gave."""
    if isinstance(parent, nn.ModuleDict):
        parent[name] = layer
    else:
        setattr(parent, name, layer)


def install_heads(model: PreTrainedModel, num_heads: int, prior_scale: float = 1.0) -> HeadEnsemble:
    """Make the head of a sequence classifier an ensemble, with new deviations where it is none.

    Where weights do not decay, a fixed random head that is added to a trained one (a prior function, Osband et al.
    2018, arXiv 1806.03335) moves the sum as if training had begun there; `prior_scale` is its size.
    """
    parent, name, layer = one_row(model)
    if not isinstance(layer, HeadEnsemble) or len(layer.deviations) != num_heads:
        layer = HeadEnsemble(layer, num_heads)
        layer.deviations.data *= prior_scale
        put_layer(parent, name, layer)
    return layer


def install_laplace(model: PreTrainedModel, centre_D: Tensor, factor_DD: Tensor) -> LaplaceHead:
    """Give the head of a sequence classifier its distribution. Raises ConfigError for another width."""
    parent, name, layer = one_row(model)
    if isinstance(layer, HeadEnsemble):
        raise ConfigError("the model has several heads, whose spread says how sure it is; take one with a single head")
    if factor_DD.shape != (layer.in_features, layer.in_features):
        raise ConfigError(f"the head reads {layer.in_features} numbers, the covariance is of {tuple(factor_DD.shape)}")
    found = LaplaceHead(layer, centre_D, factor_DD)
    put_layer(parent, name, found)
    return found


def load_distribution(model: PreTrainedModel, file: Path) -> bool:
    """Install the distribution that a file holds; returns whether there is one.

    Raises:
        CheckpointError: it cannot be read, or is of another head.
    """
    if not file.is_file():
        return False
    try:
        with np.load(file, allow_pickle=False) as stored:
            centre, factor, weight = (torch.from_numpy(stored[name]) for name in ("centre", "factor", "weight"))
        layer = install_laplace(model, centre, factor)
    except (OSError, ValueError, KeyError, ConfigError, BadZipFile) as error:
        raise CheckpointError(f"{file} cannot be used: {one_line(error)}; fit it again, or remove it") from error
    # Weights in half precision keep two to three digits.
    if not torch.allclose(layer.weight.detach().float().cpu()[0], weight.float(), rtol=2e-2, atol=1e-3):
        raise CheckpointError(f"{file} is of another head than the one beside it; fit it again, or remove it")
    return True


def num_heads(model: nn.Module) -> int:
    """Return how many heads answer together: 1 for a model that is no ensemble."""
    for module in model.modules():
        if isinstance(module, HeadEnsemble):
            return len(module.deviations)
    return 1


def load_heads(model: PreTrainedModel, path: str, count: int) -> None:
    """Install the heads of a saved ensemble. Raises CheckpointError where the folder lacks them."""
    if count < 2:
        return
    layer = install_heads(model, count)
    name = next(name for name, module in model.named_modules() if module is layer) + f".{DEVIATIONS}"
    folder = open_folder(path, read_config(path))
    if name not in folder.files:
        raise CheckpointError(f"{path} lacks {name}, the {count} heads of its contract; copy its weights again")
    found = folder.read([name])[name]
    if found.shape != layer.deviations.shape:
        raise CheckpointError(f"{path}: {name} is {tuple(found.shape)}, the contract says {count} heads")
    with torch.no_grad():
        layer.deviations.copy_(found)


def collapse(model: PreTrainedModel) -> None:
    """Make the head the plain linear layer of the reward: of an ensemble, of a distribution, of weighted ratings."""
    parent, name, layer = linear_head(model)
    if isinstance(layer, WideHead):
        put_layer(parent, name, layer.plain())


def bootstrap_draws(sequences: Sequence[Sequence[int]], num_heads: int, seed: int) -> list[float]:
    """Return how often each head draws a prompt, from its texts and the seed: Poisson(1).

    A bootstrap sample holds a row Binomial(n, 1/n) times, near Poisson(1) (Oza and Russell 2001, "Online Bagging").
    The texts decide, so a prompt is drawn alike in every epoch, on every process and after a restart.
    """
    digest = hashlib.blake2b(str(seed).encode(), digest_size=8)
    for ids in sequences:
        digest.update(np.asarray([len(ids), *ids], dtype=np.uint32).tobytes())
    generator = np.random.default_rng(int.from_bytes(digest.digest(), "big"))
    return [float(value) for value in generator.poisson(1.0, num_heads)]
