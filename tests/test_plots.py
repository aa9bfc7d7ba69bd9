"""Colours that hold on both grounds and for every eye, plain ticks, poor labels and alt text refused."""

import io
import itertools
import re
from pathlib import Path

import matplotlib.colors as mcolors
import matplotlib.pyplot as plt
import numpy as np
import pytest

from scalebook import plots
from scalebook.errors import UserError
from scalebook.estimate import Estimate
from scalebook.ticks import linear_ticks, log_ticks, tick_text

CSS = (Path(plots.__file__).parent / "assets" / "explorer.css").read_text(encoding="utf-8")

# full loss of one kind of cone, linear RGB (Machado, Oliveira and Fernandes 2009, IEEE TVCG 15:1291)
BLINDNESS = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear(colour):
    c = np.array(mcolors.to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    """Contrast ratio of WCAG 2.2."""
    low, high = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (one, other))
    return (high + 0.05) / (low + 0.05)


def oklab(rgb):
    """Perceptual coordinates (Ottosson 2020) of linear RGB; a distance of 0.02 is just noticeable."""
    to_cones = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
                [0.0883024619, 0.2817188376, 0.6299787005]]  # fmt: skip
    to_lab = [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
              [0.0259040371, 0.7827717662, -0.8086757660]]  # fmt: skip
    return np.array(to_lab) @ np.cbrt(np.array(to_cones) @ np.clip(rgb, 0, 1))


def test_contrast_of_black_on_white_is_21():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_keeps_4_5_to_1_and_marks_3_to_1_on_the_ground(mode):
    assert contrast(plots.INK[mode], plots.GROUND[mode]) >= 7
    assert contrast(plots.MUTED[mode], plots.GROUND[mode]) >= 4.5
    assert min(contrast(colour, plots.GROUND[mode]) for colour in plots.PALETTE[mode]) >= 3


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("eye", [None, *BLINDNESS])
def test_colours_stay_apart_for_every_eye(mode, eye):
    seen = np.eye(3) if eye is None else np.array(BLINDNESS[eye])
    labs = [oklab(seen @ linear(colour)) for colour in plots.PALETTE[mode]]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(labs, 2)) >= 0.08


def test_the_explorers_use_the_same_colours_on_both_grounds():
    blocks = re.findall(r"\{\s*(--sb-s0[^}]*)\}", CSS)  # light, dark, and light again for paper
    found = [re.findall(r"--sb-s\d: (#[0-9a-f]{6})", block) for block in blocks]
    assert found == [list(plots.PALETTE[mode]) for mode in ("light", "dark", "light")]


def draw():
    figure, ax = plt.subplots()
    m = np.array([10, 20, 50, 100])
    plots.loglog(ax, m, [Estimate(1 / v, 0.9 / v, 1.1 / v, 8) for v in m], label="ours")
    plots.loglog(ax, m, 2 / m, label="theory", index=1, interval=(1.8 / m, 2.2 / m), hollow=True, line=False)
    grid = np.geomspace(10, 100, 20)
    plots.fit_band(ax, grid, (1 / grid, 0.9 / grid, 1.1 / grid), label="fit")
    plots.fit_band(ax, grid, lambda x: 0.5 / x, index=2, dashed=True)
    plots.label_axes(ax, x="width m (features)", y="loss (sum of squares)", title="Loss")
    plots.reference_line(ax, -1, (20, 0.06), "1/m")
    ax.legend()
    return figure


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_every_text_of_a_figure_is_legible_on_its_ground(mode):
    with plots.theme(mode):
        figure = draw()
        figure.canvas.draw()
        texts = [t for t in figure.findobj(plt.Text) if t.get_text().strip() and t.get_visible()]
        assert len(texts) > 8
        assert min(contrast(t.get_color(), plots.GROUND[mode]) for t in texts) >= 4.5
        assert min(t.get_fontsize() for t in texts) >= 10
        assert tuple(figure.get_size_inches()) == (6.4, 4.0)
        assert mcolors.to_hex(figure.get_facecolor()) == plots.GROUND[mode]
        assert mcolors.to_hex(figure.axes[0].lines[0].get_color()) == plots.PALETTE[mode][0]
        plots.close(figure)


def test_theme_leaves_the_settings_as_they_were_and_the_same_figure_gives_the_same_bytes():
    before = dict(plt.rcParams)
    pictures = []
    for _ in range(2):
        with plots.theme("dark"):
            figure = draw()
            buffer = io.BytesIO()
            figure.savefig(buffer, format="svg", metadata={"Date": None})
            pictures.append(buffer.getvalue())
            plots.close(figure)
    assert dict(plt.rcParams) == before
    assert pictures[0] == pictures[1]
    with pytest.raises(UserError, match="light or dark"), plots.theme("sepia"):
        pass


