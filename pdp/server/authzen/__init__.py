"""The AuthZEN door: OpenID's Authorization API 1.0 in JSON over HTTPS.

Reading order: messages (JSON and the model), pages (what is served as it is),
application (one request, in steps), connection and listener (TLS, uvicorn).
It only translates, like its sibling: whatever is decided, the decision point decides.
"""
