"""Plots as SVG, drawn by hand: bars of one value a peer, latency percentiles on one line a peer, and lines over x."""

from html import escape
from math import ceil, floor, log10

COLOURS = {"vnbd-server": "#0a62c4", "vnbd-client": "#0a62c4", "nbdkit": "#d9730d", "qemu-nbd": "#7a52c7",
           "qemu-storage-daemon": "#7a52c7", "nbd-server": "#1d8f6a", "floor": "#8c96a0", "vumock": "#8c96a0",
           "no disk": "#8c96a0", "fio": "#b5314f"}
OTHER = "#444444"
ROW, BAR, LABEL_WIDTH, VALUE_WIDTH = 20, 11, 132, 62


def colour(peer):
    return COLOURS.get(peer, OTHER)


def number(value):
    """Three digits that count."""
    if value >= 10000:
        return f"{value / 1000:.0f} k"
    if value >= 1000:
        return f"{value / 1000:.1f} k"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def svg(width, height, parts, title):
    return (f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
            f'aria-label="{escape(title, True)}"><title>{escape(title)}</title>{"".join(parts)}</svg>')


def text(x, y, words, anchor="start", style=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{escape(words)}</text>'


def line(x1, y1, x2, y2, stroke, width=1.0):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}" stroke-width="{width}"/>'


def bars(title, rows, width=340):
    """@rows: (peer, median, lowest, highest); the whisker is the spread."""
    room, most = width - LABEL_WIDTH - VALUE_WIDTH, max(high for _, _, _, high in rows) or 1
    parts = []
    for i, (peer, middle, low, high) in enumerate(rows):
        y, length = i * ROW + ROW / 2, room * middle / most
        parts += [text(LABEL_WIDTH - 6, y + 4, peer, "end"),
                  f'<rect x="{LABEL_WIDTH}" y="{y - BAR / 2}" width="{length:.1f}" height="{BAR}" fill="{colour(peer)}"/>',
                  line(LABEL_WIDTH + room * low / most, y, LABEL_WIDTH + room * high / most, y, "#00000088", 1.5),
                  text(LABEL_WIDTH + room * max(middle, high) / most + 5, y + 4, number(middle))]
    return svg(width, len(rows) * ROW, parts, title)


def latencies(title, rows, width=340):
    """@rows: (peer, p50, p99, p99.9), us; on a logarithmic axis, since they lie decades apart."""
    values = [max(v, 0.1) for _, *all_of in rows for v in all_of]
    first, last = floor(log10(min(values))), ceil(log10(max(values)))
    last += first == last
    room = width - LABEL_WIDTH - 24

    def at(value):
        return LABEL_WIDTH + room * (log10(max(value, 0.1)) - first) / (last - first)

    height, parts = len(rows) * ROW, []
    for power in range(first, last + 1):
        parts += [line(at(10 ** power), 0, at(10 ** power), height, "#dde2e7"),
                  text(at(10 ** power), height + 13, f"{10 ** power:g}", "middle", ' fill="#66717c"')]
    for i, (peer, p50, p99, p999) in enumerate(rows):
        y = i * ROW + ROW / 2
        parts += [text(LABEL_WIDTH - 6, y + 4, peer, "end"), line(at(p50), y, at(p999), y, colour(peer), 2)]
        parts += [f'<circle cx="{at(value):.1f}" cy="{y}" r="{size}" fill="{colour(peer)}"/>'
                  for value, size in ((p50, 4.5), (p99, 3.5), (p999, 2.5))]
    return svg(width, height + 18, parts, title)


def lines(title, x_values, series, x_name, width=390, height=230):
    """@series: {peer: [value or None for each x]}. x is logarithmic, y starts at 0."""
    left, bottom, right, top = 48, 34, 84, 10
    most = max((v for values in series.values() for v in values if v is not None), default=1) or 1
    low, high = log10(min(x_values)), log10(max(x_values))

    def x_of(x):
        return left + (width - left - right) * ((log10(x) - low) / (high - low) if high > low else 0.5)

    def y_of(value):
        return height - bottom - (height - bottom - top) * value / most

    parts = []
    for part in range(5):
        y = y_of(most * part / 4)
        parts += [line(left, y, width - right, y, "#dde2e7"), text(left - 6, y + 4, number(most * part / 4), "end")]
    parts += [text(x_of(x), height - bottom + 16, str(x), "middle") for x in x_values]
    parts.append(text((left + width - right) / 2, height - 4, x_name, "middle", ' fill="#66717c"'))
    for peer, y in label_places({peer: y_of(last_of(values)) for peer, values in series.items() if any(values)}):
        parts.append(text(width - right + 8, y + 4, peer, "start", f' fill="{colour(peer)}"'))
    for peer, values in series.items():
        points = [(x_of(x), y_of(v)) for x, v in zip(x_values, values) if v is not None]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour(peer)}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour(peer)}"/>' for x, y in points]
    return svg(width, height, parts, title)


def last_of(values):
    return [v for v in values if v is not None][-1]


def label_places(wanted):
    """Labels beside the ends of lines, moved down where they would overlap."""
    before = -100.0
    for peer, y in sorted(wanted.items(), key=lambda item: item[1]):
        before = max(y, before + 14)
        yield peer, before
