"""CEL: a frozen, checked syntax tree compiled into Python. See `compile`."""
