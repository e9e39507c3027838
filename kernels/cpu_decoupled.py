"""DKD and NKD, which part the label from the other classes: closed forms for the CPU.

With the label's logit at -inf the softmax is n, that over the other classes, and 0 at the label. With u the
label's logit less the others' logsumexp, p_y = sigmoid(u) and 1 - p_y = sigmoid(-u), exact at both ends.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from kdzoo.kernels.cpu_rows import Softened, by_blocks, log_sum, row_dot, soften


def _part(softened: Softened, label: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """n [n, C], u [n, 1], the others' logsumexp [n, 1] and the label's entry of v [n, 1], which becomes -inf in v."""
    of_label = softened.v.gather(1, label)
    softened.v.scatter_(1, label, -torch.inf)
    n = torch.softmax(softened.v, dim=1)
    rest = log_sum(softened.v, n)
    u = (of_label - rest).add_(of_label.clamp_min(0), alpha=0)  # NaN with an infinite logit, as softmax is
    return n, u, rest, of_label


def _dkd(
    student: Tensor, teacher: Tensor, target: Tensor, out: Tensor | None, scale: float, *, alpha: float,
    beta: float, temperature: float, standardize: bool,
) -> Tensor:
    label = target[:, None]
    ours, theirs = soften(student, temperature, standardize), soften(teacher, temperature, standardize)
    n_p, u_p, rest_p, of_label = _part(ours, label)
    n_q, u_q, rest_q, _ = _part(theirs, label)
    u = torch.cat([u_p, -u_p, u_q, -u_q], dim=1)
    p_y, _, q_y, q_not = u.sigmoid().split(1, dim=1)
    log_p, log_p_not, log_q, log_q_not = F.logsigmoid(u).split(1, dim=1)
    tckd = (log_q - log_p).mul_(q_y).addcmul_(log_q_not - log_p_not, q_not)
    gap = theirs.v.sub_(ours.v).scatter_(1, label, 0.0)
    nckd = row_dot(n_q, gap).sub_(rest_q).add_(rest_p)
    rows = tckd.mul_(alpha).add_(nckd, alpha=beta).mul_(temperature**2).squeeze(1)
    if out is not None:
        # dTCKD/du = p_y - q_y, du/dv = 1 at the label and -n elsewhere; dNCKD/dv = n_p - n_q.
        lead = (p_y - q_y).mul_(alpha)
        torch.sub(n_p.mul_(beta - lead), n_q, alpha=beta, out=out).scatter_(1, label, lead)
        if standardize:
            ours.v.scatter_(1, label, of_label)
        ours.back(out, temperature**2 * scale)
    return rows


def _nkd(
    student: Tensor, teacher: Tensor, target: Tensor, out: Tensor | None, scale: float, *, gamma: float,
    temperature: float,
) -> Tensor:
    label = target[:, None]
    ours, theirs = soften(student, temperature), soften(teacher, temperature)
    n_p, u_p, rest_p, _ = _part(ours, label)
    n_q, u_q, _, _ = _part(theirs, label)
    others = rest_p - row_dot(n_q, ours.v.scatter_(1, label, 0.0))
    if temperature == 1:
        p, q_y, p_not, log_p_y = None, u_q.sigmoid(), (-u_p).sigmoid(), F.logsigmoid(u_p)
    else:
        log_p = torch.log_softmax(student, dim=1)
        log_p_y = log_p.gather(1, label)
        p, p_not = log_p.exp_(), -log_p_y.expm1()
        q_y = torch.softmax(teacher, dim=1).gather(1, label)
    rows = (q_y * log_p_y).neg_().add_(others, alpha=gamma * temperature**2).squeeze(1)
    if out is not None:
        unit = gamma * temperature * scale  # of d others/dv = n_p - n_q
        missing = (q_y * p_not).mul_(scale)
        # Without a softmax at temperature 1 of its own, p = (1 - p_y) n away from the label.
        torch.sub(n_p.mul_(unit if p is not None else missing + unit), n_q, alpha=unit, out=out)
        if p is not None:
            out.addcmul_(p, q_y, value=scale)
        out.scatter_(1, label, missing.neg_())
    return rows


dkd, nkd = by_blocks(_dkd), by_blocks(_nkd)
