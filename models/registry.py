"""The registry of networks, likelihoods, guides, fusions, mixtures and sign priors, by their command-line names.

A `Variant` states where a builder is defined and how the help describes it. This file imports no builder, so that
`--help` does not wait for torch. To add a variant, write one class (or one file) and add one line here. Plug-ins
need no line: they are named "module:attribute" (`mhng.models.plugins`).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

from mhng.models.plugins import is_plugin, load_plugin


class Variant(NamedTuple):
    """A selectable part of an agent: its builder "module:attribute", a description, a formula, and a citation."""

    target: str
    description: str
    symbol: str = ""
    source: str = ""


NETWORKS = {
    "mlp": Variant(
        "mhng.models.networks:mlp",
        "dense network, two hidden layers of 512 units, leaky ReLU; any input shape",
        "f = 3 dense layers, mirrored in the decoder",
        "Kingma and Welling 2014, arXiv 1312.6114",
    ),
    "patches": Variant(
        "mhng.models.networks:patches",
        "mlp of a square with ReLU, shared by the squares side by side in an image",
        "f = (g(x_1), ..., g(x_G)), g = 3 dense layers",
        "LeCun et al. 1989, doi 10.1162/neco.1989.1.4.541",
    ),
    "linear": Variant(
        "mhng.models.networks:linear",
        "linear decoder, so that latents are principal components; any input shape",
        "f = 2 dense layers, linear decoder",
        "Tipping and Bishop 1999, doi 10.1111/1467-9868.00196",
    ),
    "conv": Variant(
        "mhng.models.networks:conv",
        "strided convolutions (32, 64), a dense layer of 256",
        "f = 2 convolutions, 2 dense layers",
        "LeCun et al. 1998, doi 10.1109/5.726791",
    ),
    "conv-large": Variant(
        "mhng.models.networks:conv_large",
        "strided convolutions (64, 128, 256), a dense layer of 1024; 9.2 M parameters at 28 x 28",
        "f = 3 convolutions, 2 dense layers",
        "Taniguchi et al. 2023, arXiv 2205.12392",
    ),
    "resnet": Variant(
        "mhng.models.networks:resnet",
        "residual network for colour images up to 64 x 64; 2.0 M parameters at 28 x 28, 5.2 M at 64 x 64",
        "f = 3 x [convolution, x + g(x)]",
        "He et al. 2016, arXiv 1603.05027; GroupNorm: Wu and He 2018, arXiv 1803.08494",
    ),
}
LIKELIHOODS = {
    "bernoulli": Variant(
        "mhng.models.likelihoods:Bernoulli",
        "pixels in [0, 1]; cross-entropy loss with grey values as soft targets",
        "x ~ Bernoulli(sigmoid f(z))",
        "Kingma and Welling 2014, arXiv 1312.6114",
    ),
    "continuous-bernoulli": Variant(
        "mhng.models.likelihoods:ContinuousPixels",
        "pixels in [0, 1]; a normalised density",
        "x ~ CB(sigmoid f(z))",
        "Loaiza-Ganem and Cunningham 2019, arXiv 1907.06845",
    ),
    "gaussian": Variant(
        "mhng.models.likelihoods:Gaussian",
        "real values; one learned noise standard deviation",
        "x ~ Normal(f(z), s^2), s learned",
        "Rybkin, Daniilidis and Levine 2021, arXiv 2006.13202",
    ),
    "gaussian-fixed": Variant(
        "mhng.models.likelihoods:FixedGaussian",
        "real values; noise standard deviation set by --noise",
        "x ~ Normal(f(z), S^2), S given",
        "Kingma and Welling 2014, arXiv 1312.6114",
    ),
    "multinomial": Variant(
        "mhng.models.likelihoods:Multinomial",
        "counts, such as word counts; the total of each object is given",
        "x ~ Multinomial(sum x, softmax f(z))",
        "Miao, Yu and Blunsom 2016, arXiv 1511.06038",
    ),
    "identity": Variant(
        "mhng.models.likelihoods:Identity",
        "no VAE: the latent is the observed feature vector (Inter-GMM)",
        "x = z",
        "Hagiwara et al. 2019, doi 10.3389/frobt.2019.00134",
    ),
}
GUIDES = {
    "diagonal": Variant(
        "mhng.models.guides:Diagonal",
        "Gaussian with a diagonal covariance",
        "z | x ~ Normal(m(x), diag s(x)^2)",
        "Kingma and Welling 2014, arXiv 1312.6114",
    ),
    "full": Variant(
        "mhng.models.guides:Full",
        "Gaussian with a full covariance",
        "z | x ~ Normal(m(x), T(x) T(x)^T)",
        "Kingma and Welling 2019, arXiv 1906.02691, section 2.5.1",
    ),
}
FUSIONS = {
    "product": Variant(
        "mhng.models.fusion:ProductOfExperts",
        "product of experts: the densities of all modalities and of the prior, multiplied",
        "q(z | x) = N(0, I) prod_m q(z | x_m) / Z",
        "Wu and Goodman 2018, arXiv 1802.05335",
    ),
    "mixture": Variant(
        "mhng.models.fusion:MixtureOfExperts",
        "mixture of experts: an equal mixture of the modalities present",
        "q(z | x) = sum_m q(z | x_m) / M",
        "Shi et al. 2019, arXiv 1911.03393",
    ),
}
# Priors of pi. `mhng.models.sign_prior.parse_sign_prior` reads these names with a number for ALPHA.
WEIGHTS = {
    "uniform": Variant(
        "mhng.models.sign_prior:parse_sign_prior",
        "equal probabilities",
        "pi_k = 1 / K",
        "Taniguchi et al. 2023, arXiv 2205.12392",
    ),
    "dirichlet:ALPHA": Variant(
        "mhng.models.sign_prior:Dirichlet",
        "Dirichlet prior; the probabilities are inferred from the use of signs",
        "pi ~ Dirichlet(ALPHA, ..., ALPHA)",
        "Bishop 2006, section 10.2",
    ),
    "sticks:ALPHA": Variant(
        "mhng.models.sign_prior:Sticks",
        "stick-breaking prior; the number of signs is inferred too, up to --signs",
        "pi_k = v_k prod_{j<k} (1 - v_j), v ~ Beta(1, ALPHA)",
        "Sethuraman 1994; Ishwaran and James 2001, doi 10.1198/016214501750332758",
    ),
}
MIXTURES = {
    "normal-wishart": Variant(
        "mhng.models.mixtures.normal_wishart:NormalWishart",
        "Gaussian with a full covariance for each sign; Normal-Wishart prior",
        "z | w=k ~ Normal(mu_k, Lambda_k^-1)",
        "Bishop 2006, section 10.2; Murphy 2007",
    ),
    "normal-gamma": Variant(
        "mhng.models.mixtures.normal_gamma:NormalGamma",
        "Gaussian with a variance for each sign and dimension; Normal-Gamma prior",
        "z | w=k ~ Normal(mu_k, diag lambda_k^-1)",
        "Bishop 2006, section 2.3.6",
    ),
    "spherical": Variant(
        "mhng.models.mixtures.normal_gamma:Spherical",
        "Gaussian with a variance for each sign; Normal-Gamma prior",
        "z | w=k ~ Normal(mu_k, I / lambda_k)",
        "Bishop 2006, section 2.3.6",
    ),
    "tied": Variant(
        "mhng.models.mixtures.tied:Tied",
        "Gaussian with one full covariance for all signs; Wishart prior",
        "z | w=k ~ Normal(mu_k, Lambda^-1)",
        "Bishop 2006, section 4.2.2",
    ),
    "student-t": Variant(
        "mhng.models.mixtures.student_t:StudentT",
        "Student-t with 5 degrees of freedom for each sign, robust to outliers",
        "z | w=k ~ Normal(mu_k, (u Lambda_k)^-1), u ~ Gamma",
        "Peel and McLachlan 2000, doi 10.1023/A:1008981510081",
    ),
    "head-to-head": Variant(
        "mhng.models.mixtures.head_to_head:HeadToHead",
        "private categories of an agent; the sign is a child of the category",
        "z | c ~ Normal(mu_c, Lambda_c^-1), w | c ~ theta_c",
        "Furukawa et al. 2022, arXiv 2205.15027",
    ),
    "dirichlet": Variant(
        "mhng.models.mixtures.dirichlet:DirichletMultinomial",
        "multinomial for counts; Dirichlet prior (Inter-DM)",
        "z | w=k ~ Multinomial(sum z, theta_k)",
        "Hagiwara et al. 2019, doi 10.3389/frobt.2019.00134",
    ),
}

# The variants of every setting.
FAMILIES: Mapping[str, Mapping[str, Variant]] = {
    "network": NETWORKS,
    "likelihood": LIKELIHOODS,
    "guide": GUIDES,
    "fusion": FUSIONS,
    "mixture": MIXTURES,
}
# The attributes that a plug-in must have.
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
        "input_support",
        "exact_evidence",
    ),
}


def load_variant(variant: Variant) -> Any:
    """Import the builder of a variant."""
    module, _, attribute = variant.target.partition(":")
    return getattr(import_module(module), attribute)


def resolve(family: str, name: str) -> Any:
    """Return the builder `name` of a setting such as "mixture".

    name: a key of the registry, or "module:attribute". Raises PluginError if a plug-in cannot be loaded.
    """
    return load_plugin(name, REQUIRED_ATTRIBUTES[family]) if is_plugin(name) else load_variant(FAMILIES[family][name])
