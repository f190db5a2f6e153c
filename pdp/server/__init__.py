"""The server: doors that only translate, and the process that holds them."""