def test_a_figure_is_placed_once_and_gives_the_bytes_that_matplotlib_gives():
    def draw():
        figure, axes = plt.subplots(1, 2, sharey=True)
        for index, ax in enumerate(axes):
            plots.loglog(ax, [1, 10, 100], [3, 2, 1], label="a long name", index=index)
            plots.label_axes(ax, x="width (units)", y="loss (bits)", title="Title")
            ax.legend()
        return figure

    def saved(suffix, metadata):
        figure = draw()
        figure.savefig(io.BytesIO(), format="png", dpi=160)  # the place of a PNG is the SVG's too
        figure.set_layout_engine("none")
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, dpi=160, metadata=metadata)
        plots.close(figure)
        return buffer.getvalue()

    with plots.theme("dark"):
        wanted = {"png": saved("png", {"Software": None}), "svg": saved("svg", {"Date": None})}
        figure = draw()
        found = plots.rendered(figure)
        plots.close(figure)
    assert {suffix: found[suffix] == content for suffix, content in wanted.items()} == {"png": True, "svg": True}


def test_log_axes_carry_plain_numbers_and_error_bars_end_at_the_interval():
    with plots.theme("light"):
        figure = draw()
        figure.canvas.draw()
        ax = figure.axes[0]
        assert [t.get_text() for t in ax.get_xticklabels()] == ["10", "20", "30", "50", "70", "100"]
        ends = ax.collections[0].get_segments()[0][:, 1]
        assert ends == pytest.approx([0.09, 0.11])
        plots.close(figure)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (10, 100, ["10", "20", "30", "50", "70", "100"]),
        (0.009, 1.1, ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1"]),
        (1, 1000, ["1", "3", "10", "30", "100", "300", "1000"]),
        (1, 1e5, ["10⁰", "10¹", "10²", "10³", "10⁴", "10⁵"]),
        (1e-9, 1e6, ["10⁻⁹", "10⁻⁶", "10⁻³", "10⁰", "10³", "10⁶"]),
        (2e6, 9e6, ["2 × 10⁶", "3 × 10⁶", "4 × 10⁶", "5 × 10⁶", "7 × 10⁶"]),
        (40, 55, ["40", "50"]),
    ],
)
def test_log_ticks(low, high, labels):
    assert [text for _, text in log_ticks(low, high)] == labels


def test_linear_ticks_and_numbers_as_text():
    assert [text for _, text in linear_ticks(-0.1, 1.05)] == ["0", "0.25", "0.5", "0.75", "1"]
    assert [tick_text(v) for v in (0, -1.5, 0.0002, 99999, 2e7, -1e-6)] == [
        "0",
        "−1.5",
        "0.0002",
        "99999",
        "2 × 10⁷",
        "−10⁻⁶",
    ]


def test_helpers_refuse_what_a_reader_could_not_use():
    figure, ax = plt.subplots()
    with pytest.raises(UserError, match="no unit"):
        plots.label_axes(ax, x="width", y="loss (nats)")
    with pytest.raises(UserError, match="label it with label_axes"):
        plots.require_labels(figure)
    with pytest.raises(UserError, match="at or below 0"):
        plots.loglog(ax, [1, 2], [0, 1], label="a")
    with pytest.raises(UserError, match="shapes"):
        plots.loglog(ax, [1, 2], [1, 1, 1], label="a")
    plots.loglog(ax, [1, 2], [1, 2], label="a")
    with pytest.raises(UserError, match="does not cross"):
        plots.reference_line(ax, 0, (1, 1e6), "far")
    plots.close(figure)


def test_axes_that_share_a_scale_share_its_label_and_colour_bars_count_too():
    with plots.theme("light"):
        figure, (left, right) = plt.subplots(1, 2, sharey=True)
        plots.label_axes(left, x="width (features)", y="loss (nats)")
        right.set_xlabel("width (features)")
        plots.require_labels(figure)
        right.set_xlabel("width")
        with pytest.raises(UserError, match="Axes 2 of the figure: the x axis"):
            plots.require_labels(figure)
        plots.close(figure)


def test_alt_text():
    text = plots.alt("Loss against width on log axes", "three parallel lines", slope=Estimate(-1.02, -1.08, -0.97, 8))
    assert text == "Loss against width on log axes: three parallel lines. Slope −1.02 (−1.08 to −0.97)."
    assert plots.alt("Bars", "tallest at the left", share_kept=0.25) == "Bars: tallest at the left. Share kept 0.25."
    for arguments, reason in [
        (("Loss", "falls"), "20 to 300"),
        (("Loss against width", "x" * 300), "20 to 300"),
        (("A figure of loss against width", "falls at slope 1"), "screen reader"),
        (("Loss against width", "falls steadily"), "no number"),
    ]:
        with pytest.raises(UserError, match=reason):
            plots.alt(*arguments)
