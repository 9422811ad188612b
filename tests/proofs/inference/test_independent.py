"""The same posterior from another program: NumPyro's NUTS on the two-agent model, signs summed out.

Nothing of ours is in the model below but the numbers of the problem. Its percepts, priors and K = 3 signs are those
whose posterior `mhng.inference.enumeration` enumerates and the game samples. Needs the extra `crosscheck`.
"""

import numpy as np
import pytest
import torch

from mhng.inference.enumeration import all_signs, joint_posterior
from tests.proofs.problems import LOG_PRIOR, K, mixtures

pytestmark = pytest.mark.slow


def marginals_by_nuts(log_prior, agents, samples, seed):
    """Posterior P(w_n = k) by NUTS over each agent's (mu, Lambda): means and Monte Carlo errors, (N, K) each."""
    numpyro = pytest.importorskip("numpyro", reason="the extra crosscheck is not installed")
    import jax
    import jax.numpy as jnp
    import numpyro.distributions as dist
    from numpyro.diagnostics import effective_sample_size
    from numpyro.infer import MCMC, NUTS

    numpyro.enable_x64()

    def model():
        logits = jnp.asarray(log_prior.numpy())
        for m, one in enumerate(agents):
            family, z = one.mixture, jnp.asarray(one.z.numpy())
            with numpyro.plate(f"components {m}", K):
                W = jnp.asarray(family.W.numpy())
                precision = numpyro.sample(f"Lambda {m}", dist.Wishart(family.nu, W))
                prior = dist.MultivariateNormal(
                    jnp.asarray(family.m0.numpy()), precision_matrix=family.beta * precision
                )
                mu = numpyro.sample(f"mu {m}", prior)
            logits = logits + dist.MultivariateNormal(mu, precision_matrix=precision).log_prob(z[:, None])
        numpyro.factor("percepts", jax.nn.logsumexp(logits, -1).sum())
        numpyro.deterministic("p", jax.nn.softmax(logits, -1))

    sampler = MCMC(
        NUTS(model, target_accept_prob=0.95),
        num_warmup=2000, num_samples=samples, num_chains=4, chain_method="vectorized", progress_bar=False,
    )  # fmt: skip
    sampler.run(jax.random.PRNGKey(seed))
    p = np.asarray(sampler.get_samples(group_by_chain=True)["p"])
    return p.mean((0, 1)), p.std((0, 1)) / np.sqrt(effective_sample_size(p))


def exact_marginals(log_prior, agents):
    signs = all_signs(4, K)
    law = joint_posterior(agents, log_prior, 4)
    return torch.stack([(law[:, None] * (signs == k)).sum(0) for k in range(K)], dim=1).numpy()


def test_nuts_has_the_same_posterior_and_not_that_of_another_prior():
    found, error = marginals_by_nuts(LOG_PRIOR, mixtures(), samples=10_000, seed=0)
    # Five standard errors: 12 numbers, four chains of NUTS whose error is itself an estimate.
    away = np.abs(found - exact_marginals(LOG_PRIOR, mixtures())) / error
    print(f"largest difference {(away * error).max():.4f}; in standard errors {away.max():.1f}")
    assert away.max() < 5
    assert error.max() < 0.02
    other = torch.tensor([0.45, 0.35, 0.20], dtype=torch.float64).log()
    assert (np.abs(found - exact_marginals(other, mixtures())) / error).max() > 5
    assert (np.abs(found - exact_marginals(LOG_PRIOR, mixtures()[:1])) / error).max() > 5
