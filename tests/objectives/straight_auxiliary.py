"""The bound of the auxiliary VAE in straight lines; shares nothing with ours but the weights."""

import torch
from torch.distributions import Independent, Normal

from ganvae.config import Networks
from ganvae.networks import zoo
from ganvae.types import Noise, Shape

STEPS, B, D = 4, 6, 6
SHAPE = Shape(channels=1, height=16, width=16, latent=D)


def build(objective):
    torch.manual_seed(11)
    config = Networks(width=8, latent=D, prior="normal")
    nets = {
        role: zoo.build(objective.kinds.get(role, role), config, SHAPE).double()
        for role in objective.networks
    }
    with torch.no_grad():  # the corrections by a and z start at zero
        for net in nets.values():
            for parameter in net.parameters():
                parameter.add_(0.03 * torch.randn_like(parameter))
    objective.prepare(nets, iter(()))
    return nets


def image(step):
    return 2 * Noise(1, step, total=B, dtype=torch.float64).uniform(1, 16, 16) - 1


def noise(step):
    return Noise(2, step, total=B, dtype=torch.float64)


def gaussian(head, h, correction=None, beside=None):
    """μ, σ of linear(h) + correction.linear(relu(correction.hidden(h, beside)))."""
    both = h @ head.linear.weight.T + head.linear.bias
    if correction is not None:
        first = correction.hidden[0]
        hidden = (torch.cat([h, beside], 1) @ first.weight.T + first.bias).relu()
        both = both + hidden @ correction.linear.weight.T
    mean, logvar = both[:, : both.shape[1] // 2], both[:, both.shape[1] // 2 :]
    return Independent(Normal(mean, (logvar / 2).exp()), 1)


def terms(nets, x, source, variant, sigma):
    """log p(x|z) and log of the ratio of the latents, of each image; the decoded image."""
    E, Dec, prior = nets["encoder"], nets["decoder"], nets["prior"]
    h = E.body(x)
    q_a = gaussian(E.heads.auxiliary, h)
    a = q_a.mean + q_a.stddev * source.normal(q_a.mean.shape[1])
    q_z = gaussian(E.heads.latent, h, E.heads.forth, a)
    z = q_z.mean + q_z.stddev * source.normal(q_z.mean.shape[1])
    standard = Independent(Normal(torch.zeros_like(z), torch.ones_like(z)), 1)
    if variant == "adgm":
        latent, p_a = z, gaussian(E.heads.auxiliary, h, E.heads.back, z)
    else:
        first = prior.body[0]
        told = (z @ first.weight.T + first.bias).relu()
        latent, p_a = torch.cat([z, a], 1), gaussian(prior.auxiliary, told)
    x_hat = Dec(latent)
    given = Independent(Normal(x_hat, sigma), 3).log_prob(x)
    ratio = p_a.log_prob(a) + standard.log_prob(z) - q_a.log_prob(a) - q_z.log_prob(z)
    return given, ratio, x_hat
