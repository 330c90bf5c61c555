"""pushkit-bridge: Alertmanager webhooks in, a ringing iPhone out."""

__version__ = "0.1.0"
