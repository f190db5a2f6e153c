"""The audit log: records that are durable before the answer leaves, and how they are checked."""
