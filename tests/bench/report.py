#!/usr/bin/python3
"""Makes one HTML file of a run's results: plots, and the tables with medians and spread. It needs nothing else, and is
XML too.

    tests/bench/report.py RESULTS.json      writes RESULTS.html again
"""

import json
import re
import sys
from html import escape

import chart
from results import COLUMNS, NO_RATIO, REPORT_ONLY, Section, errors, ratio

STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; color: #1c2126; background: #fff; max-width: 1240px; margin: 2em auto;
  padding: 0 1em }
h1 { font-size: 24px; margin: 0 0 .6em } h2 { font-size: 19px; margin: 2.2em 0 .2em; border-top: 1px solid #dde2e7;
  padding-top: 1em } h3 { font-size: 15px; margin: 0 0 .3em } h4 { font-size: 12px; font-weight: 600; color: #66717c;
  margin: .6em 0 .2em } p { margin: .2em 0 .8em; color: #4a545e }
svg { display: block; font: 11px system-ui, sans-serif; max-width: 100%; height: auto }
.cards { display: grid; gap: 14px } .card { border: 1px solid #dde2e7; border-radius: 6px; padding: 12px 14px }
.plots { display: flex; flex-wrap: wrap; gap: 6px 14px }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums; font-size: 13px }
th, td { padding: 2px 8px; white-space: nowrap; text-align: right; border-bottom: 1px solid #eef1f4 } th { color: #66717c; font-weight: 600 }
th.name, td.name { text-align: left } tr.reference td { font-weight: 600 } tr.first td { border-top: 1px solid #b9c2cb }
td small { color: #66717c } .wide { overflow-x: auto } td.bad { color: #b5002d; font-weight: 600 }
.noisy { background: #fff3d6; border: 1px solid #e3b341; border-radius: 6px; padding: 8px 14px; color: #5c4400 }
.missing { color: #66717c; font-size: 13px }
"""
READING = ("Bars are medians, the line on them goes from the lowest to the highest round. Latency: the dots are the median, "
           "the 99th and the 99.9th percentile. Fewer CPU microseconds and more requests are better.")


def tag(name, content, attributes=""):
    return f"<{name}{' ' + attributes if attributes else ''}>{content}</{name}>"


def facts_table(facts):
    rows = "".join(tag("tr", tag("td", escape(name), 'class="name"') + tag("td", escape(value), 'class="name"'))
                   for name, value in facts.items())
    return tag("table", rows)


def noise_box(reasons):
    if not reasons:
        return ""
    return tag("p", "<b>Noisy run:</b> " + escape("; ".join(reasons)) + ". Compare ratios only, and with care.",
               'class="noisy"')


def values(section, workload, key):
    """(peer, median, lowest, highest) of those that have it."""
    return [(peer, section.medians(workload, peer)[key], *section.span(workload, peer, key)) for peer in section.peers
            if key in (section.medians(workload, peer) or {})]


def plot(section, workload, key):
    rows = values(section, workload, key)
    name = COLUMNS[key][0]
    return tag("div", tag("h4", escape(name)) + chart.bars(f"{workload}: {name}", rows)) if rows else ""


def latency_plot(section, workload):
    rows = [(peer, row["p50"], row["p99"], row["p999"]) for where, peer, row in section.rows()
            if where == workload and "p999" in row]
    return tag("div", tag("h4", "latency, us") + chart.latencies(f"{workload}: latency", rows)) if rows else ""


def card(section, workload):
    if section.kind == "plain":
        plots = [plot(section, workload, key) for key in section.columns]
    else:
        plots = [plot(section, workload, "cpu"), plot(section, workload, "rate"), latency_plot(section, workload)]
    return tag("div", tag("h3", escape(workload)) + tag("div", "".join(plots), 'class="plots"'), 'class="card"')


def scaling_plots(section):
    """Over the number that each workload's name begins with."""
    x_values = [int(re.match(r"\d+", workload).group()) for workload in section.workloads]
    plots = ""
    for key in ("cpu", "rate", "p99"):
        series = {peer: [(section.medians(workload, peer) or {}).get(key) for workload in section.workloads]
                  for peer in section.peers}
        name = COLUMNS[key][0]
        plots += tag("div", tag("h4", escape(name)) + chart.lines(name, x_values, series, "connections"))
    return tag("div", tag("div", plots, 'class="plots"'), 'class="card"')


def table(section):
    head = tag("th", "workload", 'class="name"') + tag("th", "", 'class="name"') + \
        "".join(tag("th", escape(COLUMNS[key][0])) + (tag("th", "ratio") if has_ratio(section, key) else "")
                for key in section.columns)
    rows, before = [tag("tr", head)], None
    for workload, peer, row in section.rows():
        base = section.medians(workload, section.reference)
        cells = tag("td", escape(workload) if workload != before else "", 'class="name"') + \
            tag("td", escape(peer), 'class="name"') + "".join(cell(section, workload, peer, row, base, key)
                                                              for key in section.columns)
        bad = errors(section.runs[workload][peer])
        cells += tag("td", f"{bad} errors", 'class="bad"') if bad else ""
        kinds = ["first"] * (workload != before) + ["reference"] * (peer == section.reference)
        rows.append(tag("tr", cells, f'class="{" ".join(kinds)}"'))
        before = workload
    return tag("div", tag("table", "".join(rows)), 'class="wide"')


def has_ratio(section, key):
    return key not in NO_RATIO and (section.kind == "plain" or key not in REPORT_ONLY)


def cell(section, workload, peer, row, base, key):
    decimals, times = COLUMNS[key][1], ratio(row, base, key)
    factor = tag("td", f"{times:.2f}" if times else "-") if has_ratio(section, key) else ""
    if key not in row:
        return tag("td", "-") + factor
    low, high = section.span(workload, peer, key)
    spread = f" <small>{low:.{decimals}f}..{high:.{decimals}f}</small>" if high > low else ""
    return tag("td", f"{row[key]:.{decimals}f}{spread}") + factor


def section_html(section):
    if section.kind == "scaling":
        plots = scaling_plots(section)
    else:
        plots = "".join(card(section, workload) for workload in section.workloads)
    missing = "".join(tag("p", escape(f"{name} is left out: {why}"), 'class="missing"')
                      for name, why in section.missing.items())
    return tag("h2", escape(section.title)) + tag("p", escape(section.note)) + \
        (tag("div", plots, 'class="cards"') + table(section) if section.rows else "") + missing


def html(facts, reasons, sections):
    body = tag("h1", "vnbd benchmark") + noise_box(reasons) + facts_table(facts) + tag("p", escape(READING)) + \
        "".join(section_html(section) for section in sections)
    head = '<meta charset="utf-8"/>' + tag("title", "vnbd benchmark") + tag("style", STYLE)
    return "<!DOCTYPE html>\n" + tag("html", tag("head", head) + tag("body", body), 'lang="en"') + "\n"


def write(path, facts, reasons, sections):
    """@path.json and @path.html; returns the latter's name."""
    with open(path + ".json", "w") as out:
        json.dump({"facts": facts, "noise": reasons, "sections": [section.as_data() for section in sections]}, out,
                  indent=1)
    with open(path + ".html", "w") as out:
        out.write(html(facts, reasons, sections))
    return path + ".html"


def main():
    with open(sys.argv[1]) as source:
        data = json.load(source)
    sections = [Section.from_data(section) for section in data["sections"]]
    with open(re.sub(r"\.json$", "", sys.argv[1]) + ".html", "w") as out:
        out.write(html(data["facts"], data["noise"], sections))


if __name__ == "__main__":
    main()
