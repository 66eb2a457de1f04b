"""Passwords in URIs are masked, and nothing else of them."""

import pytest

from optuna_joblib_sweeper.secrets import masked


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://me:{}@host:5432/studies",
        "https://me:{}@server/mlflow?x=1",
        "mysql+pymysql://host/studies?user=me&password={}",
        "storage=redis://:{}@host/0 and n_trials=3",
    ],
)
def test_a_password_is_masked_and_the_rest_stays(uri: str) -> None:
    assert masked(uri.format("s3cr-et%21")) == uri.format("***")


@pytest.mark.parametrize("text", ["sqlite:////data/me@home/x.db", "http://host:5000", "a:b@c", ""])
def test_text_without_a_password_is_not_changed(text: str) -> None:
    assert masked(text) == text
