"""What counts as close is known of models by their names."""

import pytest

from services.memory.embedder.closeness import close_similarity


@pytest.mark.parametrize(
    "embedder_id",
    [
        "multilingual-e5-small-q4@0123456789ab/mean-of-16x510/query: |passage: ",
        "intfloat/multilingual-e5-large-instruct@0123456789ab/mean-of-16x510",
        "server/e5-base-v2@0123456789ab/mean-of-16x2048",
    ],
)
def test_the_e5_family_puts_all_texts_close_together(embedder_id: str):
    assert close_similarity(embedder_id) > 0.8


def test_other_models_do_not():
    assert close_similarity("all-MiniLM-L6-v2@0123456789ab/mean-of-16x254") < 0.5
