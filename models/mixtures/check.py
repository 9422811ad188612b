"""Check a user's mixture on a few latents: shapes, and agreement of its methods."""

from __future__ import annotations

from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from mhng.models.mixtures.base import Family
from mhng.models.mixtures.exponential import ExponentialFamily
from mhng.models.rng import seeded_global_rng, stream

# Largest relative difference between two computations of one density. Distributions of torch use approximations.
_TOLERANCE = 1e-4


class MixtureError(ValueError):
    """A method of a mixture returns a wrong value. The message is one line."""


def check_mixture(mixture: Family, z: Tensor, K: int) -> None:
    """Raise MixtureError unless the methods return the right shapes for latents z (N, L), and agree.

    The table must be the density of `component_distribution`. The evidence of an `ExponentialFamily` must not depend
    on the theta at which Bayes' rule is used; it does if prior, posterior and likelihood do not belong together.
    """
    C, (N, L), generator = 2, z.shape, stream(0, "check")
    z = z.to(torch.float64)
    signs = torch.arange(N, device=z.device).remainder(K).expand(C, N)
    if isinstance(mixture, ExponentialFamily):
        _check_evidence(mixture, z)
    features = mixture.features(z)
    _expect("features", features.values, (N, mixture.feature_dim))
    phi = mixture.from_prior(generator, C, K)
    _expect_parameters("from_prior", phi, mixture, K, (C,))
    _expect("mu", phi.mu, (C, K, L))
    table = mixture.log_prob_table(features, phi)
    _expect("log_prob_table", table, (C, N, K))
    _expect("log_density", mixture.log_density(phi), (C,))
    drawn, evidence = mixture.redraw(generator, features, signs, K, phi)
    _expect_parameters("redraw", drawn, mixture, K, (C,))
    _expect("log_evidence", evidence, (C,))
    _expect("merge_gain", mixture.merge_gain(features, signs, K, signs[:, 0]), (C, K))
    one = type(phi)(*(part[0] for part in phi))
    with poutine.block(), seeded_global_rng(generator):
        _expect_parameters("sites", mixture.sites(K, z.device), mixture, K, ())
    _expect("sample_percepts", mixture.sample_percepts(generator, one, signs[0], 1.0), (N, L))
    _expect("to_mean_scale", mixture.to_mean_scale(z), (N, L))
    _expect("covariance", mixture.covariance(one), (K, L, L))
    if type(mixture).sign_logits is Family.sign_logits:
        density = mixture.component_distribution(one, signs[0]).log_prob(z)
        _expect("log_prob of component_distribution", density, (N,))
        _agree("the table of log densities", table[0].gather(-1, signs[0, :, None])[:, 0], "the component", density)


def _check_evidence(mixture: ExponentialFamily, z: Tensor) -> None:
    """Name the method of the user that returns a wrong shape, and test Bayes' rule at two values of theta."""
    (N, L), signs = z.shape, torch.zeros(len(z), dtype=torch.int64, device=z.device)
    values = mixture.statistics(z)
    if values.dim() != 2 or len(values) != N:
        raise MixtureError(f"statistics returns the shape {tuple(values.shape)}; expected ({N}, F)")
    totals = mixture.posterior(mixture.features(z).sums(signs, 1))
    prior, law = mixture._prior, mixture._posterior(totals)
    if law.batch_shape != (1,) or law.event_shape != prior.event_shape:
        raise MixtureError(
            f"parameter_posterior has the shape {tuple(law.batch_shape)} + {tuple(law.event_shape)} for one sign; "
            f"expected (1,) + {tuple(prior.event_shape)}"
        )
    with seeded_global_rng(stream(0, "check")):
        drawn = [law.mean, law.sample()]
    component = mixture._component(drawn[0])
    if component.batch_shape != (1,) or component.event_shape != (L,):
        raise MixtureError(
            f"component has the shape {tuple(component.batch_shape)} + {tuple(component.event_shape)} for one theta; "
            f"expected (1,) + ({L},)"
        )
    likelihood = mixture.log_likelihood(totals.number.unsqueeze(-1), totals.total, drawn[0])
    _expect("log_likelihood", likelihood, (1,))
    _agree(
        "the evidence by Bayes' rule at one theta", mixture.evidence_at(drawn[0], totals), "at another",
        mixture.evidence_at(drawn[1], totals), "; parameter_posterior must be the posterior of log_likelihood",
    )  # fmt: skip


def _expect_parameters(place: str, phi: Any, mixture: Family, K: int, batch: tuple[int, ...]) -> None:
    for name, part, shape in zip(phi._fields, phi, mixture.shapes(K), strict=True):
        _expect(f"{name} of {place}", part, (*batch, *shape))


def _expect(place: str, value: Any, shape: tuple[int, ...]) -> None:
    found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
    if found != shape:
        raise MixtureError(f"{place} returns the shape {found}; expected {shape}")
    if not bool(value.isfinite().all()):
        raise MixtureError(f"{place} returns a number that is not finite")


def _agree(place: str, a: Tensor, other: str, b: Tensor, remedy: str = "") -> None:
    gap = (a - b).abs()
    if bool((gap > _TOLERANCE * (1 + a.abs())).any()):
        n = int(gap.argmax())
        raise MixtureError(f"{place} is {float(a[n]):.6g}, {other} {float(b[n]):.6g}{remedy}")
