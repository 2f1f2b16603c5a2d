"""
The theory in code
==================

Balancing weights are the solution of a support vector machine, and the same numbers are the value vectors of a
self-attention layer trained with a hinge loss: the duality of Zhang et al. (2024). Here the equations are cells that
run, each checked against something that is not this package.
"""

import numpy as np
import torch
from dowhy_cina.data import COVARIATES, OUTCOME, TREATMENT, load_nsw
from matplotlib import pyplot
from sklearn.svm import SVC

from dowhy_cina import CinaPerDataset, estimate_effect
from dowhy_cina.mathematics.balancing import (
    Convention,
    alpha_from_values,
    dual_objective,
    exact_intercept,
    imbalance,
    key_normaliser,
    make_feasible,
    margin_scores,
    primal_objective,
    relative_duality_gap,
    values_from_alpha,
    weights_from_alpha,
)
from dowhy_cina.mathematics.kernels import gaussian_gram, median_bandwidth
from dowhy_cina.mathematics.solvers import factorise
from dowhy_cina.model.attention import cina_attention
from dowhy_cina.tables import Preprocessor

# %%
# The kernel
# ----------
# 445 men of the NSW experiment, 8 covariates. Keys are standardised covariates, and the attention kernel is Gaussian,
# :math:`\kappa_{ij} = \exp(-|k_i - k_j|^2 / 2 b^2)`, with :math:`b` the median distance of two men. Signs are
# :math:`W_i = 2 T_i - 1`. All functions take a batch of tables, so that a first axis of one is added.

table = load_nsw("experiment")
keys = torch.from_numpy(Preprocessor().fit_transform(table[COVARIATES]))[None]
signs = torch.from_numpy(2.0 * table[TREATMENT].to_numpy() - 1)[None]
outcome = torch.from_numpy(table[OUTCOME].to_numpy())[None]
bandwidth = median_bandwidth(keys[0])
gram = gaussian_gram(keys, bandwidth)
features = factorise(gram)  # gram = features @ features.T: whatever is stated for features holds for any kernel
lam = torch.tensor([0.1], dtype=torch.float64)
print(f"{gram.shape[1]} men, bandwidth {bandwidth:.2f}")

# %%
# It is torch's attention
# -----------------------
# With the logits :math:`k_i \cdot k_j / b^2` and the bias :math:`-|k_j|^2 / 2 b^2` on each key, softmax attention over
# keys has the Gaussian kernel: the row-wise factor cancels. The layer below is
# ``torch.nn.functional.scaled_dot_product_attention`` to rounding.

values = torch.randn(gram.shape[:2], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
bias = -keys.square().sum(-1) / (2 * bandwidth**2)
theirs = torch.nn.functional.scaled_dot_product_attention(
    keys, keys, values[..., None], attn_mask=bias[:, None, :].expand_as(gram), scale=1 / bandwidth**2
)[..., 0]
normaliser = key_normaliser(features)  # h_j, the sum of a column of the kernel
ours = cina_attention(features, values, normaliser, Convention.ROWS)
print(f"largest difference from torch's attention: {float((ours - theirs).abs().max()):.1e}")

# %%
# Which side attention is normalised on decides which values are dual to which problem
# (:class:`dowhy_cina.mathematics.balancing.Convention`). From here on it is the queries, the package's default:
#
# .. math:: f_i = \sum_j \kappa_{ij} \frac{v_j}{h_j} + b_0, \qquad
#    L(v) = \frac{\lambda}{2} \sum_{ij} \frac{v_i}{h_i} \kappa_{ij} \frac{v_j}{h_j} + \sum_i \max(0, 1 - W_i f_i).

# %%
# Dual, primal and their gap
# --------------------------
# The dual (Eq. 3) balances covariates: it wants large :math:`\alpha` and a small imbalance of the arms,
#
# .. math:: \max_{0 \le \alpha \le 1} \; 1'\alpha - \frac{1}{2 \lambda} (\alpha W)' \kappa (\alpha W)
#    \quad \text{subject to} \quad W'\alpha = 0.
#
# :class:`dowhy_cina.CinaPerDataset` solves it; Eq. 6 at the function of its :math:`\alpha` has the same value.

fitted = CinaPerDataset(regularisation=float(lam)).fit(table[COVARIATES], table[TREATMENT])
alpha = torch.from_numpy(fitted.alpha_)[None]
print(f"dual   {float(dual_objective(features, alpha, signs, lam)):.6f}")
print(f"primal {float(primal_objective(features, alpha, signs, lam)):.6f}")
print(f"relative gap {float(relative_duality_gap(features, alpha, signs, lam)):.1e}")

# %%
# Any values have a gap that is not negative: it is a certificate, not a diagnosis of the solver.

rough = make_feasible(torch.rand(alpha.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)), signs)
print(f"random dual variables: relative gap {float(relative_duality_gap(features, rough, signs, lam)):.3f}")

