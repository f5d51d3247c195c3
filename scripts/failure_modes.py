"""Make docs/failure_modes.md and its pictures from simulated exams: ``python scripts/failure_modes.py``.

Each case is a simulated exam with something wrong, or hard, about it. It is checked and analysed as any exam,
with the shipped model or ``--model``; page and pictures say what came out, so that they follow the model.
Where a case depends on what the model gets wrong, a few exams are tried until one shows it; the page says
when none did. Needs matplotlib (the extra "train").
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from web_picture import save

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from BreastCMSLLib.core.errors import BreastCMSLError  # noqa: E402
from BreastCMSLLib.core.geometry import Volume, apply_affine  # noqa: E402
from BreastCMSLLib.core.resampling import resample  # noqa: E402
from BreastCMSLLib.exam import Exam, Phase, make_exam  # noqa: E402

PAGE = ROOT / "docs" / "failure_modes.md"
PICTURES = ROOT / "docs" / "images" / "failure_modes"
VOXEL_MM = 2.0
FAR_MM = 20.0  # a peak farther from every lesion marks something else
TRIES = 2  # exams analysed for a case that depends on what the model gets wrong
FIRST_SEED = 9_100_000  # outside every cohort


@dataclass
class Try:
    """An exam to analyse.

    Attributes
    ----------
    lesions
        (RAS mm, malignant) of what it truly holds.
    note
        How it was made, after "Simulated exam N".
    left
        What the left slice shows: "subtraction", or "pre" (the volume before contrast).
    """

    exam: Exam
    lesions: list[tuple[np.ndarray, bool]]
    seed: int
    note: str = ""
    left: str = "subtraction"


@dataclass
class Outcome:
    """What came out: the analysis (None when refused), its sentences, findings of the input check."""

    tried: Try
    analysis: object | None
    refusal: str
    findings: list[str]

    @property
    def peak(self) -> np.ndarray | None:
        return None if self.analysis is None else np.array(self.analysis.result["peaks"][0]["ras_mm"])

    def distance(self, malignant: bool | None = None) -> float:
        """mm from the peak to the nearest true lesion (of a class)."""
        places = [place for place, of in self.tried.lesions if malignant is None or of == malignant]
        return min((float(np.linalg.norm(self.peak - place)) for place in places), default=float("inf"))


@dataclass(frozen=True)
class Case:
    """A section of the page.

    Attributes
    ----------
    slug
        File name.
    what, do
        The page's text.
    tries
        Exams in the order to try.
    shows
        Whether an outcome is the failure.
    """

    slug: str
    title: str
    what: str
    do: str
    tries: Callable[[], Iterator[Try]]
    shows: Callable[[Outcome], bool] = lambda outcome: True


# ---------------------------------------------------------------- exams


def simulated(seed: int, malignant: bool = True, *, voxel_mm: float = VOXEL_MM, with_t1: bool = True) -> Try:
    from training.simulation import simulate

    simulation = simulate(seed, malignant, voxel_mm=voxel_mm, with_t1=with_t1)
    lesions = [(np.array(lesion["ras_mm"]), lesion["malignant"]) for lesion in simulation.lesions]
    return Try(simulation.exam, lesions, seed)


def seeds(wanted: Callable[[dict], bool], malignant: bool = True, first: int = FIRST_SEED) -> Iterator[int]:
    """Seeds whose exam has the wanted facts, told from a coarse simulation of it."""
    from training.simulation import simulate

    for seed in range(first, first + 2000):
        if wanted(simulate(seed, malignant, voxel_mm=6.0, with_t1=False).facts):
            yield seed


def plain(facts: dict) -> bool:
    """One lesion of 14 to 22 mm in a breast with ordinary background enhancement."""
    return (
        facts["lesions"] == 1
        and 7 < facts["first_mm"] < 11
        and facts["background"] < 1.2
        and 500 < facts["breast_ml"] < 2500
    )


def one(change: Callable[[Try], Try], **options) -> Callable[[], Iterator[Try]]:
    """The first plain exam, changed."""
    return lambda: iter([change(simulated(next(seeds(plain)), **options))])


def rebuilt(
    tried: Try, arrays: list[np.ndarray], note: str, affine: np.ndarray | None = None, **options
) -> Try:
    """The exam with other voxels in its phases (in the given order), at their times."""
    phases = [tried.exam.pre, *tried.exam.post]
    grid = tried.exam.grid.affine if affine is None else affine
    changed = [
        replace(p, volume=Volume(np.ascontiguousarray(a), grid)) for p, a in zip(phases, arrays, strict=True)
    ]
    t1 = None if affine is not None else tried.exam.t1
    exam = make_exam(changed, kind="phases", keep_order=True, t1=t1, **options)
    return replace(tried, exam=exam, note=note)


def arrays_of(exam: Exam) -> list[np.ndarray]:
    return [p.volume.array for p in (exam.pre, *exam.post)]


def moved(tried: Try) -> Try:
    arrays = arrays_of(tried.exam)
    voxels = round(8.0 / VOXEL_MM)
    return rebuilt(
        tried,
        [arrays[0], *(np.roll(np.roll(a, voxels, axis=1), voxels // 2, axis=0) for a in arrays[1:])],
        "all phases after contrast moved by 8 mm to the back and 4 mm to the side",
    )


def swapped(tried: Try) -> Try:
    arrays = arrays_of(tried.exam)
    return rebuilt(
        tried,
        [arrays[2], arrays[1], arrays[0], *arrays[3:]],
        "the volume before contrast and the second after it exchanged",
    )


def without_contrast(tried: Try) -> Try:
    arrays, rng = arrays_of(tried.exam), np.random.default_rng(1)
    noise = 0.05 * float(np.percentile(arrays[0], 90))
    still = [
        np.clip(arrays[0] + rng.normal(0, noise, arrays[0].shape), 0, None).astype(np.float32) for _ in arrays
    ]
    return replace(
        rebuilt(tried, still, "every phase a noisy copy of the first: no contrast agent reached the breast"),
        lesions=[],
    )


def with_implants(tried: Try, brightness: float, note: str) -> Try:
    """Ellipsoids of one grey value behind the glandular tissue, which do not enhance."""
    from scipy import ndimage

    arrays = arrays_of(tried.exam)
    lesion = tried.lesions[0][0]
    places = apply_affine(tried.exam.grid.affine, np.indices(arrays[0].shape).reshape(3, -1).T).reshape(
        *arrays[0].shape, 3
    )
    smooth = ndimage.uniform_filter(arrays[0].astype(np.float32), 5)
    body = smooth > 0.15 * np.percentile(smooth, 99)
    front = np.where(body, places[..., 1], -np.inf)
    middle = float(places[..., 0][body].mean())
    implant = np.zeros(arrays[0].shape, bool)
    for side in (-1, 1):
        on_side = side * (places[..., 0] - middle) > 30
        top = np.unravel_index(int(np.where(on_side, front, -np.inf).argmax()), body.shape)
        centre = places[top] - [0, 52.0, 0]
        implant |= (((places - centre) / [38.0, 30.0, 38.0]) ** 2).sum(-1) < 1
    implant &= np.linalg.norm(places - lesion, axis=-1) > 16
    rng = np.random.default_rng(2)
    level = brightness * float(np.percentile(arrays[0][body], 90))
    filled = []
    for array in arrays:
        silicone = np.clip(level + rng.normal(0, 0.03 * level, array.shape), 0, None)
        filled.append(np.where(implant, silicone, array).astype(np.float32))
    return replace(rebuilt(tried, filled, note), left="pre")


def one_side(tried: Try) -> Try:
    """The half of the field of view that holds the lesion, as in an acquisition of one breast."""
    arrays, affine = arrays_of(tried.exam), tried.exam.grid.affine
    column = int(apply_affine(np.linalg.inv(affine), tried.lesions[0][0])[0])
    half = arrays[0].shape[0] // 2
    cut = slice(0, half) if column < half else slice(half, None)
    shifted = affine.copy()
    shifted[:3, 3] = apply_affine(affine, np.array([cut.start, 0.0, 0.0]))
    return rebuilt(tried, [a[cut] for a in arrays], "cut to the half that holds the lesion", affine=shifted)


def subtractions_alone(tried: Try) -> Try:
    exam = tried.exam
    subtractions = [
        Phase(exam.subtraction(n), f"subtraction {n + 1}", time_s=p.time_s) for n, p in enumerate(exam.post)
    ]
    return replace(
        tried,
        exam=make_exam(subtractions, kind="subtractions", keep_order=True),
        note="given as subtractions, without a T1",
    )


def thighs() -> Iterator[Try]:
    rng = np.random.default_rng(0)
    shape, affine = (
        (165, 120, 80),
        np.array([[-2.0, 0, 0, 164.0], [0, -2.0, 0, 119.0], [0, 0, 2.5, -98.0], [0, 0, 0, 1]]),
    )
    x, y, z = np.moveaxis(apply_affine(affine, np.indices(shape).reshape(3, -1).T).reshape(*shape, 3), -1, 0)
    leg = [np.hypot(np.abs(x) - 75, y) < radius for radius in (70, 58)]
    phases = []
    for n in range(5):
        array = (
            80.0 * leg[0]
            + 120.0 * leg[1]
            + rng.normal(0, 4, shape)
            + 12 * n * leg[1] * (1 + 0.5 * np.sin(x / 15) * np.sin(z / 12))
        )
        phases.append(
            Phase(Volume(np.abs(array).astype(np.float32), affine), f"phase {n}", f"thighs {n}", 90.0 * n)
        )
    yield Try(
        make_exam(phases, kind="phases", keep_order=True),
        [],
        0,
        "two cylinders with a rim of fat and enhancing muscle",
    )


def stacked(tried: Try) -> Try:
    return replace(
        rebuilt(
            tried,
            [np.concatenate([a, a], axis=2) for a in arrays_of(tried.exam)],
            "two exams in one volume, one above the other",
        ),
        lesions=tried.lesions,
    )


def several(
    wanted: Callable[[dict], bool], malignant: bool = True, count: int = TRIES
) -> Callable[[], Iterator[Try]]:
    def tries() -> Iterator[Try]:
        for n, seed in enumerate(seeds(wanted, malignant)):
            if n == count:
                return
            yield simulated(seed, malignant)

    return tries


def against_the_wall() -> Iterator[Try]:
    """Exams, given as subtractions alone, whose only lesion a mask of half the resolution leaves out."""
    from BreastCMSLLib.preprocessing.model_input import InputContract, preprocess

    def deep(facts: dict) -> bool:
        return facts["lesions"] == 1 and facts["first_mm"] > 3.5 and facts["depth_mm"] > 50

    contract, tried = InputContract(size=(170, 110, 64), spacing_mm=2.2), 0
    for seed in seeds(deep, first=FIRST_SEED + 50):  # none of the first fifty
        attempt = subtractions_alone(simulated(seed, with_t1=False))
        tried += 1
        if is_outside(preprocess(attempt.exam, contract), attempt.lesions[0][0]) or tried == 60:
            yield attempt
        if tried == 60:
            return


def is_outside(model_input, place_ras: np.ndarray) -> bool:
    place = np.round(apply_affine(np.linalg.inv(model_input.affine), place_ras)).astype(int)
    inside = model_input.inside
    return not (((place >= 0) & (place < inside.shape)).all() and inside[tuple(place)])


def cut_off(outcome: Outcome) -> bool:
    return is_outside(outcome.analysis.model_input, outcome.tried.lesions[0][0])


CASES = [
    Case(
        "motion",
        "Motion between the phases",
        "The patient moved after the injection. Edges of skin and glandular tissue do not cancel in the "
        "subtraction and look like enhancement. What moved as a whole, as here, is moved back before the "
        "analysis; what bent stays.",
        "Look whether edges are left in the subtraction. Try `--register deformable`, or leave out the "
        "phases that do not match.",
        one(moved),
    ),
    Case(
        "wrong_order",
        "Wrong order of the phases",
        "A volume after contrast was taken for the one before it, so that the subtractions are upside "
        "down. Orders come from acquisition times, else from numbers or names, all of which can be wrong "
        "after an export.",
        "Look at the table of phases (in the panel, the report and `result.json`); correct the order there "
        "or give the files in the right order, with `--times`.",
        one(swapped),
    ),
    Case(
        "no_contrast",
        "No contrast agent, or none in the breasts",
        "Nothing enhances: the injection failed or came late, or the same volume was exported several "
        "times. What is left is noise, and the network still gives a number.",
        "Look at the subtraction and at the curve; the exam cannot be used.",
        one(without_contrast),
    ),
    Case(
        "chest_wall",
        "The breast mask ends in front of the lesion",
        "The mask keeps heart and vessels out by ending at the chest wall. In subtractions without another "
        "volume the wall is not seen, and an ordinary one is taken; a lesion that lies against hers can be "
        "cut in part or as a whole, and the network never sees what is outside. The dashed line is the "
        "mask.",
        "Give the T1 or the volume before contrast as well, in which the wall is found. Look behind the "
        "dashed line yourself: a lesion there gets no marker.",
        against_the_wall,
        cut_off,
    ),
    Case(
        "background",
        "Strong background enhancement",
        "Normal glandular tissue that enhances strongly can outshine a cancer, in the map as to the eye. "
        "The model was trained with it, and still misses cancers in it.",
        "Take a marker inside patchy enhancement of both breasts for what it is. Where the clinic allows, "
        "the exam is better repeated in the second week of the cycle.",
        several(lambda f: f["background"] > 1.9 and f["lesions"] == 1 and f["density"] > 0.12),
        lambda outcome: outcome.distance() > FAR_MM,
    ),
    Case(
        "tiny",
        "A tiny cancer",
        "A focus below about 9 mm is a few voxels of the 2.2 mm at which candidates are found, and half of a "
        "cell (17.6 mm) of the network's map: it weighs little against everything else that enhances.",
        "A score below the threshold excludes no small cancer. Read the subtraction itself.",
        several(lambda f: f["lesions"] == 1 and f["first_mm"] < 4.4),
        lambda outcome: outcome.distance() > FAR_MM or not outcome.analysis.result["malignant"],
    ),
    Case(
        "vessel",
        "Muscle, a vessel, the nipple or skin instead of a lesion",
        "Vessels and the nipple enhance fast and strongly, and the mask's edge can take in a stripe of "
        "muscle. In a quiet breast they can be what stands out most.",
        "Follow the marked place through the slices: a vessel goes on, muscle follows the chest wall, the "
        "nipple lies at the skin (the panel shows the depth below it).",
        several(
            lambda f: f["background"] < 0.8 and f["density"] < 0.1 and f["lesions"] == 1, malignant=False
        ),
        lambda outcome: outcome.distance() > FAR_MM,
    ),
    Case(
        "benign",
        "A benign lesion that is called suspicious",
        "Benign lesions enhance too, some of them as cancers do. At a threshold that finds most cancers, "
        "one in four or five is called.",
        "The decision is a matter of the threshold, which stands in the report. It is no diagnosis.",
        several(lambda f: f["lesions"] == 1 and f["first_mm"] > 7, malignant=False, count=8),
        lambda outcome: outcome.analysis.result["malignant"] and outcome.distance() <= FAR_MM,
    ),
    Case(
        "implant",
        "Implants",
        "The model has seen no implants. One that differs in brightness from the fat is seen and reported.",
        "Do not use the score. The map may still be looked at where it lies in front of the implant.",
        one(
            lambda t: with_implants(t, 0.3, "implants painted in that are darker than the fat"), with_t1=False
        ),
    ),
    Case(
        "implant_like_fat",
        "Implants as bright as the fat around them",
        "An implant is recognised by its brightness, which differs from that of fat. One as bright as the "
        "fat looks like a breast of fat: **this is not reported.**",
        "Whoever knows of an implant must not use the score. Give a T1 without fat saturation, on which "
        "implants are dark.",
        one(
            lambda t: with_implants(t, 0.75, "implants painted in that are about as bright as the fat"),
            with_t1=False,
        ),
    ),
    Case(
        "one_breast",
        "Only one breast",
        "The model knows both breasts in one acquisition, and compares them. After a mastectomy, or in an "
        "acquisition of one side, half of what it knows is missing, and the breast mask itself can fail: "
        "here it keeps a rim of skin, and the lesion lies outside it, where nothing can mark it.",
        "Do not use the score. Both sides, where there are two acquisitions, cannot be joined by this "
        "program.",
        one(one_side),
    ),
    Case(
        "no_t1",
        "Subtractions without a T1",
        "The breasts are best outlined on a T1 without fat saturation. From subtractions alone the outline "
        "follows what enhances; it can leave out fat, and whatever lies in it. The dashed line is the mask.",
        "Give the T1 taken before contrast (`--t1`), or the phases themselves instead of the scanner's "
        "subtractions.",
        one(subtractions_alone),
    ),
    Case(
        "stacked",
        "Two exams in one volume",
        "Exports sometimes put two acquisitions into one volume. The program reads 317 mm of it, and takes "
        "what it reads for one body.",
        "Export each acquisition by itself.",
        one(stacked),
    ),
    Case(
        "not_a_breast",
        "Not a breast",
        "Another part of the body with two humps and enhancing muscle, here a pair of thighs. Shapes of "
        "many kinds are reported; the check proves nothing about those that are not.",
        "Look at the pictures before the number.",
        thighs,
    ),
]


# ---------------------------------------------------------------- analysis and page


def run(case: Case, predictor) -> tuple[Outcome, bool, int]:
    """The first outcome that shows the failure, else the last; whether it does; exams analysed."""
    from BreastCMSLLib.checks.input_check import GOOD, check_exam
    from BreastCMSLLib.pipeline import analyze

    outcome, count = None, 0
    for tried in case.tries():
        count += 1
        findings = [f"{f.topic}: {f.text}" for f in check_exam(tried.exam).findings if f.level != GOOD]
        try:
            outcome = Outcome(tried, analyze(tried.exam, predictor), "", findings)
        except BreastCMSLError as error:
            outcome = Outcome(tried, None, str(error), findings)
        if outcome.analysis is None or case.shows(outcome):
            return outcome, True, count
    return outcome, False, count


def draw(outcome: Outcome, path: Path) -> None:
    """Two axial slices: through the true lesion, and through the peak with the map over it."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    exam, analysis = outcome.tried.exam, outcome.analysis
    grid = exam.grid
    image = exam.subtraction(min(1, len(exam.post) - 1)).array
    before = exam.pre.volume.array if outcome.tried.left == "pre" else image
    extent_of = apply_affine(
        grid.affine, np.array([[-0.5, -0.5, 0], [grid.shape[0] - 0.5, grid.shape[1] - 0.5, 0]])
    )
    extent = (
        extent_of[0, 0],
        extent_of[1, 0],
        extent_of[1, 1],
        extent_of[0, 1],
    )  # axes run towards L and P, as simulated exams have them
    lesion = next(
        (place for place, of in sorted(outcome.tried.lesions, key=lambda entry: not entry[1])), None
    )
    centre = apply_affine(grid.affine, (np.array(grid.shape) - 1) / 2)
    first = lesion if lesion is not None else outcome.peak if outcome.peak is not None else centre
    title = "The true lesion" if lesion is not None else "No lesion in this exam"
    panels = [(f"{title}, before contrast" if outcome.tried.left == "pre" else title, first, False)]
    if analysis is not None:
        panels.append(("The map and its peak", outcome.peak, True))
        inside = resample(
            Volume(analysis.model_input.inside.astype(np.float32), analysis.model_input.affine),
            grid.shape,
            grid.affine,
        ).array
    height = 3.9 * abs((extent[3] - extent[2]) / (extent[1] - extent[0]))
    figure, axes = plt.subplots(
        1, len(panels), figsize=(3.9 * len(panels), height + 0.35), dpi=90, facecolor="#101010", squeeze=False
    )
    for axis, (title, place, with_map) in zip(axes[0], panels, strict=True):
        k = int(
            np.clip(round(float(apply_affine(np.linalg.inv(grid.affine), place)[2])), 0, grid.shape[2] - 1)
        )
        shown = image if with_map else before
        high = max(float(np.percentile(shown, 99.7)), 1e-6)
        axis.imshow(
            shown[:, :, k].T, cmap="gray", vmin=0.0, vmax=high, extent=extent, interpolation="bilinear"
        )
        if analysis is not None:
            axis.contour(
                inside[:, :, k].T,
                [0.5],
                colors="#66aaff",
                linewidths=0.8,
                linestyles="--",
                extent=extent,
                origin="upper",
            )
        if with_map:
            heat = analysis.heatmap.array[:, :, k].T
            axis.imshow(
                np.ma.masked_less(heat, analysis.result["map_threshold"]),
                cmap="inferno",
                vmin=0,
                vmax=1,
                alpha=0.55,
                extent=extent,
                interpolation="bilinear",
            )
            axis.plot(*outcome.peak[:2], "+", color="#1affff", markersize=13, markeredgewidth=1.6)
        for other, malignant in outcome.tried.lesions:
            if abs(other[2] - place[2]) < 12:
                color = "#ff5050" if malignant else "#60e060"
                axis.add_patch(plt.Circle(other[:2], 13, fill=False, color=color, linewidth=1.4))
        axis.set_title(title, color="white", fontsize=9)
        axis.set_xlim(extent[0], extent[1])
        axis.set_ylim(extent[2], extent[3])
        axis.text(0.02, 0.94, "R", color="white", transform=axis.transAxes, fontsize=8)
        axis.text(0.95, 0.94, "L", color="white", transform=axis.transAxes, fontsize=8)
        axis.text(0.02, 0.03, "simulated", color="#bbbbbb", transform=axis.transAxes, fontsize=7)
        axis.axis("off")
    figure.tight_layout(pad=0.4)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=figure.get_facecolor())
    plt.close(figure)
    save(Image.open(buffer), path)


