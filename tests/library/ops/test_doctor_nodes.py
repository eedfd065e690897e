"""The doctor and nodes that countries use otherwise, or that have a web server: each fault broken for real."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

from imagesys_lib.context import open_context
from imagesys_lib.ops import doctor
from include.sandbox.environment import write_config
from tests.library.ops.test_canary import Answers, Files, served
from tests.support.world import NODES, QUICK, World


def looked_at(world: World, defaults: dict[str, Any], **countries: dict[str, Any]) -> dict[str, tuple[bool, str]]:
    """What the doctor says of the nodes of uk and de, which are set as given."""
    write_config(world.sandbox.settings, {**QUICK, **defaults}, countries)
    contexts = [open_context(country) for country in ("uk", "de")]
    try:
        return {finding.check: (finding.ok, str(finding)) for finding in doctor._nodes(contexts)}
    finally:
        for ctx in contexts:
            ctx.close()


def bad(found: dict[str, tuple[bool, str]]) -> dict[str, str]:
    return {check: text for check, (ok, text) in found.items() if not ok}


def test_nodes_are_looked_at_again_only_for_a_country_that_sets_them_otherwise(patient: World) -> None:
    same = {f"node {name}{part}" for name in NODES for part in ("", " clock", " rsync")}
    found = looked_at(patient, {})
    assert (found.keys(), bad(found)) == (same, {})
    found = looked_at(patient, {}, de={"transfer": {"node_min_free_mb": 10**9}})
    assert found.keys() == same | {check.replace(check[:7], f"{check[:7]} for de") for check in same}
    assert bad(found).keys() == {f"node {name} for de" for name in NODES}
    assert all("disk_full" in text and "Remedy: free" in text for text in bad(found).values())


def test_another_countrys_root_that_cannot_be_written_is_found(patient: World) -> None:
    raw = json.loads(os.environ["AIRFLOW_CONN_N1"])
    root = raw["extra"].pop("root")
    patient.patch.setenv("AIRFLOW_CONN_N1", json.dumps(raw))
    de = {"node_root": "/proc/imagesys", "nodes": ["n1"], "quorum": 1}
    found = bad(looked_at(patient, {"node_root": root}, de=de))
    assert found.keys() == {"node n1 for de"}
    assert "/proc/imagesys" in found["node n1 for de"]
    assert "Remedy: " in found["node n1 for de"]


def test_the_web_server_of_each_node_is_asked_for_what_lies_there(patient: World, tmp_path: Path) -> None:
    patient.with_live_photos()
    with (
        served(partial(Files, directory=patient.root("n1"))) as good,
        served(partial(Files, directory=tmp_path)) as elsewhere,
        served(partial(Answers, 200, b"welcome", "")) as stranger,
    ):
        patient.reconfigure(node_urls={"n1": good, "n2": elsewhere, "n3": stranger})
        findings = {one.check: one for one in doctor.examine("uk")}
    assert findings["node n1 web server"].ok
    assert "bytes, as on the node" in findings["node n1 web server"].detail
    reported = {check: str(one) for check, one in findings.items() if not one.ok}
    assert reported.keys() == {"node n2 web server", "node n3 web server"}
    assert f"{elsewhere}/uk/" in reported["node n2 web server"]
    assert "http_404" in reported["node n2 web server"]
    assert "has 7 bytes, the file on n3 has " in reported["node n3 web server"]
    for node in ("n2", "n3"):
        assert f"Remedy: look at the web server of {node}, " in reported[f"node {node} web server"]
        assert f"node_urls of uk names the root {patient.root(node)}" in reported[f"node {node} web server"]


def test_a_web_server_is_asked_for_its_root_while_there_is_no_thumbnail_yet(patient: World) -> None:
    with (
        served(partial(Answers, 403, b"", "")) as good,
        served(partial(Answers, 404, b"", "")) as wrong,
    ):
        patient.reconfigure(node_urls={"n1": good, "n2": wrong, "n3": "http://127.0.0.1:9"})
        findings = {one.check: one for one in doctor.examine("uk") if one.check.endswith("web server")}
    assert {check: one.ok for check, one in findings.items()} == {
        "node n1 web server": True,
        "node n2 web server": False,
        "node n3 web server": False,
    }
    assert "http_404" in findings["node n2 web server"].detail
    assert "connect" in findings["node n3 web server"].detail
    assert "Remedy: look at the web server of n3" in str(findings["node n3 web server"])
