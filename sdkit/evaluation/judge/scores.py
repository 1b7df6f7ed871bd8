"""Scores of a model by a judge: all of them, and those of the paper's Tables 1 and 9 by name."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sdkit.evaluation.base import BOTH_CODES, REPEATS, Case, EvaluationProtocol, Line, Needs, number, percent, refusal
from sdkit.evaluation.data import Parts
from sdkit.evaluation.downstream.tasks import Baselines, Figures, Result
from sdkit.evaluation.judge import generation, msd, swapping
from sdkit.evaluation.judge.classifier import Judge
from sdkit.evaluation.judge.generation import ProtocolScores, Spread
from sdkit.evaluation.judge.msd import Intervention
from sdkit.evaluation.judge.swapping import SwapScores, SwapTruth
from sdkit.evaluation.judge.training import find_judge
from sdkit.evaluation.plain import plain
from sdkit.runtime.capabilities import Abilities
from sdkit.runtime.progress import Reporter
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.runtime.verbs.arrays import Verbs

SCORES = {"accuracy": "Acc", "inception_score": "IS", "entropy_given_x": "H(y|x)", "entropy": "H(y)"}
"""Titles of the scores of a factor whose code is kept, as in the paper."""
NEEDED = {"dynamic_kept": "resample_static", "static_kept": "resample_dynamic", "swaps": BOTH_CODES}
"""Verb that a score needs beside `reconstruct`, by name of the score."""
ALL_DRAWN = ("generate", "decode")
"""Verbs that the agreement on generated sequences needs."""
ENCODERLESS = (
    "it has no encoder: agreement is the share of generated pairs, of one d and two draws of s, that the judge gives "
    "one class; a model that draws a single class has it in full, which H(y) of its draws shows"
)

TOGETHER = {"static": "all static factors at once", "dynamic": "all dynamic factors at once", "all": "all at once"}
"""Titles of the joint scores of swaps."""


@dataclass(frozen=True)
class JudgeScores:
    """All scores of one model; None where the model lacks a verb for them."""

    accuracy_on_real: dict[str, float]
    """Accuracy of the judge on real sequences, by factor: no row can be trusted further than this."""
    weights: str
    """SHA-256 of the judge's weights."""
    real: ProtocolScores
    reconstruction: ProtocolScores
    dynamic_kept: ProtocolScores | None
    static_kept: ProtocolScores | None
    swaps: SwapScores | None
    swap_truth: SwapTruth | str | None
    """Errors against true swaps, or the reason where labels do not determine the true swap."""
    msd: dict[str, Intervention]


def unjudged(verbs: Verbs, file: SequenceFile) -> dict[str, str]:
    """Return why a model lacks scores, by name of the score."""
    reasons = {score: refusal(verbs.abilities, (verb,), file.steps) for score, verb in NEEDED.items()}
    return {score: reason for score, reason in reasons.items() if reason}


def unjudgeable(file: SequenceFile) -> str:
    """Return why there is no judge for a file, in one line; an empty text where there is one."""
    if file.factors and file.element.traits.pictorial:
        return ""
    return "judges are trained for labelled images"


def judge_of(case: Case) -> Judge:
    """Return the judge of a case's file, found or trained for the first protocol that asks for it."""
    return case.once(
        "judge", lambda: find_judge(case.file, folder=case.judges, device=case.device, reporter=case.reporter)
    )


def judge_scores(
    verbs: Verbs,
    judge: Judge,
    file: SequenceFile,
    *,
    repeats: int,
    seed: int,
    reporter: Reporter,
    real: ProtocolScores | None = None,
) -> JudgeScores:
    """Judge real, reconstructed, resampled and swapped test sequences, as far as a model can produce them.

    `real` are the scores of the real sequences, if they are known.
    """
    options: dict[str, Any] = {"reporter": reporter}
    draws = {"repeats": repeats, "seed": seed, **options}
    missing = unjudged(verbs, file)
    static = None if "static_kept" in missing else generation.static_kept(verbs, judge, file, **draws)
    dynamic = None if "dynamic_kept" in missing else generation.dynamic_kept(verbs, judge, file, **draws)
    swaps, truth, scores = None, None, []
    if "swaps" not in missing:
        swaps = swapping.swap_scores(verbs, judge, file, seed=seed, **options)
        found, reason = swapping.swap_truth(verbs, file, seed=seed, **options)
        truth = found or reason
        scores.append(msd.two_factor_swap(swaps))
    if static is not None and dynamic is not None:
        scores.append(msd.two_factor_sample(static, dynamic))
    return JudgeScores(
        judge.accuracy(file),
        judge.weights_sha256(),
        real or generation.real(judge, file, **options),
        generation.reconstruction(verbs, judge, file, **options),
        dynamic,
        static,
        swaps,
        truth,
        {score.name: score for score in scores},
    )


