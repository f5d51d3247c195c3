"""What the paper's Table 1 and its localisation say, and whether a comparison agrees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .difference import difference
from .method_runs import MethodRuns
from .texts import p_value

AGREES, DIFFERS, UNSURE = "agrees", "does not agree", "cannot be told from noise"


@dataclass(frozen=True)
class Claim:
    """One figure of one method against another's, by the paper: ``sign`` 1 higher, −1 lower."""

    method: str
    other: str
    figure: str
    sign: int
    text: str


CLAIMS = (
    Claim("3D ResNet", "2D MIL", "auc", 1, "A 3-D network beats slices (AUC 0.880 against 0.842)"),
    Claim("3D Sparse MIL", "3D ResNet", "auc", 1, "Sparse labels help (AUC 0.885 against 0.880)"),
    Claim("3D DK-MT", "3D ResNet", "auc", 1, "Domain knowledge helps (AUC 0.883 against 0.880)"),
    Claim(
        "3D DK-MT",
        "3D ResNet",
        "specificity",
        -1,
        "Unbalanced grades cost specificity (0.643 against 0.783)",
    ),
    Claim(
        "3D ResNet + NSL", "3D ResNet", "auc", -1, "The cosine alone costs a little (AUC 0.874 against 0.880)"
    ),
    Claim("3D ResNet + CMSL", "3D ResNet", "auc", 1, "The margin helps (AUC 0.902 against 0.880)"),
    Claim(
        "3D ResNet + CMSL",
        "3D ResNet",
        "specificity",
        1,
        "The margin helps specificity most (0.852 against 0.783)",
    ),
    Claim(
        "3D ResNet + CMSL",
        "3D ResNet + NSL",
        "auc",
        1,
        "The margin, not the cosine (AUC 0.902 against 0.874)",
    ),
)


def judge_claims(methods: Mapping[str, MethodRuns], known: Sequence[dict] = ()) -> list[dict]:
    """Every claim whose methods were compared.

    Parameters
    ----------
    methods : mapping
        Name → runs.
    known : sequence of dict
        Differences that were reckoned already.

    Returns
    -------
    list of dict
        claim, difference, difference_95, p and verdict: one of ``AGREES``, ``DIFFERS`` and ``UNSURE``, the
        last where p ≥ 0.05.
    """
    judged, once = [], {(one["method"], one["baseline"]): one for one in known}
    for claim in CLAIMS:
        if claim.method not in methods or claim.other not in methods:
            continue
        pair = claim.method, claim.other
        if pair not in once:
            once[pair] = difference(methods[pair[0]], methods[pair[1]])
        figures = once[pair][claim.figure]
        value, p = figures["difference"], figures["p"]
        verdict = UNSURE
        if p is not None and p < 0.05:
            verdict = AGREES if value * claim.sign > 0 else DIFFERS
        judged.append(
            {
                "claim": claim.text,
                "difference": value,
                "difference_95": figures["difference_95"],
                "p": p,
                "verdict": verdict,
            }
        )
    return judged


def claim_sentence(one: dict, signed: Callable[[dict], str]) -> str:
    """A judged claim in words."""
    return f"{one['claim']}. Here {signed(one)}, p {p_value(one['p'])}: {one['verdict']}."
