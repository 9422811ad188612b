"""What an agent is: networks, likelihoods, guides and mixtures, and the Pyro model and guide that join them.

This file is the registry: a name on the command line, where its builder lives, and what there is to say of it. It
imports none of them, so that `--help` need not wait for torch; `find` does, when a run is built. Adding a
variant is one class (or one file) and one line here. What is in no registry is given as "module:attribute"
(`mhng.models.plugins`).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

from mhng.models.plugins import is_plugin, load_plugin


class Variant(NamedTuple):
    """A thing that can be swapped: `place` is "module:attribute"; `symbol` its formula; `source` who it is of."""

    place: str
    description: str
    symbol: str = ""
    source: str = ""


NETWORKS = {
    "mlp": Variant(
        "mhng.models.networks:mlp",
        "two dense layers of 512 units; any shape of input",
        "f = 3 dense layers each way",
        "Kingma and Welling 2014, arXiv 1312.6114",
    ),
    "conv": Variant(
        "mhng.models.networks:conv",
        "two strided convolutions (32, 64) and a dense layer of 256",
        "f = 2 convolutions, 2 dense layers",
        "LeCun et al. 1998, doi 10.1109/5.726791",
    ),
    "conv-large": Variant(
        "mhng.models.networks:conv_large",
        "strided convolutions 64, 128, 256, a dense layer of 1024; 9.2 M parameters at 28 x 28",
        "f = 3 convolutions, 2 dense layers",
        "Taniguchi et al. 2023, arXiv 2205.12392",
    ),
    "resnet": Variant(
        "mhng.models.networks:resnet",
        "residual blocks, for colour images to 64 x 64; 2.0 M parameters at 28 x 28, 5.2 M at 64 x 64",
        "f = 3 x [convolution, x + g(x)]",
        "He et al. 2016, arXiv 1603.05027; GroupNorm: Wu and He 2018, arXiv 1803.08494",
    ),
}
LIKELIHOODS = {
    "bernoulli": Variant(
        "mhng.models.likelihoods:Bernoulli",
        "pixels in [0, 1]; grey values are soft targets",
        "x ~ Bernoulli(sigmoid f(z))",
        "Kingma and Welling 2014, arXiv 1312.6114",
    ),
    "continuous-bernoulli": Variant(
        "mhng.models.likelihoods:ContinuousPixels",
        "pixels in [0, 1] as continuous values, normalised",
        "x ~ CB(sigmoid f(z))",
        "Loaiza-Ganem and Cunningham 2019, arXiv 1907.06845",
    ),
    "gaussian": Variant(
        "mhng.models.likelihoods:Gaussian",
        "real values with one learned noise scale",
        "x ~ Normal(f(z), s^2), s learned",
        "Rybkin, Daniilidis and Levine 2021, arXiv 2006.13202",
    ),
    "gaussian-fixed": Variant(
        "mhng.models.likelihoods:FixedGaussian",
        "real values with the noise scale of --noise",
        "x ~ Normal(f(z), S^2), S given",
        "Kingma and Welling 2014, arXiv 1312.6114",
    ),
    "multinomial": Variant(
        "mhng.models.likelihoods:Multinomial",
        "counts, such as words; each object's total is given",
        "x ~ Multinomial(sum x, softmax f(z))",
        "Miao, Yu and Blunsom 2016, arXiv 1511.06038",
    ),
    "identity": Variant(
        "mhng.models.likelihoods:Identity",
        "no VAE: z is the observed feature vector (Inter-GMM)",
        "x = z",
        "Hagiwara et al. 2019, doi 10.3389/frobt.2019.00134",
    ),
}
GUIDES = {
    "diagonal": Variant(
        "mhng.models.guides:Diagonal",
        "a percept's dimensions are independent given what is seen",
        "z | x ~ Normal(m(x), diag s(x)^2)",
        "Kingma and Welling 2014, arXiv 1312.6114",
    ),
    "full": Variant(
        "mhng.models.guides:Full",
        "a percept's dimensions may be uncertain together",
        "z | x ~ Normal(m(x), T(x) T(x)^T)",
        "Kingma and Welling 2019, arXiv 1906.02691, section 2.5.1",
    ),
}
FUSIONS = {
    "product": Variant(
        "mhng.models.fusion:ProductOfExperts",
        "of several modalities: each sharpens what the others leave open; the prior is an expert too",
        "q(z | x) = N(0, I) prod_m q(z | x_m) / Z",
        "Wu and Goodman 2018, arXiv 1802.05335",
    ),
    "mixture": Variant(
        "mhng.models.fusion:MixtureOfExperts",
        "of several modalities: one of those that are there is believed, by chance",
        "q(z | x) = sum_m q(z | x_m) / M",
        "Shi et al. 2019, arXiv 1911.03393",
    ),
}
# Priors of the signs' weights; `mhng.models.sign_prior.parse_sign_prior` reads the names with a number for ALPHA.
WEIGHTS = {
    "uniform": Variant(
        "mhng.models.sign_prior:parse_sign_prior",
        "all signs alike",
        "pi_k = 1 / K",
        "Taniguchi et al. 2023, arXiv 2205.12392",
    ),
    "dirichlet:ALPHA": Variant(
        "mhng.models.sign_prior:Dirichlet",
        "learned from how often each sign is used",
        "pi ~ Dirichlet(ALPHA, ..., ALPHA)",
        "Bishop 2006, section 10.2",
    ),
    "sticks:ALPHA": Variant(
        "mhng.models.sign_prior:Sticks",
        "learned, and how many signs are needed too: --signs is the most there may be",
        "pi_k = v_k prod_{j<k} (1 - v_j), v ~ Beta(1, ALPHA)",
        "Sethuraman 1994; Ishwaran and James 2001, doi 10.1198/016214501750332758",
    ),
}
MIXTURES = {
    "normal-wishart": Variant(
        "mhng.models.mixtures.normal_wishart:NormalWishart",
        "a full covariance per sign, conjugate Normal-Wishart prior",
        "z | w=k ~ Normal(mu_k, Lambda_k^-1)",
        "Bishop 2006, section 10.2; Murphy 2007",
    ),
    "normal-gamma": Variant(
        "mhng.models.mixtures.normal_gamma:NormalGamma",
        "a variance per sign and dimension",
        "z | w=k ~ Normal(mu_k, diag lambda_k^-1)",
        "Bishop 2006, section 2.3.6",
    ),
    "spherical": Variant(
        "mhng.models.mixtures.normal_gamma:Spherical",
        "a variance per sign",
        "z | w=k ~ Normal(mu_k, I / lambda_k)",
        "Bishop 2006, section 2.3.6",
    ),
    "tied": Variant(
        "mhng.models.mixtures.tied:Tied",
        "one full covariance for all signs, Wishart prior",
        "z | w=k ~ Normal(mu_k, Lambda^-1)",
        "Bishop 2006, section 4.2.2",
    ),
    "student-t": Variant(
        "mhng.models.mixtures.student_t:StudentT",
        "heavy tails as a scale mixture; 5 degrees of freedom",
        "z | w=k ~ Normal(mu_k, (u Lambda_k)^-1), u ~ Gamma",
        "Peel and McLachlan 2000, doi 10.1023/A:1008981510081",
    ),
    "head-to-head": Variant(
        "mhng.models.mixtures.head_to_head:HeadToHead",
        "categories of the agent's own; signs hang on them",
        "z | c ~ Normal(mu_c, Lambda_c^-1), w | c ~ theta_c",
        "Furukawa et al. 2022, arXiv 2205.15027",
    ),
    "dirichlet": Variant(
        "mhng.models.mixtures.dirichlet:DirichletMultinomial",
        "counts: a Dirichlet mixture of multinomials (Inter-DM)",
        "z | w=k ~ Multinomial(sum z, theta_k)",
        "Hagiwara et al. 2019, doi 10.3389/frobt.2019.00134",
    ),
}

# What can be swapped, by the name of its setting, and what a thing of one's own must have to take part.
FAMILIES: Mapping[str, Mapping[str, Variant]] = {
    "network": NETWORKS,
    "likelihood": LIKELIHOODS,
    "guide": GUIDES,
    "fusion": FUSIONS,
    "mixture": MIXTURES,
}
REQUIRED_ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "network": (),
    "likelihood": (
        "forward",
        "mean",
        "encoder_input",
        "has_network",
        "needs_unit_interval",
        "needs_counts",
        "options",
    ),
    "guide": ("forward", "distribution", "reparameterize"),
    "fusion": ("distribution", "mean", "sample"),
    "mixture": (
        "Parameters",
        "features",
        "log_prob_table",
        "redraw",
        "from_prior",
        "log_density",
        "log_evidence",
        "merge_gain",
        "bipartition_logits",
        "sites",
        "component_distribution",
        "sign_logits",
        "standard_normal_prior",
        "sample_percepts",
        "to_mean_scale",
        "covariance",
        "shapes",
        "needs_counts",
        "exact_evidence",
    ),
}


def load_variant(variant: Variant) -> Any:
    """The builder that `variant` names."""
    module, _, attribute = variant.place.partition(":")
    return getattr(import_module(module), attribute)


def resolve(family: str, name: str) -> Any:
    """The builder called `name` in a family: one of the registry, or "module:attribute" (PluginError)."""
    return load_plugin(name, REQUIRED_ATTRIBUTES[family]) if is_plugin(name) else load_variant(FAMILIES[family][name])
