import pytest

# So that a failure inside the shipped suites shows its values, as one in a test module does.
pytest.register_assert_rewrite("rota.testing.contracts")
