"""What bench/report.py writes with.

    names.py            what contenders are called, and which are whose
    tables.py           the tables of docs/benchmarks.md
    losses.py           where other servers do better, found in the figures
    benchmarks.md       the page, with the parts that are written by hand; @NAME@ is where a table goes
    charts.py           which pictures there are, and what is in each
    drawing.py          bars, dots and spans, by matplotlib
    svg.py              colours for light and dark pages, and what is done to matplotlib's SVG
"""
