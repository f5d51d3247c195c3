"""The candidate classifier: an ensemble that judges each candidate, learned from labels of whole exams, and
from lesions where they are known.

A network that reads a whole exam has to find a lesion of a few voxels among two hundred thousand, and its
cells are wider than most lesions. Here candidates are found first and described by features. A small network
judges each beside the exam's ordinary candidate and the exam's duration: what is suspicious in one woman is
background in another, and a curve that falls in three minutes says more than one that falls in fifteen. An
exam holds a cancer if any of its candidates is one. So its logit is made of theirs by multiple-instance
aggregation,

    z = log(Σ exp(s z_i)) / s                                  (log-sum-exp of sharpness s)

and labels of whole exams are enough to learn which candidates are cancers, and s with them. What they teach
least is where a faint cancer lies, one that enhances like a benign lesion: nothing there is suspicious, and
any odd patch of tissue wins. Where all lesions of a training exam are known, as in simulated ones, each
question is also learned by itself. And some further members do not see the curve. They tell cancers from
benign lesions less well, but lesions from tissue. They have a say in a candidate's probability, and so in
which comes first, but none in the exam's score.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from .features import CURVE, GROUPS, feature_groups
from .settings import CandidateSettings

# Candidates of other scanners and women lie farther out than those of the training exams: nothing is read
# from how far, and noise in training keeps single features from deciding
FARTHEST = 2.5
NOISE = 0.3
NO_CANDIDATE = -9.2  # logit of an exam without candidates, 1 in 10,000
UNKNOWN_DURATIONS = 0.1  # share of training exams whose duration is withheld: files lack times too


class CandidateClassifier(nn.Module):
    """Features (n, features) → logits (n,) that a candidate is a cancer.

    Members that differ by their random numbers alone agree on what is like the training exams, and less on
    what is not. The last of them, ``settings.members_without_curve``, do not see the group
    ``features.CURVE``.

    Parameters
    ----------
    settings : CandidateSettings, optional
    """

    def __init__(self, settings: CandidateSettings | None = None):
        super().__init__()
        self.settings = s = settings or CandidateSettings()
        count = len(s.features)
        self.register_buffer("mean", torch.zeros(count + 1))
        self.register_buffer("spread", torch.ones(count + 1))
        self.members = nn.ModuleList(
            nn.Sequential(
                nn.Linear(2 * count + 1, s.hidden),  # the candidate's own features, and its context
                nn.ReLU(),
                nn.Dropout(0.4),
                nn.Linear(s.hidden, s.hidden // 2),
                nn.ReLU(),
                nn.Dropout(0.2),
                nn.Linear(s.hidden // 2, s.questions),
            )
            for _ in range(s.members + s.members_without_curve)
        )
        # 1 where a member sees a feature, 0 where not; it follows from the settings and is no weight
        groups = feature_groups(s.phases)
        self.groups = np.array([groups[name] for name in s.features])
        without_curve = (self.groups != CURVE).astype(float).tolist()
        seen = [[1.0] * (2 * count + 1)] * s.members + [
            [*without_curve, *without_curve, 1.0]
        ] * s.members_without_curve
        self.seen = torch.tensor(seen, device="cpu")
        for member in self.members:
            nn.init.constant_(member[-1].bias[0], -2.0)  # most candidates are no lesion
            nn.init.zeros_(member[-1].bias[1:])  # and of lesions about half are cancers

    def forward(self, features: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Mean logit of the members that see all features, of which the exam's logit is made.

        Parameters
        ----------
        features : Tensor, shape (n, features)
        context : Tensor, shape (n, features + 1) or (1, features + 1)
            :func:`context_of` the exam that each candidate belongs to.

        Returns
        -------
        Tensor of float32, shape (n,)
        """
        return self.member_logits(features, context)[: self.settings.members].mean(0)

    def member_logits(self, features: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """(members, n) logits, those without the curve last."""
        return both_true(self.answers(features, context))

    def answers(self, features: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """(members, n, questions) logits of a lesion, and of a malignant one if it is a lesion. In training
        every member sees noise of its own.
        """
        standard = self.standardise(features)
        views = [standard] * len(self.members)
        if self.training:
            views = [standard + NOISE * torch.randn_like(standard) for _ in self.members]
        return self._answers(views, self.standardise(context))

    def _answers(self, views: list[torch.Tensor], context: torch.Tensor) -> torch.Tensor:
        """(members, n, questions) logits of what each member sees, both standardised."""
        context = context.expand(len(views[0]), -1)
        members = zip(self.members, views, self.seen)
        return torch.stack([member(torch.cat([own, context], dim=1) * seen) for member, own, seen in members])

    def standardise(self, values: torch.Tensor) -> torch.Tensor:
        """Standard deviations from the training exams' mean, at most ``FARTHEST``; 0 for what is not known.

        Parameters
        ----------
        values : Tensor, shape (n, features) or (n, features + 1)
            Features, or contexts, which begin as features do.
        """
        count = values.shape[1]
        standard = (values.float().clamp(-10, 10) - self.mean[:count]) / self.spread[:count]
        return standard.clamp(-FARTHEST, FARTHEST).nan_to_num(nan=0.0)

    @torch.inference_mode()
    def logits(self, features: np.ndarray, duration_min: float | None) -> tuple[np.ndarray, np.ndarray]:
        """Logits of an exam's candidates, on the CPU.

        Parameters
        ----------
        features : ndarray of float32, shape (candidates, features)
        duration_min : float or None

        Returns
        -------
        of_exam : ndarray of float32, shape (candidates,)
            Of the members that see all features, for the exam's score.
        of_candidates : ndarray of float32, shape (candidates,)
            Of all members, to tell its candidates apart.
        """
        each = self.member_logits(torch.from_numpy(features), context_of(features, duration_min))
        return each[: self.settings.members].mean(0).numpy(), each.mean(0).numpy()

    @torch.inference_mode()
    def reasons(self, features: np.ndarray, duration_min: float | None, number: int) -> dict[str, float]:
        """What one candidate's logit, by all members, loses when a group of features is that of a mean
        candidate.

        Parameters
        ----------
        features : ndarray of float32, shape (candidates, features)
            Of all the exam's candidates: the others, and the duration, stay what they are.
        duration_min : float or None
        number : int
            Of the candidate.

        Returns
        -------
        dict of str to float
            By group of ``features.GROUPS``, strongest first.
        """
        context = self.standardise(context_of(features, duration_min))
        changed = self.standardise(torch.from_numpy(features[number : number + 1])).repeat(len(GROUPS) + 1, 1)
        for row, group in enumerate(GROUPS):
            changed[row, self.groups == group] = 0.0
        logits = both_true(self._answers([changed] * len(self.members), context)).mean(0)
        fall = (logits[-1] - logits[:-1]).tolist()
        return dict(sorted(zip(GROUPS, fall), key=lambda pair: -abs(pair[1])))


def context_of(features: np.ndarray, duration_min: float | None) -> torch.Tensor:
    """What candidates are judged beside: the exam's ordinary candidate, and the logarithm of its duration.

    The ordinary candidate is the median of each feature, the exam's background. One lesion more or less does
    not move medians, so that they cannot tell a training exam's label by themselves, as means would: then any
    of its candidates could be called the cancer.

    Parameters
    ----------
    features : ndarray of float32, shape (candidates, features)
    duration_min : float or None

    Returns
    -------
    Tensor of float32, shape (1, features + 1)
        The last is not a number where the duration is not known.
    """
    ordinary = np.median(features, axis=0) if len(features) else np.zeros(features.shape[1])
    log_duration = math.nan if duration_min is None else math.log(duration_min)
    return torch.tensor([*ordinary, log_duration], dtype=torch.float32)[None]


def both_true(answers: torch.Tensor) -> torch.Tensor:
    """Logit that a candidate is a lesion and a malignant one: logit(σ(l) σ(m)).

    Parameters
    ----------
    answers : Tensor, shape (..., questions)
        l and m; of one question, as earlier classifiers have, its logit.

    Returns
    -------
    Tensor of float32, shape (...)
    """
    if answers.shape[-1] == 1:
        return answers[..., 0]
    lesion, malignant = answers.float().unbind(-1)
    return -torch.logsumexp(torch.stack([-lesion, -malignant, -lesion - malignant]), 0)


def noisy_or(logits: torch.Tensor, dim: int = -1) -> torch.Tensor:
    """Multiple-instance aggregation: logit of 1 − Π (1 − σ(z_i)) = log(exp Σ softplus(z_i) − 1).

    Parameters
    ----------
    logits : Tensor
        z_i along ``dim``; −inf marks one that is none.

    Returns
    -------
    Tensor of float32
        Without ``dim``; very low where there are none.
    """
    total = nn.functional.softplus(logits.float()).sum(dim).clamp(1e-4, 80.0)
    return total + torch.log(-torch.expm1(-total))


def aggregate(logits: torch.Tensor, sharpness: float | torch.Tensor, dim: int = -1) -> torch.Tensor:
    """Multiple-instance aggregation: log(Σ exp(s z_i)) / s, the logit of an exam.

    It lies at or above the highest z_i, towards it as s grows; with s = 1 the odds add up, much as in
    :func:`noisy_or`. By these two 40 candidates of 3 % are an exam of 55 or 70 %, with s = 2 of 16 %. Each
    candidate gets the share of the gradient that it has in the sum.

    Parameters
    ----------
    logits : Tensor
        z_i along ``dim``; −inf marks one that is none.
    sharpness : float or Tensor
        s > 0; 0 takes :func:`noisy_or`, as models without a sharpness do.
    dim : int

    Returns
    -------
    Tensor of float32
        Without ``dim``; ``NO_CANDIDATE`` where there are none.
    """
    if not torch.is_tensor(sharpness) and not sharpness:
        return noisy_or(logits, dim)
    logits = logits.float()
    if not logits.shape[dim]:
        return logits.sum(dim) + NO_CANDIDATE
    # a floor, without a say in sums, keeps rows of nothing and their gradients finite
    floored = torch.where(logits.isfinite(), logits, torch.full_like(logits, -1e4))
    return (torch.logsumexp(sharpness * floored, dim) / sharpness).clamp_min(NO_CANDIDATE)


def exam_logit(network_logit: float, candidate_logits: np.ndarray, settings: CandidateSettings) -> float:
    """The exam's logit from network and candidates, uncalibrated: a · network + b · candidates + c of
    ``settings.mix``.
    """
    a, b, c = settings.mix
    return a * network_logit + b * float(aggregate(torch.as_tensor(candidate_logits), settings.sharpness)) + c
