"""Charts as plain SVG: lines over a scale, and bars.  Text in, text out."""
import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 78, 190, 52, 64
#: Told apart also by those who see few colours, and in print by their dashes.
COLORS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000')
DASHES = ('', '7 3', '2 3', '9 3 2 3', '', '7 3', '2 3')
BAR = 18


def lines(title, x_label, y_label, series, log_x=False, log_y=False):
    """Return a chart of *series*: pairs of a name and its points ``(x, y)``.

    With *log_y*, equal steps up are equal factors, and lines that double are parallel.
    """
    points = [point for _name, found in series for point in found]
    across = _Scale([x for x, _y in points], LEFT, WIDTH - RIGHT, log_x)
    up = _Scale([y for _x, y in points] if log_y else [0, *(y for _x, y in points)],
                HEIGHT - BOTTOM, TOP, log_y, fine=log_y)
    parts = list(_frame(title, HEIGHT))
    parts += _x_axis(across, sorted({x for x, _y in points}), x_label, HEIGHT)
    for value in up.ticks():
        y = up.place(value)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 6, y + 4, number(value), 'end'))
    parts.append(_text(14, TOP - 14, y_label))
    for index, (name, found) in enumerate(series):
        parts += _line(index, name, [(across.place(x), up.place(y)) for x, y in found])
    return _svg(parts, HEIGHT)


def _line(index, name, places):
    color, dash = COLORS[index % len(COLORS)], DASHES[index % len(DASHES)]
    path = 'L'.join(f'{x:.1f} {y:.1f}' for x, y in places)
    yield (f'<path d="M{path}" fill="none" stroke="{color}" stroke-width="2"'
           f' stroke-dasharray="{dash}"/>')
    for x, y in places:
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{color}"/>'
    y = TOP + 8 + 20 * index
    yield (f'<path d="M{WIDTH - RIGHT + 14} {y}h24" stroke="{color}" stroke-width="2"'
           f' stroke-dasharray="{dash}"/>')
    yield _text(WIDTH - RIGHT + 44, y + 4, name)


def bars(title, x_label, rows, log_x=False):
    """Return a chart of *rows*: pairs of a name and its bars ``(label, value)``.

    The bars of one label have one colour; a value of None has no bar.
    """
    labels = list(dict.fromkeys(label for _name, found in rows for label, _v in found))
    values = [value for _name, found in rows for _label, value in found
              if value is not None]
    height = TOP + BOTTOM + len(rows) * (BAR * len(labels) + 12)
    left = 250
    across = _Scale(values if log_x else [0, *values], left, WIDTH - 70, log_x,
                    bars=True)
    parts = list(_frame(title, height))
    parts += _x_axis(across, across.ticks(), x_label, height)
    y = TOP + 6
    for name, found in rows:
        middle = y + BAR * len(found) / 2 + 4
        parts.append(_text(left - 8, middle, name, 'end'))
        for label, value in found:
            parts += _bar(across, left, y, COLORS[labels.index(label)], value)
            y += BAR
        y += 12
    for index, label in enumerate(labels):
        x = left + 150 * index
        parts.append(f'<rect x="{x}" y="{height - 16}" width="12" height="10" '
                     f'fill="{COLORS[index]}"/>')
        parts.append(_text(x + 18, height - 7, label))
    return _svg(parts, height)


def _bar(across, left, y, color, value):
    if value is None:
        yield _text(left + 4, y + BAR - 5, 'not measured')
        return
    width = max(1, across.place(value) - left)
    yield (f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{BAR - 3}" '
           f'fill="{color}"/>')
    yield _text(left + width + 5, y + BAR - 5, number(value))


class _Scale:
    """From values to places between *start* and *end*."""

    def __init__(self, values, start, end, log=False, bars=False, fine=False):
        self._log, self._start, self._end, self._fine = log, start, end, fine
        low, high = (min(values), max(values)) if values else (0, 1)
        if log:
            low, high = max(low, 1e-3), max(high, 1e-3)
            if bars:
                # the smallest has a bar, too
                low = 10 ** math.floor(math.log10(low) - 1e-9)
            if fine:
                # each line lies between two values that are written beside it
                low = max(one for one in _rounds(low / 10, high) if one <= low)
                high = min(one for one in _rounds(low, 10 * high) if one >= high)
        self.low, self.high = low, high if high > low else low + 1

    def place(self, value):
        low, high = self.low, self.high
        if self._log:
            value, low, high = (math.log(max(one, 1e-3)) for one in (value, low, high))
        return self._start + (self._end - self._start) * (value - low) / (high - low)

    def ticks(self):
        """Return round values within, about five."""
        if self._fine:
            return [one for one in _rounds(self.low, self.high)
                    if self.low <= one <= self.high]
        if self._log:
            return [10 ** power for power in range(math.ceil(math.log10(self.low)),
                                                   math.floor(math.log10(self.high)) + 1)]
        rough = (self.high - self.low) / 5
        unit = 10 ** math.floor(math.log10(rough))
        step = next(unit * times for times in (1, 2, 5, 10) if unit * times >= rough)
        return [step * count for count in range(math.ceil(self.low / step),
                                                math.floor(self.high / step) + 1)]


def _rounds(low, high):
    """Return 1, 2, 5, 10, 20... from below *low* to beyond *high*."""
    return [times * 10 ** power for power in range(
        math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for times in (1, 2, 5)]


def _x_axis(across, values, label, height):
    for value in values:
        x = across.place(value)
        yield (f'<path d="M{x:.1f} {TOP}V{height - BOTTOM + 4}" stroke="#eee"/>')
        yield _text(x, height - BOTTOM + 18, number(value), 'middle')
    yield _text((across.place(across.low) + across.place(across.high)) / 2,
                height - BOTTOM + 34, label, 'middle')


def _frame(title, height):
    yield f'<rect width="{WIDTH}" height="{height}" fill="white"/>'
    yield (f'<text x="14" y="18" font-size="14" font-weight="bold">'
           f'{escape(title)}</text>')


def _text(x, y, text, anchor='start'):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(parts, height):
    body = '\n'.join(parts)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" font-family="sans-serif" '
            f'font-size="12">\n{body}\n</svg>\n')


def number(value):
    """Return a number as people read it: three digits, thousands parted."""
    if value == 0 or abs(value) >= 100:
        return f'{value:,.0f}'
    return f'{value:.3g}'
