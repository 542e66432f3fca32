"""The public names: few, and listed."""

import audit_ledger
from audit_ledger import errors


def test_the_public_names_are_these() -> None:
    assert sorted(audit_ledger.__all__) == [
        "InvalidValue",
        "Ledger",
        "LedgerError",
        "NotInitialised",
        "Outcome",
        "RecordingError",
        "Run",
        "RunEnded",
        "UnknownRun",
        "Unreachable",
        "WrongRole",
        "__version__",
        "connect",
        "instrument",
    ]


def test_every_public_name_has_a_docstring() -> None:
    for name in audit_ledger.__all__:
        if name != "__version__":
            assert getattr(audit_ledger, name).__doc__


def test_every_error_is_in_the_tree_of_the_docstring() -> None:
    classes = [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)
    ]
    assert classes
    for error in classes:
        assert issubclass(error, errors.LedgerError)
        assert error.__name__ in (errors.__doc__ or "")
