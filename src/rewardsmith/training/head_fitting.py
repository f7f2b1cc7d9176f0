"""Fit a head over features to its optimum: one objective, one penalty, over all labels at once.

L-BFGS does, and where a linear head regresses onto ratings by squares, the normal equations, which need no iterations.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset
from scipy.optimize import minimize
from torch import Tensor, nn

from rewardsmith.models.attribute_head import AttributeHead, attributes_of
from rewardsmith.models.shared_prefix.forward import apply_head, core_model, head_columns, reward_head
from rewardsmith.models.wide_head import HeadEnsemble
from rewardsmith.objectives.comparisons import Comparisons, make_comparisons
from rewardsmith.training.collator import collator_for
from rewardsmith.training.config import RewardConfig
from rewardsmith.training.encoding import COLUMNS
from rewardsmith.training.labels import label_columns, tie_share
from rewardsmith.training.loss import RewardMetrics, StepLoss, combine
from rewardsmith.training.ridge import free_direction, is_quadratic, solve_ratings

if TYPE_CHECKING:
    from rewardsmith.training.frozen import Features
    from rewardsmith.training.trainer import RewardTrainer

logger = logging.getLogger(__name__)

# Every so many groups one is left out while settings are compared.
LEFT_OUT = 10
MOST_ITERATIONS = 1000
# Relative change of the loss, and largest gradient, below which nothing is left to gain.
SMALL_CHANGE, SMALL_GRADIENT = 1e-10, 1e-6


@dataclass(frozen=True)
class Tried:
    """One setting of a sweep, fitted to the groups that are not left out.

    Args:
        loss_type: the objective.
        l2: the penalty: l2 / 2 times the sum of squared weights, in units in which every feature has a spread of 1.
        accuracy: on the groups that are left out; NaN where none are.
        merit: by which settings are compared on these groups: the accuracy, or of ratings the mean loss, negative.
        loss: the mean loss of the fit, without the penalty.
        iterations: of L-BFGS.
        seconds: the fit took.
        head: the fitted parameters by name.
    """

    loss_type: str
    l2: float
    accuracy: float
    loss: float
    iterations: int
    seconds: float
    head: dict[str, Tensor] = field(repr=False)
    threshold: float | None = None
    merit: float = math.nan


@dataclass
class Problem:
    """The mean loss of a head over all comparisons, as a function of its parameters.

    Args:
        table_UD: features; `row_B` is the row of every sequence of the groups, `group_B` its group.
        spread_D: standard deviation of every feature, 1 where it is constant.
        head: where the fit begins; it stays as it is.
        draws_GH: how often each of several heads draws each group.
        ratings_BA: what the sequences are rated, NaN where nobody did; None where no ratings are learned.
    """

    args: RewardConfig
    table_UD: Tensor
    row_B: Tensor
    group_B: Tensor
    spread_D: Tensor
    comparisons: Comparisons
    head: nn.Module
    tie_share: float
    draws_GH: Tensor | None = None
    ratings_BA: Tensor | None = None
    _last: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, trainer: RewardTrainer, features: Features) -> Problem:
        """Return the problem of a trainer's rows, on the GPU where the features have room there."""
        device = torch.device(trainer.args.device)
        needed = 3 * features.table_UD.numel() * 4
        if device.type == "cuda" and torch.cuda.mem_get_info(device)[0] < needed:
            logger.info("the features take %.1f GB: the head is fitted on the CPU", needed / 3e9)
            device = torch.device("cpu")
        table_UD = features.table_UD.to(device)
        spread_D = table_UD.std(0, correction=0) if len(table_UD) > 1 else torch.ones_like(table_UD[0])
        return cls(
            args=trainer.args,
            table_UD=table_UD,
            row_B=features.row_B.to(device),
            group_B=group_numbers(trainer.train_dataset).to(device),
            spread_D=torch.where(spread_D > 0, spread_D, torch.ones_like(spread_D)),
            comparisons=all_comparisons(trainer.train_dataset).to(device),
            head=copy.deepcopy(reward_head(core_model(trainer.model))).float().to(device),
            tie_share=tie_share(label_columns(trainer.train_dataset)),
            draws_GH=draws.to(device) if (draws := _draws(trainer)) is not None else None,
            ratings_BA=ratings.to(device) if (ratings := all_ratings(trainer.train_dataset)) is not None else None,
        )

    @property
    def num_groups(self) -> int:
        """How many prompts there are."""
        return self.comparisons.num_groups

    def fit(self, loss_type: str, l2: float, left_out: bool = False, history: list[float] | None = None) -> Tried:
        """Fit the head with one objective and one penalty.

        Args:
            left_out: leave out every tenth group and measure on those.
            history: takes the loss of every iteration.
        """
        started = time.perf_counter()
        args = copy.copy(self.args)
        args.loss_type = loss_type
        loss = StepLoss(args, self.tie_share, attributes_of(self.head)).to(self.table_UD.device)
        data = self._but_some(LEFT_OUT) if left_out else self
        head = copy.deepcopy(self.head)
        values = Coordinates.of(head, self.spread_D, loss.threshold)
        if not loss.compares and isinstance(head, AttributeHead):
            values.free_D = free_direction(head, self)
        if is_quadratic(head, loss):
            solve_ratings(head, data, l2)
            x, iterations = values.read(), 1
            with torch.no_grad():
                plain = float(data.loss_of(head, loss))
            if history is not None:
                history.append(plain + values.penalty(x, l2))
        else:
            # The optimum of a neighbour is a good start.
            start = self._last.get(loss_type, values.read(from_zero=isinstance(head, nn.Linear)))
            found = data.minimised(head, loss, (values, start, l2), history)
            values.write(found.x)
            self._last[loss_type], iterations = found.x, int(found.nit)
            plain = float(found.fun) - values.penalty(found.x, l2)
        if iterations >= MOST_ITERATIONS:
            logger.warning(
                "%s with l2=%g has not converged after %d iterations; a larger l2 does", loss_type, l2, iterations
            )
        accuracy, merit = self._on_left_out(head, loss) if left_out else (math.nan, math.nan)
        threshold = None if loss.threshold is None else float(loss.threshold.detach())
        kept = {name: value.detach().cpu().clone() for name, value in head.state_dict().items()}
        seconds = time.perf_counter() - started
        logger.info("%s, l2=%g: loss %.4f after %d iterations in %.1f s", loss_type, l2, plain, iterations, seconds)
        return Tried(loss_type, l2, accuracy, plain, iterations, seconds, kept, threshold, merit)

    def loss_of(self, head: nn.Module, loss: StepLoss) -> Tensor:
        """Return the mean loss of a head, without a penalty."""
        columns_BC = head_columns(head, self.table_UD).double()[self.row_B]
        terms = loss.terms_of_heads(columns_BC, self.comparisons, self.draws_GH)
        return combine(terms | loss.rating_terms(columns_BC[:, 1:], self.ratings_BA))

    def minimised(
        self,
        head: nn.Module,
        loss: StepLoss,
        where: tuple[Coordinates, np.ndarray, float],
        history: list[float] | None = None,
    ) -> Any:
        """Minimise the loss by L-BFGS; the head is left where it last looked.

        Args:
            where: the head's coordinates, where the search begins, and the penalty.
        """
        values, start, l2 = where

        def value_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
            values.write(x)
            total = self.loss_of(head, loss)
            total.backward()
            return values.penalised(x, float(total.detach()), l2)

        options = {
            "maxiter": MOST_ITERATIONS,
            "ftol": SMALL_CHANGE,
            "gtol": SMALL_GRADIENT,
            "maxfun": 2 * MOST_ITERATIONS,
        }
        return minimize(
            value_and_gradient,
            start,
            jac=True,
            method="L-BFGS-B",
            options=options,
            callback=lambda intermediate_result: (
                None if history is None else history.append(float(intermediate_result.fun))
            ),
        )

    def _but_some(self, every: int, keeps: bool = False) -> Problem:
        """Return the problem without every so many groups, or of these alone; the sequences stay."""
        aside_P, aside_B = (group % every == every - 1 for group in (self.comparisons.group_P, self.group_B))
        if not keeps:
            aside_P, aside_B = ~aside_P, ~aside_B
        ratings_BA = None if self.ratings_BA is None else self.ratings_BA.masked_fill(~aside_B[:, None], math.nan)
        return replace(self, comparisons=self.comparisons.select(aside_P), ratings_BA=ratings_BA)

    def _on_left_out(self, head: nn.Module, loss: StepLoss) -> tuple[float, float]:
        """Return a head's accuracy on the groups that were left out, and by what it is compared with others."""
        rest = self._but_some(LEFT_OUT, keeps=True)
        accuracy = self.metrics(head, rest.comparisons)["accuracy"]
        if loss.compares:
            return accuracy, accuracy
        with torch.no_grad():
            return accuracy, -float(rest.loss_of(head, loss))

    def metrics(self, head: nn.Module, comparisons: Comparisons | None = None) -> dict[str, float]:
        """Return the training metrics of a head's rewards."""
        counted = RewardMetrics()
        with torch.no_grad():
            rewards_B = apply_head(head, self.table_UD.to(next(head.parameters()).device))[self.row_B]
        counted.update(rewards_B, (comparisons or self.comparisons).to(rewards_B.device))
        return {name: value for name, value in counted.summary().items() if not name.startswith(("saving", "distinct"))}


