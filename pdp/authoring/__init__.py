"""Writing, checking, testing and building policies. The PDP never imports this."""
