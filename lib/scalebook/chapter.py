"""What a notebook sees: sizes of the profile, random generators by name, paper cards, figures, claims, the result file."""

from __future__ import annotations

import base64
import os
import re
import sys
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import numpy as np
from IPython.display import HTML, display, publish_display_data

from scalebook import cards, plots
from scalebook.errors import DataNotHere, MeasurementError, UserError
from scalebook.estimate import Estimate
from scalebook.paths import atomic_write, build_dir, dump_json
from scalebook.records import Claim, Profile
from scalebook.register import load_register
from scalebook.verdict import judge_claim, not_run

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from matplotlib.figure import Figure

T = TypeVar("T")
PROFILES = get_args(Profile)
LARGEST_SEED = 2**31 - 1
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class Chapter:
    """One run of one chapter: everything random, measured or drawn in the notebook passes through here.

    ``profile`` is quick, full or large; ``seed`` an integer from 0 to 2^31-1; further keywords are the knobs that a
    reader may turn, recorded with the results. Results go to ``$SCALEBOOK_RUN_DIR`` (set by the runner), else to
    ``_build/interactive/``, and are rewritten as a whole after every step, so that a crash leaves a readable file.
    Raises UserError for an unknown chapter, profile or seed.
    """

    def __init__(self, slug: str, *, profile: str = "quick", seed: int = 1000, **knobs: Any) -> None:
        if profile not in PROFILES:
            raise UserError(f"Profile {profile!r} is unknown; choose one of {', '.join(PROFILES)}.")
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= LARGEST_SEED:
            raise UserError(f"Seed {seed!r} is not usable; give a whole number from 0 to {LARGEST_SEED}.")
        self.slug, self.profile, self.seed = slug, profile, seed
        self.register = load_register(slug)
        self._claims: dict[str, Claim] = {claim.id: claim for paper in self.register.papers for claim in paper.claims}
        named = os.environ.get("SCALEBOOK_RUN_DIR")
        self.folder = Path(named) if named else build_dir() / "interactive" / profile / str(seed) / slug
        self._results: dict[str, Any] = {
            "chapter": slug, "profile": profile, "seed": seed, "parameters": knobs,
            "complete": False, "claims": {}, "glue": {}, "figures": [],
        }  # fmt: skip
        self._seconds: dict[str, float] = {}
        self._clock = time.perf_counter()
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)
        self._save()
        display(HTML(cards.style()))

    def by_profile(self, *, quick: T, full: T, large: T | None = None) -> T:
        """Return the size that belongs to this profile; ``large`` is ``full`` unless it says otherwise."""
        return {"quick": quick, "full": full, "large": full if large is None else large}[self.profile]

    def replicates(self, claim_id: str) -> int:
        """Return the number of units that the register fixed for a claim in this profile."""
        count = self._claim(claim_id).replicates.at(self.profile)
        if count is None:
            raise UserError(f"{claim_id}: the register plans no replicates for profile {self.profile}.")
        return count

    def rng(self, name: str, replicate: int = 0) -> np.random.Generator:
        """Return the generator of one named source of randomness and replicate.

        Seeded by ``SeedSequence([seed, crc32(name), replicate])``: neighbouring seeds and replicates share nothing, and
        adding an experiment never changes another's numbers.
        """
        return np.random.default_rng(self._sequence(name, replicate))

    def torch_rng(self, name: str, replicate: int = 0) -> torch.Generator:
        """Return a torch generator seeded from the same sequence as `rng`."""
        import torch

        state = self._sequence(name, replicate).generate_state(1, np.uint64)[0]
        return torch.Generator().manual_seed(int(state >> np.uint64(1)))

    def paper(self, key: str) -> None:
        """Show the card of a paper with its claims and rules; place it before the experiment."""
        for paper in self.register.papers:
            if paper.key == key:
                display(HTML(cards.paper_card(paper)))
                return
        raise UserError(f"{self.slug} has no paper {key!r}; it has {', '.join(p.key for p in self.register.papers)}.")

    def figure(
        self,
        name: str,
        draw: Callable[[], Figure],
        *,
        caption: str,
        alt: str,
        data: pd.DataFrame | None = None,
        key: bool = False,
    ) -> None:
        """Draw a figure for light and dark grounds, show it, and save it with its data.

        ``draw`` takes nothing and returns a matplotlib figure; it is called once per ground inside `plots.theme`.
        ``alt`` says what the eye should see (20 to 300 characters, not "figure of"); ``data`` is saved as CSV beside
        the pictures; ``key`` marks the chapter's figure to remember.
        """
        _check_name("figure", name)
        if not 20 <= len(alt) <= 300 or alt.lower().startswith(("figure of", "image of", "plot of")):
            raise UserError(f"Figure {name}: alt text of {len(alt)} characters; give 20 to 300 that say what the eye should see.")
        images = []
        for mode in ("light", "dark"):
            with plots.theme(mode):
                picture = draw()
                plots.require_labels(picture)
                for suffix, content in plots.rendered(picture).items():
                    atomic_write(self.folder / "figures" / f"{name}.{mode}.{suffix}", content)
                    if suffix == "png":
                        images.append(
                            f'<img class="only-{mode}" data-file="{name}.{mode}.png" alt="{escape(alt)}" '
                            f'src="data:image/png;base64,{base64.b64encode(content).decode()}">'
                        )
                plots.close(picture)
        link = ""
        if data is not None:
            table = data.to_csv(index=False, float_format="%.6g")
            atomic_write(self.folder / "figures" / f"{name}.csv", table)
            encoded = base64.b64encode(table.encode()).decode()
            link = f' <a data-file="{name}.csv" download="{name}.csv" href="data:text/csv;base64,{encoded}">Data (CSV)</a>'
        display(HTML(
            f'<figure class="sb-figure" id="fig-{name}"><div class="sb-scroll" role="group" aria-label="{name}" tabindex="0">'
            f"{''.join(images)}</div><figcaption>{caption}{link}</figcaption></figure>"
        ))  # fmt: skip
        others = [figure for figure in self._results["figures"] if figure["name"] != name]
        self._results["figures"] = [*others, {"name": name, "alt": alt, "caption": caption, "key": key}]
        self._save()

    def given(
        self, tables: Sequence[str | Callable[[], pd.DataFrame]], measure: Callable[..., dict[str, Any]]
    ) -> dict[str, Any]:
        """Return ``measure(*tables)``, or ``{"not_here": reason}`` where a table is not on this machine.

        Each table is the key of a published one, or a function that returns one and raises DataNotHere where it cannot:
        ``lambda: datasets.suite("M")``. What comes back is handed on as ``ch.claim(id, **found)``: the claim is then
        not run and says why, and nothing stops. Under the runner, which fetches tables beforehand, no network is used.
        """
        from scalebook import published

        download = "SCALEBOOK_RUN_DIR" not in os.environ
        try:
            found = [published.load(one, download=download) if isinstance(one, str) else one() for one in tables]
        except DataNotHere as reason:
            display(HTML(f'<p class="sb-reason">Not run here. {escape(str(reason))}</p>'))
            return {"not_here": str(reason)}
        return measure(*found)

    def claim(
        self,
        claim_id: str,
        *,
        spans: Mapping[str, Any] | None = None,
        not_here: str | None = None,
        **measurements: Estimate,
    ) -> None:
        """Judge a claim by its registered rule and show the strip.

        One keyword per measure of the register, each an Estimate. ``spans`` gives, for measures that are exponents, the
        x values they were fitted over (the atlas shows the decades). ``not_here`` says which data is missing: the claim is
        then not run. Raises MeasurementError, naming the measure, when a judged measure is missing, a measure is unknown
        or is not an Estimate.
        """
        claim = self._claim(claim_id)
        for name, value in measurements.items():
            if name not in claim.measures:
                raise MeasurementError(f"{claim_id}: unknown measure {name!r}; the register has {', '.join(claim.measures)}.")
            if not isinstance(value, Estimate):
                raise MeasurementError(
                    f"{claim_id}: {name} is a {type(value).__name__}; give an Estimate (Estimate.exact(x) when exact)."
                )
        result = not_run(claim, not_here) if not_here else judge_claim(claim, measurements, self.profile)
        self._results["claims"][claim_id] = {
            "verdict": result.verdict,
            "reason": result.reason,
            "paper": next(p.key for p in self.register.papers if any(c.id == claim_id for c in p.claims)),
            "fidelity": claim.fidelity,
            "parts": [{"measure": p.measure, "low": p.low, "high": p.high, "state": p.state} for p in result.parts],
            "control": {k: getattr(result.control, k) for k in ("measure", "state", "reason")},
            "measurements": {
                name: {k: getattr(value, k) for k in ("value", "low", "high", "n", "reason")}
                for name, value in measurements.items()
            },
            "spans": {name: [float(np.min(x)), float(np.max(x))] for name, x in (spans or {}).items()},
        }
        now = time.perf_counter()
        self._seconds[claim_id], self._clock = round(now - self._clock, 3), now
        self._results["complete"] = set(self._results["claims"]) == set(self._claims)
        self._save()
        display(HTML(cards.claim_strip(claim, result, measurements)))

    def glue(self, name: str, value: object, form: str = "{}") -> None:
        """Hand a number of the run to the prose, where ``{glue:text}`` prints it; ``form`` is its format.

        Of an Estimate the value is printed, or "none" where it has none (no fit). None is printed as "(not run)": what
        depends on a table that is not here.
        """
        text = "(not run)" if value is None else value.text(form) if isinstance(value, Estimate) else form.format(value)
        text = re.sub(r"^-(0(?:\.0*)?)$", r"\1", text)  # a rounded nothing has no sign
        self._results["glue"][name] = text
        self._save()
        publish_display_data(
            # The page reads this as a literal: bare, "1,547" would be a pair, "+0.50" 0.5.
            {"application/papermill.record/text/plain": repr(text)},
            metadata={"scrapbook": {"name": name, "mime_prefix": "application/papermill.record/"}},
        )

    def beside(
        self, theirs: Mapping[str, float], ours: Mapping[str, float], names: tuple[str, str] = ("original", "this run")
    ) -> pd.DataFrame:
        """Return the sizes of an original beside ours, and the gap, written as powers of ten: one row a size.

        Both mappings have the same keys, such as ``"training tokens"``, and values above zero. Each gap is also handed
        to the prose as the number of powers of ten between the two: ``{glue:text}`gap-training-tokens` ``. Raises
        MeasurementError where keys differ or a value is not a number above zero.
        """
        import pandas as pd

        if list(theirs) != list(ours):
            raise MeasurementError(f"beside: {names[0]} has {list(theirs)} and {names[1]} {list(ours)}; give the same sizes.")
        table = pd.DataFrame({names[0]: theirs, names[1]: ours}).astype(float)
        if not (np.isfinite(table) & (table > 0)).to_numpy().all():
            raise MeasurementError(f"beside: every size is a number above zero; given were {theirs} and {ours}.")
        powers = np.log10(table.assign(gap=table[names[0]] / table[names[1]]))
        for size, gap in powers["gap"].items():
            self.glue("gap-" + re.sub(r"[^a-z0-9]+", "-", str(size).lower()).strip("-"), gap, "{:z.0f}")
        return powers.map("10^{:z.1f}".format)

    def _claim(self, claim_id: str) -> Claim:
        if claim_id not in self._claims:
            raise UserError(f"{self.slug} has no claim {claim_id!r}; the register has {', '.join(self._claims)}.")
        return self._claims[claim_id]

    def _sequence(self, name: str, replicate: int) -> np.random.SeedSequence:
        return np.random.SeedSequence([self.seed, zlib.crc32(name.encode()), replicate])

    def _save(self) -> None:
        atomic_write(self.folder / "results.json", dump_json(self._results))
        atomic_write(self.folder / "claim_seconds.json", dump_json(self._seconds))


def _check_name(kind: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise UserError(f"{kind} name {name!r}: use small letters and digits joined by hyphens, as in loss-against-width.")
