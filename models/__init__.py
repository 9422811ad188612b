"""What an agent is: networks, likelihoods and mixtures, and the Pyro model and guide that join them.

This file is the registry: a name on the command line, where its builder lives, and one line for users. It
imports none of them, so that `--help` need not wait for torch; `find` does, when a run is built. Adding a
variant is one class (or one file) and one line here.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple


class Variant(NamedTuple):
    """A thing that can be swapped: `place` is "module:attribute"."""

    place: str
    description: str


NETWORKS = {
    "mlp": Variant("models.networks:mlp", "two dense layers of 512 units; any shape of input"),
    "conv": Variant("models.networks:conv", "two strided convolutions (32, 64) and a dense layer of 256"),
    "conv-large": Variant(
        "models.networks:conv_large",
        "the reference's net: strided convolutions 64, 128, 256, a dense layer of 1024, mirrored decoder",
    ),
}
LIKELIHOODS = {
    "bernoulli": Variant("models.likelihoods:Bernoulli", "pixels in [0, 1]; grey values are soft targets"),
    "gaussian": Variant("models.likelihoods:Gaussian", "real values with one learned noise scale"),
    "identity": Variant("models.likelihoods:Identity", "no VAE: z is the observed feature vector (Inter-GMM)"),
}
# Names of priors of the signs' weights, which `models.weights` reads.
WEIGHTS = ("uniform", "dirichlet:ALPHA", "sticks:ALPHA")
MIXTURES = {
    "normal-wishart": Variant(
        "models.mixtures.normal_wishart:NormalWishart", "a full covariance per sign, conjugate Normal-Wishart prior"
    ),
    "normal-gamma": Variant("models.mixtures.axis_aligned:NormalGamma", "a variance per sign and dimension"),
    "spherical": Variant("models.mixtures.axis_aligned:Spherical", "a variance per sign"),
    "tied": Variant("models.mixtures.tied:Tied", "one full covariance for all signs, Wishart prior"),
    "student-t": Variant(
        "models.mixtures.student_t:StudentT", "heavy tails: Student-t with 5 degrees of freedom as a scale mixture"
    ),
    "head-to-head": Variant(
        "models.mixtures.head_to_head:HeadToHead", "categories of the agent's own, and signs that hang on them (H2H)"
    ),
    "dirichlet": Variant(
        "models.mixtures.dirichlet:DirichletMultinomial", "counts: Dirichlet mixture of multinomials (Inter-DM)"
    ),
}


def find(variant: Variant) -> Any:
    """The builder that `variant` names."""
    module, _, attribute = variant.place.partition(":")
    return getattr(import_module(module), attribute)