# %%
# A support vector machine
# ------------------------
# Scikit-learn's SVC, with the treatment as label, finds the same function. Where men of one arm have the very same
# covariates, only the sum of their :math:`\alpha` is determined; so functions are compared, not single numbers.

machine = SVC(C=1.0, kernel="precomputed", tol=1e-7).fit(gram[0].numpy() / 0.1, signs[0].numpy())
scores = margin_scores(features, alpha, signs, lam)
margin = (scores + exact_intercept(scores, signs)[:, None])[0].numpy()
print(f"largest difference from SVC: {np.abs(margin - machine.decision_function(gram[0].numpy() / 0.1)).max():.1e}")

# %%
# Values are weights
# ------------------
# :math:`\alpha_j = \lambda v_j / (h_j W_j)`: the solution goes into the attention layer as its values, comes out of the
# layer as the margin, and can be read back from the values.

values = values_from_alpha(alpha, signs, normaliser, lam)
attention = cina_attention(features, values, normaliser)
print(f"attention minus margin: {float((attention - scores).abs().max()):.1e}")
read = alpha_from_values(values, signs, normaliser, lam)
print(f"alpha from values minus alpha: {float((read - alpha).abs().max()):.1e}")

# %%
# Normalised in each arm they are the weights of the estimate, which ``estimate_effect(..., checkpoint="exact",
# augmentation="none")`` gives in one call.

weights = weights_from_alpha(alpha, signs)
by_hand = float((weights * signs * outcome).sum())
result = estimate_effect(table[COVARIATES], table[TREATMENT], table[OUTCOME], checkpoint="exact", augmentation="none")
print(f"by hand {by_hand:,.1f}, CinaPerDataset {fitted.effect(table[OUTCOME]):,.1f}, exact {result.value:,.1f}")

# %%
# The worst case
# --------------
# If the mean outcome is a function of norm at most :math:`B` in the kernel's space, imbalance shifts the difference of
# the arms by at most :math:`B \sqrt{(wW)'\kappa(wW)}`. Equal weights against ours:

equal = weights_from_alpha(torch.ones_like(alpha), signs)
zero = torch.zeros_like(features[:, 0])
before, after = (float(imbalance(features, w * signs, zero)) for w in (equal, weights))
print(f"worst-case shift per unit norm: {before:.4f} with equal weights, {after:.4f} with balancing weights")
print(result.summary())

# %%
# Zero-shot, then refined
# -----------------------
# A pretrained model gives values in one forward pass, and its gap says how good they are. ``refine`` continues from
# there. On the model's kernel, the gap after each step from the zero-shot values and from zero:

from dowhy_cina.calls.direct import analyse  # noqa: E402
from dowhy_cina.config import EstimatorOptions  # noqa: E402
from dowhy_cina.mathematics.solvers import DUAL_STEP, RELAXATION  # noqa: E402
from dowhy_cina.mathematics.splitting import Splitting, dual_program  # noqa: E402

analysis = analyse(table[COVARIATES], table[TREATMENT], table[OUTCOME], options=EstimatorOptions(augmentation="none"))
model, state, rows = analysis._model, analysis._state, analysis._table
with torch.no_grad():
    zero_shot = model.values(rows, state)
    penalty, phi = model.regularisation(state), state.balance_features
    from_zero = Splitting(dual_program(phi, rows.signs, penalty), torch.full_like(penalty, DUAL_STEP))

    def gaps(solver, steps):
        """Relative gap at the start, as far as there is one, and after each step."""
        found = []
        for _ in range(steps):
            found.append(float(relative_duality_gap(phi, solver.solution, rows.signs, penalty)))
            solver.run(1, RELAXATION)
        return np.minimum.accumulate(found)

    curves = {
        "from the zero-shot values": gaps(zero_shot.solver.with_step(from_zero.step), 100),
        "from zero": gaps(from_zero, 100),
    }

figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
for label, curve in curves.items():
    axes.semilogy(curve, label=label)
axes.axhline(1e-2, color="grey", linewidth=0.8, linestyle=":")
axes.set(xlabel="steps after the start", ylabel="relative duality gap", title="NSW experiment, arm against arm")
axes.legend()