def section(case: Case, outcome: Outcome, shown: bool, count: int) -> str:
    tried, analysis = outcome.tried, outcome.analysis
    lines = [f"## {case.title}", "", case.what, ""]
    lines += [f"![{case.title}](images/failure_modes/{case.slug}.webp)", ""]
    origin = f"Simulated exam {tried.seed}" if tried.seed else "A simulated volume"
    if tried.note:
        origin += f", {tried.note}"
    if analysis is None:
        lines += [f"*{origin}.* It is refused: “{outcome.refusal}”", ""]
    else:
        result = analysis.result
        decision = "suspicious" if result["malignant"] else "not suspicious"
        text = f"probability {100 * result['probability']:.0f} % "
        text += f"(threshold {100 * result['threshold']:.0f} %), {decision}"
        if tried.lesions:
            text += f"; the peak lies {outcome.distance():.0f} mm from the centre of the nearest true lesion"
        lines += [f"*{origin}: {text}.*", ""]
        if not shown:
            text = f"None of {count} exams like this one showed the failure with this model"
            lines += [f"{text}; the last of them is shown.", ""]
        nothing = "Nothing." if outcome.findings else "Nothing: no check can know it."
        lines += ["**What is said.** " + (quoted(said(result)) or nothing), ""]
    if outcome.findings:
        lines += [f"**Before the analysis** (`breastcmsl check`, the panel). {quoted(outcome.findings)}", ""]
    return "\n".join([*lines, f"**What to do.** {case.do}", ""])


