"""Envoy's external authorization, version 3, over the gRPC listener that is there anyway.

Envoy asks whether an HTTP request may go on; the bundle's HTTP mapping says
what that asks of the policies. Messages in `messages`, answers in `answers`,
the door itself in `door`.
"""
