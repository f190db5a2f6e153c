"""The functions of the language, one module per library; `pdp.cel.functions` joins them."""
