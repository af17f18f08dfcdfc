"""Least-squares bases of many rows: equal to one at a time, safe where they are not determined."""

import pytest
import torch
from torch import Tensor

from golden.basis_fit import MAX_CONDITION, fit_activation_bases, fit_weight_bases
from golden.quantizers import ActivationEncoding, code_table

UNSIGNED = ActivationEncoding.UNSIGNED
SIGNED = ActivationEncoding.SIGNED


def statistics(
    bits: int, encoding: ActivationEncoding, rows: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Codes, counts, sums and stored bases of random tensors."""
    generator = torch.Generator().manual_seed(bits)
    codes = code_table(bits, encoding).expand(rows, -1, -1)
    shape = (rows, 2**bits)
    counts = torch.randint(1, 1000, shape, generator=generator).double()
    sums = counts * torch.rand(shape, generator=generator, dtype=torch.float64)
    return codes, counts, sums, torch.rand(rows, bits, generator=generator)


@pytest.mark.parametrize("encoding", ActivationEncoding)
@pytest.mark.parametrize("bits", range(1, 9))
def test_activation_bases_solve_the_normal_equations(
    bits: int, encoding: ActivationEncoding
) -> None:
    codes, counts, sums, stored = statistics(bits, encoding, rows=5)
    bases, fitted = fit_activation_bases(codes, counts, sums, stored)
    assert fitted.all()
    for row in range(5):
        b = codes[row]
        gram = b.T @ torch.diag(counts[row]) @ b
        expected = torch.linalg.solve(gram, b.T @ sums[row])
        assert torch.allclose(bases[row], expected, rtol=1e-9)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("fit", [fit_activation_bases, fit_weight_bases])
def test_rows_do_not_change_each_other(bits: int, fit) -> None:
    codes, counts, sums, stored = statistics(bits, SIGNED, rows=7)
    whole = fit(codes, counts, sums, stored)[0]
    for row in range(7):
        part = slice(row, row + 1)
        single = fit(codes[part], counts[part], sums[part], stored[part])[0]
        assert torch.equal(single[0], whole[row])


@pytest.mark.parametrize(
    "counts",
    [[0, 0, 0, 0], [9, 0, 0, 0], [5, 3, 0, 0], [0, 0, 0, 8], [4, 0, 0, 8]],
    ids=["no elements", "all at zero", "unused plane", "planes agree", "planes agree or zero"],
)
def test_undetermined_rows_keep_their_basis_and_spoil_no_others(counts: list[int]) -> None:
    codes = code_table(2, UNSIGNED).expand(3, -1, -1)
    good = torch.tensor([5.0, 3.0, 2.0, 4.0], dtype=torch.float64)
    rows = torch.stack([good, torch.tensor(counts, dtype=torch.float64), good])
    stored = torch.tensor([[0.1, 0.2], [0.3, 0.7], [0.5, 0.6]])
    bases, fitted = fit_activation_bases(codes, rows, 2 * rows, stored)
    assert fitted.tolist() == [True, False, True]
    assert torch.equal(bases[1], stored[1].double())
    assert torch.equal(bases[0], bases[2])
    assert bases.isfinite().all()


@pytest.mark.parametrize(("share", "is_fitted"), [(1e-3, True), (1e-8, False)])
def test_ill_conditioned_rows_count_as_undetermined(share: float, is_fitted: bool) -> None:
    # Planes that agree in all but a small share of elements have the condition number 4 / share.
    assert 1e-8 < 4 / (2 * MAX_CONDITION) < 1e-3
    codes = code_table(2, UNSIGNED)[None]
    counts = torch.tensor([[0, share * 1e9, 0, 1e9]], dtype=torch.float64)
    stored = torch.tensor([[0.3, 0.7]])
    assert fit_activation_bases(codes, counts, counts, stored)[1].tolist() == [is_fitted]


def test_weight_bases_exist_where_planes_agree() -> None:
    codes = code_table(2, SIGNED)[None]
    counts = torch.tensor([[0.0, 0.0, 0.0, 8.0]], dtype=torch.float64)
    stored = torch.tensor([[0.5, 1.0]])
    bases, fitted = fit_weight_bases(codes, counts, 2.1 * counts, stored)
    assert fitted.all()
    assert bases.sum().item() == pytest.approx(2.1, abs=1e-4)
    assert (bases[0, 1] - bases[0, 0]).item() == pytest.approx(0.5, abs=1e-4)
