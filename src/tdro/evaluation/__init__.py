"""Test sets, measures of ranking, and paired tests."""
