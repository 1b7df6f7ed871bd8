"""Figures that publications print for the methods of a table: copied, never measured here.

They stand apart from the rows that are trained here, since other networks, splits and judges lie behind them. Rates are
shares, with all digits that are printed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

Printed = Mapping[str, str]
"""Figures that a publication prints, by name."""

SUBMITTED = "the paper, as submitted"
CAMERA_READY = "the paper at ICML 2024, as quoted by DiffSDA (ICLR 2026)"
"""The published paper has other figures of its own model in six columns; those of the other methods are not quoted."""
OWN, RAW = "dbse", "raw"
TITLES = {
    OWN: "the paper's model",
    "mocogan": "MoCoGAN",
    "fhvae": "FHVAE",
    "dsvae": "DSVAE",
    "rwae": "R-WAE",
    "s3vae": "S3VAE",
    "skd": "SKD",
    "cdsvae": "C-DSVAE",
    "spyl": "SPYL",
    "vae": "VAE",
    "gpvae": "GP-VAE",
    "glr": "GLR",
    RAW: "raw features (RF)",
}
"""Titles of methods, as the paper writes them."""

_GENERATED = {
    "mocogan": "it has no encoder: Acc is the judge's agreement on two generated clips with the same motion",
    "s3vae": "its Acc was defined as the judge's agreement on a real clip and the generated one, not with the label",
    "skd": "it has no prior: static codes are mixtures of those of other clips, which are easier to decode than draws",
}
_NO_STATIC = "it has no static code, and the paper does not say what its classifier reads"
_SUMMARIES = {"vae": _NO_STATIC, "gpvae": _NO_STATIC}
_UNTOLD = {"cdsvae": "the views of time series that its contrastive terms compare are not described"}


@dataclass(frozen=True)
class Copied:
    """A row of figures that a publication prints."""

    title: str
    method: str
    """Name of the method in sdkit; `raw` for the raw features."""
    edition: str
    """Publication that the figures are copied from."""
    figures: Printed
    note: str = ""
    """Remarks on figures whose meaning differs from that in other rows."""


def _copied(
    columns: tuple[str, ...],
    rows: Mapping[str, tuple[str, ...]],
    camera_ready: tuple[str, ...] = (),
    notes: Mapping[str, str] | None = None,
) -> tuple[Copied, ...]:
    """Return rows of these columns, by method, and the paper's own model in both editions at the end."""
    found = [
        Copied(TITLES[name], name, SUBMITTED, dict(zip(columns, cells, strict=True)), (notes or {}).get(name, ""))
        for name, cells in rows.items()
    ]
    if camera_ready:
        found.append(Copied(TITLES[OWN], OWN, CAMERA_READY, dict(zip(columns, camera_ready, strict=True))))
    return tuple(found)


_VIDEO = ("accuracy", "inception_score", "entropy_given_x", "entropy")
_SPRITES: dict[str, tuple[str, ...]] = {
    "mocogan": ("0.9289", "8.461", "0.090", "2.192"),
    "dsvae": ("0.9073", "8.384", "0.072", "2.192"),
    "rwae": ("0.9898", "8.516", "0.055", "2.197"),
    "s3vae": ("0.9949", "8.637", "0.041", "2.197"),
    "skd": ("1.0000", "8.999", "1.6e-7", "2.197"),
    "cdsvae": ("0.9999", "8.871", "0.014", "2.197"),
    "spyl": ("1.0000", "8.942", "0.006", "2.197"),
    OWN: ("1.0000", "8.942", "0.006", "2.197"),
}
_MUG: dict[str, tuple[str, ...]] = {
    "mocogan": ("0.6312", "4.332", "0.183", "1.721"),
    "dsvae": ("0.5429", "3.608", "0.374", "1.657"),
    "rwae": ("0.7125", "5.149", "0.131", "1.771"),
    "s3vae": ("0.7051", "5.136", "0.135", "1.760"),
    "skd": ("0.7745", "5.569", "0.052", "1.769"),
    "cdsvae": ("0.8116", "5.341", "0.092", "1.775"),
    "spyl": ("0.8571", "5.548", "0.066", "1.779"),
    OWN: ("0.8753", "5.598", "0.049", "1.775"),
}
# Table 9 adds a spread to two rows of Table 1.
_SPRITES_DRAWS = {
    **_SPRITES,
    "spyl": ("1.0000 ± 0", "8.942 ± 3.3e-5", "0.006 ± 4e-6", "2.197 ± 0"),
    OWN: ("1.0000 ± 0", "8.942 ± 7e-5", "0.006 ± 3e-6", "2.197 ± 0"),
}
_MUG_DRAWS = {
    **_MUG,
    "spyl": ("0.8571 ± 0.009", "5.548 ± 0.039", "0.066 ± 0.004", "1.779 ± 0.006"),
    OWN: ("0.8753 ± 0.009", "5.598 ± 0.068", "0.049 ± 0.008", "1.775 ± 0.013"),
}
_MUG_CAMERA_READY = ("0.8690", "5.598", "0.041", "1.782")

