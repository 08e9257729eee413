# SPDX-License-Identifier: Apache-2.0
"""Workers on the NUMA nodes of a machine that hwloc is told to see (HWLOC_SYNTHETIC)."""

import os

import pytest
import takt_yaml
from program import Program, stop, wait_until, whole_lines
from test_workers import workers

CPUS = sorted(os.sched_getaffinity(0))
pytestmark = pytest.mark.skipif(CPUS[:2] != [0, 1], reason="needs CPUs 0 and 1")


@pytest.fixture
def two_nodes(takt):
    """The program on a machine with CPU 0 on node 0 and CPU 1 on node 1."""
    return Program(takt.path, takt.environment | {"HWLOC_SYNTHETIC": "numa:2 core:1 pu:1"},
                   takt.running)


def write(tmp_path, repository, device, isolation="process"):
    tasks = takt_yaml.defects().replace("    backends", f"    isolation: {isolation}\n"
                                        "    instances: 1\n    backends") + takt_yaml.DIFFERENCE
    tasks += f"    isolation: {isolation}\n    instances: 1\n"
    written = takt_yaml.write(
        tmp_path / "takt.yaml", repository,
        takt_yaml.line(takt_yaml.simulator_source(rate="20/s"), tasks="defects, difference"),
        tasks=tasks)
    written.write_text(written.read_text().replace("{lanes: 2, threads_per_lane: 1}", device))
    return written


def affinities(takt, config, tmp_path, gateway=frozenset(CPUS)):
    process = takt.start("serve", config)
    wait_until(lambda: len(whole_lines(tmp_path / "verdicts.jsonl")) >= 5, "verdicts", process)
    found = [os.sched_getaffinity(pid) for pid in workers(process.pid)]
    assert os.sched_getaffinity(process.pid) == gateway, "it keeps off the lanes' CPUs only"
    return found, stop(process).ok()


def test_workers_are_spread_over_the_nodes(two_nodes, tmp_path, repository):
    config = write(tmp_path, repository, "{lanes: 2, threads_per_lane: 1}")
    found, said = affinities(two_nodes, config, tmp_path)
    assert sorted(found) == [{0}, {1}]
    assert "the worker of defects runs on NUMA node 0" in said.err
    assert "the worker of difference runs on NUMA node 1" in said.err


@pytest.mark.parametrize("numa, cpus", [("1", {1}), ("off", set(CPUS))])
def test_a_device_says_where_its_workers_run(two_nodes, tmp_path, repository, numa, cpus):
    config = write(tmp_path, repository, f"{{lanes: auto, numa: {numa}}}")
    gateway = set(CPUS) - cpus or set(CPUS)
    found, _ = affinities(two_nodes, config, tmp_path, gateway)
    assert found == [cpus, cpus]


def write_devices(tmp_path, repository, devices, isolation="process"):
    config = write(tmp_path, repository, "{}", isolation)
    config.write_text(config.read_text().replace("  cpu: {}\n", devices))
    return config


def test_each_node_may_be_a_device(two_nodes, tmp_path, repository):
    config = write_devices(tmp_path, repository, "  a: {numa: 0}\n  b: {numa: 1}\n")
    found, said = affinities(two_nodes, config, tmp_path)
    assert sorted(map(sorted, found)) == [[0], [0], [1], [1]]
    assert "defects runs on a, b" in said.err


def test_threads_of_a_device_stay_on_its_node(two_nodes, tmp_path, repository):
    config = write_devices(tmp_path, repository, "  a: {numa: 0}\n  b: {numa: 1}\n", "thread")
    process = two_nodes.start("serve", config)
    wait_until(lambda: len(whole_lines(tmp_path / "verdicts.jsonl")) >= 5, "verdicts", process)
    bound = [os.sched_getaffinity(int(thread))
             for thread in os.listdir(f"/proc/{process.pid}/task")]
    assert {0} in bound and {1} in bound
    stop(process).ok()


def test_a_cpu_of_another_devices_node_is_named(two_nodes, tmp_path, repository):
    config = write_devices(tmp_path, repository, "  a: {numa: 0}\n  b: {cpus: 0}\n")
    two_nodes.run("validate", config).refused(2, "devices.b.cpus: CPU 0 belongs to device 'a'")
    config = write_devices(tmp_path, repository, "  a: {numa: 0, cpus: 1}\n")
    two_nodes.run("validate", config).refused(2, "devices.a.cpus: 1 is not of its NUMA node's CPUs")


def test_on_one_node_nothing_changes(takt, tmp_path, repository):
    takt.environment["HWLOC_SYNTHETIC"] = "numa:1 core:2 pu:1"
    config = write(tmp_path, repository, "{lanes: 2}")
    found, said = affinities(takt, config, tmp_path)
    assert found == [set(CPUS), set(CPUS)]
    assert "NUMA" not in said.err


@pytest.mark.parametrize("command, code", [("validate", 2), ("serve", 2)])
def test_a_node_that_is_not_there_is_named(two_nodes, tmp_path, repository, command, code):
    config = write(tmp_path, repository, "{numa: 2}")
    two_nodes.run(command, config).refused(code, "devices.cpu.numa: no NUMA node 2", "has: 0, 1")


def test_doctor_says_what_the_machine_is(two_nodes):
    said = two_nodes.run("doctor").ok()
    assert "2 NUMA nodes, 2 cores, 2 CPUs" in said.out
