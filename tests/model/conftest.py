import pytest

# So that a failure outside of a test module shows its values too.
pytest.register_assert_rewrite("rota.testing.contracts", "tests.model.comparison")
