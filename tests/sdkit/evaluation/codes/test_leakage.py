import pytest

from sdkit.evaluation.codes.leakage import LeakageTask
from sdkit.evaluation.data import parts_of
from sdkit.runtime.progress import Quiet
from sdkit.runtime.storage.sequences import SequenceFile
from tests.sdkit.evaluation.labelled import Told, series, verbs

TASK = LeakageTask()


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> SequenceFile:
    return SequenceFile(series(tmp_path_factory.mktemp("leaking") / "waves.h5"))


def test_every_factor_that_can_be_learnt_is_probed_from_both_codes(waves: SequenceFile) -> None:
    """The made-up model reads both static labels and the target from the window into s and d."""
    found = TASK.run(verbs(Told()), waves, parts_of(waves), reporter=Quiet()).figures
    factors, letters = ("ill", "season", "trend"), ("s", "d")
    readers = ("linear", "mlp", "linear sampled")
    assert set(found) == {f"{f} from {c}, {r}" for f in factors for c in letters for r in readers}
    assert found["ill from s, linear"] > 0.95
    assert all(0 <= value <= 1 for value in found.values())


def test_the_baseline_is_the_commonest_training_value(waves: SequenceFile) -> None:
    rows = TASK.baselines(waves, parts_of(waves))
    assert list(rows) == ["majority"]
    assert rows["majority"]["ill from d, mlp"] == pytest.approx(2 / 3, abs=0.05)
    assert rows["majority"]["trend from s, linear"] == pytest.approx(0.5, abs=0.05)
