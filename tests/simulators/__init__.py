"""Simulators, not mocks: what stands in for the world in tests."""
