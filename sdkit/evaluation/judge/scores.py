"""What a judge sees in a model's sequences: all its scores, and those of the paper's Tables 1 and 9 by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sdkit.evaluation.codes.encoded import Parts
from sdkit.evaluation.downstream.tasks import Baselines, Figures, Result
from sdkit.evaluation.judge import generation, msd, swapping
from sdkit.evaluation.judge.classifier import Judge, find_judge
from sdkit.evaluation.judge.generation import ProtocolScores, Spread
from sdkit.evaluation.judge.msd import Intervention
from sdkit.evaluation.judge.swapping import SwapScores, SwapTruth
from sdkit.runtime.progress import Reporter
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.runtime.verbs.arrays import Verbs

SCORES = {"accuracy": "Acc", "inception_score": "IS", "entropy_given_x": "H(y|x)", "entropy": "H(y)"}
"""Of a factor whose code is kept, as the paper calls them."""


@dataclass(frozen=True)
class Judged:
    """All scores of one model."""

    accuracy_on_real: dict[str, float]
    """The judge's own, by factor: no row can be trusted further than this."""
    weights: str
    """SHA-256 of the judge's."""
    real: ProtocolScores
    reconstruction: ProtocolScores
    dynamic_kept: ProtocolScores
    static_kept: ProtocolScores
    swaps: SwapScores
    swap_truth: SwapTruth | str
    """A reason where labels do not tell the true swap."""
    msd: dict[str, Intervention]


def judged(verbs: Verbs, judge: Judge, file: SequenceFile, *, repeats: int, seed: int, reporter: Reporter) -> Judged:
    """Judge real, reconstructed, resampled and swapped test sequences."""
    options: dict[str, Any] = {"reporter": reporter}
    static = generation.static_kept(verbs, judge, file, repeats=repeats, seed=seed, **options)
    dynamic = generation.dynamic_kept(verbs, judge, file, repeats=repeats, seed=seed, **options)
    swaps = swapping.swap_scores(verbs, judge, file, seed=seed, **options)
    truth, reason = swapping.swap_truth(verbs, file, seed=seed, **options)
    scores = (msd.two_factor_swap(swaps), msd.two_factor_sample(static, dynamic))
    return Judged(
        judge.accuracy(file),
        judge.weights_sha256(),
        generation.real(judge, file, **options),
        generation.reconstruction(verbs, judge, file, **options),
        dynamic,
        static,
        swaps,
        truth or reason,
        {score.name: score for score in scores},
    )


@dataclass(frozen=True)
class JudgeTask:
    """Generation as the paper scores it, on one dynamic factor.

    Args:
        factor: that dynamic codes should carry: `motion` of Sprites, `expression` of MUG.
        repeats: draws of the codes that are sampled.
    """

    factor: str
    repeats: int = generation.REPEATS

    @property
    def name(self) -> str:
        """Of the task; draws are part of it."""
        return f"judge-{self.factor}-{self.repeats}"

    @property
    def metrics(self) -> Mapping[str, str]:
        """What each figure is, by name; static factors follow, by their own names."""
        return {
            **SCORES,
            "accuracy": f"{self.factor}, d kept (Acc)",
            "leaked": f"{self.factor} from s",
            "swap_static": "swap, static",
            "swap_dynamic": "swap, dynamic",
            "swap_anchor": "swap error at step 1",
            "swap_error": "swap error",
            **{f"{name}_draws": f"{title}, std over draws" for name, title in SCORES.items()},
        }

    def run(self, verbs: Verbs, file: SequenceFile, parts: Parts, *, seed: int = 0, reporter: Reporter) -> Result:
        """Judge a model on the test split."""
        judge = find_judge(file, reporter=reporter)
        found = judged(verbs, judge, file, repeats=self.repeats, seed=seed, reporter=reporter)
        figures = self._protocol(found.dynamic_kept)
        figures["leaked"] = found.static_kept.factors[self.factor].accuracy.mean
        for name, scores in found.static_kept.factors.items():
            if scores.kind == "static":
                figures[f"static {name}"] = scores.accuracy.mean
        if found.swaps.static is not None and found.swaps.dynamic is not None:
            figures |= {"swap_static": found.swaps.static, "swap_dynamic": found.swaps.dynamic}
        if isinstance(found.swap_truth, SwapTruth):
            figures |= {"swap_anchor": found.swap_truth.swap_by_step[0], "swap_error": found.swap_truth.swap}
        return Result(figures, {})

    def baselines(
        self, file: SequenceFile, parts: Parts, *, seed: int = 0, reporter: Reporter | None = None
    ) -> Baselines:
        """Return the judge on real sequences, and chance."""
        judge = find_judge(file, reporter=reporter)
        real = generation.real(judge, file, reporter=reporter)
        statics = {f"static {n}": s for n, s in real.factors.items() if s.kind == "static"}
        guess = {"accuracy": real.factors[self.factor].chance, "leaked": real.factors[self.factor].chance}
        return {
            "real sequences": {
                **self._protocol(real),
                **{name: scores.accuracy.mean for name, scores in statics.items()},
            },
            "guessing": {**guess, **{name: scores.chance for name, scores in statics.items()}},
        }

    def _protocol(self, scores: ProtocolScores) -> Figures:
        spreads: dict[str, Spread] = {name: getattr(scores.factors[self.factor], name) for name in SCORES}
        drawn = {f"{name}_draws": spread.std for name, spread in spreads.items() if spread.std is not None}
        return {**{name: spread.mean for name, spread in spreads.items()}, **drawn}
