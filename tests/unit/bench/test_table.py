"""A result as Markdown."""

from __future__ import annotations

import pytest

from bench.table import against_best_peer, cell, markdown, number


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.01234, "0.0123"), (0.0, "0"), (4.567, "4.57"), (23.44, "23.4"), (1234.5, "1,234"), (-23.44, "-23.4")],
)
def test_a_number_has_about_three_digits(value, text):
    assert number(value) == text


def test_a_cell_tells_the_median_and_the_spread(result):
    assert cell(result.find("ours", "decode/4", "tokens_per_second")) == "300 (200 to 310)"


def test_a_single_repetition_has_no_spread(result):
    assert cell(result.find("fast peer", "decode/4", "tokens_per_second")) == "200"


def test_where_more_is_better_the_best_peer_has_the_most_and_a_limit_is_no_peer(result):
    assert against_best_peer(result, "decode/4", "tokens_per_second") == "1.50 × fast peer"


def test_where_less_is_better_the_best_peer_has_the_least(result):
    assert against_best_peer(result, "decode/4", "first_token_median") == "2.00 × slow peer"


def test_a_measure_of_ours_alone_is_held_against_nobody(result):
    assert against_best_peer(result, "stream path", "messages_per_second") == "–"


def test_the_markdown_has_a_row_a_measurement_and_a_column_a_contender(result):
    rows = [line for line in markdown(result).splitlines() if line.startswith("|")]
    assert rows[0].startswith("| measure | metric | unit | ours | slow peer | fast peer | limit, bf16 |")
    assert rows[2] == (
        "| decode/4 | tokens per second | tokens/s | 300 (200 to 310) | 100 | 200 | 5,000 | 1.50 × fast peer |"
    )
    assert rows[3] == "| decode/4 | first token median | ms | 40.0 | 20.0 | – | – | 2.00 × slow peer |"
    assert len({row.count("|") for row in rows}) == 1


def test_who_is_missing_and_what_failed_is_said(result):
    text = markdown(result)
    assert "- Not measured: absent peer: not installed" in text
    assert "- Failed: slow peer arrival: it broke" in text


def test_where_it_ran_is_said(result):
    text = markdown(result)
    assert "A CPU, 2 cores, 8 GiB, An OS" in text
    assert "0.10 / 0.20 / 0.30" in text
