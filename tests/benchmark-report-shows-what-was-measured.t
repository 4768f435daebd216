#!/usr/bin/python3
# The benchmark's report is one well-formed file that needs no other, names every peer and workload, has a plot of each, and
# says that a run was noisy.
# If this fails, who compares servers sees no report after ten minutes of measuring, or one that leaves a peer out.
import json
import os
import re
import sys
import xml.etree.ElementTree as xml

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__))]
from rig import Rig, TESTS

sys.path[:0] = [os.path.join(TESTS, "bench")]
import report
import results


def words(element):
    return " ".join(" ".join(element.itertext()).split())


with open(os.path.join(TESTS, "bench", "sample.json")) as recorded:
    data = json.load(recorded)
sections = [results.Section.from_data(section) for section in data["sections"]]

with Rig() as rig:
    path = report.write(rig.path("report"), data["facts"], data["noise"], sections)
    with open(path) as made:
        source = made.read()
    tree = xml.fromstring(source)  # an error here fails the test

    rig.ok("nothing is fetched from elsewhere", not re.search(r"(src|href)=|url\(|@import|<script|<link", source))
    text = words(tree)
    rig.same("machine, kernel, versions and command are in it", [], [v for v in data["facts"].values() if v not in text])
    rig.ok("a noisy run is marked as one", "Noisy run" in text and data["noise"][0] in text)
    for section in sections:
        pairs = [(workload, peer) for workload, peer, _ in section.rows()]
        rig.same(f"'{section.title}' has a section", 1,
                 sum(words(head) == section.title for head in tree.iter("h2")))
        rig.same("  with every workload and peer", [], [name for pair in pairs for name in pair if name not in text])
    plots = [[words(label) for label in plot.iter("text")] for plot in tree.iter("svg")]
    rig.ok("plots have their peers' names", plots and all(any(peer in plot for peer in
                                                             ["vnbd-server", "vnbd-client"]) for plot in plots))
    rig.ok("who was left out, and why", 'qemu-nbd is left out: <says> "no" & goes' in text)

    quiet = words(xml.fromstring(report.html(data["facts"], [], sections)))
    rig.ok("a quiet run is not", "Noisy run" not in quiet)

    with open(rig.path("report.json")) as raw:
        again = json.load(raw)
    rig.same("the raw results are beside it", data, again)

    section = results.Section("title", "", "us", ["cpu"])
    for peer, values in {"us": (1, 3, 2), "them": (4, 4, 10)}.items():
        for value in values:
            section.add("work", peer, {"cpu": value, "other": 0.9})
    rig.same("medians", (2, 4), (section.medians("work", "us")["cpu"], section.medians("work", "them")["cpu"]))
    rig.same("ratios are to the reference", 2,
             results.ratio(section.medians("work", "them"), section.medians("work", "us"), "cpu"))
    rig.same("each kind of noise is told", 4, len(results.noise([section], load_average=3, steal=0.2)))