class JudgeProtocol(EvaluationProtocol):
    """Scores of a model's sequences by a classifier that was trained on the same labels."""

    name = section = "judge"
    needs = Needs(verbs=("reconstruct",), factors=1)

    def unmet(self, case: Case) -> str:
        """Return why nothing is judged."""
        return unjudgeable(case.file) or super().unmet(case)

    def run(self, case: Case) -> dict[str, Any]:
        """Find or train the judge of the file, and judge the test split; scores that are not possible are left out."""
        file, reporter = case.file, case.reporter
        judge = judge_of(case)
        case.skipped |= {f"judge, {score}": reason for score, reason in unjudged(case.verbs, file).items()}
        real = case.once_for_data("judge on real", lambda: generation.real(judge, file, reporter=reporter))
        draws: dict[str, Any] = {"repeats": case.repeats, "seed": case.seed, "reporter": reporter}
        found = judge_scores(case.declared, judge, file, **draws, real=real)
        return {name: plain(value) for name, value in vars(found).items() if value is not None}

    def lines(self, found: Any) -> Iterator[Line]:
        """Yield the accuracies, each with chance or its bound."""
        least = min(found["accuracy_on_real"].values())
        yield Line(self.section, "least accuracy on real sequences", percent(least), "bounds all below")
        for title, part in (("d kept, s drawn", "dynamic_kept"), ("s kept, d drawn", "static_kept")):
            if part in found:
                yield from self._kept(title, found[part], found["real"] if part == "dynamic_kept" else None)
        yield from self._swaps(found["swaps"]) if "swaps" in found else ()
        yield from self._truth(found.get("swap_truth"))
        for name, score in found["msd"].items():
            yield Line(self.section, name, number(score["score"]["mean"]), "1 is best")

    def _kept(self, title: str, scores: Any, bound: Any) -> Iterator[Line]:
        for name, factor in scores["factors"].items():
            wanted = "should be kept" if factor["kept"] else f"should be lost: chance {percent(factor['chance'])}"
            yield Line(self.section, f"{title}: {name}", percent(factor["accuracy"]["mean"]), wanted)
            if factor["kept"]:
                agrees, beside = percent(factor["agreement"]["mean"]), f"drawn from {scores['drawn_from']}"
                yield Line(self.section, f"{title}: {name} as judged on the real sequence", agrees, beside)
            if bound is not None and factor["kept"]:
                values, best = (
                    ", ".join(number(part[score]["mean"]) for score in SCORES if score != "accuracy")
                    for part in (factor, bound["factors"][name])
                )
                yield Line(self.section, f"{title}: IS, H(y|x), H(y)", values, f"real sequences {best}")

    def _swaps(self, swaps: Any) -> Iterator[Line]:
        for name, factor in swaps["factors"].items():
            beside = f"chance {percent(factor['chance'])}"
            yield Line(self.section, f"swap: {name}", percent(factor["accuracy"]), beside)
            if factor["leaked"] is not None:
                beside += f"; {factor['differing']} swaps of sources that differ"
                yield Line(self.section, f"swap: {name} of the other source", percent(factor["leaked"]), beside)
        kinds = [factor["kind"] for factor in swaps["factors"].values()]
        for name, joint in swaps["joint"].items():
            if kinds.count(name) == 1:
                continue  # that of the one factor, which stands above
            beside = f"chance {percent(joint['chance'])}; a code unread {percent(joint['unread'])}"
            yield Line(self.section, f"swap: {TOGETHER[name]}", percent(joint["accuracy"]), beside)

    def _truth(self, truth: Any) -> Iterator[Line]:
        if not isinstance(truth, dict):
            return
        names = ("swap", "reconstruction", "copy")
        for steps, errors in (
            ("all steps", [truth[name] for name in names]),
            ("step 1", [truth[f"{name}_by_step"][0] for name in names]),
        ):
            swap, back, copy = (number(error, 2) for error in errors)
            beside = f"reconstruction {back}, no swap {copy}"
            yield Line(self.section, f"swap against its truth, {steps}", swap, beside)