@dataclass
class Coordinates:
    """The parameters of a head as one vector, in units in which every feature that it reads has a spread of 1.

    So the penalty does not depend on the scale of a hidden unit, and L-BFGS needs few iterations. Biases and the
    threshold of a tie model are not penalised. Of H heads the loss is the mean, and so is the penalty: distances from
    their mean count 1 / H. A direction `free_D` of every row of the first layer is not penalised either.
    """

    parameters: list[nn.Parameter]
    units: list[Tensor]
    share: np.ndarray
    free_D: Tensor | None = None

    @classmethod
    def of(cls, head: nn.Module, spread_D: Tensor, threshold: nn.Parameter | None) -> Coordinates:
        """Return the coordinates of a head whose first layer reads features of this spread."""
        parameters = [*head.parameters(), *([] if threshold is None else [threshold])]
        first = next(p for p in parameters if p.ndim == 2)
        apart = [m.deviations for m in head.modules() if isinstance(m, HeadEnsemble)]
        # All rows of heads that read the features themselves do so in the same units.
        reads = {id(first), *(id(p) for p in apart if isinstance(head, HeadEnsemble))}
        units = [spread_D.expand_as(p).double() if id(p) in reads else torch.ones_like(p).double() for p in parameters]
        shares = [0.0 if p.ndim < 2 else 1 / len(p) if any(p is one for one in apart) else 1.0 for p in parameters]
        return cls(
            parameters,
            units,
            np.concatenate([np.full(p.numel(), share) for p, share in zip(parameters, shares, strict=True)]),
        )

    def read(self, from_zero: bool = False) -> np.ndarray:
        """Return where the parameters stand; `from_zero` begins with weights of 0, whatever was drawn."""
        values = [
            (p.detach().double() * u).reshape(-1).cpu().numpy()
            for p, u in zip(self.parameters, self.units, strict=True)
        ]
        found = np.concatenate(values)
        return np.where(self.share > 0, 0.0, found) if from_zero else found

    def write(self, x: np.ndarray) -> None:
        """Set the parameters and clear their gradients."""
        start = 0
        with torch.no_grad():
            for parameter, unit in zip(self.parameters, self.units, strict=True):
                part = torch.from_numpy(x[start : start + parameter.numel()]).to(parameter.device)
                parameter.copy_(part.reshape(parameter.shape) / unit)
                parameter.grad = None
                start += parameter.numel()

    def penalty(self, x: np.ndarray, l2: float) -> float:
        """Return l2 / 2 times the sum of squared weights."""
        return 0.5 * l2 * float((x * self._penalised_part(x)).sum())

    def penalised(self, x: np.ndarray, loss: float, l2: float) -> tuple[float, np.ndarray]:
        """Return loss and gradient with the penalty."""
        gradients = [
            (torch.zeros_like(unit) if p.grad is None else p.grad.double() / unit).reshape(-1).cpu().numpy()
            for p, unit in zip(self.parameters, self.units, strict=True)
        ]
        return loss + self.penalty(x, l2), np.concatenate(gradients) + l2 * self._penalised_part(x)

    def _penalised_part(self, x: np.ndarray) -> np.ndarray:
        part = self.share * x
        if self.free_D is not None:
            free_D = self.free_D.cpu().numpy()
            rows = part[: self.parameters[0].numel()].reshape(-1, len(free_D))
            rows -= np.outer(rows @ free_D, free_D)
        return part


