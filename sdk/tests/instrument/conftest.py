"""What the tests of the adapters share."""

import pytest

pytest.register_assert_rewrite("sdk.tests.instrument.contract")
