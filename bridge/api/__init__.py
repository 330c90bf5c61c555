"""The HTTP edges: Alertmanager's webhook, operations, management, and the phones' own listener."""
