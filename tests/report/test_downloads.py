"""Figures can be saved from a report that is one file."""

from __future__ import annotations

import base64
import csv
import io
import re

import pytest
from synthetic_run import write_run

from conceptbasis.report.html import build_report
from conceptbasis.report.pages.downloads import shown_values
from conceptbasis.runs.summary import read_summary

LINK = re.compile(r'<a download="([a-z_-]+\.(\w+))" href="data:([a-z/+]+);base64,([^"]+)">')


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("saved") / "run")
    page = build_report(folder).read_text()
    links = LINK.findall(page)
    return folder, {name: (kind, base64.b64decode(held)) for name, _, kind, held in links}


def test_each_figure_is_there_as_the_files_beside_the_report(report):
    folder, links = report
    files = sorted(path.name for path in (folder / "figures").iterdir())
    assert files == sorted(name for name in links if not name.endswith(".csv"))
    for name in files:
        assert links[name][1] == (folder / "figures" / name).read_bytes()


def test_the_values_of_a_figure_are_those_of_its_conditions(report):
    folder, links = report
    kind, data = links["rate.csv"]
    assert kind == "text/csv"
    rows = list(csv.DictReader(io.StringIO(data.decode())))
    shown = {row["condition"].split(" ×")[0]: float(row["value"]) for row in rows}
    rates = {c.name: c.figures.rate.interval for c in read_summary(folder).conditions}
    assert shown == {name: rate.value for name, rate in rates.items() if rate is not None}


def test_parts_of_a_chart_are_put_together():
    points, more, rule = [{"x": 1}, {"x": 2}], [{"x": 3}], [{"at": 1}]
    parts = [{"data": {"values": rows}} for rows in (rule, points, points, more)]
    assert shown_values({"vconcat": parts}) == [*points, *more]
    assert shown_values({"datasets": {"a": points}, "layer": []}) == points
    assert shown_values({"layer": [{"mark": "rule"}]}) == []
