"""Standardisation and principal components, where float32 has too few digits or features have no variation."""

import numpy as np
import pytest
import torch

from mhng.experiment.data.custom.base import finite_features
from mhng.experiment.data.scaling import fit_pca, fit_standardisation, rounding_loss, varies
from mhng.experiment.errors import UsageError

RNG = np.random.default_rng(0)
NUMBERS = torch.from_numpy(RNG.normal(size=(40, 3)))


def standard(features: torch.Tensor) -> torch.Tensor:
    return (features - features.mean(0)) / features.std(0, correction=0)


@pytest.mark.parametrize(("size", "mean"), [(1, 1.7e9), (100, 1.7e12), (1, 5e7), (1e-50, 0), (1e-200, 0), (1e30, 0)])
def test_standardisation_loses_no_digit(size: float, mean: float) -> None:
    features = NUMBERS * size + mean
    scaled, change = fit_standardisation(features)
    assert scaled.dtype == torch.float32
    torch.testing.assert_close(scaled.double(), standard(NUMBERS), rtol=0, atol=1e-5)
    assert torch.equal(change(features[7:9]), scaled[7:9]), "one object is scaled as among others"


def test_float32_statistics_are_used_only_where_they_are_precise() -> None:
    features = NUMBERS.float()
    mean = features.mean(0)
    expected = (features - mean) / (features - mean).std(0, correction=0)
    for source in (features, features.double(), features.double() + 1e-9):
        assert torch.equal(fit_standardisation(source)[0], expected)
    coarse = (NUMBERS * 3000 + 1.7e9).float()
    torch.testing.assert_close(fit_standardisation(coarse)[0].double(), standard(coarse.double()), rtol=0, atol=1e-5)
    tiny = (NUMBERS * 1e-30).float()
    torch.testing.assert_close(fit_standardisation(tiny)[0].double(), standard(NUMBERS), rtol=0, atol=1e-5)


def test_a_column_that_varies_by_rounding_alone_is_constant() -> None:
    features = NUMBERS.clone()
    features[:, 1] = torch.where(features[:, 1] > 0, 0.1 + 0.2, 0.3)
    assert varies(features).tolist() == [True, False, True]
    assert not fit_standardisation(features)[0][:, 1].any()
    assert rounding_loss(features)[1] == 0


def test_components_beyond_the_rank_are_left_out() -> None:
    six = NUMBERS[:, :2] @ torch.from_numpy(RNG.normal(size=(2, 6)))
    scaled, _ = fit_standardisation(six)
    two, _ = fit_pca(scaled, 2)
    for dimensions in (3, 5):
        components, change = fit_pca(scaled, dimensions)
        assert torch.equal(components, two) and change(scaled[:4]).shape == (4, 2)
    torch.testing.assert_close(torch.cov(two.T), torch.eye(2), rtol=0, atol=1e-5)
    constant, change = fit_pca(torch.zeros(5, 4), 2)
    assert constant.shape == (5, 1) and not constant.any() and not change(scaled[:3, :4]).isnan().any()


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [("f2", "f4"), ("f4", "f4"), (">f8", "f8"), ("i1", "f4"), ("u2", "f4"), ("i4", "f8"), ("?", "f4")],
)
def test_features_keep_the_precision_of_their_source(dtype: str, kept: str) -> None:
    assert finite_features("here", np.ones((3, 2), dtype)).dtype == np.dtype(kept)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_integers_that_float64_cannot_tell_apart_are_refused(dtype: type) -> None:
    near = np.array([[0, 2**62], [0, 2**62 + 900]], dtype)
    with pytest.raises(UsageError, match="here: column 1 has numbers from 4611686018427387904 to 4611686018427388804"):
        finite_features("here", near)
    far = near * np.array([[1, 1], [1, 0]], dtype)
    assert finite_features("here", far).tolist() == far.tolist()
    assert finite_features("here", near[:1]).tolist() == [[0, 2**62]]


def test_columns_are_measured_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    features = NUMBERS * torch.tensor([1, 1e-9, 1e9]) + 1.7e9
    whole = fit_standardisation(features)[0]
    for block in (1, 80):
        monkeypatch.setattr("mhng.experiment.data.scaling._BLOCK", block)
        torch.testing.assert_close(fit_standardisation(features)[0], whole, rtol=0, atol=1e-6)
