"""The list of protocols, in the order in which they are run and printed."""

from sdkit.evaluation.base import EvaluationProtocol
from sdkit.evaluation.codes.consistency import (
    OrderSensitivityProtocol,
    StaticStabilityProtocol,
    SwapConsistencyProtocol,
)
from sdkit.evaluation.codes.dci import DCIProtocol
from sdkit.evaluation.codes.leakage import LeakageProtocol
from sdkit.evaluation.codes.use import CodeUseProtocol
from sdkit.evaluation.downstream.tasks import TasksProtocol
from sdkit.evaluation.judge.frechet import FrechetProtocol
from sdkit.evaluation.judge.scores import JudgeProtocol
from sdkit.evaluation.likelihood import LikelihoodProtocol

PROTOCOLS: tuple[EvaluationProtocol, ...] = (
    LikelihoodProtocol(),
    CodeUseProtocol(),
    SwapConsistencyProtocol(),
    StaticStabilityProtocol(),
    OrderSensitivityProtocol(),
    JudgeProtocol(),
    FrechetProtocol(),
    LeakageProtocol(),
    DCIProtocol(),
    TasksProtocol(),
)
