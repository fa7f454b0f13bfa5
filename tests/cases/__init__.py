"""Problem tables with known answers, shared by the tests."""