def said(result: dict) -> list[str]:
    """Reasons why the exam is out of range, then the warnings that no ordinary exam has."""
    reasons = [reason["text"] for reason in result["out_of_range"]]
    ordinary = ("outside the model's field", "interpolated")
    return reasons + [
        w for w in result["warnings"] if w not in reasons and not any(words in w for words in ordinary)
    ]


def quoted(sentences: list[str]) -> str:
    return " ".join(f"“{sentence}”" for sentence in sentences)


HEAD = """# Known failure modes

How the analysis goes wrong, what it says then, and what to do. **All exams here are simulated**, with the
simplest forms of what is wrong; no picture shows a patient. This page and its pictures are made by
`python scripts/failure_modes.py` with the model {model} (SHA-256 {sha}…): change the script, not the page.

In each picture both slices are axial subtractions of the second phase after contrast. Left: the slice through
the true lesion. Right: the slice through the highest point of the map, with the map over it. Red ring: a true
cancer; green ring: a true benign lesion; cross: the peak; dashed line: the breast mask.

"""


def merged(head: str, sections: list[str]) -> list[str]:
    """All sections of the page, those given in place of its own. The page must be of the same model."""
    page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else head
    if not page.startswith(head):
        raise SystemExit("The page is of another model, or of another form; make it anew without --only.")
    kept = {
        text.partition("\n")[0]: text
        for text in (f"## {part}" for part in page[len(head) :].split("## ")[1:])
    }
    kept |= {text.partition("\n")[0]: text for text in sections}
    return [kept[f"## {case.title}"].strip("\n") + "\n" for case in CASES if f"## {case.title}" in kept]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="a model's .json file; default: the shipped one")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="CASE",
        help=f"draw only these, and print their text: {', '.join(c.slug for c in CASES)}",
    )
    options = parser.parse_args()
    from BreastCMSLLib.models.bundle import load_bundle
    from BreastCMSLLib.models.inference import Predictor

    predictor = Predictor(load_bundle(options.model), "cpu")
    PICTURES.mkdir(parents=True, exist_ok=True)
    sections = []
    for case in CASES:
        if options.only and case.slug not in options.only:
            continue
        outcome, shown, count = run(case, predictor)
        draw(outcome, PICTURES / f"{case.slug}.webp")
        sections.append(section(case, outcome, shown, count))
        print(
            f"{case.slug}: {'shown' if shown else 'not shown'} by exam {count}", file=sys.stderr, flush=True
        )
    bundle = predictor.bundle
    head = HEAD.format(model=bundle.name, sha=bundle.sha256[:12])
    if options.only:
        sections = merged(head, sections)
    PAGE.write_text(head + "\n".join(sections), encoding="utf-8")
    for path in PICTURES.glob("*.webp"):
        if path.stem not in {case.slug for case in CASES}:
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
