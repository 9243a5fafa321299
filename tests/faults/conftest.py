import pytest

_ROWS = pytest.StashKey[list]()


@pytest.fixture
def fault_row(request):
    """Adds a row to the table of faults, which is printed at the end: what was done, how often, what came of it."""
    rows = request.config.stash.setdefault(_ROWS, [])
    return lambda fault, count, outcome: rows.append((fault, str(count), outcome))


def pytest_terminal_summary(terminalreporter, config):
    rows = [("fault", "times", "outcome"), *config.stash.get(_ROWS, [])]
    if len(rows) > 1:
        widths = [max(map(len, column)) for column in zip(*rows)]
        terminalreporter.section("faults")
        for fault, count, outcome in rows:
            terminalreporter.write_line(f"{fault:<{widths[0]}}  {count:>{widths[1]}}  {outcome}")
