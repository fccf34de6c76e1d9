"""Three kinds of picture: bars, dots on a logarithmic line, and spans between two values."""

import math

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from .svg import colour

WIDTH, HEAD, FOOT, LINE, NAMES = 820, 74, 44, 27, 244
# How wide one letter of the values is at most, in bold.
LETTER = 8.2
# Behind a value, so that no line of the grid goes through it.
UNDER = {"facecolor": colour("card"), "edgecolor": "none", "pad": 1.5}
# Marks that are nearer to one another than this move apart, up and down.
NEAR, APART = 8, 0.16


def canvas(title, subtitle, lines, line=LINE, head=HEAD, right=56, left=NAMES):
    """A card with its words, and axes for so many lines. Everything is in points, which are the pixels of the SVG."""
    height = head + lines * line + FOOT
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
    figure.patch.set_visible(False)
    figure.add_artist(FancyBboxPatch(
        (1 / 72, 1 / 72), (WIDTH - 2) / 72, (height - 2) / 72, boxstyle=f"round,pad=0,rounding_size={8 / 72}",
        transform=figure.dpi_scale_trans, zorder=-1, facecolor=colour("card"), edgecolor=colour("edge"), linewidth=1))
    figure.text(22 / WIDTH, 1 - 28 / height, title, fontsize=16, fontweight="bold", color=colour("ink"), va="center")
    figure.text(22 / WIDTH, 1 - 51 / height, subtitle, fontsize=12, color=colour("soft"), va="center")
    axes = figure.add_axes((left / WIDTH, FOOT / height, 1 - (left + right) / WIDTH, lines * line / height))
    axes.patch.set_visible(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.grid(axis="x", color=colour("grid"), linewidth=1)
    axes.tick_params(length=0, labelcolor=colour("soft"), labelsize=11, pad=6)
    axes.set_ylim(lines - 0.5, -0.5)
    return figure, axes


def names(axes, rows):
    """(name, whether it stands out) of each line."""
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    for label, (_, strong) in zip(axes.get_yticklabels(), rows):
        label.set(color=colour("ink" if strong else "soft"), fontweight="bold" if strong else "normal", fontsize=12)


def bars(title, subtitle, unit, rows):
    """Rows: (name, kind of colour, value, text behind the bar, a longer second value or None)."""
    figure, axes = canvas(title, subtitle, len(rows))
    names(axes, [(name, kind == "ours") for name, kind, *_ in rows])
    ends = [(max(value, second or 0), text) for _, _, value, text, second in rows]
    longest, wide = max(end for end, _ in ends), WIDTH - NAMES - 56
    # So long that every text has its place behind its bar; it may go on where the axes have ended.
    axes.set_xlim(0, max(end * wide / (wide + 40 - LETTER * len(text)) for end, text in ends))
    for line, (_, kind, value, text, second) in enumerate(rows):
        if second and second > value:
            axes.barh(line, second, height=0.62, color=colour("pale"))
        axes.barh(line, value, height=0.62, color=colour(kind))
        axes.text(max(value, second or 0) + longest * 0.01, line, text, va="center", fontsize=12, bbox=UNDER,
                  color=colour("ink" if kind != "peer" else "soft"), fontweight="bold" if kind == "ours" else "normal")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    foot(axes, unit)
    return figure


def dots(title, subtitle, unit, lines, series):
    """Lines: names. Series: (name, colour, marker, {line: value}). 1 is drawn as ours."""
    left, right = 130, 30
    figure, axes = canvas(title, subtitle, len(lines), head=HEAD + 26, right=right, left=left)
    names(axes, [(name, False) for name in lines])
    logarithmic(axes, [value for *_, values in series for value in values.values()] + [1])
    axes.axvline(1, color=colour("ours"), linewidth=2.5)
    for line in range(len(lines)):
        axes.axhline(line, color=colour("grid"), linewidth=1, zorder=0)
    heights = spread(axes, lines, series, WIDTH - left - right)
    handles = [Line2D([], [], color=colour("ours"), linewidth=2.5, label="nginx mod_wsgi")]
    for name, hue, marker, values in series:
        style = dict(color=colour(hue), marker=marker, markersize=8, linestyle="none", markeredgecolor=colour("card"),
                     markeredgewidth=0.8)
        places = [(values[line], number + heights[line, name]) for number, line in enumerate(lines) if line in values]
        axes.plot(*zip(*places), **style)
        handles.append(Line2D([], [], label=name, **style))
    legend(figure, handles)
    foot(axes, unit)
    return figure


def spread(axes, lines, series, wide):
    """{(line, name): how far from the line it is drawn}: those at the same place are drawn above one another."""
    low, high = map(math.log, axes.get_xlim())
    found = {}
    for line in lines:
        places = sorted(((math.log(values[line]) - low) / (high - low) * wide, name)
                        for name, _, _, values in series if line in values)
        groups = []
        for place, name in places:
            if groups and place - groups[-1][-1][0] < NEAR:
                groups[-1].append((place, name))
            else:
                groups.append([(place, name)])
        for group in groups:
            for number, (_, name) in enumerate(group):
                found[line, name] = (number - (len(group) - 1) / 2) * 2 * APART
    return found


def spans(title, subtitle, unit, rows):
    """On a logarithmic line. Rows: (name, kind of colour, low, high, text behind it); the dot is the low one."""
    figure, axes = canvas(title, subtitle, len(rows), right=110)
    names(axes, [(name, kind == "ours") for name, kind, *_ in rows])
    logarithmic(axes, [value for _, _, low, high, _ in rows for value in (low, high)])
    for line, (_, kind, low, high, text) in enumerate(rows):
        axes.plot([low, high], [line, line], color=colour(kind), linewidth=4, solid_capstyle="round", zorder=2)
        axes.plot([low], [line], marker="o", markersize=10, color=colour(kind), zorder=3)
        axes.annotate(text, (high, line), (9, 0), textcoords="offset points", va="center", fontsize=12, bbox=UNDER,
                      color=colour("ink" if kind != "peer" else "soft"), annotation_clip=False,
                      fontweight="bold" if kind == "ours" else "normal")
    foot(axes, unit)
    return figure


def logarithmic(axes, values):
    axes.set_xscale("log")
    axes.set_xlim(min(values) * 0.8, max(values) * 1.25)
    few = max(values) / min(values) < 300
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def foot(axes, unit):
    axes.set_xlabel(unit, color=colour("soft"), fontsize=11, labelpad=4)


def legend(figure, handles):
    height = figure.get_figheight() * 72
    shown = figure.legend(handles=handles, loc="center left", bbox_to_anchor=(14 / WIDTH, 1 - 79 / height), fontsize=11,
                          frameon=False, ncols=len(handles), handletextpad=0.4, columnspacing=1.4, handlelength=1.2)
    for text in shown.get_texts():
        text.set_color(colour("soft"))
