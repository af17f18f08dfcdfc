"""Which normalisations of a graph are part of a layer, for :mod:`golden.exact_parameters`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence, Set

import numpy as np

from golden import graph as ir
from golden.lowering_chains import Chains
from golden.lowering_plan import BranchPlan, ConvolutionPlan, LayerPlan, Plan

__all__ = ["FoldedNorms", "NormGroups", "folded_summands"]


def folded_summands(layer: ConvolutionPlan) -> int:
    """Values of a mean by whose number the layer's scale and offset are divided."""
    branch = layer.branch
    return branch.summands if branch is not None and branch.affine is None else 1


@dataclasses.dataclass(frozen=True)
class NormGroups:
    """The normalisations that make up one affine map, in front of a pool and behind it."""

    before: tuple[ir.BatchNorm, ...]
    after: tuple[ir.BatchNorm, ...]

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.before or self.after)

    def with_map(self, scale: np.ndarray, offset: np.ndarray) -> dict[str, ir.Node]:
        """The nodes, by name, that together are ``x * scale + offset`` (float64 [channels]).

        The sign in front of the pool stays: it makes a minimum of a maximum.
        """
        replaced: dict[str, ir.Node] = {}
        if self.before and self.after:
            product = np.prod([norm.scale for norm in self.before], axis=0)
            sign = np.where(product < 0, -1.0, 1.0)
            replaced |= _joined(self.before, np.abs(scale) * sign, np.zeros_like(offset))
            replaced |= _joined(self.after, np.sign(scale) * sign, offset)
            return replaced
        return _joined(self.before or self.after, scale, offset)


class FoldedNorms:
    """Looks up the normalisations of layers.

    Args:
        plan: The fused layers.
        names: Nodes of the graph before lowering changed it.
    """

    def __init__(self, plan: Plan, names: Set[str]) -> None:
        self._plan = plan
        self._names = names
        self._chains = Chains(plan.graph)
        self._users: dict[str, list[LayerPlan]] = {}
        for layer in plan.layers:
            if layer.branch is not None:
                for norm in self._of(layer.branch.steps):
                    self._users.setdefault(norm.name, []).append(layer)

    def of_convolution(self, layer: ConvolutionPlan) -> NormGroups | None:
        """Those in a layer's scale; None if one is of no node of the graph, or others read it."""
        before = self._of(self._chains.chains[layer.name])
        groups = NormGroups((), ())
        if layer.branch is not None and layer.branch.affine is None:
            found = self.of_branch(layer.branch)
            if found is None:
                return None
            groups = found
        if any(norm.name not in self._names for norm in before):
            return None
        return NormGroups((*before, *groups.before), groups.after)

    def in_front(self, layer: ConvolutionPlan) -> list[ir.BatchNorm]:
        """The first normalisation behind a convolution that is part of its scale, if any."""
        names = list(self._chains.chains[layer.name])
        if layer.branch is not None and layer.branch.affine is None:
            names += layer.branch.steps
        return self._of(names)[:1]

    def alike(self, branch: BranchPlan) -> list[LayerPlan]:
        """All layers whose branches have the normalisations of this one, itself included."""
        return self._users[self._of(branch.steps)[0].name]

    def of_branch(self, branch: BranchPlan) -> NormGroups | None:
        """Those between a stream, or an accumulator, and an output; None as above.

        Branches may share all their normalisations, of one stream.
        """
        norms = self._of(branch.steps)
        if branch.affine is not None and not norms:
            return None
        for norm in norms:
            users = [user.branch for user in self._users[norm.name]]
            shared = len(users) == 1 or all(
                user is not None and user.affine is not None and self._of(user.steps) == norms
                for user in users
            )
            if norm.name not in self._names or not shared:
                return None
        pool = self._position(branch)
        place = {name: index for index, name in enumerate(branch.steps)}
        return NormGroups(
            tuple(norm for norm in norms if place[norm.name] < pool),
            tuple(norm for norm in norms if place[norm.name] > pool),
        )

    def _of(self, names: Sequence[str]) -> list[ir.BatchNorm]:
        nodes = [self._plan.graph.node(name) for name in names]
        return [node for node in nodes if isinstance(node, ir.BatchNorm)]

    def _position(self, branch: BranchPlan) -> int:
        """Index of the branch's pool among its steps, behind them all if it has none."""
        kinds = (ir.MaxPool, ir.AveragePool, ir.GlobalAveragePool)
        for index, name in enumerate(branch.steps):
            if isinstance(self._plan.graph.node(name), kinds):
                return index
        return len(branch.steps)


def _joined(
    norms: Sequence[ir.BatchNorm], scale: np.ndarray, offset: np.ndarray
) -> dict[str, ir.Node]:
    """The last of ``norms`` with the map of all, and the others with none."""
    replaced: dict[str, ir.Node] = {
        norm.name: dataclasses.replace(
            norm, scale=np.ones_like(scale), offset=np.zeros_like(offset)
        )
        for norm in norms[:-1]
    }
    for norm in norms[-1:]:
        replaced[norm.name] = dataclasses.replace(norm, scale=scale, offset=offset)
    return replaced