def _draws(trainer: RewardTrainer) -> Tensor | None:
    """Return how often each of several heads draws each group. Shapes: -> [G, H]."""
    groups = ({"ids": ids} for ids in trainer.train_dataset["ids"])
    return collator_for(trainer.plan, trainer.args).draws(groups).get("draws")


def all_comparisons(dataset: Dataset) -> Comparisons:
    """Return the comparisons of all encoded groups, their sequences numbered through."""
    table = dataset.with_format("arrow")[:]
    sizes_G = pc.list_value_length(table["ids"]).to_numpy()
    counts_G = pc.list_value_length(table["better"]).to_numpy()
    group_P = np.repeat(np.arange(len(counts_G)), counts_G)
    start_P = (np.cumsum(sizes_G) - sizes_G)[group_P]

    def column(name: str) -> list[Any]:
        flat: pa.ChunkedArray = pc.list_flatten(table[name])
        values = flat.to_numpy()
        return list((values + start_P if name in ("better", "worse") else values).tolist())

    return make_comparisons(
        **{name: column(name) for name in COLUMNS}, group=group_P.tolist(), num_groups=len(counts_G)
    )


def all_ratings(dataset: Dataset) -> Tensor | None:
    """Return the ratings of all encoded sequences, numbered through; None where rows hold none. Shapes: -> [B, A]."""
    if "ratings" not in dataset.column_names:
        return None
    return torch.tensor([row for group in dataset["ratings"] for row in group], dtype=torch.float32)


def group_numbers(dataset: Dataset) -> Tensor:
    """Return the group of every encoded sequence. Shapes: -> [B]."""
    sizes_G = pc.list_value_length(dataset.with_format("arrow")[:]["ids"]).to_numpy()
    return torch.from_numpy(np.repeat(np.arange(len(sizes_G)), sizes_G))