@dataclass(frozen=True)
class JudgeTask:
    """Generation as the paper scores it, on one dynamic factor.

    Args:
        factor: factor that dynamic codes should carry: `motion` of Sprites, `expression` of MUG.
        repeats: number of draws of the sampled codes.
    """

    factor: str
    repeats: int = REPEATS

    @property
    def name(self) -> str:
        """Name of the task, which includes the number of draws."""
        return f"judge-{self.factor}-{self.repeats}"

    def unmet(self, abilities: Abilities, steps: int) -> str:
        """Return why a model has no figures: it can neither reconstruct nor generate."""
        reason = refusal(abilities, JudgeProtocol.needs.verbs, steps)
        return reason if refusal(abilities, ALL_DRAWN, steps) else ""

    @property
    def metrics(self) -> Mapping[str, str]:
        """Titles of the figures by name; static factors follow, by their own names."""
        return {
            **SCORES,
            "accuracy": f"{self.factor}, d kept (Acc)",
            "leaked": f"{self.factor} from s",
            "swap_static": "swap, static",
            "swap_dynamic": "swap, dynamic",
            "swap_first": "swap error at step 1",
            "swap_error": "swap error",
            **{f"{name}_draws": f"{title}, std over draws" for name, title in SCORES.items()},
        }

    def run(
        self,
        verbs: Verbs,
        file: SequenceFile,
        parts: Parts,
        *,
        seed: int = 0,
        device: str = "auto",
        reporter: Reporter,
    ) -> Result:
        """Judge a model on the test split; figures that are not possible are left out.

        For a model without an encoder, which keeps no code of a real sequence, the judge's agreement on pairs of
        generated sequences is returned, which is no accuracy and has a column of its own.
        """
        judge = find_judge(file, device=device, reporter=reporter)
        if refusal(verbs.abilities, JudgeProtocol.needs.verbs, file.steps):
            draws: dict[str, Any] = {
                "count": len(parts.test),
                "steps": file.steps,
                "repeats": self.repeats,
                "seed": seed,
            }
            drawn = generation.agreement(verbs, judge, self.factor, **draws, reporter=reporter)
            figures = {f"agreement on {self.factor}, d kept": drawn.agreement.mean, "H(y) of draws": drawn.entropy.mean}
            return Result(figures, {}, notes=(ENCODERLESS,))
        found = judge_scores(verbs, judge, file, repeats=self.repeats, seed=seed, reporter=reporter)
        figures = {} if found.dynamic_kept is None else self._protocol(found.dynamic_kept)
        if found.static_kept is not None:
            figures["leaked"] = found.static_kept.factors[self.factor].accuracy.mean
            figures |= _static_factors(found.static_kept)
        if found.swaps is not None and found.swaps.static is not None and found.swaps.dynamic is not None:
            figures |= {"swap_static": found.swaps.static, "swap_dynamic": found.swaps.dynamic}
        if isinstance(found.swap_truth, SwapTruth):
            figures |= {"swap_first": found.swap_truth.swap_by_step[0], "swap_error": found.swap_truth.swap}
        return Result(figures, {})

    def baselines(
        self,
        file: SequenceFile,
        parts: Parts,
        *,
        seed: int = 0,
        device: str = "auto",
        reporter: Reporter | None = None,
    ) -> Baselines:
        """Return the judge's figures on real sequences, and chance."""
        judge = find_judge(file, device=device, reporter=reporter)
        real = generation.real(judge, file, reporter=reporter)
        guess = {"accuracy": real.factors[self.factor].chance, "leaked": real.factors[self.factor].chance}
        chances = {f"static {n}": s.chance for n, s in real.factors.items() if s.kind == "static"}
        return {
            "real sequences": {**self._protocol(real), **_static_factors(real)},
            "guessing": {**guess, **chances},
        }

    def _protocol(self, scores: ProtocolScores) -> Figures:
        spreads: dict[str, Spread] = {name: getattr(scores.factors[self.factor], name) for name in SCORES}
        drawn = {f"{name}_draws": spread.std for name, spread in spreads.items() if spread.std is not None}
        return {**{name: spread.mean for name, spread in spreads.items()}, **drawn}


def _static_factors(scores: ProtocolScores) -> Figures:
    return {f"static {name}": s.accuracy.mean for name, s in scores.factors.items() if s.kind == "static"}