SPRITES = _copied(_VIDEO, _SPRITES, notes=_GENERATED)
MUG = _copied(_VIDEO, _MUG, _MUG_CAMERA_READY, _GENERATED)
SPRITES_DRAWS = _copied(_VIDEO, _SPRITES_DRAWS, notes=_GENERATED)
MUG_DRAWS = _copied(_VIDEO, _MUG_DRAWS, _MUG_CAMERA_READY, _GENERATED)
MORTALITY = _copied(
    ("auprc", "auroc"),
    {
        "vae": ("0.157 ± 0.05", "0.564 ± 0.04"),
        "gpvae": ("0.282 ± 0.09", "0.699 ± 0.02"),
        "cdsvae": ("0.158 ± 0.01", "0.565 ± 0.01"),
        "glr": ("0.365 ± 0.09", "0.752 ± 0.01"),
        "spyl": ("0.367 ± 0.02", "0.764 ± 0.04"),
        RAW: ("0.446 ± 0.04", "0.802 ± 0.04"),
        OWN: ("0.447 ± 0.02", "0.849 ± 0.01"),
    },
    ("0.473", "0.858"),
    _UNTOLD,
)
OIL = _copied(
    ("mae",),
    {
        "vae": ("13.66 ± 0.20",),
        "gpvae": ("14.98 ± 0.41",),
        "cdsvae": ("12.53 ± 0.88",),
        "glr": ("12.27 ± 0.03",),
        "spyl": ("12.22 ± 0.03",),
        RAW: ("12.09 ± 0.01",),
        OWN: ("11.39 ± 0.34",),
    },
    ("11.21 ± 0.01",),
    _UNTOLD,
)
ICU = _copied(
    ("accuracy",),
    {
        "vae": ("0.3471 ± 0.0023",),
        "gpvae": ("0.4247 ± 0.0202",),
        "cdsvae": ("0.3254 ± 0.0000",),
        "glr": ("0.3893 ± 0.0248",),
        "spyl": ("0.4698 ± 0.0304",),
        RAW: ("0.6200 ± 0.0210",),
        OWN: ("0.5542 ± 0.0023",),
    },
    ("0.5687 ± 0.0034",),
    _SUMMARIES | _UNTOLD,
)
MONTH = _copied(
    ("accuracy",),
    {
        "vae": ("0.2717 ± 0.0003",),
        "gpvae": ("0.3673 ± 0.0140",),
        "cdsvae": ("0.4707 ± 0.0120",),
        "glr": ("0.5032 ± 0.0387",),
        "spyl": ("0.5793 ± 0.0353",),
        RAW: ("0.6243 ± 0.0054",),
        OWN: ("0.6207 ± 0.0087",),
    },
    ("0.6587 ± 0.0001",),
    _SUMMARIES | _UNTOLD,
)
TIMIT = _copied(
    ("static_eer", "dynamic_eer", "gap"),
    {
        "fhvae": ("0.0506", "0.2277", "0.1771"),
        "dsvae": ("0.0564", "0.1920", "0.1356"),
        "rwae": ("0.0473", "0.2341", "0.1868"),
        "s3vae": ("0.0502", "0.2551", "0.2049"),
        "skd": ("0.0446", "0.2678", "0.2232"),
        "cdsvae": ("0.0403", "0.3181", "0.2778"),
        "spyl": ("0.0341", "0.3322", "0.2981"),
        OWN: ("0.0383", "0.3675", "0.3337"),
    },
    ("0.0350", "0.3462", "0.3111"),
)
