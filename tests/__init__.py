"""Tests, named as laws or attacks. Run them with `make test`."""
