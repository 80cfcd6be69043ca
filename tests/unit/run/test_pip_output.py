"""What pip says becomes one line of progress, or one sentence about what went wrong."""

from __future__ import annotations

import pytest

from deploy.launch.pip_output import InstallProgress, why_pip_failed


def test_progress_counts_packages_without_those_for_other_platforms():
    progress = InstallProgress(3)
    assert progress.after("Ignoring colorama: markers 'x' don't match your environment\n") == "Reading the lock"
    assert progress.after("Collecting numpy==2.4.6 (from -r cpu.txt (line 3))\n") == "Downloading package 1 of 2: numpy"
    assert progress.after("Collecting torch==2.13.0 (from -r cpu.txt)\n").startswith(
        "Downloading package 2 of 2: torch"
    )


def test_progress_shows_the_bytes_of_a_large_package():
    progress = InstallProgress(1)
    progress.after("Collecting torch==2.13.0 (from -r cpu.txt)\n")
    assert progress.after("  Downloading torch.whl.metadata (191.8 MB)\n").endswith("torch, 191.8 MB")
    assert progress.after("Progress 95000000 of 190000000\n").endswith("torch, 95 of 190 MB")
    assert progress.after("Collecting x==1\n").endswith(": x")


def test_unpacking_is_told_apart_from_downloading():
    progress = InstallProgress(1)
    progress.after("Collecting torch==2.13.0\n")
    assert progress.after("Installing collected packages: torch\n").startswith("Unpacking 1 packages")


@pytest.mark.parametrize(
    "line",
    [
        "WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError(...)': /simple/torch/",
        "WARNING: Retrying after connection broken by 'NameResolutionError(...)'",
        "ERROR: HTTPSConnectionPool: Read timed out. ReadTimeoutError",
    ],
)
def test_a_missing_network_is_told_as_such(line):
    failure = why_pip_failed([line, "ERROR: No matching distribution found for numpy==2.4.6"])
    assert failure.is_network
    assert failure.sentence.startswith("The package index cannot be reached")


def test_a_package_that_is_not_what_was_locked_is_named():
    failure = why_pip_failed(
        [
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
            "    numpy==2.4.6 from https://example.invalid/numpy.whl (from -r cpu.txt (line 3)):",
            "        Expected sha256 aaa",
        ]
    )
    assert "numpy==2.4.6" in failure.sentence
    assert not failure.is_network


def test_a_full_disk_is_told_as_such():
    assert "disk is full" in why_pip_failed(["ERROR: [Errno 28] No space left on device"]).sentence


@pytest.mark.parametrize("lines", [[], ["odd"], ["ERROR: first", "ERROR: odd"]])
def test_anything_else_is_pips_last_word(lines):
    assert why_pip_failed(lines).sentence in {"pip failed: it gave no reason.", "pip failed: odd"}
