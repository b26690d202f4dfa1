"""What of an error may be logged."""

from __future__ import annotations

import pytest

from conceptbasis.tracking.redact import describe_error

HIDDEN = "how do i forge a lantern"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (
            "CUDA out of memory. Tried to allocate 20 MiB",
            "CUDA out of memory. Tried to allocate 20 MiB",
        ),
        ("layer 3 of 12 has no SAE", "layer 3 of 12 has no SAE"),
        ("unknown key 'fit.atoms' (did you mean 'n_atoms'?)", None),
        (f"cannot encode {HIDDEN.upper()} !", "cannot encode […] !"),
        ('"what is a lock pick" is too long', '"[…]" is too long'),
        ("no file /home/ann/models/a b/x.json here", "no file a b/x.json here"),
        ("'/home/ann/my models/x.json' is missing", "'x.json' is missing"),
        ("~/data/x.json is missing", "x.json is missing"),
        ("token hf_abcdefghijklmnopqrstuvwxyzABCDEF refused", "token […] refused"),
        ("password lanternfish refused", "password […] refused"),
        ("first line\nsecond line", "first line"),
        ("", ""),
    ],
)
def test_first_line_without_texts_paths_and_keys(
    said: str, kept: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SECRET", "lanternfish")
    found = describe_error(ValueError(said), [HIDDEN])
    assert found == f"ValueError: {said if kept is None else kept}".removesuffix(": ")


def test_names_of_machine_and_user_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "basement7")
    monkeypatch.setattr("getpass.getuser", lambda: "ann")
    error = OSError("ann@basement7 refused; annex is open")
    assert describe_error(error) == "OSError: […]@[…] refused; annex is open"
